//! The one thread that writes the Raft log: what waits is appended together and shares one fsync.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use log::{Disk, Log, LogConfig, LogError, LogReader, Position};
use openraft::EntryPayload;
use openraft::storage::IOFlushed;
use threads::{Queue, Waiting, Worker};
use tokio::sync::oneshot;
use types::mutation::{self, Mutation};

use crate::config::{ENTRY_CACHE_BYTES, IDLE_MARK, RaftConfig, WRITE_BATCH_BYTES, WRITE_QUEUE};
use crate::entries::Entries;
use crate::error::{Failures, RaftError};
use crate::record::{self, Head, Truncation, kind};
use crate::types::{Entry, LogId, Types, Vote};

/// Waits for the end of a thread. Blocks.
pub(crate) type Join = Box<dyn FnOnce() + Send>;

/// Told when an operation is durable, or why it is not.
pub(crate) type Done = oneshot::Sender<io::Result<()>>;

/// What the thread is asked to do. The memory ([`Entries`]) already shows it.
pub(crate) enum Op {
    /// Append entries.
    Append(Vec<Entry>, IOFlushed<Types>),
    /// Save a vote.
    Vote(Vote, Done),
    /// Void the entries from an index on.
    Truncate(u64, Done),
    /// Forget the entries up to this one. Nobody waits: until it is durable the entries are just kept.
    Purge(LogId),
    /// Write what is pending and end.
    Stop(Done),
}

impl Op {
    /// Bytes of what it appends.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Op::Append(entries, _) => entries
                .iter()
                .map(|entry| if let EntryPayload::Normal(data) = &entry.payload { data.0.len() } else { 0 })
                .sum(),
            _ => 0,
        }
    }

    fn answer(self, result: Result<(), &RaftError>) {
        let result = result.map_err(|error| io::Error::other(error.to_string()));
        match self {
            Op::Append(_, done) => done.io_completed(result),
            Op::Vote(_, done) | Op::Truncate(_, done) | Op::Stop(done) => {
                // Whoever asked may be gone.
                let _ = done.send(result);
            }
            Op::Purge(_) => {}
        }
    }
}

pub(crate) type SharedEntries = Arc<Mutex<Entries>>;

/// The entries; a panic elsewhere while they were held ends the process by another way.
pub(crate) fn lock(entries: &SharedEntries) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The opened log: what the rest of the crate needs of it.
pub(crate) struct OpenLog {
    pub(crate) entries: SharedEntries,
    pub(crate) reader: LogReader,
    pub(crate) ops: Queue<Op>,
    pub(crate) thread: Join,
}

pub(crate) fn log_error(error: LogError) -> RaftError {
    match error {
        LogError::Damaged { .. } => RaftError::Damaged(error.to_string()),
        LogError::UnknownFormat { .. } => RaftError::Format(error.to_string()),
        other => RaftError::Io(other.to_string()),
    }
}

/// Opens the log, reads it into memory and starts its thread. Blocks for as long as reading takes.
pub(crate) fn open(
    config: &RaftConfig,
    disk: Arc<dyn Disk>,
    failures: Failures,
) -> Result<OpenLog, RaftError> {
    let settings = LogConfig {
        folder: config.log_folder.clone(),
        segment_bytes: config.segment_bytes,
        ..LogConfig::default()
    };
    let mut entries = Entries::new(ENTRY_CACHE_BYTES);
    let mut refused = None;
    let log = Log::open(disk, settings, Position::default(), &mut |entry| {
        entries.replay(entry.position.0, entry.kind, Bytes::copy_from_slice(entry.payload)).map_err(|error| {
            let text = error.to_string();
            refused = Some(error);
            LogError::Owner(text)
        })
    })
    .map_err(|error| refused.take().unwrap_or_else(|| log_error(error)))?;
    entries.check()?;

    let head = entries.head();
    let entries = Arc::new(Mutex::new(entries));
    let reader = log.reader();
    let mut writer = Writer {
        log,
        entries: entries.clone(),
        written: head,
        scratch: Vec::new(),
        flushed: Vec::new(),
        mark_at: Some(Instant::now() + IDLE_MARK),
        failed: None,
        failures,
    };
    // Before the first append, which may begin a segment.
    writer.restate();
    let (ops, joined) = threads::spawn("raft-log", WRITE_QUEUE, writer)
        .map_err(|error| RaftError::Io(format!("no thread for the Raft log: {error}")))?;
    let thread = Box::new(move || drop(joined.join()));
    Ok(OpenLog { entries, reader, ops, thread })
}

