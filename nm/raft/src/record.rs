//! What stands in the records of the Raft log and in [`Table::Raft`](nm_core::store::Table).
//!
//! Every record begins with a byte for its format, then a prost message. Fields may be added; a change
//! that an older version must not misread raises the format, and an unknown format is refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::{BasicNode, EntryPayload};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use thiserror::Error;

use crate::types::{Entry, LeaderId, LogId, Membership, Payload, StoredMembership, Vote};

/// The format this version writes, and the only one it reads.
pub(crate) const FORMAT: u8 = 1;

/// Kinds of records in the Raft log. The numbers are on disk.
pub(crate) mod kind {
    /// A log entry.
    pub(crate) const ENTRY: u8 = 1;
    /// A vote.
    pub(crate) const VOTE: u8 = 2;
    /// Entries from an index on are void.
    pub(crate) const TRUNCATE: u8 = 3;
    /// Entries up to a log id are no longer needed.
    pub(crate) const PURGE: u8 = 4;
    /// Entries up to a log id are known to be committed.
    pub(crate) const COMMITTED: u8 = 5;
    /// All of the above but entries, restated at the head of a segment.
    pub(crate) const HEAD: u8 = 6;
}

/// A record cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum RecordError {
    #[error(
        "{what} is written in format {format}, this version reads format {FORMAT}: use the version that wrote it"
    )]
    Format { what: &'static str, format: u8 },
    #[error("{what} cannot be decoded: {reason}")]
    Malformed { what: &'static str, reason: String },
}

#[derive(Clone, PartialEq, Message)]
struct LogIdRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
}

#[derive(Clone, PartialEq, Message)]
struct VoteRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, PartialEq, Message)]
struct VotersRecord {
    #[prost(uint64, repeated, tag = "1")]
    ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeRecord {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    addr: String,
}

#[derive(Clone, PartialEq, Message)]
struct MembershipRecord {
    /// The entry that made it so; absent within an entry, and for the membership before the first.
    #[prost(message, optional, tag = "1")]
    by: Option<LogIdRecord>,
    #[prost(message, repeated, tag = "2")]
    configs: Vec<VotersRecord>,
    #[prost(message, repeated, tag = "3")]
    nodes: Vec<NodeRecord>,
}

/// Neither membership nor data: a blank entry. `data` is written last, so that a payload need not be
/// copied into the encoding.
#[derive(Clone, PartialEq, Message)]
struct EntryRecord {
    #[prost(message, optional, tag = "1")]
    id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    membership: Option<MembershipRecord>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}
const DATA_TAG: u32 = 3;

/// Entries with an index of `from` or more that stand before the log position `before` are void.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Truncation {
    #[prost(uint64, tag = "1")]
    pub(crate) from: u64,
    /// Zero in the truncation's own record, which means: before this record.
    #[prost(uint64, tag = "2")]
    pub(crate) before: u64,
}

#[derive(Clone, PartialEq, Message)]
struct HeadRecord {
    #[prost(message, optional, tag = "1")]
    vote: Option<VoteRecord>,
    #[prost(message, optional, tag = "2")]
    purged: Option<LogIdRecord>,
    #[prost(message, optional, tag = "3")]
    committed: Option<LogIdRecord>,
    #[prost(message, optional, tag = "4")]
    truncation: Option<Truncation>,
}

/// What the head of a segment restates, so that the segments before it can go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) truncation: Option<Truncation>,
}

fn frame(message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + message.encoded_len());
    out.push(FORMAT);
    message.encode_raw(&mut out);
    out
}

fn unframe<M: Message + Default>(what: &'static str, mut record: Bytes) -> Result<M, RecordError> {
    match record.first() {
        Some(&FORMAT) => {
            bytes::Buf::advance(&mut record, 1);
            M::decode(record).map_err(|error| RecordError::Malformed { what, reason: error.to_string() })
        }
        Some(&format) => Err(RecordError::Format { what, format }),
        None => Err(RecordError::Malformed { what, reason: "it is empty".to_string() }),
    }
}

