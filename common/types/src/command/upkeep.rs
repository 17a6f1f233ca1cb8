//! Upkeep of what is stored: the trash and tombstones, replaced and compared disks, folders brought along.

use prost::Message;

/// Purges a slice of the trash, oldest first: what has been there for its time, or must go at once.
#[derive(Clone, PartialEq, Message)]
pub struct Purge {
    /// Files and folders to purge at most; never more than `PURGE_SLICE`.
    #[prost(uint32, tag = "1")]
    pub limit: u32,
    /// Room is short on a member of this pair: what is in the trash goes whatever its time. 0: nowhere.
    #[prost(uint32, tag = "2")]
    pub short_pair: u32,
}

/// Drops tombstones of a feed (R24). Refused unless the durable cursors of all members of the feed that count have
/// passed `upto`.
#[derive(Clone, PartialEq, Message)]
pub struct Collect {
    /// Feed: 0 or the pair's number.
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    /// No tombstone up to here is needed any more.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
    /// The rows that are tombstones, by number; never more than `COLLECT_SLICE`.
    #[prost(uint64, repeated, tag = "3")]
    pub tombstones: Vec<u64>,
}

/// Ends the comparison of a member's disk with the index (R24).
#[derive(Clone, PartialEq, Message)]
pub struct Compared {
    /// The server.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Records it held that the index does not list.
    #[prost(uint64, tag = "3")]
    pub set_aside: u64,
    /// Some of their names.
    #[prost(string, repeated, tag = "4")]
    pub names: Vec<String>,
}

/// Marks versions lost that a disk owed which is gone, a slice at a time (R12).
#[derive(Clone, PartialEq, Message)]
pub struct Lose {
    /// The server whose disk was replaced.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

/// One entry of a folder that a new server brings along, on behalf of an administrator (R24).
#[derive(Clone, PartialEq, Message)]
pub struct Import {
    /// The server.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Its pair.
    #[prost(uint32, tag = "3")]
    pub pair: u32,
    /// The epoch it acts in.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Who owns what comes in; filled in by the name manager.
    #[prost(string, tag = "5")]
    pub user: String,
    /// From 1, without gaps: each is done once.
    #[prost(uint64, tag = "6")]
    pub number: u64,
    /// Path from the root.
    #[prost(string, tag = "7")]
    pub path: String,
    /// File, folder or link; `Unknown`: it cannot be stored, `target` says why.
    #[prost(enumeration = "crate::record::Kind", tag = "8")]
    pub kind: i32,
    /// Write session under which the server has the content prepared, 16 bytes; empty for an empty file.
    #[prost(bytes = "vec", tag = "9")]
    pub session: Vec<u8>,
    /// Bytes of content.
    #[prost(uint64, tag = "10")]
    pub size: u64,
    /// How the digest was made.
    #[prost(uint32, tag = "11")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "12")]
    pub sha256: Vec<u8>,
    /// POSIX mode.
    #[prost(uint32, tag = "13")]
    pub mode: u32,
    /// Modification time, ms since 1970.
    #[prost(sint64, tag = "14")]
    pub mtime_ms: i64,
    /// Target of a link.
    #[prost(string, tag = "15")]
    pub target: String,
    /// End of the server's journal (R7).
    #[prost(uint64, tag = "16")]
    pub journal: u64,
}

/// Ends an import.
#[derive(Clone, PartialEq, Message)]
pub struct EndImport {
    /// The server.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// What was taken in, for people.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Entries that have no path here, as their names are not UTF-8.
    #[prost(uint64, tag = "4")]
    pub passed_over: u64,
}
