//! Rows of the change feeds.

use super::{Pair, Record};
use prost::Message;

/// A row of a change feed: one subject at its latest sequence number.
#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// [`Seq`](crate::ids::Seq) of the change.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// What changed.
    #[prost(oneof = "Subject", tags = "2, 3, 4")]
    pub subject: Option<Subject>,
}

/// What a row tells.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Subject {
    /// A file, folder, link or tombstone.
    #[prost(message, tag = "2")]
    Record(Record),
    /// A pair.
    #[prost(message, tag = "3")]
    Pair(Pair),
    /// A user's public data.
    #[prost(message, tag = "4")]
    User(User),
}

/// A user's public data; the keys stay with the name manager.
#[derive(Clone, PartialEq, Message)]
pub struct User {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// May administer the cluster.
    #[prost(bool, tag = "2")]
    pub admin: bool,
    /// Capabilities with a stamp below this are void for this user (R15).
    #[prost(uint64, tag = "3")]
    pub revoked_before: u64,
}
