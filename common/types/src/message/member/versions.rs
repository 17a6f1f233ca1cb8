//! Versions that the name manager asks for, or has copied.

use crate::command::VersionRef;
use crate::record::Row;
use prost::Message;

/// Request of [`Survey`](super::Survey).
#[derive(Clone, PartialEq, Message)]
pub struct SurveyRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Epoch since the promotion.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Rows beyond its cursor.
    #[prost(message, repeated, tag = "3")]
    pub rows: Vec<Row>,
}

/// Answer to [`Survey`](super::Survey).
#[derive(Clone, PartialEq, Message)]
pub struct SurveyReply {
    /// Kept versions whose bytes it does not hold.
    #[prost(message, repeated, tag = "1")]
    pub lacks: Vec<VersionRef>,
    /// Versions marked owed whose bytes it holds.
    #[prost(message, repeated, tag = "2")]
    pub holds: Vec<VersionRef>,
}

/// Request of [`Bring`](super::Bring).
#[derive(Clone, PartialEq, Message)]
pub struct BringRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Versions to copy from the partner.
    #[prost(message, repeated, tag = "2")]
    pub versions: Vec<VersionRef>,
}

/// Answer to [`Bring`](super::Bring).
#[derive(Clone, PartialEq, Message)]
pub struct BringReply {
    /// Sessions whose versions are durable here now, 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub brought: Vec<Vec<u8>>,
    /// Why the others are not.
    #[prost(string, tag = "2")]
    pub trouble: String,
}
