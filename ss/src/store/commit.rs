//! The one thread that changes the store: many jobs, one sync of the journal, one transaction of the index.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use log::{Extent, Log, LogError, Position, Stage, crash_point};
use tokio::sync::oneshot;
use types::mutation::{self, Mutation};
use types::record::{Record, Subject};
use types::{Error, Result};

use super::apply::{Effects, Outcome, Staged, apply};
use super::change::{Change, RowRecord, session_of};
use super::compact::Compaction;
use super::content::Reserved;
use super::entry::State;
use super::shared::Shared;
use super::tables::digest_of;
use super::trouble::{Operation, log_error};

/// Room on the disk without which the index is not made durable, in bytes; an eighth of what is kept free, if that is
/// less. What it holds in memory until then is a small part of this.
const INDEX_ROOM: u64 = 16 << 20;

/// What a job came to.
pub(crate) struct Reply {
    /// Where its first record stands.
    pub position: Position,
    /// One for each of its changes.
    pub outcomes: Vec<Outcome>,
    /// There is more to tidy.
    pub more: bool,
}

/// What a job is about.
pub(crate) enum Work {
    /// Changes that stand next to each other in the journal.
    Changes(Vec<Change>),
    /// A slice of tidying, once the batch is done.
    Tidy,
}

/// Something to do, and who waits for it.
pub(crate) struct Job {
    pub work: Work,
    /// Answer only when they are durable.
    pub durable: bool,
    /// Extents that they name.
    pub reserved: Option<Reserved>,
    /// Runs from when it is submitted: a thread that hangs takes no more jobs.
    pub clock: Operation,
    pub reply: oneshot::Sender<Result<Reply>>,
}

/// Records that are in the journal's buffer.
#[derive(Default)]
pub(super) struct Appended {
    pub staged: Vec<Staged>,
    /// Why it is not all of them.
    pub refused: Option<LogError>,
}

/// A job whose records are in the journal's buffer, or why they are not.
pub(crate) struct Done {
    /// `None`: to tidy.
    appended: Option<Appended>,
    durable: bool,
    /// Ends with it.
    _clock: Operation,
    reply: oneshot::Sender<Result<Reply>>,
}

