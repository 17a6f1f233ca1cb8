//! The handle of the group.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use log::Disk;
use nm_core::store::StoreError;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError};
use redb::Database;
use threads::Queue;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::applier::{Shared, Task};
use crate::config::RaftConfig;
use crate::error::{EXIT_FAILED, Failure, Failures, Leader, NotLeader, ProposeError};
use crate::machine::Machine;
use crate::statemachine::StateMachine;
use crate::store::View;
use crate::types::{Payload, Types};
use crate::writer::{Join, Op};

/// How long a proposal waits for an election under way to name its leader.
const ELECTION_PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks, should it miss the news.
const ELECTION_POLL: Duration = Duration::from_millis(20);

/// openraft itself.
pub(crate) type Core = openraft::Raft<Types, StateMachine>;

/// Who leads, as this member knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term this member is in.
    pub term: u64,
    /// The leader of that term, once known.
    pub leader: Option<Leader>,
    /// Whether that is this member.
    pub here: bool,
}

/// The group in numbers, for metrics and `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The term this member is in.
    pub term: u64,
    /// Node id of the leader, if known.
    pub leader: Option<u64>,
    /// Index of the last entry in the log.
    pub last_log: u64,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Index after the last entry that is durably applied: a restart repeats the log from here.
    pub durable: u64,
    /// Index of the last entry that was purged from the log.
    pub purged: Option<u64>,
}

/// What the start-up made, and the threads it left running.
pub(crate) struct Inner {
    pub(crate) core: Core,
    pub(crate) db: Arc<Database>,
    pub(crate) shared: Shared,
    pub(crate) tasks: Queue<Task>,
    pub(crate) ops: Queue<Op>,
    /// Proposals that wait for their reply.
    pub(crate) under_way: Arc<AtomicUsize>,
    pub(crate) max_payload: usize,
    pub(crate) failures: Failures,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) helpers: Vec<AbortHandle>,
    pub(crate) threads: Mutex<Vec<Join>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for helper in &self.helpers {
            helper.abort();
        }
    }
}

/// A member of the group; clones are handles to the same one.
///
/// Call [`Raft::shutdown`] before the process ends. Without it nothing acknowledged is lost, but the next
/// start has more to repeat.
pub struct Raft<M> {
    inner: Arc<Inner>,
    machine: PhantomData<fn(M)>,
}

impl<M> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Raft { inner: self.inner.clone(), machine: PhantomData }
    }
}

impl<M> fmt::Debug for Raft<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("leadership", &*self.inner.leadership.borrow()).finish_non_exhaustive()
    }
}

/// One more, until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn new(count: &AtomicUsize) -> Counted<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn leader(forward: &ForwardToLeader<Types>) -> Option<Leader> {
    let id = forward.leader_id?;
    Some(Leader { id, addr: forward.leader_node.as_ref().map(|node| node.addr.clone()).unwrap_or_default() })
}

impl<M: Machine> Raft<M> {
    /// Starts this member: opens its state and its log, repeats what the state lacks, and joins the group.
    ///
    /// The first start makes a group of one. A group of one leads, and has applied all it ever
    /// acknowledged, when this returns. `disk` holds the Raft log in `config.log_folder` and the
    /// state in `state.redb`. Call it within a tokio runtime.
    pub async fn start(
        config: RaftConfig,
        disk: Arc<dyn Disk>,
        machine: Arc<M>,
    ) -> Result<Self, crate::RaftError> {
        let inner = crate::start::start(config, disk, machine).await?;
        Ok(Raft { inner: Arc::new(inner), machine: PhantomData })
    }

    #[cfg(test)]
    pub(crate) fn from_inner(inner: Inner) -> Self {
        Raft { inner: Arc::new(inner), machine: PhantomData }
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Proposes `payload` and waits until it is committed, durable and applied here: its index in the log
    /// and the state machine's reply.
    ///
    /// Several may be in flight; they share log syncs and transactions. An election under way is waited for,
    /// up to a second.
    pub async fn propose(&self, payload: Bytes) -> Result<(u64, Bytes), ProposeError> {
        let (bytes, limit) = (payload.len(), self.inner.max_payload);
        if bytes > limit {
            return Err(ProposeError::TooLarge { bytes, limit });
        }
        let deadline = Instant::now() + ELECTION_PATIENCE;
        let _counted = Counted::new(&self.inner.under_way);
        loop {
            if let Some(why) = self.stopped() {
                return Err(ProposeError::Stopped(why));
            }
            let forward = match self.inner.core.client_write(Payload(payload.clone())).await {
                Ok(written) => return Ok((written.log_id.index, written.data.0)),
                Err(error) => match error.into_api_error() {
                    Some(ClientWriteError::ForwardToLeader(forward)) => forward,
                    // In the log for a while, or openraft ended meanwhile.
                    _ => return Err(ProposeError::Unknown),
                },
            };
            let leader = leader(&forward);
            let elsewhere = leader.as_ref().is_some_and(|leader| leader.id != *self.inner.core.node_id());
            if elsewhere || Instant::now() >= deadline {
                return Err(ProposeError::NotLeader { leader });
            }
            let mut leadership = self.inner.leadership.clone();
            // Either way: look again.
            let _ = tokio::time::timeout(ELECTION_POLL, leadership.changed()).await;
        }
    }

    /// Makes sure that this member still leads and has applied all that was committed before the call: reads
    /// through a [`Raft::view`] taken afterwards are linearizable.
    pub async fn read_index(&self) -> Result<(), NotLeader> {
        match self.inner.core.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(error) => Err(NotLeader {
                leader: match error.into_api_error() {
                    Some(LinearizableReadError::ForwardToLeader(forward)) => leader(&forward),
                    _ => None,
                },
            }),
        }
    }

