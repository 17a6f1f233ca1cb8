//! Storage servers, and how far the import of one has come.

use prost::Message;

/// A storage server as the log knows it.
#[derive(Clone, PartialEq, Message)]
pub struct Server {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its pair.
    #[prost(uint32, tag = "2")]
    pub pair: u32,
    /// Address where it listens, as it told.
    #[prost(string, tag = "3")]
    pub addr: String,
    /// Number of its registration; a new one fences the one before.
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
    /// Token on its disk (R7), 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub token: Vec<u8>,
    /// Boot of the host it registered from.
    #[prost(string, tag = "6")]
    pub boot: String,
    /// Declared failed.
    #[prost(bool, tag = "7")]
    pub failed: bool,
    /// May be promoted (R8).
    #[prost(bool, tag = "8")]
    pub fresh: bool,
    /// `Recovered` was applied for this incarnation.
    #[prost(bool, tag = "9")]
    pub recovered: bool,
    /// Its cursor in the control feed.
    #[prost(uint64, tag = "10")]
    pub control_cursor: u64,
    /// Its cursor in its pair's feed.
    #[prost(uint64, tag = "11")]
    pub pair_cursor: u64,
    /// Highest position of its journal that was ever reported.
    #[prost(uint64, tag = "12")]
    pub journal: u64,
    /// Ends of the feeds as of its registration: passing them makes it fresh (R8). Control feed.
    #[prost(uint64, tag = "13")]
    pub control_mark: u64,
    /// The same for the pair's feed.
    #[prost(uint64, tag = "14")]
    pub pair_mark: u64,
    /// Rows of its pair's feed beyond its cursor when it registered.
    #[prost(uint64, tag = "15")]
    pub rows_missed: u64,
    /// Log time of its registration, ms since 1970.
    #[prost(uint64, tag = "16")]
    pub registered_ms: u64,
    /// IP address it registered from.
    #[prost(string, tag = "17")]
    pub ip: String,
    /// Log time when it was declared failed, ms since 1970.
    #[prost(uint64, tag = "18")]
    pub failed_ms: u64,
    /// Token it had before (R7), 16 bytes.
    #[prost(bytes = "vec", tag = "19")]
    pub previous_token: Vec<u8>,
    /// Its disk was replaced while it owed versions: they are being marked lost (R12).
    #[prost(bool, tag = "20")]
    pub disk_lost: bool,
    /// Its operator said at its registration that the known disk may be gone.
    #[prost(bool, tag = "21")]
    pub may_replace: bool,
    /// What it holds is compared with the index from the start (R24): every row is sent anew, and what the index does
    /// not list is set aside.
    #[prost(bool, tag = "22")]
    pub compare: bool,
    /// It takes a folder in that it brought along (R24); none: it does not, or has done so.
    #[prost(message, optional, tag = "25")]
    pub import: Option<ImportProgress>,
    /// A part of its journal cannot be read (R31): what is done about it.
    #[prost(enumeration = "Damage", tag = "26")]
    pub damage: i32,
    /// When it was declared failed, clean stops not counted: the last
    /// [`FAILURES_KEPT`](crate::limits::FAILURES_KEPT) times, log time, ms since 1970.
    #[prost(uint64, repeated, tag = "27")]
    pub failures_ms: Vec<u64>,
}

/// What is done about a server of whose journal a part cannot be read (R31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Damage {
    /// There is none.
    None = 0,
    /// It waits for its partner, who is to stand in for it first. Nothing on its disk has changed.
    Waits = 1,
    /// It goes on with what can be read: every row is sent anew, and all is compared.
    GoesOn = 2,
    /// Nobody can tell what stood there: it ends, and nothing on its disk has changed.
    Hopeless = 3,
}

/// How far an import has come.
#[derive(Clone, PartialEq, Message)]
pub struct ImportProgress {
    /// Number of the last entry; they are numbered from 1.
    #[prost(uint64, tag = "1")]
    pub done: u64,
    /// Path of the last entry: the next one comes behind it in the order of the walk.
    #[prost(string, tag = "2")]
    pub after: String,
    /// Files taken in.
    #[prost(uint64, tag = "3")]
    pub files: u64,
    /// Folders taken in, those that were there already included.
    #[prost(uint64, tag = "4")]
    pub folders: u64,
    /// Symbolic links taken in.
    #[prost(uint64, tag = "5")]
    pub links: u64,
    /// Bytes of those files.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Entries that were passed over: their names are taken, or they cannot be stored.
    #[prost(uint64, tag = "7")]
    pub skipped: u64,
}
