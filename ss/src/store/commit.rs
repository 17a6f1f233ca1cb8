//! The one thread that changes the store: many jobs, one sync of the journal, one transaction of the index.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use log::{Extent, Log, LogError, Position, Stage};
use tokio::sync::oneshot;
use types::{Error, Result};

use super::apply::{Effects, Outcome, Staged, apply};
use super::change::Change;
use super::content::Reserved;
use super::shared::Shared;
use super::trouble::{Operation, log_error};

/// What a job came to.
pub(crate) struct Reply {
    /// Where its first record stands.
    pub position: Position,
    /// One for each of its changes.
    pub outcomes: Vec<Outcome>,
}

/// Changes that stand next to each other in the journal, and who waits for them.
pub(crate) struct Job {
    pub changes: Vec<Change>,
    /// Answer only when they are durable.
    pub durable: bool,
    /// Extents that they name.
    pub reserved: Option<Reserved>,
    pub reply: oneshot::Sender<Result<Reply>>,
}

/// A job whose records are in the journal's buffer, or why they are not.
pub(crate) struct Done {
    staged: Result<Vec<Staged>, LogError>,
    durable: bool,
    reply: oneshot::Sender<Result<Reply>>,
}

/// The state of the committing thread.
pub(crate) struct Committing {
    shared: Arc<Shared>,
    scratch: Vec<u8>,
    /// Room that nothing names once the journal is durable up to its present end.
    freed: Vec<Extent>,
    /// What the index holds that is not durable in it.
    behind_records: usize,
    behind_since: Position,
    /// Room on the disk, asked once a batch.
    free: Option<u64>,
    clock: Option<Operation>,
}

impl Committing {
    pub fn new(shared: Arc<Shared>, end: Position) -> Committing {
        Committing {
            shared,
            scratch: Vec::new(),
            freed: Vec::new(),
            behind_records: 0,
            behind_since: end,
            free: None,
            clock: None,
        }
    }

    fn append(&mut self, changes: Vec<Change>, log: &mut Log) -> Result<Vec<Staged>, LogError> {
        let takes_room =
            |c: &Change| matches!(c, Change::Content { record, .. } if record.manifest.is_some());
        if changes.iter().any(takes_room) {
            let free = *self.free.get_or_insert_with(|| self.shared.free_bytes());
            if free < self.shared.config.keep_free_bytes {
                return Err(LogError::Full { what: "a content would use the room that is kept free".into() });
            }
        }
        let mut staged = Vec::with_capacity(changes.len());
        for change in changes {
            change.head(&mut self.scratch);
            let position = log.append(change.kind(), &[&self.scratch, change.tail()])?;
            let payload = (self.scratch.len() + change.tail().len()) as u32;
            staged.push(Staged { position, payload, change });
        }
        if self.scratch.capacity() > 1 << 20 {
            self.scratch = Vec::new();
        }
        Ok(staged)
    }

    /// Brings the index and the readers up to date with a batch that is in the journal.
    fn follow(&mut self, batch: Vec<Staged>, log: &Log) -> Result<Effects> {
        // After a failure nothing is put into the index any more: it would have a hole. The next start replays.
        self.shared.check()?;
        let (end, synced) = (log.end(), log.synced());
        let config = &self.shared.config;
        self.behind_records += batch.len();
        let behind = end.0.saturating_sub(self.behind_since.0);
        let due = self.behind_records >= config.index_commit_records || behind >= config.index_commit_bytes;
        // The index must never be durable beyond the journal.
        let durable = due && synced == end;
        let effects = self.shared.index.write(durable, |tables| apply(tables, &batch, end))?;
        if durable {
            (self.behind_records, self.behind_since) = (0, end);
        }
        self.shared.show(batch, &effects);
        Ok(effects)
    }

