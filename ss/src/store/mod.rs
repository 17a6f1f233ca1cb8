//! The store of a storage server: contents, records, cursors. What is durable is the journal and the extents;
//! the index is a copy that can be deleted.
//!
//! A content comes in through a [`ContentWriter`] (or [`Store::small`]), becomes durable with
//! [`Store::prepare`], and a version with the row that names its session ([`Store::apply`]). One thread
//! changes the store, with one sync of the journal for all that wait (group commit) and one transaction of
//! the index; readers see a change before whoever asked for it hears that it is done.

mod apply;
mod cache;
mod change;
mod commit;
mod compact;
mod config;
mod content;
mod entry;
mod index;
mod offer;
mod open;
mod pins;
mod read;
mod records;
mod rows;
mod scrub;
mod shared;
#[cfg(test)]
mod tests;
mod tidy;
mod trouble;
mod upkeep;
mod writer;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use log::{Committer, Disk, OwnerHandle, Position, Refused};
use tokio::sync::oneshot;
use types::command::Asker;
use types::ids::SessionId;
use types::message::store::Target;
use types::record::{Manifest, Pair, Record, User};
use types::{Code, Error, Result};

pub use config::StoreConfig;
pub use content::{Content, Held, Origin};
pub use entry::State;
pub use index::Cursors;
pub use log::Position as JournalPosition;
pub use pins::Pin;
pub use upkeep::Listed;
pub use writer::ContentWriter;

use apply::Outcome;
use change::{AdvanceRecord, Change, ChunkPlace, ContentRecord, PlacesRecord, SessionRecord, session_bytes};
use commit::{Committing, Job, Reply, Work};
use content::Reserved;
use index::Index;
use open::{MakeIndex, Opened, open};
use redb::backends::InMemoryBackend;
use shared::Shared;
use trouble::{index_error, lock, log_error};

/// Chunks named in one record; more stand in records before it.
const PLACES_PER_RECORD: usize = 1024;

/// What [`Store::prepare`] makes durable.
pub struct Prepare {
    /// Write session.
    pub session: SessionId,
    /// What is written to.
    pub target: Target,
    /// Who asked.
    pub asker: Option<Asker>,
    /// The content. None: what the session holds here already (it is open again, R10).
    pub content: Option<Content>,
    /// For the partner, not as the acting member.
    pub for_partner: bool,
    /// Answer when it is only buffered: it becomes durable with the next sync.
    pub lazy: bool,
    /// Number of the newest row that the acting member knows ([`Store::newest_row`]; R26).
    pub seen: u64,
}

/// What became of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The row.
    pub seq: u64,
    /// Whether it was news; if not, what is here is as new or newer.
    pub newer: bool,
}

/// The store. Cheap to clone; all clones are the same store. Methods that are not `async` may read the disk,
/// but answer from memory for what was used or written lately.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// None: opened for reading only.
    writing: Option<Arc<Writing>>,
}

struct Writing {
    committer: Committer<Job>,
    thread: Mutex<Option<OwnerHandle<Committing>>>,
}

impl Store {
    /// Opens the store on `disk`, or makes it. Blocks while it replays what the index
    /// lacks of the journal.
    ///
    /// # Errors
    /// `Damaged` when the journal or an extent file is; `UnknownFormat`; `AlreadyRunning` when another process has
    /// the index open; `DiskFull`; `Io`.
    pub fn open(disk: Arc<dyn Disk>, config: StoreConfig) -> Result<Store> {
        let (of, cache) = (disk.clone(), config.index_cache_bytes);
        Store::open_with(disk, &mut |fresh| Index::open(&*of, cache, fresh), config)
    }

    pub(crate) fn open_with(disk: Arc<dyn Disk>, index: MakeIndex<'_>, config: StoreConfig) -> Result<Store> {
        let bounds = config.bounds;
        let Opened { shared, log, committing } = open(disk, index, config, true)?;
        let (committer, thread) = Committer::spawn("store", committing, log, bounds).map_err(log_error)?;
        let writing = Writing { committer, thread: Mutex::new(Some(thread)) };
        Ok(Store { shared, writing: Some(Arc::new(writing)) })
    }

