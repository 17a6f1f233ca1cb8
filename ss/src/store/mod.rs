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
mod contents;
mod damage;
mod doubt;
mod entry;
mod hole;
mod index;
mod keep;
mod listing;
mod offer;
mod open;
mod pins;
mod query;
mod read;
mod records;
mod restate;
mod rows;
mod salvage;
mod schema;
mod scrub;
mod shared;
mod tables;
#[cfg(test)]
mod tests;
mod tidy;
mod trouble;
mod upkeep;
mod writer;

use std::sync::{Arc, Mutex};

use log::{Committer, Disk, OwnerHandle, Position, Refused};
use tokio::sync::oneshot;
use types::{Code, Error, Result};

pub use config::StoreConfig;
pub use content::{Content, Held, Origin};
pub use damage::IndexDamage;
pub use entry::State;
pub use index::Cursors;
pub use keep::Prepare;
pub use log::Position as JournalPosition;
pub use pins::Pin;
pub use upkeep::Listed;
pub use writer::ContentWriter;

use apply::Outcome;
use change::Change;
use commit::{Committing, Job, Reply, Work};
use content::Reserved;
use index::Index;
use open::{MakeIndex, Opened, open};
use redb::backends::InMemoryBackend;
use shared::Shared;
use trouble::{index_error, lock, log_error};

/// Chunks named in one record; more stand in records before it.
const PLACES_PER_RECORD: usize = 1024;

/// A record of the journal, read and written again.
pub(crate) fn reread_change(kind: u8, payload: bytes::Bytes) -> Result<Vec<u8>> {
    let change = Change::decode(kind, payload)?;
    let mut out = Vec::new();
    change.head(&mut out);
    out.extend_from_slice(change.tail());
    Ok(out)
}

/// The index's entry of a content, read and written again.
pub(crate) fn reread_content(bytes: &[u8]) -> Result<Vec<u8>> {
    entry::ContentEntry::decode(bytes).map(|entry| entry.encode().to_vec())
}

/// The index's entry of a chunk, read and written again.
pub(crate) fn reread_chunk(bytes: &[u8]) -> Result<Vec<u8>> {
    entry::ChunkEntry::decode(bytes).map(|entry| entry.encode())
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
        let (of, cache, damage) = (disk.clone(), config.index_cache_bytes, config.index_damage.clone());
        Store::open_with(disk, &mut |fresh| Index::open(&of, cache, fresh, &damage), config)
    }

    /// Whether the journal on `disk` is damaged where it was durable, in a way that the store can go on behind
    /// ([`StoreConfig::salvage`]). Reads all of it, changes nothing.
    ///
    /// # Errors
    /// `Damaged` when there is no going on; `Io`.
    pub fn has_holes(disk: &dyn Disk, config: &StoreConfig) -> Result<bool> {
        Ok(!open::unknown_holes(disk, config)?.is_empty())
    }

    pub(crate) fn open_with(disk: Arc<dyn Disk>, index: MakeIndex<'_>, config: StoreConfig) -> Result<Store> {
        let (bounds, damage) = (config.bounds, config.index_damage.clone());
        let Opened { shared, log, committing } = open(disk, index, config, true)?;
        let (committer, thread) = Committer::spawn("store", committing, log, bounds).map_err(log_error)?;
        let writing = Writing { committer, thread: Mutex::new(Some(thread)) };
        damage.opened();
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

    /// Waits until everything that could be seen here when this was called is durable.
    ///
    /// # Errors
    /// `Io`: the store is out of service.
    pub async fn barrier(&self) -> Result<()> {
        self.change(Vec::new(), None, true).await.map(|_| ())
    }

    /// Does a bounded slice of what keeps the disk tidy: contents that no version names any more are collected, then
    /// their room is free; the oldest segment of a journal that is half empty is written anew. Says whether there is more to do.
    ///
    /// # Errors
    /// `DiskFull`: there is no room for the record that says it. `Io`: the store is out of service.
    pub async fn tidy(&self) -> Result<bool> {
        let reply = self.submit(Work::Tidy, None, false, false).await?;
        Ok(reply.more)
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
        self.submit(Work::Changes(changes), reserved, durable, false).await
    }

    /// `here`: in this thread, if the committing one has nothing to do.
    async fn submit(
        &self,
        work: Work,
        reserved: Option<Reserved>,
        durable: bool,
        here: bool,
    ) -> Result<Reply> {
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
        let clock = self.shared.health.operation();
        let job = Job { work, durable, reserved, clock, reply };
        let submitted = if here { writing.committer.here(job) } else { writing.committer.try_submit(job) };
        match submitted {
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
