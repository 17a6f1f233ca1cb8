//! What readers and the committing thread share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use log::{Disk, Extents, LogReader, Position};
use types::ids::SessionId;
use types::record::{Manifest, Pair, Record, Subject, User};
use types::{Error, Result};

use super::apply::{ContentEffect, Effects, Staged};
use super::cache::{Cache, Found};
use super::change::Change;
use super::config::StoreConfig;
use super::content::{Held, Origin};
use super::doubt::Doubt;
use super::entry::ContentEntry;
use super::index::{Cursors, Index};
use super::listing::Listing;
use super::pins::Pins;
use super::trouble::{Health, damaged, lock, log_error};

/// See the module's description.
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub index: Index,
    pub reader: LogReader,
    pub extents: Arc<Extents>,
    pub health: Arc<Health>,
    pub config: StoreConfig,
    pub cursors: Mutex<Cursors>,
    /// Everything in the journal before this is durable.
    pub journal_end: AtomicU64,
    pub journal_bytes: AtomicU64,
    /// Up to where tombstones are forgotten: of the control feed, of the pair's.
    forgotten: [AtomicU64; 2],
    /// Up to where there is no tombstone to forget, in the same order.
    looked: [AtomicU64; 2],
    /// Number of the newest row that is known here; after a start the cursors'.
    pub newest_row: AtomicU64,
    /// Held for reading from the look into the index until the bytes are read; for writing before room is
    /// given back.
    pub reading: RwLock<()>,
    pub pins: Arc<Pins>,
    pub doubt: Doubt,
    records: Cache<u64, Arc<Record>>,
    contents: Cache<SessionId, Held>,
    users: Cache<String, Arc<User>>,
    pairs: Cache<u32, Arc<Pair>>,
    /// For a name manager that reads what is prepared.
    pub offered: Mutex<Listing>,
    /// Records that the log has decided and whose rows have not come yet (R22).
    overlay: RwLock<BTreeMap<u64, Arc<Record>>>,
}

/// Memory that a record takes, about, in bytes.
fn record_weight(record: &Record) -> usize {
    512 + record.name.len() + record.target.len() + record.versions.len() * 320 + record.access.len() * 96
}

impl Shared {
    pub fn new(
        disk: Arc<dyn Disk>,
        index: Index,
        reader: LogReader,
        extents: Arc<Extents>,
        config: StoreConfig,
    ) -> Result<Shared> {
        let cursors = index.cursors()?;
        let forgotten = [AtomicU64::new(index.forgotten(0)?), AtomicU64::new(index.forgotten(1)?)];
        let bytes = config.cache_bytes;
        Ok(Shared {
            disk,
            index,
            reader,
            extents,
            health: Arc::default(),
            cursors: Mutex::new(cursors),
            journal_end: AtomicU64::new(0),
            journal_bytes: AtomicU64::new(0),
            forgotten,
            looked: Default::default(),
            newest_row: AtomicU64::new(cursors.control.max(cursors.pair)),
            reading: RwLock::new(()),
            pins: Arc::default(),
            doubt: Doubt::default(),
            records: Cache::new(bytes / 4),
            contents: Cache::new(bytes / 2),
            users: Cache::new(bytes / 16),
            pairs: Cache::new(bytes / 16),
            offered: Mutex::default(),
            overlay: RwLock::default(),
            config,
        })
    }

    /// Up to where tombstones of a feed are forgotten.
    pub fn forgotten(&self, feed: u32) -> &AtomicU64 {
        &self.forgotten[usize::from(feed != 0)]
    }

    /// Up to where it is known that a feed has no tombstone to forget.
    pub fn looked(&self, feed: u32) -> &AtomicU64 {
        &self.looked[usize::from(feed != 0)]
    }