/// The state of the committing thread.
pub(crate) struct Committing {
    pub(super) shared: Arc<Shared>,
    scratch: Vec<u8>,
    /// Room that nothing names once the journal is durable up to its present end.
    pub(super) freed: Vec<Extent>,
    /// What the index holds that is not durable in it.
    behind_records: usize,
    behind_since: Position,
    /// Room on the disk, asked once a batch.
    free: Option<u64>,
    /// Records with rows in the batch that is not in the index yet: newest number, and its versions' sessions.
    versions: HashMap<u64, (u64, Vec<Vec<u8>>)>,
    /// Feeds whose tombstones the batch forgets, and up to where.
    forgotten: HashMap<u32, u64>,
    pub(super) compaction: Compaction,
    /// When somebody asked for something last.
    pub(super) asked: Instant,
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
            versions: HashMap::new(),
            forgotten: HashMap::new(),
            compaction: Compaction::default(),
            asked: Instant::now(),
        }
    }

    /// Notes in a row which versions it ends, and whether it comes too late (R24), so that it says so on its own when
    /// it is replayed.
    fn note_gone(&mut self, change: &mut Change) -> Result<(), LogError> {
        if let Change::Forgotten(record) = change {
            let upto = self.forgotten.entry(record.feed).or_default();
            *upto = record.upto.max(*upto);
        }
        let Change::Row(RowRecord { row: Some(row), gone, feed, collected, late, ends }) = change else {
            return Ok(());
        };
        let Some(Subject::Record(record)) = &row.subject else { return Ok(()) };
        let before =
            self.shared.index.forgotten(*feed).map_err(|error| LogError::Owner(error.to_string()))?;
        let forgotten = self.forgotten.get(feed).copied().unwrap_or_default().max(before);
        let sessions = |r: &Record| r.versions.iter().map(|version| version.session.clone()).collect();
        let known = match self.versions.entry(record.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let owner = |error: Error| LogError::Owner(error.to_string());
                unknown.insert(match self.shared.stored_record(record.id).map_err(owner)? {
                    Some(stored) => (stored.seq, sessions(&stored)),
                    None => {
                        let aside = self.shared.index.aside(record.id).map_err(owner)?;
                        (0, aside.as_ref().map_or(Vec::new(), sessions))
                    }
                })
            }
        };
        if row.seq <= forgotten && *collected < forgotten && (known.0 == 0 || known.0 >= row.seq) {
            *late = true;
        } else if known.0 < row.seq {
            let (_, before) = std::mem::replace(known, (row.seq, sessions(record)));
            gone.extend(before.into_iter().filter(|session| !known.1.contains(session)));
            *ends = !record.ended.is_empty();
        }
        Ok(())
    }

    /// Notes that a copy takes the place of a kept version's content (a repair): the row that keeps it may stand before
    /// the copy, and what it replaces may have left the journal, when this one is replayed.
    fn note_kept(&self, change: &mut Change) -> Result<(), LogError> {
        let Change::Content { record, fetched: true, .. } = change else { return Ok(()) };
        let owner = |error: Error| LogError::Owner(error.to_string());
        let session = session_of(&record.session).map_err(owner)?;
        let present = self.shared.index.content(session).map_err(owner)?;
        let named =
            || self.versions.values().any(|(_, sessions)| sessions.iter().any(|s| *s == record.session));
        if present.is_some_and(|entry| entry.state == State::Kept || named()) {
            record.state = State::Kept as u32;
        }
        Ok(())
    }

    /// Notes where chunks are that a content cites and did not bring: the record that told may have left the journal
    /// when this one is replayed.
    fn note_cited(&mut self, change: &mut Change) -> Result<(), LogError> {
        let Change::Content { record, .. } = change else { return Ok(()) };
        let Some(manifest) = record.manifest.as_ref().filter(|m| m.chunks.len() > record.places.len()) else {
            return Ok(());
        };
        if record.parts > 0 {
            return Ok(()); // uploaded: it brought all of them
        }
        let owner = |error: Error| LogError::Owner(error.to_string());
        for chunk in &manifest.chunks {
            let sha256 = digest_of(&chunk.sha256).map_err(owner)?;
            if !record.places.iter().any(|place| place.sha256 == chunk.sha256)
                && let Some(entry) = self.shared.index.chunk(&sha256).map_err(owner)?
            {
                record.places.push(entry.place(&sha256, false));
            }
        }
        Ok(())
    }

    /// Appends changes: those that are in the journal's buffer then, and why the others are not.
    pub(super) fn append(&mut self, changes: Vec<Change>, log: &mut Log) -> Appended {
        let mut appended = Appended::default();
        appended.refused = self.append_to(&mut appended.staged, changes, log).err();
        if self.scratch.capacity() > 1 << 20 {
            self.scratch = Vec::new();
        }
        appended
    }

    fn append_to(
        &mut self,
        staged: &mut Vec<Staged>,
        changes: Vec<Change>,
        log: &mut Log,
    ) -> Result<(), LogError> {
        let takes_room =
            |c: &Change| matches!(c, Change::Content { record, .. } if record.manifest.is_some());
        if changes.iter().any(takes_room) {
            let free = *self.free.get_or_insert_with(|| self.shared.free_bytes());
            if free < self.shared.config.keep_free_bytes {
                return Err(LogError::Full { what: "a content would use the room that is kept free".into() });
            }
        }
        for mut change in changes {
            self.note_gone(&mut change)?;
            self.note_cited(&mut change)?;
            self.note_kept(&mut change)?;
            change.head(&mut self.scratch);
            let position = log.append(change.kind(), &[&self.scratch, change.tail()])?;
            let payload = (self.scratch.len() + change.tail().len()) as u32;
            staged.push(Staged { position, payload, change });
        }
        Ok(())
    }

    /// Brings the index and the readers up to date with a batch that is in the journal.
    pub(super) fn follow(&mut self, batch: Vec<Staged>, log: &Log) -> Result<Effects> {
        // After a failure nothing is put into the index any more: it would have a hole. The next start replays.
        self.shared.check()?;
        if batch.is_empty() {
            return Ok(Effects::default());
        }
        let (end, synced) = (log.end(), log.synced());
        let config = &self.shared.config;
        self.behind_records += batch.len();
        let behind = end.0.saturating_sub(self.behind_since.0);
        let due = self.behind_records >= config.index_commit_records || behind >= config.index_commit_bytes;
        // The index must never be durable beyond the journal.
        let durable = due && synced == end && self.has_room_for_index();
        let effects = self.shared.index.write(durable, |tables| apply(tables, &batch, end))?;
        if durable {
            (self.behind_records, self.behind_since) = (0, end);
        }
        self.shared.show(batch, &effects);
        self.versions.clear();
        self.forgotten.clear();
        Ok(effects)
    }

    /// Gives back what nothing names any more, if that is durable.
    pub(super) fn give_back(&mut self, log: &Log) {
        if self.freed.is_empty() || log.synced() < log.end() {
            return;
        }
        // Whoever found this room in the index reads it to the end first.
        let _alone = self.shared.reading.write().unwrap_or_else(PoisonError::into_inner);
        for extent in self.freed.drain(..) {
            if let Err(error) = self.shared.extents.free(extent) {
                tracing::warn!(%error, ?extent, "cannot give an extent back");
            }
        }
    }

    /// Whether the index can be made durable without meeting the end of the disk, which would end the store's
    /// service. Without that only the next start has more to replay.
    pub(super) fn has_room_for_index(&self) -> bool {
        let room = INDEX_ROOM.min(self.shared.config.keep_free_bytes / 8);
        room == 0 || self.shared.free_bytes() >= room
    }

    /// Makes the index durable as it is, if the journal is and there is room; says whether it is then.
    pub fn commit_index(&mut self, log: &Log) -> Result<bool> {
        if self.behind_records == 0 {
            return Ok(true);
        }
        if log.synced() < log.end() || self.shared.check().is_err() || !self.has_room_for_index() {
            return Ok(false);
        }
        crash_point("index.begin");
        self.shared.index.write(true, |_| Ok(()))?;
        crash_point("index.durable");
        (self.behind_records, self.behind_since) = (0, log.end());
        Ok(true)
    }

    pub fn note_end(&self, log: &Log) {
        let synced = log.synced().0;
        if self.shared.journal_end.swap(synced, Ordering::AcqRel) < synced {
            self.shared.health.synced();
        }
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
        let Job { work, durable, reserved, clock: _clock, reply } = job;
        let changes = match work {
            Work::Changes(changes) => changes,
            Work::Tidy => return Done { appended: None, durable, _clock, reply },
        };
        self.asked = Instant::now();
        let appended = self.append(changes, log);
        match &appended.refused {
            None => {
                self.shared.health.has_room();
                if let Some(reserved) = reserved {
                    reserved.keep();
                }
            }
            Some(error) if log.failed() => self.shared.health.fail(&log_error(error.clone())),
            Some(error) => self.shared.health.saw(error),
        }
        Done { appended: Some(appended), durable, _clock, reply }
    }

    fn needs_sync(&self, done: &[Done]) -> bool {
        !mutation::is(Mutation::AcknowledgeUnsynced)
            && done.iter().any(|job| {
                job.durable && job.appended.as_ref().is_some_and(|appended| appended.refused.is_none())
            })
    }

    fn finish(&mut self, done: Vec<Done>, outcome: Result<Position, LogError>, log: &mut Log) {
        self.free = None;
        if let Err(error) = outcome {
            return self.fail_all(done, &log_error(error));
        }
        let mut batch = Vec::new();
        let (mut waiting, mut tidying) = (Vec::with_capacity(done.len()), Vec::new());
        for job in done {
            match job.appended {
                None => tidying.push(job.reply),
                Some(Appended { mut staged, refused }) => {
                    let position = staged.first().map_or(log.end(), |s| s.position);
                    waiting.push((job.reply, position, staged.len(), refused));
                    batch.append(&mut staged);
                }
            }
        }
        if !waiting.is_empty() {
            match self.follow(batch, log) {
                Ok(effects) => {
                    self.freed.extend(effects.freed);
                    self.note_end(log);
                    let mut outcomes = effects.outcomes.into_iter();
                    for (reply, position, count, refused) in waiting {
                        let outcomes = outcomes.by_ref().take(count).collect();
                        let answer = match refused {
                            None => Ok(Reply { position, outcomes, more: false }),
                            Some(error) => Err(log_error(error)),
                        };
                        drop(reply.send(answer)); // who asked may be gone
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
        if !tidying.is_empty() {
            let tidied = self.tidy(log);
            for reply in tidying {
                let reply_of = |more| Reply { position: log.end(), outcomes: Vec::new(), more };
                drop(reply.send(tidied.clone().map(reply_of)));
            }
        }
    }

    fn idle(&mut self, log: &mut Log) {
        self.note_end(log);
        let _clock = self.shared.health.operation();
        if let Err(error) = self.commit_index(log) {
            self.shared.health.fail(&error);
        }
    }

    fn weight(job: &Job) -> usize {
        match &job.work {
            Work::Changes(changes) => changes.iter().map(Change::weight).sum(),
            Work::Tidy => 0,
        }
    }
}
