//! What is known no more: tombstones that were collected, records that the index does not list (R24), copies that no
//! row named.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use types::ids::SessionId;
use types::mutation::{self, Mutation};
use types::record::Record;
use types::{Error, Result};

use super::apply::Outcome;
use super::change::{AsideRecord, Change, ForgottenRecord, GivenUpRecord, SessionRecord, session_bytes};
use super::entry::State;
use super::{Held, Store, done};

/// Tombstones that one record forgets, at most.
const FORGET_SLICE: usize = 1024;
/// Records read at once while they are compared.
const PAGE: usize = 1024;
/// Records set aside in one go.
const ASIDE_SLICE: usize = 256;

/// A part of what the name manager has of a feed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// 0 for control, else the pair's.
    pub feed: u32,
    /// Ids above this one
    pub after: u64,
    /// and up to this one.
    pub upto: u64,
    /// All that it has in that range, ascending.
    pub ids: Vec<u64>,
    /// The feed's end as of the list: what has a higher number is newer than it.
    pub end: u64,
}

impl Store {
    /// Forgets a slice of the tombstones of a feed with numbers up to `collected`: nobody needs them any more. Not waited
    /// for on the disk. Those that tell of what is in doubt here stay until [`forget_held_back`](Store::forget_held_back).
    ///
    /// # Errors
    /// `DiskFull`; `Io`: the store is out of service.
    pub async fn forget(&self, feed: u32, collected: u64) -> Result<()> {
        let looked = self.shared.looked(feed);
        if collected <= looked.load(Ordering::Acquire) || !self.shared.doubt.collected(feed, collected) {
            return Ok(());
        }
        let mut due = self.shared.index.tombstones(feed, collected, FORGET_SLICE)?;
        let found = due.len();
        if found > 0
            && !mutation::is(Mutation::ForgetInDoubt)
            && let Some(oldest) = self.oldest_in_doubt()?
        {
            due.retain(|seq| *seq <= oldest);
        }
        if let Some(last) = due.last() {
            let change = Change::Forgotten(ForgottenRecord { feed, upto: *last });
            self.change(vec![change], None, false).await.and_then(done)?;
        }
        if due.len() < found {
            self.shared.doubt.hold_back(feed);
        } else if found < FORGET_SLICE {
            looked.fetch_max(collected, Ordering::AcqRel);
        }
        Ok(())
    }

    /// The records in a range that the name manager does not list. Reads much: not for a thread that must not wait.
    ///
    /// # Errors
    /// `Io`.
    pub fn unlisted(&self, listed: &Listed) -> Result<Vec<Record>> {
        let (mut found, mut after) = (Vec::new(), listed.after);
        loop {
            // Without what was decided and has no row yet: that is newer than any list.
            let page = self.shared.index.records_after(after, PAGE)?;
            let full = page.len() == PAGE;
            for (id, record) in page {
                after = id;
                if id > listed.upto {
                    return Ok(found);
                }
                let known = record.seq > listed.end || listed.ids.binary_search(&id).is_ok();
                if record.pair == listed.feed && !known {
                    found.push(record);
                }
            }
            if !full {
                return Ok(found);
            }
        }
    }

    /// Sets records aside unless they have changed meanwhile: nothing is found by them any more, their contents stay.
    ///
    /// # Errors
    /// Those of [`apply`](Store::apply).
    pub async fn set_aside(&self, records: Vec<Record>) -> Result<()> {
        for records in records.chunks(ASIDE_SLICE) {
            let aside = |record: &Record| Change::Aside(AsideRecord { record: Some(record.clone()) });
            self.change(records.iter().map(aside).collect(), None, true).await.and_then(done)?;
        }
        Ok(())
    }

    /// How many records are set aside.
    ///
    /// # Errors
    /// `Io`.
    pub fn aside_count(&self) -> Result<u64> {
        self.shared.index.aside_count()
    }

