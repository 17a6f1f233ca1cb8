//! The types openraft is instantiated with: payloads and replies are opaque bytes here.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One proposal: a batch of commands, encoded by whoever proposed it.
///
/// openraft wants its data to be serializable for transports of its own, which this crate does not
/// use; on disk a payload is written by `record.rs`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(pub Bytes);

/// The answer of the state machine to one proposal.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reply(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Payload(bytes.into()))
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Reply(bytes.into()))
    }
}

openraft::declare_raft_types!(
    /// The instantiation of openraft used here.
    pub Types:
        D = Payload,
        R = Reply,
);

/// Identity of a log entry: the leader that proposed it and its index.
pub type LogId = openraft::alias::LogIdOf<Types>;
/// A log entry.
pub type Entry = openraft::alias::EntryOf<Types>;
/// A vote.
pub type Vote = openraft::alias::VoteOf<Types>;
/// A leader's identity.
pub type LeaderId = openraft::alias::LeaderIdOf<Types>;
/// The members of the group.
pub type Membership = openraft::Membership<u64, openraft::BasicNode>;
/// The members of the group and the entry that made them so.
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
