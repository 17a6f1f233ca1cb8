//! What is in doubt here: prepared contents of which nobody has told what became of them. A rebuild of the name manager
//! takes them in (R26), so what is known to be over must not be among them, and what tells that a file is gone must
//! stay as long as one of them could bring it back (I4).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;
use types::ids::SessionId;
use types::{Code, Error, Result};

use super::change::{Change, SessionRecord, session_bytes};
use super::commit::{Job, Work};
use super::entry::State;
use super::trouble::lock;
use super::{Store, done};

/// Contents in doubt that are looked at, at most: with more there is a lag, and tombstones wait until it is gone.
const LOOKED_AT: usize = 4096;
/// Marks that are noted in one go.
const SLICE: usize = 256;

/// What the store knows of contents in doubt beside its index. In memory: a start asks about all of them anew.
#[derive(Default)]
pub(crate) struct Doubt {
    /// Not in doubt any more, though the journal says so: there was no room for the record that says otherwise.
    over: Mutex<HashSet<SessionId>>,
    /// Up to where tombstones have been collected: of the control feed, of the pair's.
    collected: [AtomicU64; 2],
    /// The numbers of the feeds, in the same order.
    feeds: [AtomicU32; 2],
    /// Tombstones were held back, in the same order.
    held_back: [AtomicBool; 2],
}

impl Doubt {
    /// Whether it is known to be over.
    pub fn is_over(&self, session: SessionId) -> bool {
        self.over().contains(&session)
    }

    /// It is (prepared again and) in doubt.
    pub fn begins(&self, session: SessionId) {
        self.over().remove(&session);
    }

    fn over(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        lock(&self.over)
    }

    fn slot(feed: u32) -> usize {
        usize::from(feed != 0)
    }

    /// Notes up to where tombstones of a feed have been collected; whether they may be looked at now.
    pub fn collected(&self, feed: u32, upto: u64) -> bool {
        self.collected[Doubt::slot(feed)].fetch_max(upto, Ordering::AcqRel);
        self.feeds[Doubt::slot(feed)].store(feed, Ordering::Release);
        !self.held_back[Doubt::slot(feed)].load(Ordering::Acquire)
    }

    /// Some are held back: they are looked at again by [`Store::forget_held_back`] only.
    pub fn hold_back(&self, feed: u32) {
        self.held_back[Doubt::slot(feed)].store(true, Ordering::Release);
    }
}

impl Store {
    /// What became of a prepared content is known, and the record that says so met a full disk: it is remembered until
    /// there is room. Other errors are given back.
    pub(super) fn over_all_the_same(&self, session: SessionId, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if error.code == Code::DiskFull => {
                tracing::debug!(%error, %session, "it is over, and noted when there is room");
                self.shared.doubt.over().insert(session);
                Ok(())
            }
            other => other,
        }
    }

    /// Notes a slice of what is over and could not be noted, if there is room now.
    ///
    /// # Errors
    /// `DiskFull`: not yet. `Io`: the store is out of service.
    pub async fn note_what_is_over(&self) -> Result<()> {
        let Some(writing) = &self.writing else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        let sessions = {
            // Handed over under the lock: who prepares one of them again comes behind this.
            let over = self.shared.doubt.over();
            let sessions: Vec<SessionId> = over.iter().copied().take(SLICE).collect();
            let mark = |id: &SessionId| Change::Unprepared(SessionRecord { session: session_bytes(*id) });
            let work = Work::Changes(sessions.iter().map(mark).collect());
            let clock = self.shared.health.operation();
            let job = Job { work, durable: false, reserved: None, clock, reply };
            if sessions.is_empty() || writing.committer.try_submit(job).is_err() {
                return Ok(());
            }
            sessions
        };
        let closed = || Error::new(Code::Unavailable, "the store is closed", "wait until the server is up");
        answer.await.map_err(|_| closed())?.and_then(done)?;
        let mut over = self.shared.doubt.over();
        over.retain(|session| !sessions.contains(session));
        Ok(())
    }

    /// Of the writes in doubt here the least number of the newest row that was known when it was made: a removal behind
    /// it may be one that nobody but this server will remember, should it be asked (I4). None: nothing is in doubt.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub(super) fn oldest_in_doubt(&self) -> Result<Option<u64>> {
        let pending = self.shared.index.pending()?;
        if pending.len() > LOOKED_AT {
            return Ok(Some(0));
        }
        let mut oldest = None;
        for session in pending {
            let found = match self.shared.lookup(session) {
                // Nobody knows what it was: it is not offered.
                Err(error) if error.code == Code::Damaged => None,
                found => found?,
            };
            let held = found.filter(|held| {
                // An import's are not offered: their server still has what they were made of.
                held.state == State::Prepared && held.origin.asker.is_some()
            });
            if let Some(held) = held.filter(|_| !self.shared.doubt.is_over(session)) {
                oldest = Some(oldest.unwrap_or(u64::MAX).min(held.origin.seen));
            }
        }
        Ok(oldest)
    }

    /// Forgets tombstones that were held back, as far as nothing in doubt needs them any more.
    ///
    /// # Errors
    /// Those of [`forget`](Store::forget).
    pub async fn forget_held_back(&self) -> Result<()> {
        let doubt = &self.shared.doubt;
        for slot in 0..doubt.held_back.len() {
            if doubt.held_back[slot].swap(false, Ordering::AcqRel) {
                let collected = doubt.collected[slot].load(Ordering::Acquire);
                self.forget(doubt.feeds[slot].load(Ordering::Acquire), collected).await?;
            }
        }
        Ok(())
    }
}
