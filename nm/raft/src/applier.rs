//! The one thread that writes the state: it applies what openraft hands over and makes it durable now and
//! then.
//!
//! An apply batch is one redb transaction without a sync: the log is the truth, and a crash goes back to the
//! last durable commit and repeats the log from there (R34).

use std::io;
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use nm_core::store::{Store, StoreError, StoreMut, Table};
use openraft::EntryPayload;
use openraft::storage::ApplyResponder;
use redb::Database;
use threads::{Queue, Waiting, Worker};
use tokio::sync::{Notify, oneshot, watch};
use types::mutation::{self, Mutation};

use crate::config::{RaftConfig, STATE_QUEUE};
use crate::error::{Failures, RaftError};
use crate::machine::Machine;
use crate::record;
use crate::statemachine::Image;
use crate::store::{self, Transaction, View};
use crate::types::{Entry, LogId, Reply, SnapshotMeta, StoredMembership, Types};
use crate::writer::{Done, Join};

/// Log id of the last entry applied, in [`Table::Raft`].
const APPLIED: &[u8] = b"applied";
/// The membership as of that entry.
const MEMBERSHIP: &[u8] = b"membership";
/// Log id of the last snapshot that was installed from elsewhere.
const INSTALLED: &[u8] = b"installed";
/// The node id, 8 bytes big-endian.
const NODE: &[u8] = b"node";

/// Entries and whoever waits for them.
pub(crate) type Batch = Vec<(Entry, Option<ApplyResponder<Types>>)>;

/// What the thread is asked to do.
pub(crate) enum Task {
    /// Apply entries in one transaction and answer their proposers.
    Apply(Batch, Done),
    /// Make all that is applied durable and show it.
    Commit(oneshot::Sender<io::Result<Image>>),
    /// Replace the state.
    Install(Box<(SnapshotMeta, Image)>, Done),
    /// Make all durable and end.
    Stop(Done),
}

/// How far the state reaches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Applied {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Applied {
    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() }
    }

    /// Index after the last entry applied.
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }
}

/// What the other threads may know of the state.
#[derive(Clone)]
pub(crate) struct Shared {
    applied: Arc<Mutex<Applied>>,
    /// Index of the last entry applied; zero before the first.
    pub(crate) index: watch::Sender<u64>,
    /// Index after the last entry that is durably applied.
    pub(crate) durable: Arc<AtomicU64>,
    /// There is so much not yet durable that a snapshot should be built.
    pub(crate) wanted: Arc<Notify>,
    /// A snapshot was built or installed by this process.
    pub(crate) built: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn applied(&self) -> Applied {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, applied: &Applied) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = applied.clone();
        self.index.send_replace(applied.last.map_or(0, |id| id.index));
    }
}

/// Applying in the caller's thread, when that is quicker than waking this one.
pub(crate) trait Inline: Send + Sync {
    /// Applies a small batch at once; gives it back if the state is busy or has to be committed first.
    fn try_apply(&self, batch: Batch) -> Result<io::Result<()>, Batch>;
}

/// What was found in the state at start-up, all of it durable.
pub(crate) struct OpenState {
    pub(crate) shared: Shared,
    pub(crate) installed: Option<LogId>,
    pub(crate) tasks: Queue<Task>,
    pub(crate) inline: Arc<dyn Inline>,
    pub(crate) thread: Join,
}

