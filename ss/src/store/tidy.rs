//! Tidying, a bounded slice at a time on the committing thread (R32): what no version names any more is
//! collected, then the journal is compacted.

use log::{Log, LogError};
use types::Result;
use types::ids::SessionId;

use super::change::{Change, CollectedRecord, session_bytes};
use super::commit::{Appended, Committing};
use super::trouble::log_error;

/// Contents collected in one slice, at most.
const COLLECT_SLICE: usize = 64;
/// What a record takes besides its payload, about, in bytes.
const RECORD_HEAD: u64 = 36;

impl Committing {
    /// Does one slice; says whether there is more to do. The index has all of the journal.
    pub(super) fn tidy(&mut self, log: &mut Log) -> Result<bool> {
        self.shared.check()?;
        Ok(self.collect(log)? || self.compact(log)?)
    }

    /// Collects contents that nothing names and nobody reads.
    fn collect(&mut self, log: &mut Log) -> Result<bool> {
        let pins = self.shared.pins.clone();
        let sessions = self.shared.index.loose(COLLECT_SLICE, |session| pins.take(session))?;
        if sessions.is_empty() {
            return Ok(false);
        }
        let collected = self.collect_these(log, &sessions);
        pins.gone(&sessions);
        collected?;
        Ok(sessions.len() == COLLECT_SLICE)
    }

    fn collect_these(&mut self, log: &mut Log, sessions: &[SessionId]) -> Result<()> {
        let sessions = sessions.iter().map(|session| session_bytes(*session)).collect();
        self.record(log, vec![Change::Collected(CollectedRecord { sessions })])?;
        log::crash_point("collect.recorded");
        self.settle(log)?;
        log::crash_point("collect.settled");
        Ok(())
    }

    /// Puts changes into the journal and the index; gives their bytes. Not durable yet.
    pub(super) fn record(&mut self, log: &mut Log, changes: Vec<Change>) -> Result<u64> {
        let Appended { staged, refused } = self.append(changes, log);
        let bytes = staged.iter().map(|staged| u64::from(staged.payload) + RECORD_HEAD).sum();
        let effects = self.follow(staged, log).inspect_err(|error| self.shared.health.fail(error))?;
        self.freed.extend(effects.freed);
        refused.map_or(Ok(bytes), |error| Err(self.trouble(log, error)))
    }

    /// Makes all that is recorded durable, and gives room back.
    pub(super) fn settle(&mut self, log: &mut Log) -> Result<()> {
        log.sync().map_err(|error| self.trouble(log, error))?;
        self.note_end(log);
        self.give_back(log);
        Ok(())
    }

    pub(super) fn trouble(&self, log: &Log, error: LogError) -> types::Error {
        let failed = log.failed();
        let error = log_error(error);
        if failed {
            self.shared.health.fail(&error);
        }
        error
    }
}
