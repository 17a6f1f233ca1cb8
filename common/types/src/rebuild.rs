//! A name manager made anew from what the storage servers hold (R26): what they report, and the two commands that
//! take it in.

use crate::command::{Asker, Bootstrap};
use crate::record::{ImportProgress, Row};
use prost::{Enumeration, Message};

/// What a storage server that stands for a rebuild says of itself: it serves nobody, and changes nothing that it
/// holds, until it registers again.
#[derive(Clone, PartialEq, Message)]
pub struct StandReport {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Address where it listens.
    #[prost(string, tag = "2")]
    pub addr: String,
    /// The cluster its data belongs to, 16 bytes; empty for a new disk.
    #[prost(bytes = "vec", tag = "3")]
    pub cluster_id: Vec<u8>,
    /// The newest generation it has joined; 0 for a new disk.
    #[prost(uint64, tag = "4")]
    pub generation: u64,
    /// Token on its disk (R7).
    #[prost(bytes = "vec", tag = "5")]
    pub token: Vec<u8>,
    /// Its last registration.
    #[prost(uint64, tag = "6")]
    pub incarnation: u64,
    /// End of its journal.
    #[prost(uint64, tag = "7")]
    pub journal: u64,
    /// Boot of its host.
    #[prost(string, tag = "8")]
    pub boot: String,
    /// Up to where it has forgotten tombstones of the control feed (R24).
    #[prost(uint64, tag = "9")]
    pub forgotten_control: u64,
    /// The same of its pair's feed.
    #[prost(uint64, tag = "10")]
    pub forgotten_pair: u64,
    /// Set while an import of it is unfinished: how far that has come, as its disk knows.
    #[prost(message, optional, tag = "11")]
    pub import: Option<ImportProgress>,
}

/// A write that is durable on a member and of which no row told there.
#[derive(Clone, PartialEq, Message)]
pub struct PreparedWrite {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Pair.
    #[prost(uint32, tag = "2")]
    pub pair: u32,
    /// Folder of the target.
    #[prost(uint64, tag = "3")]
    pub folder: u64,
    /// Name of the target there.
    #[prost(string, tag = "4")]
    pub name: String,
    /// The file meant; 0: whatever bears the name.
    #[prost(uint64, tag = "5")]
    pub file: u64,
    /// Who asked.
    #[prost(message, optional, tag = "6")]
    pub asker: Option<Asker>,
    /// Bytes of content.
    #[prost(uint64, tag = "7")]
    pub size: u64,
    /// How the digest was made.
    #[prost(uint32, tag = "8")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "9")]
    pub sha256: Vec<u8>,
    /// [`crate::ids::Seq`] of the newest row that the acting member knew when it prepared it: what changed by a later
    /// row was not what the write was made on.
    #[prost(uint64, tag = "10")]
    pub seen: u64,
}

/// Which step of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Step {
    /// Unset.
    Unknown = 0,
    /// What the new generation is, and who has reported.
    Begin = 1,
    /// All records are in: a slice of them takes its place in the tree, the feeds and the counts.
    Settle = 2,
    /// All is in: the cluster may be served.
    Finish = 3,
}

/// A step of a rebuild. Settle and Finish are repeated until their answer has no `more`.
#[derive(Clone, PartialEq, Message)]
pub struct Rebuild {
    /// Which.
    #[prost(enumeration = "Step", tag = "1")]
    pub step: i32,
    /// Begin: what a first start would make; the generation is above all that were reported.
    #[prost(message, optional, tag = "2")]
    pub cluster: Option<Bootstrap>,
    /// Begin: who has reported.
    #[prost(message, repeated, tag = "3")]
    pub members: Vec<StandReport>,
}

/// What a member holds, a page at a time.
#[derive(Clone, PartialEq, Message)]
pub struct TakeIn {
    /// Who holds it.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Before Settle: its records, users and pairs.
    #[prost(message, repeated, tag = "2")]
    pub rows: Vec<Row>,
    /// After Settle: writes without a known outcome, in the order in which they were prepared.
    #[prost(message, repeated, tag = "3")]
    pub writes: Vec<PreparedWrite>,
}
