//! What the store answers without changing: contents, records, cursors, and how its disk is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use types::ids::SessionId;
use types::record::{Manifest, Pair, Record, User};
use types::{Code, Result};

use super::trouble::lock;
use super::{Cursors, Held, Pin, State, Store};

impl Store {
    /// Number of the newest row that is known here, be it here or decided only.
    pub fn newest_row(&self) -> u64 {
        self.shared.newest_row.load(Ordering::Acquire)
    }

    /// How far the feeds are applied, durably.
    pub fn cursors(&self) -> Cursors {
        *lock(&self.shared.cursors)
    }

    /// The content of a session or version.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn lookup(&self, session: SessionId) -> Result<Option<Held>> {
        self.shared.lookup(session)
    }

    /// Contents whose fate the log has not told yet. Of one whose record is bad nobody knows here who wrote it, and where to:
    /// a row that names it brings it back from the partner, and else it goes like any other.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn prepared(&self) -> Result<Vec<Held>> {
        let mut held = self.pending(State::Prepared)?;
        held.retain(|held| !self.shared.doubt.is_over(held.session));
        Ok(held)
    }

    /// Contents that are open again and belong to nobody's session here, as after a restart.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn open_again(&self) -> Result<Vec<Held>> {
        self.pending(State::Open)
    }

    pub(super) fn pending(&self, state: State) -> Result<Vec<Held>> {
        let mut held = Vec::new();
        for session in self.shared.index.pending()? {
            let found = match self.shared.lookup(session) {
                Err(error) if error.code == Code::Damaged => self.shared.known_of(session)?,
                found => found?,
            };
            held.extend(found.filter(|held| held.state == state));
        }
        Ok(held)
    }

    /// How a content stands, as the index knows it: also if its record in the journal is bad.
    ///
    /// # Errors
    /// `Io`.
    pub fn state(&self, session: SessionId) -> Result<Option<State>> {
        Ok(self.shared.index.content(session)?.map(|entry| entry.state))
    }

    /// Contents after a session's, in the order of sessions; for comparing stores.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn contents_after(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Held>> {
        let sessions = self.shared.index.contents_after(after, limit)?;
        sessions.into_iter().filter_map(|session| self.shared.lookup(session).transpose()).collect()
    }

    /// A file, folder, link or tombstone, as decided: also if its row has not come yet (R22).
    ///
    /// # Errors
    /// `Io`.
    pub fn record(&self, inode: u64) -> Result<Option<Arc<Record>>> {
        self.shared.record(inode)
    }

    /// Records with ids above `inode`, in order, at most `limit`.
    ///
    /// # Errors
    /// `Io`.
    pub fn records_after(&self, inode: u64, limit: usize) -> Result<Vec<Arc<Record>>> {
        self.shared.records_after(inode, limit)
    }

    /// A user's public data.
    ///
    /// # Errors
    /// `Io`.
    pub fn user(&self, name: &str) -> Result<Option<Arc<User>>> {
        self.shared.user(name)
    }

    /// A pair.
    ///
    /// # Errors
    /// `Io`.
    pub fn pair(&self, id: u32) -> Result<Option<Arc<Pair>>> {
        self.shared.pair(id)
    }

    /// At most `len` bytes of a content from `offset` on, and their CRC-64. Every block that is touched is
    /// checked. Inline content is answered without the disk.
    ///
    /// # Errors
    /// `Damaged`, naming the place; `NoSuchVersion` when the content was dropped meanwhile; `Io`.
    pub fn read(&self, manifest: &Manifest, offset: u64, len: u32) -> Result<(Bytes, u64)> {
        self.shared.read(manifest, offset, len)
    }

    /// The same if that needs no wait for the disk; none if it may, and when something is wrong with the bytes.
    pub fn read_now(&self, manifest: &Manifest, offset: u64, len: u32) -> Option<(Bytes, u64)> {
        self.shared.read_now(manifest, offset, len)
    }

    /// Reads all of a content from the disk and compares it with its SHA-256; the inner error says what is
    /// wrong with it.
    ///
    /// # Errors
    /// `Io`.
    pub fn verify(&self, session: SessionId) -> Result<Result<(), String>> {
        self.shared.verify(session)
    }

    /// Keeps a content from being collected as long as the answer lives (R32), whether it is here or not: pin first,
    /// then look.
    ///
    /// # Errors
    /// `Unavailable` when it is being collected just now, or too many contents are pinned.
    pub fn pin(&self, session: SessionId) -> Result<Pin> {
        self.shared.pins.pin(session)
    }

    /// Keeps a content from being collected for so long; asking again renews that. For what is read by many requests.
    ///
    /// # Errors
    /// Those of [`pin`](Self::pin).
    pub fn pin_for(&self, session: SessionId, time: Duration) -> Result<()> {
        self.shared.pins.renew(session, time)
    }

    /// Where the durable journal ends (R7).
    pub fn journal_end(&self) -> u64 {
        self.shared.journal_end().0
    }

    /// Bytes that the store takes on its disk, the index not counted.
    pub fn used_bytes(&self) -> u64 {
        self.shared.extents.used_bytes() + self.shared.journal_bytes.load(Ordering::Relaxed)
    }

    /// Room left on its disk, in bytes.
    pub fn free_bytes(&self) -> u64 {
        self.shared.free_bytes()
    }

    /// Age of its oldest unfinished disk operation, in ms.
    pub fn oldest_io_ms(&self) -> u64 {
        self.shared.health.oldest_ms()
    }

    /// Age of the last sync of its disk that ended well, in ms; none if there was none.
    pub fn last_sync_ms(&self) -> Option<u64> {
        self.shared.health.synced_ms()
    }

    /// Why it takes no writes (a failed sync, a full disk); `None` when it does.
    pub fn trouble(&self) -> Option<String> {
        self.shared.health.trouble()
    }

    /// Whether the room that is kept free is touched, or nearly: contents are refused then, and room is to be made.
    pub fn is_short(&self) -> bool {
        let keep = self.shared.config.keep_free_bytes;
        self.shared.free_bytes() < keep + keep / 8
    }

    /// Refuses when the store takes no more writes until it is opened again.
    ///
    /// # Errors
    /// `Io`: why.
    pub fn in_service(&self) -> Result<()> {
        self.shared.check()
    }
}
