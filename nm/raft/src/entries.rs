//! The Raft log as it stands in memory: where each entry is on disk, and the recent ones themselves.
//!
//! Everything here can be rebuilt by reading the log from its head; see [`Entries::replay`].

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use openraft::EntryPayload;

use crate::error::RaftError;
use crate::record::{self, Head, RecordError, Truncation, kind};
use crate::types::{Entry, LogId, Vote};

/// What an entry costs in memory beside its payload, in bytes, roughly.
const ENTRY_OVERHEAD: usize = 128;

#[derive(Debug)]
struct Slot {
    id: LogId,
    /// Where it was written; `None` until the log's thread has flushed it.
    place: Option<u64>,
    entry: Option<Entry>,
}

/// Where to find an entry.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Here it is.
    Cached(Entry),
    /// It stands at this position of the log.
    At(LogId, u64),
}

/// The log in memory. Slots are consecutive; the first has index `first`.
#[derive(Debug)]
pub(crate) struct Entries {
    first: u64,
    slots: VecDeque<Slot>,
    /// How many slots from the front have lost their entry.
    evicted: usize,
    cached_bytes: usize,
    cache_limit: usize,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    truncation: Option<Truncation>,
}

fn cost(entry: &Entry) -> usize {
    ENTRY_OVERHEAD + if let EntryPayload::Normal(payload) = &entry.payload { payload.0.len() } else { 0 }
}

