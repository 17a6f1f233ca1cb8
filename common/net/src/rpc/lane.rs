//! What has to happen in the order it came: the casts of one connection, and the calls among them.

use crate::BoxFuture;
use crate::rpc::Incoming;
use crate::rpc::connection::{Context, Place, begin_call, begin_cast, cast_failed, panicked};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// One thing to do.
pub(crate) enum Turn {
    /// A cast that was begun while nothing waited.
    Running(BoxFuture<'static, ()>),
    /// A cast.
    Cast(Incoming),
    /// A call, by its correlation.
    Call(u64, Incoming),
}

/// The queue and, once something had to wait, the task that works it off. Each turn holds its place among
/// the requests of the connection, which bounds the queue.
pub(crate) struct Lane {
    context: Context,
    queue: Option<mpsc::UnboundedSender<(Turn, Place)>>,
    depth: Arc<AtomicUsize>,
}

impl Lane {
    pub(crate) fn new(context: Context) -> Lane {
        Lane { context, queue: None, depth: Arc::default() }
    }

    /// Whether everything before is done, so that the next may be begun at once.
    pub(crate) fn is_idle(&self) -> bool {
        self.depth.load(Ordering::Acquire) == 0
    }

    pub(crate) fn add(&mut self, turn: Turn, place: Place) {
        self.depth.fetch_add(1, Ordering::AcqRel);
        let queue = self.queue.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(work(self.context.clone(), receiver, self.depth.clone()));
            sender
        });
        // The task lives as long as the queue.
        let _ = queue.send((turn, place));
    }
}

/// Works off the queue, also what is left of it when the connection has ended: it did arrive.
async fn work(context: Context, mut queue: mpsc::UnboundedReceiver<(Turn, Place)>, depth: Arc<AtomicUsize>) {
    while let Some((turn, place)) = queue.recv().await {
        let rest = match turn {
            Turn::Running(rest) => Some(rest),
            Turn::Cast(request) => begin_cast(&context, request).await,
            Turn::Call(correlation, request) => {
                begin_call(&context, correlation, request, place).await;
                context.session.outbox.wake();
                None
            }
        };
        if let Some(rest) = rest
            && AssertUnwindSafe(rest).catch_unwind().await.is_err()
        {
            cast_failed(&context, panicked());
        }
        depth.fetch_sub(1, Ordering::AcqRel);
    }
}
