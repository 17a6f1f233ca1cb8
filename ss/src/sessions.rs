//! The table of uploads in progress, on the acting member and on its partner alike (R28).

use crate::store::{ContentWriter, Store};
use crate::upload::Upload;
use bytes::Bytes;
use net::clock::boottime;
use ss_core::session::WriteSession;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use types::ids::SessionId;
use types::limits::{MIB, SERVER_READS, SESSIONS_MAX};
use types::message::store::Target;
use types::{Code, Error, Result};

/// Bytes that are passed on after they were read back, all uploads together.
const READ_BACK: usize = 16 * MIB;

/// Locks; what is changed under these locks is complete at once.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All uploads of this server.
pub struct Sessions {
    table: Mutex<HashMap<SessionId, Arc<Upload>>>,
    /// Bytes that may be in memory because they were read back for passing them on.
    pub read_back: Arc<Semaphore>,
    /// Bytes of answers to reads that may be in memory.
    pub reads: Arc<Semaphore>,
    /// Counts contents that became durable here; for those that wait for one.
    landed: watch::Sender<u64>,
    /// Commits under way.
    commits: AtomicUsize,
}

/// A commit under way, until it is dropped.
pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions {
            table: Mutex::default(),
            read_back: Arc::new(Semaphore::new(READ_BACK)),
            reads: Arc::new(Semaphore::new(SERVER_READS)),
            landed: watch::channel(0).0,
            commits: AtomicUsize::new(0),
        }
    }
}

impl Sessions {
    /// An upload by its id.
    pub fn get(&self, id: SessionId) -> Option<Arc<Upload>> {
        lock(&self.table).get(&id).cloned()
    }

    /// An upload by its id.
    ///
    /// # Errors
    /// `NO_SUCH_SESSION`.
    pub fn find(&self, id: SessionId) -> Result<Arc<Upload>> {
        self.get(id).ok_or_else(|| {
            Error::new(
                Code::NoSuchSession,
                "the write session is not known here",
                "open it again, then send what is missing",
            )
        })
    }

    /// The upload `id`, new with `session` if there is none.
    ///
    /// # Errors
    /// `BUSY` at the bound.
    pub fn get_or_open(
        &self,
        id: SessionId,
        size_hint: Option<u64>,
        session: impl FnOnce() -> WriteSession,
    ) -> Result<Arc<Upload>> {
        let mut table = lock(&self.table);
        if let Some(upload) = table.get(&id) {
            return Ok(upload.clone());
        }
        if table.len() >= SESSIONS_MAX {
            return Err(Error::new(
                Code::Busy,
                format_args!("{SESSIONS_MAX} write sessions are open on this server"),
                "try again when some have ended",
            ));
        }
        let upload = Arc::new(Upload::new(id, size_hint, session()));
        table.insert(id, upload.clone());
        Ok(upload)
    }

    /// Takes an upload out of the table, if it is still this one, and ends what goes on for it.
    pub fn remove(&self, upload: &Arc<Upload>) {
        let mut table = lock(&self.table);
        if table.get(&upload.id).is_some_and(|known| Arc::ptr_eq(known, upload)) {
            table.remove(&upload.id);
        }
    }

    /// Uploads that made no progress for too long at `now`; they are out of the table. Those that a row beyond
    /// `cursor` may name stay (decision 0007).
    pub fn expire(&self, now: Duration, cursor: u64) -> Vec<Arc<Upload>> {
        let mut table = lock(&self.table);
        let ends = |upload: &&Arc<Upload>| upload.is_expired(now) && upload.is_told_by(cursor);
        let expired: Vec<_> = table.values().filter(ends).cloned().collect();
        for upload in &expired {
            table.remove(&upload.id);
        }
        expired
    }

    /// The log has this session as a version: what was kept for deciding it may go.
    pub fn settled(&self, id: SessionId) {
        let mut table = lock(&self.table);
        if table.get(&id).is_some_and(|upload| !upload.is_committing())
            && let Some(upload) = table.remove(&id)
        {
            upload.end();
        }
    }

    /// Whether a session is prepared here without anybody asking for its outcome now.
    pub fn is_waiting_for_word(&self, id: SessionId) -> bool {
        self.get(id).is_none_or(|upload| upload.is_waiting_for_word())
    }

    /// Whether nobody has asked for a prepared session's outcome for so long.
    pub fn is_forgotten(&self, id: SessionId, after: Duration) -> bool {
        self.get(id).is_none_or(|upload| upload.is_forgotten(boottime(), after))
    }

    /// Notes that a commit has begun.
    pub(crate) fn begin_commit(&self) -> UnderWay<'_> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.commits)
    }

    /// How many commits are under way.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    /// A content has become durable here.
    pub fn content_landed(&self) {
        self.landed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Wakes at every content that becomes durable here.
    pub fn landings(&self) -> watch::Receiver<u64> {
        self.landed.subscribe()
    }

    /// After a resolution that found the session undecided: open again, and its clock starts (R10). What it holds
    /// may be dropped once rows up to `mark` are applied. The bound is for those who come: its bytes are here
    /// already, so it is not refused.
    pub fn reopen(&self, id: SessionId, user: &str, target: &Target, size: u64, mark: u64) {
        let now = boottime();
        let open = || WriteSession::open(now, user, target.clone(), types::limits::CLIENT_TIMEOUT);
        let upload =
            lock(&self.table).entry(id).or_insert_with(|| Arc::new(Upload::new(id, None, open()))).clone();
        upload.undecided(now, size, mark);
    }
}

/// A piece on its way to the disk. Its bytes hold their share of what may be in memory (R38).
pub(crate) struct Piece {
    pub offset: u64,
    pub bytes: Bytes,
    /// CRC-64 of each block.
    pub crcs: Vec<u64>,
}

impl Piece {
    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// Where the bytes of an upload are written.
pub(crate) type Writer = Mutex<Option<ContentWriter>>;

/// The writer of an upload; made with the first piece, because that reserves room.
pub(crate) fn writer<'a>(
    slot: &'a mut Option<ContentWriter>,
    store: &Store,
    size_hint: Option<u64>,
) -> &'a mut ContentWriter {
    match slot {
        Some(writer) => writer,
        None => slot.insert(store.writer(size_hint).without_digests()),
    }
}
