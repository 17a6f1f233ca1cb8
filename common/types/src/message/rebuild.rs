//! What a name manager that is being rebuilt and storage servers tell each other (R26).

use super::{Empty, methods};
use crate::rebuild::{PreparedWrite, StandReport};
use crate::record::Row;
use prost::Message;

methods! {
    /// ss → nm: stands for the rebuild; repeated while it does.
    Stand = 230: StandReport => Empty;

    /// nm → ss: its records, a page at a time.
    OfferRecords = 330: OfferRecordsRequest => OfferRecordsReply;
    /// nm → ss: users and pairs as it knows them, a page at a time.
    OfferControl = 331: OfferControlRequest => OfferControlReply;
    /// nm → ss: prepared writes without a known outcome, a page at a time.
    OfferWrites = 332: OfferWritesRequest => OfferWritesReply;
    /// nm → ss: which of these writes has a row told it of?
    KnowsWrites = 333: KnowsWritesRequest => KnowsWritesReply;
}

/// Request of [`OfferRecords`].
#[derive(Clone, PartialEq, Message)]
pub struct OfferRecordsRequest {
    /// Records with ids above this one.
    #[prost(uint64, tag = "1")]
    pub after: u64,
}

/// Answer to [`OfferRecords`].
#[derive(Clone, PartialEq, Message)]
pub struct OfferRecordsReply {
    /// In the order of their ids.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    /// There are no more.
    #[prost(bool, tag = "2")]
    pub end: bool,
}

/// Request of [`OfferControl`].
#[derive(Clone, PartialEq, Message)]
pub struct OfferControlRequest {
    /// Pairs with numbers above this one.
    #[prost(uint32, tag = "1")]
    pub after_pair: u32,
    /// Users with names behind this one.
    #[prost(string, tag = "2")]
    pub after_user: String,
}

/// Answer to [`OfferControl`].
#[derive(Clone, PartialEq, Message)]
pub struct OfferControlReply {
    /// Pairs and users, each in their order.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    /// There are no more.
    #[prost(bool, tag = "2")]
    pub end: bool,
}

/// Request of [`OfferWrites`].
#[derive(Clone, PartialEq, Message)]
pub struct OfferWritesRequest {
    /// Writes whose records stand behind this position of the journal.
    #[prost(uint64, tag = "1")]
    pub after: u64,
}

/// Answer to [`OfferWrites`].
#[derive(Clone, PartialEq, Message)]
pub struct OfferWritesReply {
    /// In the order of the journal.
    #[prost(message, repeated, tag = "1")]
    pub writes: Vec<PreparedWrite>,
    /// Position to go on from; 0: there are no more.
    #[prost(uint64, tag = "2")]
    pub next: u64,
}

/// Request of [`KnowsWrites`].
#[derive(Clone, PartialEq, Message)]
pub struct KnowsWritesRequest {
    /// Write sessions, 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub sessions: Vec<Vec<u8>>,
}

/// Answer to [`KnowsWrites`].
#[derive(Clone, PartialEq, Message)]
pub struct KnowsWritesReply {
    /// Those that a row has named: their outcome is in the records.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub known: Vec<Vec<u8>>,
}