fn log_id_record(id: &LogId) -> LogIdRecord {
    LogIdRecord { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// Everywhere the index behind one is asked for, so the last number of all is none.
fn log_id(record: LogIdRecord) -> Result<LogId, RecordError> {
    if record.index == u64::MAX {
        let reason = format!("it has the index {}, behind which there is none", record.index);
        return Err(RecordError::Malformed { what: "a log id", reason });
    }
    Ok(LogId { leader_id: LeaderId { term: record.term, node_id: record.node }, index: record.index })
}

fn vote_record(vote: &Vote) -> VoteRecord {
    VoteRecord { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

fn vote(record: VoteRecord) -> Vote {
    Vote { leader_id: LeaderId { term: record.term, node_id: record.node }, committed: record.committed }
}

fn membership_record(by: Option<&LogId>, membership: &Membership) -> MembershipRecord {
    MembershipRecord {
        by: by.map(log_id_record),
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| VotersRecord { ids: voters.iter().copied().collect() })
            .collect(),
        nodes: membership.nodes().map(|(id, node)| NodeRecord { id: *id, addr: node.addr.clone() }).collect(),
    }
}

fn membership(record: MembershipRecord) -> Result<Membership, RecordError> {
    let configs: Vec<_> = record.configs.into_iter().map(|voters| voters.ids.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, BasicNode> =
        record.nodes.into_iter().map(|node| (node.id, BasicNode { addr: node.addr })).collect();
    if configs.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes)
        .map_err(|error| RecordError::Malformed { what: "a membership", reason: error.to_string() })
}

/// Puts all of an entry's record into `out` but the bytes of its payload, which follow it.
pub(crate) fn entry_header<'a>(entry: &'a Entry, out: &mut Vec<u8>) -> &'a [u8] {
    out.clear();
    out.push(FORMAT);
    let mut record = EntryRecord { id: Some(log_id_record(&entry.log_id)), ..EntryRecord::default() };
    match &entry.payload {
        EntryPayload::Blank => {
            record.encode_raw(out);
            &[]
        }
        EntryPayload::Membership(membership) => {
            record.membership = Some(membership_record(None, membership));
            record.encode_raw(out);
            &[]
        }
        EntryPayload::Normal(Payload(data)) => {
            record.encode_raw(out);
            encode_key(DATA_TAG, WireType::LengthDelimited, out);
            encode_varint(data.len() as u64, out);
            data
        }
    }
}

pub(crate) fn decode_entry(record: Bytes) -> Result<Entry, RecordError> {
    const WHAT: &str = "an entry of the Raft log";
    let record: EntryRecord = unframe(WHAT, record)?;
    let id = record
        .id
        .ok_or_else(|| RecordError::Malformed { what: WHAT, reason: "it has no log id".to_string() })?;
    let payload = match (record.membership, record.data) {
        (None, None) => EntryPayload::Blank,
        (Some(record), None) => EntryPayload::Membership(membership(record)?),
        (None, Some(data)) => EntryPayload::Normal(Payload(data)),
        (Some(_), Some(_)) => {
            return Err(RecordError::Malformed { what: WHAT, reason: "it has two payloads".to_string() });
        }
    };
    Ok(Entry { log_id: log_id(id)?, payload })
}

pub(crate) fn encode_vote(of: &Vote) -> Vec<u8> {
    frame(&vote_record(of))
}

pub(crate) fn decode_vote(record: Bytes) -> Result<Vote, RecordError> {
    unframe("a vote", record).map(vote)
}

pub(crate) fn encode_log_id(of: &LogId) -> Vec<u8> {
    frame(&log_id_record(of))
}

pub(crate) fn decode_log_id(record: Bytes) -> Result<LogId, RecordError> {
    unframe("a log id", record).and_then(log_id)
}

pub(crate) fn encode_truncation(of: &Truncation) -> Vec<u8> {
    frame(of)
}

pub(crate) fn decode_truncation(record: Bytes) -> Result<Truncation, RecordError> {
    unframe("a truncation", record)
}

pub(crate) fn encode_head(head: &Head) -> Vec<u8> {
    frame(&HeadRecord {
        vote: head.vote.as_ref().map(vote_record),
        purged: head.purged.as_ref().map(log_id_record),
        committed: head.committed.as_ref().map(log_id_record),
        truncation: head.truncation,
    })
}

pub(crate) fn decode_head(record: Bytes) -> Result<Head, RecordError> {
    let record: HeadRecord = unframe("the head of a segment", record)?;
    Ok(Head {
        vote: record.vote.map(vote),
        purged: record.purged.map(log_id).transpose()?,
        committed: record.committed.map(log_id).transpose()?,
        truncation: record.truncation,
    })
}

pub(crate) fn encode_membership(stored: &StoredMembership) -> Vec<u8> {
    frame(&membership_record(stored.log_id().as_ref(), stored.membership()))
}

pub(crate) fn decode_membership(record: Bytes) -> Result<StoredMembership, RecordError> {
    let mut record: MembershipRecord = unframe("the membership", record)?;
    let by = record.by.take().map(log_id).transpose()?;
    Ok(StoredMembership::new(by, membership(record)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 3, node_id: 1 }, index }
    }

    fn round_trip(payload: EntryPayload<Payload, u64, BasicNode>) {
        let entry = Entry { log_id: id(7), payload };
        let mut record = Vec::new();
        let data = entry_header(&entry, &mut record).to_vec();
        record.extend_from_slice(&data);
        assert_eq!(decode_entry(record.into()).unwrap(), entry);
    }

    #[test]
    fn every_entry_that_is_written_can_be_read() {
        round_trip(EntryPayload::Blank);
        round_trip(EntryPayload::Normal(Payload(Bytes::new())));
        round_trip(EntryPayload::Normal(Payload(Bytes::from(vec![7; 300]))));
        let nodes = BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]);
        round_trip(EntryPayload::Membership(
            Membership::new(vec![[1].into(), [1, 2].into()], nodes).unwrap(),
        ));
    }

    #[test]
    fn state_of_the_log_and_membership_can_be_read() {
        let head = Head {
            vote: Some(Vote { leader_id: LeaderId { term: 3, node_id: 1 }, committed: true }),
            purged: Some(id(4)),
            committed: None,
            truncation: Some(Truncation { from: 0, before: 0 }),
        };
        assert_eq!(decode_head(encode_head(&head).into()).unwrap(), head);
        for stored in [
            StoredMembership::default(),
            StoredMembership::new(Some(id(0)), Membership::new_with_defaults(vec![[1].into()], [2])),
        ] {
            assert_eq!(decode_membership(encode_membership(&stored).into()).unwrap(), stored);
        }
    }

    #[test]
    fn an_index_that_nothing_can_follow_is_refused() {
        assert!(decode_log_id(encode_log_id(&id(u64::MAX - 1)).into()).is_ok());
        let last = encode_log_id(&id(u64::MAX));
        assert!(matches!(decode_log_id(last.into()), Err(RecordError::Malformed { .. })));
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_not_misread() {
        let mut record = encode_log_id(&id(1));
        record[0] = FORMAT + 1;
        assert!(matches!(decode_log_id(record.into()), Err(RecordError::Format { format: 2, .. })));
        assert!(matches!(decode_log_id(Bytes::new()), Err(RecordError::Malformed { .. })));
    }
}