    /// Whoever uses the group has found that its data is not what it was: it ends as if it had found it itself (see
    /// [`Raft::failed`]).
    pub fn give_up(&self, what: String) {
        self.inner.failures.report(&crate::RaftError::Damaged(what));
    }

    /// The state as applied by now. Let go of it soon: what it sees is kept on disk for it. Damage that is found by
    /// reading it ends the group (see [`Raft::failed`]).
    pub fn view(&self) -> Result<View, StoreError> {
        View::watched(&self.inner.db, self.inner.failures.clone())
    }

    /// The index of the last entry applied; a view taken after a change shows it.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.inner.shared.index.subscribe()
    }

    /// Whether this member leads, as far as it knows; [`Raft::read_index`] makes sure.
    pub fn is_leader(&self) -> bool {
        self.inner.leadership.borrow().here
    }

    /// Changes of the leader or the term.
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// The group in numbers.
    pub fn metrics(&self) -> Metrics {
        let metrics = self.inner.core.data_metrics();
        let metrics = metrics.borrow_watched();
        let leadership = self.inner.leadership.borrow();
        Metrics {
            term: leadership.term,
            leader: leadership.leader.as_ref().map(|leader| leader.id),
            last_log: metrics.last_log.map_or(0, |id| id.index),
            applied: *self.inner.shared.index.borrow(),
            durable: self.inner.shared.durable.load(Ordering::Acquire),
            purged: metrics.purged.map(|id| id.index),
        }
    }

    /// Resolves when the group has failed for good and the process must stop; never after a shutdown.
    pub async fn failed(&self) -> Failure {
        let mut watch = self.inner.failures.watch();
        let failure = watch.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match failure {
            Some(failure) => failure,
            // The sender lives in `self`.
            None => std::future::pending().await,
        }
    }

    /// The same as a watch, for those that look now and then.
    pub fn watch_failure(&self) -> watch::Receiver<Option<Failure>> {
        self.inner.failures.watch()
    }

    /// Stops the member: no more proposals, all that is applied made durable, files closed.
    ///
    /// Proposals in flight end with [`ProposeError::Unknown`]. Repeating it does nothing.
    pub async fn shutdown(self) {
        // A core that panicked has reported it already.
        let _ = self.inner.core.shutdown().await;
        let threads = {
            let mut threads = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        if threads.is_empty() {
            return;
        }
        // State first: what it makes durable the log then need not keep.
        self.ask("state", |done| self.inner.tasks.send(Task::Stop(done)).is_ok()).await;
        self.ask("log", |done| self.inner.ops.send(Op::Stop(done)).is_ok()).await;
        let joined = threads::run(move || {
            threads.into_iter().for_each(|join| join());
        });
        if let Err(error) = joined.await {
            tracing::warn!(%error, "the threads of the Raft group did not end in order");
        }
    }

    async fn ask(&self, what: &str, send: impl FnOnce(oneshot::Sender<io::Result<()>>) -> bool) {
        let (done, answer) = oneshot::channel();
        if send(done)
            && let Ok(Err(error)) = answer.await
        {
            tracing::warn!(%error, what, "not flushed at shutdown");
        }
    }

    /// Why no proposal can get into the log any more, if so.
    fn stopped(&self) -> Option<String> {
        if let Some(failure) = self.inner.failures.get() {
            return Some(failure.message);
        }
        let metrics = self.inner.core.metrics();
        metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }
}

/// Reports that openraft has ended although nobody asked it to.
pub(crate) fn report_end(core: &Core, failures: &Failures) {
    let metrics = core.metrics();
    if let Err(fatal) = &metrics.borrow_watched().running_state
        && !matches!(fatal, openraft::errors::Fatal::Stopped)
    {
        failures.report_as(format!("Raft has stopped: {fatal}"), EXIT_FAILED);
    }
}