    /// A record that is set aside.
    ///
    /// # Errors
    /// `Io`.
    pub fn aside(&self, inode: u64) -> Result<Option<Record>> {
        self.shared.index.aside(inode)
    }

    /// Records that are set aside, with ids above `inode`, in order, at most `limit`.
    ///
    /// # Errors
    /// `Io`.
    pub fn aside_after(&self, inode: u64, limit: usize) -> Result<Vec<Record>> {
        self.shared.index.aside_after(inode, limit)
    }

    /// Gives up records that are set aside, as they stand here; their contents are collected then, but for those that
    /// a record names all the same. Gives how many there were. Reads all records before.
    ///
    /// # Errors
    /// Those of [`apply`](Store::apply).
    pub async fn give_up_aside(&self, records: Vec<Record>) -> Result<u64> {
        let store = self.clone();
        let look = move || -> Result<Vec<Change>> {
            let sessions = |record: &Record| -> Vec<SessionId> {
                record.versions.iter().filter_map(|version| version.session_id().ok()).collect()
            };
            let all: HashSet<SessionId> = records.iter().flat_map(sessions).collect();
            let named = store.named_by_records(&|session| all.contains(&session))?;
            let change = |record: &Record| {
                let gone = sessions(record).into_iter().filter(|session| !named.contains(session));
                let sessions = gone.map(session_bytes).collect();
                Change::GivenUp(GivenUpRecord { id: record.id, seq: record.seq, sessions })
            };
            Ok(records.iter().map(change).collect())
        };
        let mut changes = threads::run(look).await.map_err(Error::internal)??;
        let mut given_up = 0;
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(ASIDE_SLICE));
            let reply = self.change(std::mem::replace(&mut changes, rest), None, true).await?;
            given_up +=
                reply.outcomes.iter().filter(|it| **it == Outcome::Row { newer: true }).count() as u64;
        }
        Ok(given_up)
    }

    /// Contents that were copied from the partner and that no row has named yet.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn fetched(&self) -> Result<Vec<Held>> {
        self.pending(State::Fetched)
    }

    /// Those of `sessions` that a record names, here or aside. Reads all records: not for a thread that must not wait.
    ///
    /// # Errors
    /// `Io`.
    pub fn named(&self, sessions: &[SessionId]) -> Result<HashSet<SessionId>> {
        let mut named = self.named_by_records(&|session| sessions.contains(&session))?;
        for record in self.shared.index.all_aside()? {
            let here = record.versions.iter().filter_map(|version| version.session_id().ok());
            named.extend(here.filter(|session| sessions.contains(session)));
        }
        Ok(named)
    }

    /// Those of the `wanted` sessions that a record names which is not set aside.
    fn named_by_records(&self, wanted: &dyn Fn(SessionId) -> bool) -> Result<HashSet<SessionId>> {
        let (mut named, mut after) = (HashSet::new(), 0);
        loop {
            let page = self.shared.index.records_after(after, PAGE)?;
            let Some(last) = page.keys().next_back() else { return Ok(named) };
            after = *last;
            for record in page.values() {
                let here = record.versions.iter().filter_map(|version| version.session_id().ok());
                named.extend(here.filter(|session| wanted(*session)));
            }
        }
    }

    /// Gives such a content up, unless it is in use or a row has named it meanwhile.
    ///
    /// # Errors
    /// `Io`: the store is out of service.
    pub async fn drop_fetched(&self, session: SessionId) -> Result<()> {
        if !self.shared.pins.take(session) {
            return Ok(());
        }
        let dropped = match self.lookup(session) {
            Ok(Some(held)) if held.state == State::Fetched => {
                let change = Change::Dropped(SessionRecord { session: session_bytes(session) });
                self.change(vec![change], None, false).await.map(|_| ())
            }
            other => other.map(|_| ()),
        };
        self.shared.pins.gone(&[session]);
        dropped
    }
}