struct Writer {
    log: Log,
    entries: SharedEntries,
    /// The state of the log as written so far; memory runs ahead of it.
    written: Head,
    scratch: Vec<u8>,
    flushed: Vec<(LogId, Position)>,
    /// When to mark the log if nothing is written before; none: it is marked.
    mark_at: Option<Instant>,
    /// After a failure nothing is written any more: what is durable is unknown.
    failed: Option<RaftError>,
    failures: Failures,
}

impl Worker for Writer {
    type Job = Op;

    fn work(&mut self, first: Op, waiting: &dyn Waiting<Op>) -> ControlFlow<()> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while bytes < WRITE_BATCH_BYTES
            && let Some(op) = waiting.next()
        {
            bytes += op.bytes();
            batch.push(op);
        }
        if self.failed.is_none()
            && let Err(error) = self.write(&batch)
        {
            self.fail(error);
        }
        self.mark_at = Some(Instant::now() + IDLE_MARK);
        let stop = batch.iter().any(|op| matches!(op, Op::Stop(_)));
        for op in batch {
            op.answer(self.failed.as_ref().map_or(Ok(()), Err));
        }
        if stop {
            self.mark();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// An idle log is marked, so that damage to its end is not taken for a torn tail (R31).
    fn alarm_at(&self) -> Option<Instant> {
        self.mark_at
    }

    fn alarm(&mut self) {
        self.mark();
    }
}

impl Writer {
    fn mark(&mut self) {
        self.mark_at = None;
        if self.failed.is_none() {
            match self.log.mark() {
                // All is durable; the next record finds out whether there is room again.
                Ok(()) | Err(LogError::Full { .. }) => {}
                Err(error) => self.fail(error),
            }
        }
    }

    fn fail(&mut self, error: LogError) {
        let error = log_error(error);
        self.failures.report(&error);
        self.failed = Some(error);
    }

    /// Appends the batch in order and makes it durable.
    fn write(&mut self, batch: &[Op]) -> Result<(), LogError> {
        self.flushed.clear();
        let mut purge = None;
        for op in batch {
            match op {
                Op::Append(entries, _) => {
                    for entry in entries {
                        let data = record::entry_header(entry, &mut self.scratch);
                        let position = self.log.append(kind::ENTRY, &[&self.scratch, data])?;
                        self.flushed.push((entry.log_id, position));
                    }
                }
                Op::Vote(vote, _) => {
                    self.log.append(kind::VOTE, &[&record::encode_vote(vote)])?;
                    self.written.vote = Some(*vote);
                    self.restate();
                }
                Op::Truncate(from, _) => {
                    let truncation = Truncation { from: *from, before: 0 };
                    let position =
                        self.log.append(kind::TRUNCATE, &[&record::encode_truncation(&truncation)])?;
                    self.written.truncation = Some(Truncation { from: *from, before: position.0 });
                    self.restate();
                }
                Op::Purge(upto) => {
                    let position = self.log.append(kind::PURGE, &[&record::encode_log_id(upto)])?;
                    self.written.purged = self.written.purged.max(Some(*upto));
                    self.restate();
                    purge = Some(position);
                }
                Op::Stop(_) => {}
            }
        }
        self.append_committed()?;
        if !mutation::is(Mutation::LogUnsynced) {
            self.log.sync()?;
        }
        if batch.iter().any(|op| matches!(op, Op::Append(..)) && op.bytes() > 0) {
            log::crash_point("nm.logged");
        }

        let mut entries = lock(&self.entries);
        for (id, position) in &self.flushed {
            entries.flushed(id, position.0);
        }
        let first = entries.first_place();
        drop(entries);
        if let Some(purge) = purge {
            log::crash_point("nm.purged");
            // Only now that the purge is durable may what it names go.
            self.log.release_before(first.map_or(purge, Position))?;
        }
        Ok(())
    }

    /// What is committed is written along with whatever is written next; it never costs a sync of its own.
    fn append_committed(&mut self) -> Result<(), LogError> {
        let committed = lock(&self.entries).committed();
        if let Some(id) = committed
            && committed > self.written.committed
        {
            self.log.append(kind::COMMITTED, &[&record::encode_log_id(&id)])?;
            self.written.committed = committed;
            self.restate();
        }
        Ok(())
    }

    /// Gives the log what to write at the head of the next segment. After each record that changes it, so
    /// that a head never restates less than what stands before it.
    fn restate(&mut self) {
        self.log.set_preamble(vec![(kind::HEAD, record::encode_head(&self.written))]);
    }
}