    /// A content, from the cache if it is there.
    pub fn lookup(&self, session: SessionId) -> Result<Option<Held>> {
        let ticket = match self.contents.get(&session) {
            Found::Hit(held) => return Ok(Some(held)),
            Found::Gone => return Ok(None),
            Found::Miss(ticket) => ticket,
        };
        let held = {
            // What the index names is there until it has been read.
            let _reading = self.reading.read().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = self.index.content(session)? else { return Ok(None) };
            self.load(session, &entry)?
        };
        self.contents.fill(session, held.clone(), held.weight(), ticket);
        Ok(Some(held))
    }

    /// What the index alone knows of a content.
    pub fn known_of(&self, session: SessionId) -> Result<Option<Held>> {
        let Some(entry) = self.index.content(session)? else { return Ok(None) };
        tracing::warn!(%session, position = %entry.position, "the record of a content cannot be read");
        let manifest = Manifest {
            size: entry.size,
            digest_kind: entry.digest_kind.into(),
            sha256: Bytes::copy_from_slice(&entry.sha256),
            ..Manifest::default()
        };
        let origin = Arc::new(Origin::default());
        Ok(Some(Held { session, state: entry.state, manifest: Arc::new(manifest), origin }))
    }

    /// Reads a content's record from the journal.
    pub fn load(&self, session: SessionId, entry: &ContentEntry) -> Result<Held> {
        let _clock = self.health.operation();
        let (kind, payload) =
            self.reader.read_hinted(entry.position, entry.payload as usize).map_err(log_error)?;
        match Change::decode(kind, payload)? {
            Change::Content { record, tail, .. } | Change::Moved { record, tail }
                if record.session[..] == session.0 =>
            {
                Held::from_record(record, tail, entry.state)
            }
            _ => Err(damaged(format_args!("the journal holds no content at {}", entry.position))),
        }
    }

    /// A record as this server knows it: decided, be its row here or not.
    pub fn record(&self, inode: u64) -> Result<Option<Arc<Record>>> {
        if let Some(record) = self.overlay().get(&inode) {
            return Ok(Some(record.clone()));
        }
        self.stored_record(inode)
    }

    /// A record as its last row told it.
    pub fn stored_record(&self, inode: u64) -> Result<Option<Arc<Record>>> {
        let ticket = match self.records.get(&inode) {
            Found::Hit(record) => return Ok(Some(record)),
            Found::Gone => return Ok(None),
            Found::Miss(ticket) => ticket,
        };
        let Some(record) = self.index.record(inode)?.map(Arc::new) else { return Ok(None) };
        self.records.fill(inode, record.clone(), record_weight(&record), ticket);
        Ok(Some(record))
    }

    /// Records after `inode`, in order, with those whose rows have not come yet.
    pub fn records_after(&self, inode: u64, limit: usize) -> Result<Vec<Arc<Record>>> {
        let Some(after) = inode.checked_add(1) else { return Ok(Vec::new()) };
        // First the overlay: a row that comes in between is seen in the index then.
        let installed: Vec<_> =
            self.overlay().range(after..).take(limit).map(|(k, v)| (*k, v.clone())).collect();
        let mut found: BTreeMap<u64, Arc<Record>> =
            self.index.records_after(inode, limit)?.into_iter().map(|(id, r)| (id, Arc::new(r))).collect();
        for (id, record) in installed {
            match found.get(&id) {
                Some(stored) if stored.seq >= record.seq => {}
                _ => drop(found.insert(id, record)),
            }
        }
        Ok(found.into_values().take(limit).collect())
    }

    /// A user's public data.
    pub fn user(&self, name: &str) -> Result<Option<Arc<User>>> {
        let ticket = match self.users.get(name) {
            Found::Hit(user) => return Ok(Some(user)),
            Found::Gone => return Ok(None),
            Found::Miss(ticket) => ticket,
        };
        let Some((_, user)) = self.index.user(name)? else { return Ok(None) };
        let user = Arc::new(user);
        self.users.fill(name.to_owned(), user.clone(), 256, ticket);
        Ok(Some(user))
    }