/// Reads how far the state reaches and starts its thread.
pub(crate) fn open<M: Machine>(
    config: &RaftConfig,
    db: Arc<Database>,
    machine: Arc<M>,
    failures: Failures,
) -> Result<OpenState, RaftError> {
    let view = View::new(&db)?;
    let log_id = |key| -> Result<Option<LogId>, RaftError> {
        Ok(view.get(Table::Raft, key)?.map(|value| record::decode_log_id(value.into())).transpose()?)
    };
    let membership = view.get(Table::Raft, MEMBERSHIP)?;
    let applied = Applied {
        last: log_id(APPLIED)?,
        membership: membership
            .map_or(Ok(StoredMembership::default()), |value| record::decode_membership(value.into()))?,
    };
    let installed = log_id(INSTALLED)?;
    match view.get(Table::Raft, NODE)? {
        Some(node) if node != config.node_id.to_be_bytes() => {
            return Err(RaftError::Config(format!(
                "the data folder belongs to another member than {}; give each member a folder of its own",
                config.node_id
            )));
        }
        Some(_) => {}
        None => store::write(&db, true, |store| store.put(Table::Raft, NODE, &config.node_id.to_be_bytes()))?,
    }
    drop(view);

    let shared = Shared {
        applied: Arc::new(Mutex::new(applied.clone())),
        index: watch::Sender::new(applied.last.map_or(0, |id| id.index)),
        durable: Arc::new(AtomicU64::new(applied.next())),
        wanted: Arc::new(Notify::new()),
        built: Arc::new(AtomicBool::new(false)),
    };
    let applier = Arc::new(Mutex::new(Applier {
        db,
        machine,
        node_id: config.node_id,
        applied,
        shared: shared.clone(),
        dirty: Dirty::default(),
        dirty_bytes: config.dirty_bytes,
        dirty_entries: config.dirty_entries,
        failed: None,
        failures,
    }));
    let inline = applier.clone();
    let (tasks, joined) = threads::spawn("nm-state", STATE_QUEUE, Thread(applier))
        .map_err(|error| RaftError::Io(format!("no thread for the state: {error}")))?;
    let thread = Box::new(move || drop(joined.join()));
    Ok(OpenState { shared, installed, tasks, inline, thread })
}

/// What was applied since the last durable commit.
#[derive(Default)]
struct Dirty {
    bytes: u64,
    entries: u64,
    /// A snapshot has been asked for on its account.
    asked: bool,
}

struct Applier<M> {
    db: Arc<Database>,
    machine: Arc<M>,
    node_id: u64,
    applied: Applied,
    shared: Shared,
    dirty: Dirty,
    dirty_bytes: u64,
    dirty_entries: u64,
    /// After a failure nothing is applied any more: openraft would leave a hole.
    failed: Option<StoreError>,
    failures: Failures,
}

fn held<M>(applier: &Mutex<Applier<M>>) -> MutexGuard<'_, Applier<M>> {
    applier.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Thread<M>(Arc<Mutex<Applier<M>>>);

impl<M: Machine> Worker for Thread<M> {
    type Job = Task;