    /// Opens a store that is not in use, to look at it: the index is rebuilt in memory and `index.redb` is
    /// neither read nor written. Everything that would change the store is refused.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_read_only(disk: Arc<dyn Disk>, config: StoreConfig) -> Result<Store> {
        let cache = config.index_cache_bytes;
        let mut make = |_| Index::open_on(InMemoryBackend::new(), cache);
        let Opened { shared, .. } = open(disk, &mut make, config, false)?;
        Ok(Store { shared, writing: None })
    }

    /// Starts an upload of so many bytes, if that is known.
    pub fn writer(&self, size_hint: Option<u64>) -> ContentWriter {
        let shared = self.shared.clone();
        ContentWriter::new(
            self.shared.extents.clone(),
            self.shared.health.clone(),
            size_hint,
            self.shared.config.keep_free_bytes,
            Box::new(move || shared.free_bytes()),
        )
    }

    /// A content that came in one piece and stands inline.
    ///
    /// # Errors
    /// `BadRequest` when it is above `INLINE_MAX` or does not have this CRC-64.
    pub fn small(&self, bytes: Bytes, crc64: u64) -> Result<Content> {
        Content::small(&bytes, crc64)
    }

    /// Makes a content durable as prepared: it ends only by the log's decision (R10). Preparing what is held
    /// already is no error. Returns where it stands in the journal.
    ///
    /// # Errors
    /// `DiskFull`: nothing happened. `KeyReused`: the session holds another content. `NoSuchSession`: there is
    /// no content with it and none is held. `Io`, outcome unknown: the store is out of service.
    pub async fn prepare(&self, prepare: Prepare) -> Result<JournalPosition> {
        let record = ContentRecord {
            session: session_bytes(prepare.session),
            target: Some(prepare.target),
            asker: prepare.asker,
            for_partner: prepare.for_partner,
            seen: prepare.seen,
            ..ContentRecord::default()
        };
        let (changes, reserved) = self.content_changes(record, prepare.content, false).await?;
        self.change(changes, reserved, !prepare.lazy).await.and_then(done)
    }

    /// Keeps a content that was copied from the partner for a version that the log has. If the session is held
    /// already with this content, the copy replaces what is there.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    pub async fn keep_fetched(&self, session: SessionId, content: Content) -> Result<()> {
        let record = ContentRecord { session: session_bytes(session), ..ContentRecord::default() };
        let (changes, reserved) = self.content_changes(record, Some(content), true).await?;
        self.change(changes, reserved, true).await.and_then(done).map(|_| ())
    }

    /// The records of a content. Its extents are durable afterwards: they are synced before a record names them.
    async fn content_changes(
        &self,
        mut record: ContentRecord,
        content: Option<Content>,
        fetched: bool,
    ) -> Result<(Vec<Change>, Option<Reserved>)> {
        self.shared.check()?;
        let Some(content) = content else {
            return Ok((vec![Change::Content { record, tail: Bytes::new(), fetched }], None));
        };
        let content = if content.has_extents() { self.sync_extents(content).await? } else { content };
        let Content { mut manifest, tail, mut places, reserved } = content;
        manifest.inline = Bytes::new();
        record.manifest = Some(manifest);
        let mut changes = Vec::new();
        while places.len() > PLACES_PER_RECORD {
            let rest = places.split_off(PLACES_PER_RECORD);
            changes.push(self.places_change(&record, std::mem::replace(&mut places, rest), changes.len()));
        }
        record.parts = changes.len() as u32;
        record.places = places;
        changes.push(Change::Content { record, tail, fetched });
        Ok((changes, reserved))
    }

    fn places_change(&self, record: &ContentRecord, places: Vec<ChunkPlace>, part: usize) -> Change {
        Change::Places(PlacesRecord { session: record.session.clone(), part: part as u32, places })
    }

    async fn sync_extents(&self, content: Content) -> Result<Content> {
        let (extents, health) = (self.shared.extents.clone(), self.shared.health.clone());
        let sync = move || {
            let _clock = health.operation();
            let files = content.places.iter().map(|p| p.file).filter(|file| *file != 0).collect();
            extents.sync(&files).map_err(|error| {
                let error = log_error(error);
                health.fail(&error);
                error
            })?;
            Ok(content)
        };
        let synced = threads::run(sync).await;
        synced.map_err(|error| Error::internal(format_args!("a sync of the extents ended early: {error}")))?
    }

    /// Waits until everything that could be seen here when this was called is durable.
    ///
    /// # Errors
    /// `Io`: the store is out of service.
    pub async fn barrier(&self) -> Result<()> {
        self.change(Vec::new(), None, true).await.map(|_| ())
    }

    /// The prepared mark goes, the content stays and may be prepared again (R10). Not waited for on the disk:
    /// if it is lost, the session is only resolved once more.
    ///
    /// # Errors
    /// `Io`: the store is out of service.
    pub async fn unprepare(&self, session: SessionId) -> Result<()> {
        let change = Change::Unprepared(SessionRecord { session: session_bytes(session) });
        self.change(vec![change], None, false).await.and_then(done).map(|_| ())
    }

    /// Gives a content up; its room is free again once that is durable. Not waited for on the disk. Nothing
    /// happens when it is not held.
    ///
    /// # Errors
    /// `Locked` when it belongs to a kept version. `Io`: the store is out of service.
    pub async fn drop_session(&self, session: SessionId) -> Result<()> {
        let change = Change::Dropped(SessionRecord { session: session_bytes(session) });
        self.change(vec![change], None, false).await.and_then(done).map(|_| ())
    }

    /// Moves the cursor in a feed, after the rows it covers are durable. A cursor never goes back.
    ///
    /// # Errors
    /// `Changed` when the feeds are of another generation; else those of [`apply`](Self::apply).
    pub async fn advance(&self, generation: u64, feed: u32, seq: u64) -> Result<()> {
        let cursors = self.cursors();
        let cursor = if feed == 0 { cursors.control } else { cursors.pair };
        if cursors.generation == generation && cursor >= seq {
            return Ok(());
        }
        let change = Change::Advance(AdvanceRecord { generation, feed, seq });
        self.change(vec![change], None, true).await.and_then(done).map(|_| ())
    }

    /// The feeds have this generation. If it is another one than before, the cursors begin at zero.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub async fn set_generation(&self, generation: u64) -> Result<()> {
        if self.cursors().generation == generation {
            return Ok(());
        }
        let change = Change::FeedReset(AdvanceRecord { generation, ..AdvanceRecord::default() });
        self.change(vec![change], None, true).await.and_then(done).map(|_| ())
    }

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

    /// Contents whose fate the log has not told yet.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn prepared(&self) -> Result<Vec<Held>> {
        self.pending(State::Prepared)
    }

    /// Contents that are open again and belong to nobody's session here, as after a restart.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn open_again(&self) -> Result<Vec<Held>> {
        self.pending(State::Open)
    }

    fn pending(&self, state: State) -> Result<Vec<Held>> {
        let mut held = Vec::new();
        for session in self.shared.index.pending()? {
            held.extend(self.shared.lookup(session)?.filter(|held| held.state == state));
        }
        Ok(held)
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

    /// Shows a record that the log has decided before its row comes (R22). In memory only: after a crash the
    /// row brings it.
    ///
    /// # Errors
    /// `Io`.
    pub fn install_head(&self, record: Record) -> Result<()> {
        self.shared.install(record)
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

    /// Does a bounded slice of what keeps the disk tidy: contents that no version names any more are collected, then
    /// their room is free; the oldest segment of a journal that is half empty is written anew. Says whether there is more to do.
    ///
    /// # Errors
    /// `DiskFull`: there is no room for the record that says it. `Io`: the store is out of service.
    pub async fn tidy(&self) -> Result<bool> {
        let reply = self.submit(Work::Tidy, None, false).await?;
        Ok(reply.more)
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

    /// Finishes what was asked for, makes the index durable and ends the store's thread. Blocks. Other clones
    /// can only read from then on.
    pub fn close(self) {
        let Some(writing) = &self.writing else { return };
        writing.committer.shutdown();
        let Some(thread) = lock(&writing.thread).take() else { return };
        match thread.join() {
            Some((mut committing, log)) => {
                if let Err(error) = committing.commit_index(&log) {
                    tracing::warn!(%error, "the index is not up to date; the next start replays more");
                }
            }
            None => tracing::error!("the store's thread panicked"),
        }
    }

    /// Hands changes to the committing thread and waits for it.
    async fn change(&self, changes: Vec<Change>, reserved: Option<Reserved>, durable: bool) -> Result<Reply> {
        self.submit(Work::Changes(changes), reserved, durable).await
    }

    async fn submit(&self, work: Work, reserved: Option<Reserved>, durable: bool) -> Result<Reply> {
        let ended =
            || Error::new(Code::Unavailable, "the store is closed", "wait until the server is up again");
        self.shared.check()?;
        let Some(writing) = &self.writing else {
            return Err(Error::new(
                Code::Unsupported,
                "the store is open for reading only",
                "open it for writing",
            ));
        };
        let (reply, answer) = oneshot::channel();
        let job = Job { work, durable, reserved, reply };
        match writing.committer.try_submit(job) {
            Ok(()) => {}
            Err(Refused::Closed(_)) => return Err(ended()),
            Err(Refused::Full(job)) => {
                let committer = writing.committer.clone();
                let submitted = threads::run(move || committer.submit(job).is_ok()).await;
                if !submitted.map_err(index_error)? {
                    return Err(ended());
                }
            }
        }
        answer.await.map_err(|_| ended().outcome_unknown())?
    }
}

/// The outcome of the last change of a reply: the one that the others only prepare.
fn done(reply: Reply) -> Result<Position> {
    match reply.outcomes.into_iter().next_back() {
        Some(Outcome::Refused(error)) => Err(error),
        _ => Ok(reply.position),
    }
}
