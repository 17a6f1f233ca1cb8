//! openraft's view of the Raft log.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use log::{LogReader, Position};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use threads::{NotSent, Queue};
use tokio::sync::oneshot;

use crate::config::LONE_BYTES;
use crate::entries::Found;
use crate::error::{Failures, RaftError};
use crate::record::{self, kind};
use crate::types::{Entry, LogId, Types, Vote};
use crate::writer::{Done, Op, SharedEntries, lock, log_error};

/// The log as openraft writes it; a clone of it reads.
#[derive(Clone)]
pub(crate) struct LogStore {
    entries: SharedEntries,
    reader: LogReader,
    ops: Queue<Op>,
    /// Index after the last entry that is durably applied: nothing at or beyond it is purged.
    durable: Arc<AtomicU64>,
    /// Proposals that wait for their reply.
    under_way: Arc<AtomicUsize>,
    failures: Failures,
}

fn stopped() -> io::Error {
    io::Error::other("the Raft log has stopped")
}

impl LogStore {
    pub(crate) fn new(
        entries: SharedEntries,
        reader: LogReader,
        ops: Queue<Op>,
        durable: Arc<AtomicU64>,
        failures: Failures,
    ) -> Self {
        LogStore { entries, reader, ops, durable, under_way: Arc::default(), failures }
    }

    /// To count proposals that wait for their reply.
    pub(crate) fn under_way(&self) -> Arc<AtomicUsize> {
        self.under_way.clone()
    }

    /// A small entry that nothing else is proposed beside is written in this thread, sync and all: waking the log's
    /// and being woken by it would cost as much again.
    fn send_append(&self, op: Op) -> io::Result<()> {
        let lone = self.under_way.load(Ordering::Relaxed) == 1 && op.bytes() <= LONE_BYTES;
        if !(lone && threads::step_aside()) {
            return self.ops.send(op).map_err(|_| stopped());
        }
        match self.ops.here(op) {
            Ok(()) => Ok(()),
            Err(NotSent::Full(op)) => self.ops.send(op).map_err(|_| stopped()),
            Err(NotSent::Ended(_)) => Err(stopped()),
        }
    }

    async fn ask(&self, op: impl FnOnce(Done) -> Op) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.ops.send(op(done)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    fn read(&self, id: &LogId, place: u64) -> Result<Entry, RaftError> {
        let (kind, record) = self.reader.read(Position(place)).map_err(log_error)?;
        let entry = record::decode_entry(record)?;
        if kind != kind::ENTRY || entry.log_id != *id {
            let found = entry.log_id;
            return Err(RaftError::Damaged(format!("the Raft log has entry {found} in the place of {id}")));
        }
        Ok(entry)
    }

    fn read_all(&self, found: Vec<Found>) -> io::Result<Vec<Entry>> {
        found
            .into_iter()
            .map(|found| match found {
                Found::Cached(entry) => Ok(entry),
                Found::At(id, place) => self.read(&id, place),
            })
            .collect::<Result<_, _>>()
            .map_err(|error| {
                self.failures.report(&error);
                io::Error::other(error.to_string())
            })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let found = lock(&self.entries).range(&range);
        if found.iter().all(|found| matches!(found, Found::Cached(_))) {
            return self.read_all(found);
        }
        let store = self.clone();
        threads::run(move || store.read_all(found)).await.map_err(io::Error::other)?
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(lock(&self.entries).vote())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let entries = lock(&self.entries);
        Ok(LogState { last_purged_log_id: entries.purged(), last_log_id: entries.last() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        lock(&self.entries).set_vote(vote);
        self.ask(|done| Op::Vote(vote, done)).await
    }

    /// Only noted: it is written along with the next entries (R34). What a crash forgets of it is committed
    /// anew by the next leader, of which the acknowledged is a part.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        lock(&self.entries).set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(lock(&self.entries).committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut memory = lock(&self.entries);
            for entry in &entries {
                memory.push(entry.clone(), None).map_err(|expected| {
                    io::Error::other(format!(
                        "entry {} appended where {expected} should follow",
                        entry.log_id
                    ))
                })?;
            }
        }
        self.send_append(Op::Append(entries, callback))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        lock(&self.entries).truncate(from);
        self.ask(|done| Op::Truncate(from, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let durable = self.durable.load(Ordering::Acquire);
        if upto.index >= durable {
            return Err(io::Error::other(format!(
                "entry {upto} is not to be purged: only those before {durable} are durably applied"
            )));
        }
        lock(&self.entries).purge(upto);
        self.ops.send(Op::Purge(upto)).map_err(|_| stopped())
    }
}