    /// Gives back what nothing names any more, if that is durable.
    fn give_back(&mut self, log: &Log) {
        if self.freed.is_empty() || log.synced() < log.end() {
            return;
        }
        // Whoever found this room in the index reads it to the end first.
        let _alone = self.shared.pins.write().unwrap_or_else(PoisonError::into_inner);
        for extent in self.freed.drain(..) {
            if let Err(error) = self.shared.extents.free(extent) {
                tracing::warn!(%error, ?extent, "cannot give an extent back");
            }
        }
    }

    /// Makes the index durable as it is, if the journal is.
    pub fn commit_index(&mut self, log: &Log) -> Result<()> {
        if self.behind_records == 0 || log.synced() < log.end() || self.shared.check().is_err() {
            return Ok(());
        }
        self.shared.index.write(true, |_| Ok(()))?;
        (self.behind_records, self.behind_since) = (0, log.end());
        Ok(())
    }

    pub fn note_end(&self, log: &Log) {
        self.shared.journal_end.store(log.synced().0, Ordering::Release);
        let bytes = log.segments().len() as u64 * u64::from(self.shared.config.segment_bytes);
        self.shared.journal_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Answers everybody that it may or may not have happened, and ends the store's service.
    fn fail_all(&self, done: Vec<Done>, error: &Error) {
        self.shared.health.fail(error);
        for job in done {
            let _ = job.reply.send(Err(error.clone().outcome_unknown())); // who asked may be gone
        }
    }
}

impl Stage for Committing {
    type Job = Job;
    type Done = Done;

    fn stage(&mut self, job: Job, log: &mut Log) -> Done {
        if self.clock.is_none() {
            self.clock = Some(self.shared.health.operation());
        }
        let Job { changes, durable, reserved, reply } = job;
        let staged = self.append(changes, log);
        match &staged {
            Ok(_) => {
                self.shared.health.has_room();
                if let Some(reserved) = reserved {
                    reserved.keep();
                }
            }
            Err(error) if log.failed() => self.shared.health.fail(&log_error(error.clone())),
            Err(error) => self.shared.health.saw(error),
        }
        Done { staged, durable, reply }
    }

    fn needs_sync(&self, done: &[Done]) -> bool {
        done.iter().any(|job| job.durable && job.staged.is_ok())
    }

    fn finish(&mut self, done: Vec<Done>, outcome: Result<Position, LogError>, log: &mut Log) {
        self.free = None;
        if let Err(error) = outcome {
            self.fail_all(done, &log_error(error));
            self.clock = None;
            return;
        }
        let mut batch = Vec::new();
        let mut waiting = Vec::with_capacity(done.len());
        for job in done {
            match job.staged {
                Ok(mut staged) => {
                    let position = staged.first().map_or(log.end(), |s| s.position);
                    waiting.push((job.reply, position, staged.len()));
                    batch.append(&mut staged);
                }
                Err(error) => drop(job.reply.send(Err(log_error(error)))), // who asked may be gone
            }
        }
        if !batch.is_empty() {
            match self.follow(batch, log) {
                Ok(effects) => {
                    self.freed.extend(effects.freed);
                    self.note_end(log);
                    let mut outcomes = effects.outcomes.into_iter();
                    for (reply, position, count) in waiting {
                        let outcomes = outcomes.by_ref().take(count).collect();
                        drop(reply.send(Ok(Reply { position, outcomes })));
                    }
                }
                Err(error) => {
                    self.shared.health.fail(&error);
                    for (reply, ..) in waiting {
                        drop(reply.send(Err(error.clone().outcome_unknown())));
                    }
                }
            }
        } else {
            self.note_end(log);
        }
        self.give_back(log);
        self.clock = None;
    }

    fn idle(&mut self, log: &mut Log) {
        self.note_end(log);
        if let Err(error) = self.commit_index(log) {
            self.shared.health.fail(&error);
        }
    }

    fn weight(job: &Job) -> usize {
        job.changes.iter().map(Change::weight).sum()
    }
}
