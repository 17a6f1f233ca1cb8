//! Rows of the feeds, and comparing a disk with the index.

use crate::record::Row;
use prost::Message;

/// Request of [`Apply`](super::Apply).
#[derive(Clone, PartialEq, Message)]
pub struct ApplyRequest {
    /// Generation of the feeds; another one is refused (R26).
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Registration the rows are meant for.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Feed: 0 or the pair's number.
    #[prost(uint32, tag = "3")]
    pub feed: u32,
    /// Rows, in order of their numbers.
    #[prost(message, repeated, tag = "4")]
    pub rows: Vec<Row>,
    /// Everything up to here has been acknowledged or merged away: the cursor (R21); 0: no news.
    #[prost(uint64, tag = "5")]
    pub advance: u64,
    /// In the state that the rows were read from, tombstones up to here had been collected (R24): they may be
    /// forgotten.
    #[prost(uint64, tag = "6")]
    pub collected: u64,
}

/// A row that could not be applied now.
#[derive(Clone, PartialEq, Message)]
pub struct RowFailure {
    /// Row.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// [`crate::error::Code`].
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// Why.
    #[prost(string, tag = "3")]
    pub message: String,
    /// Nothing is wrong: its bytes are on their way, and whoever sends it again soon waits on.
    #[prost(bool, tag = "40")]
    pub under_way: bool,
}

/// Answer to [`Apply`](super::Apply).
#[derive(Clone, PartialEq, Message)]
pub struct ApplyReply {
    /// Rows that are durably applied (or were not newer than what is there).
    #[prost(uint64, repeated, tag = "1")]
    pub applied: Vec<u64>,
    /// Rows that are not.
    #[prost(message, repeated, tag = "2")]
    pub failed: Vec<RowFailure>,
    /// End of the server's journal.
    #[prost(uint64, tag = "3")]
    pub journal: u64,
    /// Its durable cursor in the feed.
    #[prost(uint64, tag = "4")]
    pub cursor: u64,
    /// Bytes it has copied from its partner since it was started.
    #[prost(uint64, tag = "40")]
    pub copied_bytes: u64,
    /// Bytes that are here of contents whose copy goes on.
    #[prost(uint64, tag = "41")]
    pub partial_bytes: u64,
}

/// Request of [`Compare`](super::Compare): what the name manager has in a range of ids.
#[derive(Clone, PartialEq, Message)]
pub struct CompareRequest {
    /// Generation of the feeds.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Registration it is meant for.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Only records of this feed: 0 or the pair's number.
    #[prost(uint32, tag = "3")]
    pub feed: u32,
    /// Only ids above this one.
    #[prost(uint64, tag = "4")]
    pub after: u64,
    /// Only ids up to this one.
    #[prost(uint64, tag = "5")]
    pub upto: u64,
    /// All that there are, ascending.
    #[prost(uint64, repeated, tag = "6")]
    pub ids: Vec<u64>,
    /// The feed's end as of the list: a record with a higher number is newer than the list.
    #[prost(uint64, tag = "7")]
    pub end: u64,
}

/// Answer to [`Compare`](super::Compare).
#[derive(Clone, PartialEq, Message)]
pub struct CompareReply {
    /// Records that were set aside.
    #[prost(uint64, tag = "1")]
    pub set_aside: u64,
    /// Names of some of them.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}
