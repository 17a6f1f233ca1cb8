//! Work beside the runtime: a [`Worker`] owns something that may block (a log, a database) and does jobs one after
//! the other; [`run`] does something once that may block.
//!
//! Each worker has a thread of its own, unless a simulation has said how workers run ([`simulate`]): then nothing here
//! starts a thread, and everything happens in steps that the simulation decides about. So what a server does on
//! several threads can be repeated step by step from a seed, without another implementation of it (the idea of
//! FoundationDB's simulation: Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store",
//! SIGMOD 2021, section 4).
//!
//! What happens in which order is the same in both: jobs in the order in which they were sent, an alarm when its time
//! has come, the end when nobody can send any more.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod alone;
mod aside;
mod pool;
mod queue;
mod simulated;
mod thread;

pub use alone::{Alone, alone};
pub use aside::step_aside;
pub use pool::{Pool, Task};
pub use queue::{Joined, NotSent, Queue, Waiting};
pub use simulated::{Due, Runner, Steps, Wake, is_simulated, simulate};

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

/// What runs beside the runtime and does jobs.
pub trait Worker: Send + 'static {
    /// What it is asked to do.
    type Job: Send + 'static;

    /// Does `first`, and as many of those that wait behind it as it likes. After `Break` it is not called again but
    /// for [`Worker::end`].
    fn work(&mut self, first: Self::Job, waiting: &dyn Waiting<Self::Job>) -> ControlFlow<()>;

    /// When to call [`Worker::alarm`]; none: never.
    fn alarm_at(&self) -> Option<Instant> {
        None
    }

    /// The time of [`Worker::alarm_at`] has come. Jobs do not hold it up: it is looked at between them.
    fn alarm(&mut self) {}

    /// It broke off, or nobody can send any more; jobs may still wait.
    fn end(&mut self, waiting: &dyn Waiting<Self::Job>) {
        let _ = waiting;
    }
}

/// Rings an alarm whose time has come.
fn ring<W: Worker>(worker: &mut W) -> bool {
    let is_due = worker.alarm_at().is_some_and(|at| Instant::now() >= at);
    if is_due {
        worker.alarm();
    }
    is_due
}

/// Starts `worker` on a thread called `name`. At most `bound` jobs wait for it. It ends when all clones of the queue
/// are gone, or when it breaks off.
///
/// # Errors
/// What the system says when it has no thread.
pub fn spawn<W: Worker>(name: &str, bound: usize, worker: W) -> io::Result<(Queue<W::Job>, Joined<W>)> {
    match simulated::runner() {
        Some(runner) => Ok(simulated::start(&*runner, name, worker)),
        None => queue::start(name, bound, worker),
    }
}

/// Runs `future` where it may block between its waits; it begins at once.
pub fn beside<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    if is_simulated() {
        return tokio::task::spawn(future);
    }
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(future))
}

/// Does `work` where it may block; it begins at once. What is returned gives what it gives.
///
/// # Errors
/// As tokio says, when it panicked or the runtime has ended.
pub fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    match is_simulated() {
        true => tokio::task::spawn(async move { work() }),
        false => tokio::task::spawn_blocking(work),
    }
}