    /// A pair.
    pub fn pair(&self, id: u32) -> Result<Option<Arc<Pair>>> {
        let ticket = match self.pairs.get(&id) {
            Found::Hit(pair) => return Ok(Some(pair)),
            Found::Gone => return Ok(None),
            Found::Miss(ticket) => ticket,
        };
        let Some((_, pair)) = self.index.pair(id)? else { return Ok(None) };
        let pair = Arc::new(pair);
        self.pairs.fill(id, pair.clone(), 1024, ticket);
        Ok(Some(pair))
    }

    /// Shows a record before its row comes, unless a newer one is here.
    pub fn install(&self, record: Record) -> Result<()> {
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        if overlay.get(&record.id).is_some_and(|there| there.seq >= record.seq) {
            return Ok(());
        }
        // Under the lock: a row that comes meanwhile waits to remove what is installed here.
        // One that is no longer stored was removed, if its number is that old.
        let news = match self.stored_record(record.id)? {
            Some(stored) => stored.seq < record.seq,
            None => record.seq > self.forgotten(record.pair).load(Ordering::Acquire),
        };
        if news {
            self.newest_row.fetch_max(record.seq, Ordering::AcqRel);
            overlay.insert(record.id, Arc::new(record));
        }
        Ok(())
    }

    fn overlay(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<Record>>> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers what a batch changed. The index has it already. For the committing thread only.
    pub fn show(&self, mut batch: Vec<Staged>, effects: &Effects) {
        for (session, effect) in &effects.contents {
            match effect {
                ContentEffect::Gone => self.contents.put(*session, None, 64),
                ContentEffect::State(state) => self.contents.change(session, |held| held.in_state(*state)),
                ContentEffect::Stored(at, state) => {
                    let empty = Change::Unprepared(Default::default());
                    let change = std::mem::replace(&mut batch[*at].change, empty);
                    let Change::Content { record, tail, .. } = change else { continue };
                    match Held::from_record(record, tail, *state) {
                        Ok(held) => {
                            let weight = held.weight();
                            self.contents.put(*session, Some(held), weight);
                        }
                        // It cannot be: the index has taken the same record.
                        Err(error) => tracing::error!(%error, "a content cannot be cached"),
                    }
                }
            }
        }
        for at in &effects.rows {
            let empty = Change::Unprepared(Default::default());
            let Change::Row(row) = std::mem::replace(&mut batch[*at].change, empty) else { continue };
            self.newest_row.fetch_max(row.row.as_ref().map_or(0, |row| row.seq), Ordering::AcqRel);
            match row.row.and_then(|row| row.subject) {
                Some(Subject::Record(record)) => {
                    let record = Arc::new(record);
                    self.records.put(record.id, Some(record.clone()), record_weight(&record));
                    let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
                    if overlay.get(&record.id).is_some_and(|there| there.seq <= record.seq) {
                        overlay.remove(&record.id);
                    }
                }
                Some(Subject::User(user)) => self.users.put(user.name.clone(), Some(Arc::new(user)), 256),
                Some(Subject::Pair(pair)) => self.pairs.put(pair.id, Some(Arc::new(pair)), 1024),
                None => {}
            }
        }
        for id in &effects.records_gone {
            // It may have another row in the same batch.
            if matches!(self.index.record(*id), Ok(None)) {
                self.records.put(*id, None, 64);
            }
        }
        if let Some(cursors) = effects.cursors {
            *lock(&self.cursors) = cursors;
        }
        for (feed, upto) in &effects.forgotten {
            self.forgotten(*feed).store(*upto, Ordering::Release);
        }
    }

    /// Room left for the store, in bytes.
    pub fn free_bytes(&self) -> u64 {
        self.disk.free_bytes().unwrap_or_default()
    }

    /// Where the durable journal ends.
    pub fn journal_end(&self) -> Position {
        Position(self.journal_end.load(Ordering::Acquire))
    }

    /// Refuses writes when the store is out of service.
    pub fn check(&self) -> Result<(), Error> {
        self.health.check()
    }
}
