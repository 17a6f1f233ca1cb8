//! Pages through the records of a pair, for fsck.

use super::Placement;
use crate::capability::SignedCapability;
use crate::record::{Record, Row};
use prost::Message;

/// Request of [`PairRecords`](super::PairRecords).
#[derive(Clone, PartialEq, Message)]
pub struct PairRecordsRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Rows after this [`crate::ids::Seq`].
    #[prost(uint64, tag = "2")]
    pub after: u64,
    /// At most so many.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// Answer to [`PairRecords`](super::PairRecords).
#[derive(Clone, PartialEq, Message)]
pub struct PairRecordsReply {
    /// Rows of the feed in order.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    /// Who acts.
    #[prost(message, optional, tag = "2")]
    pub placement: Option<Placement>,
    /// Cover for asking the pair's servers for their inventory.
    #[prost(message, optional, tag = "3")]
    pub capability: Option<SignedCapability>,
    /// Whether that was the last page.
    #[prost(bool, tag = "4")]
    pub end: bool,
}

/// Request of [`PairFiles`](super::PairFiles).
#[derive(Clone, PartialEq, Message)]
pub struct PairFilesRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Files after this id.
    #[prost(uint64, tag = "2")]
    pub after: u64,
    /// At most so many.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// Answer to [`PairFiles`](super::PairFiles).
#[derive(Clone, PartialEq, Message)]
pub struct PairFilesReply {
    /// Records in order of id, what was removed included as long as the index remembers it.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
    /// Go on after this id; 0: that was all.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// Every member has said that it has applied the pair's feed up to here.
    #[prost(uint64, tag = "3")]
    pub floor: u64,
    /// Who acts.
    #[prost(message, optional, tag = "4")]
    pub placement: Option<Placement>,
    /// Cover for asking the pair's servers for their inventory.
    #[prost(message, optional, tag = "5")]
    pub capability: Option<SignedCapability>,
}
