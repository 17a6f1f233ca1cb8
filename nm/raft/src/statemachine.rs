//! openraft's view of the state: it hands entries to the state's thread and waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{FutureExt, Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, alias};
use threads::Queue;
use tokio::sync::oneshot;

use crate::applier::{Batch, Inline, OpenState, Shared, Task};
use crate::config::{APPLY_BATCH_BYTES, APPLY_BATCH_ENTRIES, INLINE_BYTES, INLINE_ENTRIES};
use crate::store::View;
use crate::types::{LogId, SnapshotMeta, StoredMembership, Types};

/// A consistent image of the whole state: a redb read transaction.
///
/// openraft drops it at once in a group of one. A member that is sent one copies its tables; the transport
/// that will carry it between machines comes with larger groups.
#[derive(Debug)]
pub struct Image {
    pub(crate) meta: SnapshotMeta,
    pub(crate) view: View,
}

type Snapshot = alias::SnapshotOf<Types, Image>;

/// The state as openraft drives it; a clone of it builds snapshots.
#[derive(Clone)]
pub(crate) struct StateMachine {
    tasks: Queue<Task>,
    inline: Arc<dyn Inline>,
    shared: Shared,
}

fn stopped() -> io::Error {
    io::Error::other("the state's thread has stopped")
}

impl StateMachine {
    pub(crate) fn new(state: &OpenState) -> Self {
        StateMachine {
            tasks: state.tasks.clone(),
            inline: state.inline.clone(),
            shared: state.shared.clone(),
        }
    }

    async fn ask<T>(&self, task: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Task) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        self.tasks.send(task(done)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// A small batch is applied here: waking the state's thread costs as much as applying it. What may take
    /// long (a large batch, one behind a durable commit) must not hold up the runtime.
    async fn apply_batch(&self, batch: Batch, bytes: usize) -> io::Result<()> {
        let mut batch = batch;
        if batch.len() <= INLINE_ENTRIES && bytes <= INLINE_BYTES {
            match self.inline.try_apply(batch) {
                Ok(result) => return result,
                Err(busy) => batch = busy,
            }
        }
        self.ask(|done| Task::Apply(batch, done)).await
    }

    /// Commits durably and shows what was committed, so that a snapshot never promises more than is durable.
    async fn snapshot(&self) -> io::Result<Snapshot> {
        let image = self.ask(Task::Commit).await?;
        self.shared.built.store(true, Ordering::Release);
        Ok(Snapshot { meta: image.meta.clone(), snapshot: image })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Image;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.shared.applied();
        Ok((applied.last, applied.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut ended = false;
        while !ended && let Some(first) = entries.next().await {
            let mut batch = vec![first?];
            let mut bytes = size(&batch[0]);
            while batch.len() < APPLY_BATCH_ENTRIES
                && bytes < APPLY_BATCH_BYTES
                && let Some(ready) = entries.next().now_or_never()
            {
                match ready {
                    Some(entry) => {
                        let entry = entry?;
                        bytes += size(&entry);
                        batch.push(entry);
                    }
                    None => {
                        ended = true;
                        break;
                    }
                }
            }
            self.apply_batch(batch, bytes).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Image) -> io::Result<()> {
        let snapshot = Box::new((meta.clone(), snapshot));
        self.ask(|done| Task::Install(snapshot, done)).await
    }

    /// None until one was built by this process: what openraft replayed at start-up is not durable yet, and
    /// a snapshot reported here lets it purge. When asked again the image is made afresh, as of now: keeping
    /// one would keep redb from reusing what it frees.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if !self.shared.built.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.snapshot().await.map(Some)
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.snapshot().await
    }
}

fn size(item: &EntryResponder<Types>) -> usize {
    match &item.0.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        _ => 0,
    }
}