    fn work(&mut self, task: Task, _: &dyn Waiting<Task>) -> ControlFlow<()> {
        let mut applier = held(&self.0);
        // Whoever asked may be gone.
        match task {
            Task::Apply(entries, done) => {
                let result = applier.guard(|this| this.apply(entries));
                let _ = done.send(result);
                // After the answer: a commit takes a while.
                let _ = applier.guard(Applier::bound_dirty);
            }
            Task::Commit(done) => {
                let result = applier.guard(Applier::commit);
                let _ = done.send(result);
            }
            Task::Install(snapshot, done) => {
                let result = applier.guard(|this| this.install(snapshot.0, &snapshot.1));
                let _ = done.send(result);
            }
            Task::Stop(done) => {
                let result = applier.guard(|this| this.commit().map(drop));
                let _ = done.send(result);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

impl<M: Machine> Inline for Mutex<Applier<M>> {
    fn try_apply(&self, batch: Batch) -> Result<io::Result<()>, Batch> {
        let Ok(mut applier) = self.try_lock() else { return Err(batch) };
        if applier.beyond(2) {
            return Err(batch);
        }
        let result = applier.guard(|this| this.apply(batch));
        applier.ask();
        Ok(result)
    }
}

impl<M: Machine> Applier<M> {
    fn fail(&mut self, error: StoreError) {
        self.failures.report(&error.clone().into());
        self.failed = Some(error);
    }

    fn guard<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> io::Result<T> {
        let result = match &self.failed {
            Some(error) => Err(error.clone()),
            None => {
                // openraft would wait for ever for a worker that panicked.
                let done = panic::catch_unwind(AssertUnwindSafe(|| work(self)));
                let done = done
                    .unwrap_or_else(|_| Err(StoreError::Failed("the state machine panicked".to_string())));
                done.inspect_err(|error| self.fail(error.clone()))
            }
        };
        result.map_err(io::Error::other)
    }

    fn apply(&mut self, entries: Batch) -> Result<(), StoreError> {
        let mut applied = self.applied.clone();
        let machine = &self.machine;
        let mut bytes = 0;
        let replies = store::write(&self.db, false, |store| {
            let mut replies = Vec::with_capacity(entries.len());
            for (entry, _) in &entries {
                applied.last = Some(entry.log_id);
                replies.push(match &entry.payload {
                    EntryPayload::Blank => Bytes::new(),
                    EntryPayload::Normal(payload) => {
                        bytes += payload.0.len() as u64;
                        machine.apply(entry.log_id.index, &payload.0, store)?.reply
                    }
                    EntryPayload::Membership(membership) => {
                        applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                        store.put(
                            Table::Raft,
                            MEMBERSHIP,
                            &record::encode_membership(&applied.membership),
                        )?;
                        Bytes::new()
                    }
                });
            }
            put_log_id(store, APPLIED, applied.last.as_ref())?;
            Ok(replies)
        })?;
        if bytes > 0 {
            log::crash_point("nm.applied");
        }

        self.applied = applied;
        self.shared.set(&self.applied);
        self.dirty.bytes += bytes;
        self.dirty.entries += entries.len() as u64;
        for ((_, responder), reply) in entries.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        Ok(())
    }

    /// Whether what is not durable is `times` what it should be.
    fn beyond(&self, times: u64) -> bool {
        self.dirty.bytes >= times * self.dirty_bytes || self.dirty.entries >= times * self.dirty_entries
    }

    /// Asks for a snapshot when enough is not durable.
    fn ask(&mut self) {
        if self.beyond(1) && !self.dirty.asked {
            self.dirty.asked = true;
            self.shared.wanted.notify_one();
        }
    }

    /// Asks for a snapshot, and commits when none came for as long again.
    fn bound_dirty(&mut self) -> Result<(), StoreError> {
        self.ask();
        if self.beyond(2) { self.commit().map(drop) } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<Image, StoreError> {
        let last = self.applied.last;
        log::crash_point("nm.checkpoint-begin");
        let durable = !mutation::is(Mutation::PurgeUndurable);
        store::write(&self.db, durable, |store| put_log_id(store, APPLIED, last.as_ref()))?;
        log::crash_point("nm.checkpoint");
        self.dirty = Dirty::default();
        self.shared.durable.store(self.applied.next(), Ordering::Release);
        Ok(Image { meta: self.applied.meta(), view: View::new(&self.db)? })
    }

    fn install(&mut self, meta: SnapshotMeta, image: &Image) -> Result<(), StoreError> {
        let node = self.node_id.to_be_bytes();
        store::write(&self.db, true, |store| {
            store.clear()?;
            for table in Table::ALL {
                let mut put = Ok(());
                image.view.scan(table, &[], &[], &mut |key, value| {
                    put = store.put(table, key, value);
                    put.is_ok()
                })?;
                put?;
            }
            store.put(Table::Raft, NODE, &node)?;
            store.put(Table::Raft, MEMBERSHIP, &record::encode_membership(&meta.last_membership))?;
            put_log_id(store, INSTALLED, meta.last_log_id.as_ref())?;
            put_log_id(store, APPLIED, meta.last_log_id.as_ref())
        })?;
        self.applied = Applied { last: meta.last_log_id, membership: meta.last_membership };
        self.dirty = Dirty::default();
        self.shared.set(&self.applied);
        self.shared.durable.store(self.applied.next(), Ordering::Release);
        self.shared.built.store(true, Ordering::Release);
        Ok(())
    }
}

fn put_log_id(store: &mut Transaction<'_>, key: &[u8], id: Option<&LogId>) -> Result<(), StoreError> {
    match id {
        Some(id) => store.put(Table::Raft, key, &record::encode_log_id(id)),
        None => store.delete(Table::Raft, key),
    }
}