impl Entries {
    /// An empty log that keeps up to `cache_limit` bytes of flushed entries.
    pub(crate) fn new(cache_limit: usize) -> Self {
        Entries {
            first: 0,
            slots: VecDeque::new(),
            evicted: 0,
            cached_bytes: 0,
            cache_limit,
            vote: None,
            purged: None,
            committed: None,
            truncation: None,
        }
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(crate) fn set_vote(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(crate) fn set_committed(&mut self, committed: Option<LogId>) {
        self.committed = committed;
    }

    /// The last entry, or what was purged last.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.id).or(self.purged)
    }

    /// The index after the last entry.
    fn next(&self) -> Option<u64> {
        self.last().map(|id| id.index + 1)
    }

    /// Adds an entry at the end; `Err` with the index expected if it leaves a hole or repeats one.
    pub(crate) fn push(&mut self, entry: Entry, place: Option<u64>) -> Result<(), u64> {
        let id = entry.log_id;
        match self.next() {
            Some(next) if next != id.index => return Err(next),
            _ => {}
        }
        if self.slots.is_empty() {
            self.first = id.index;
        }
        self.cached_bytes += cost(&entry);
        self.slots.push_back(Slot { id, place, entry: Some(entry) });
        self.evict();
        Ok(())
    }

    /// Notes that the entry `id` has been flushed to `place`; one truncated meanwhile is ignored.
    pub(crate) fn flushed(&mut self, id: &LogId, place: u64) {
        let slot = id.index.checked_sub(self.first).and_then(|at| self.slots.get_mut(at as usize));
        if let Some(slot) = slot.filter(|slot| slot.id == *id) {
            slot.place = Some(place);
        }
        self.evict();
    }

    /// Drops the oldest entries from memory down to the limit, but none that is not on disk yet.
    fn evict(&mut self) {
        while self.cached_bytes > self.cache_limit {
            let Some(slot) = self.slots.get_mut(self.evicted) else { break };
            if slot.place.is_none() {
                break;
            }
            if let Some(entry) = slot.entry.take() {
                self.cached_bytes -= cost(&entry);
            }
            self.evicted += 1;
        }
    }

    /// Drops the entries from index `from` on.
    pub(crate) fn truncate(&mut self, from: u64) {
        while self.slots.back().is_some_and(|slot| slot.id.index >= from) {
            let slot = self.slots.pop_back();
            self.cached_bytes -= slot.and_then(|slot| slot.entry).map_or(0, |entry| cost(&entry));
        }
        self.evicted = self.evicted.min(self.slots.len());
    }

    /// Drops the entries up to `upto`, which may lie beyond the last.
    pub(crate) fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.id.index <= upto.index) {
            let slot = self.slots.pop_front();
            self.cached_bytes -= slot.and_then(|slot| slot.entry).map_or(0, |entry| cost(&entry));
            self.first += 1;
            self.evicted = self.evicted.saturating_sub(1);
        }
        self.purged = self.purged.max(Some(upto));
    }

    /// Where the first entry stands, if there is one and it has been flushed.
    pub(crate) fn first_place(&self) -> Option<u64> {
        self.slots.front().and_then(|slot| slot.place)
    }

    /// The entries in `range` that the log has, in order.
    pub(crate) fn range(&self, range: &impl RangeBounds<u64>) -> Vec<Found> {
        let end = self.first + self.slots.len() as u64;
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&to) => to,
            Bound::Unbounded => end,
        };
        let (from, to) = (from.clamp(self.first, end), to.clamp(self.first, end));
        if from >= to {
            return Vec::new();
        }
        self.slots
            .range((from - self.first) as usize..(to - self.first) as usize)
            .map(|slot| match (&slot.entry, slot.place) {
                (Some(entry), _) => Found::Cached(entry.clone()),
                // Only what is on disk is evicted.
                (None, place) => Found::At(slot.id, place.unwrap_or_default()),
            })
            .collect()
    }

    /// What is to be restated at the head of the next segment.
    pub(crate) fn head(&self) -> Head {
        Head { vote: self.vote, purged: self.purged, committed: self.committed, truncation: self.truncation }
    }

    /// Takes in one record of the log, in order, as it is read at start-up.
    pub(crate) fn replay(&mut self, place: u64, kind: u8, record: Bytes) -> Result<(), RaftError> {
        match kind {
            kind::ENTRY => self.replay_entry(place, record::decode_entry(record)?)?,
            kind::VOTE => self.vote = Some(record::decode_vote(record)?),
            kind::TRUNCATE => {
                let truncation = record::decode_truncation(record)?;
                self.replay_truncation(Truncation { before: place, ..truncation });
            }
            kind::PURGE => self.purge(record::decode_log_id(record)?),
            kind::COMMITTED => self.committed = self.committed.max(Some(record::decode_log_id(record)?)),
            kind::HEAD => {
                let head = record::decode_head(record)?;
                self.vote = head.vote.or(self.vote);
                self.committed = self.committed.max(head.committed);
                if let Some(truncation) = head.truncation {
                    self.replay_truncation(truncation);
                }
                if let Some(purged) = head.purged {
                    self.purge(purged);
                }
            }
            other => {
                return Err(RaftError::Format(format!(
                    "the Raft log holds a record of kind {other}, which this version does not know: use the version that wrote it"
                )));
            }
        }
        Ok(())
    }

    fn replay_entry(&mut self, place: u64, entry: Entry) -> Result<(), RaftError> {
        let index = entry.log_id.index;
        // An old segment may begin amid entries purged long ago: the purge point comes later.
        if self.slots.is_empty() && self.next().is_none_or(|next| index > next) {
            self.first = index;
            self.cached_bytes += cost(&entry);
            self.slots.push_back(Slot { id: entry.log_id, place: Some(place), entry: Some(entry) });
            return Ok(());
        }
        self.push(entry, Some(place)).map_err(|expected| {
            RaftError::Damaged(format!("the Raft log has entry {index} where {expected} should follow"))
        })
    }

    fn replay_truncation(&mut self, truncation: Truncation) {
        while self
            .slots
            .back()
            .is_some_and(|slot| slot.id.index >= truncation.from && slot.place < Some(truncation.before))
        {
            self.truncate(self.slots.back().map_or(0, |slot| slot.id.index));
        }
        self.truncation = Some(truncation);
    }

    /// Index of the first entry, and the one behind the last.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.first, self.first + self.slots.len() as u64)
    }

    /// Whether what was replayed is a whole log: it begins where it was purged.
    pub(crate) fn check(&self) -> Result<(), RaftError> {
        let begins = self.slots.front().map(|slot| slot.id.index);
        let expected = self.purged.map_or(0, |id| id.index + 1);
        match begins {
            Some(begins) if begins != expected => Err(RaftError::Damaged(format!(
                "the Raft log begins with entry {begins}, entry {expected} is missing"
            ))),
            _ => Ok(()),
        }
    }
}

impl From<RecordError> for RaftError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Format { .. } => RaftError::Format(error.to_string()),
            RecordError::Malformed { .. } => RaftError::Damaged(error.to_string()),
        }
    }
}
