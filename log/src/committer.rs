//! Group commit: one thread owns a [`Log`] and its owner's state; all jobs that wait share one sync.
//!
//! While a batch is being synced, the next one gathers in the queue: under load batches grow by
//! themselves, without a timer that makes a lone job wait. The queue is bounded in jobs and in bytes (I9);
//! at the bound `submit` blocks and `try_submit` refuses.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use threads::{Joined, NotSent, Queue, Waiting, Worker};

use crate::shared::lock;
use crate::{Log, LogError, Position};

/// What an owner does with its jobs. All of it runs in the committer's thread.
pub trait Stage: Send + 'static {
    /// What is submitted.
    type Job: Send + 'static;
    /// What is remembered of a job until the sync of its batch.
    type Done: Send;

    /// Appends the job's records. Nothing is durable yet. A failed append is the owner's to remember in `Done`.
    fn stage(&mut self, job: Self::Job, log: &mut Log) -> Self::Done;

    /// Called after the one sync of a batch with its `Done`s in order. `Ok(position)`: everything
    /// before it is durable. For a batch of which [`needs_sync`](Self::needs_sync) said no, that is less than
    /// what the batch wrote; when its records become durable later, this is called with an empty `done`.
    fn finish(&mut self, done: Vec<Self::Done>, outcome: Result<Position, LogError>, log: &mut Log);

    /// Whether anybody waits for this batch to be durable. If not, it is only buffered, and becomes durable
    /// with the next batch that needs it, at the latest after [`Bounds::lazy`].
    fn needs_sync(&self, done: &[Self::Done]) -> bool {
        let _ = done;
        true
    }

    /// Called when nothing was appended for [`Bounds::idle`], after the engine has written its mark; again every
    /// time that much passes.
    fn idle(&mut self, log: &mut Log) {
        let _ = log;
    }

    /// Bytes of memory that a job holds on to; counted against [`Bounds::bytes`].
    fn weight(job: &Self::Job) -> usize {
        let _ = job;
        0
    }
}

/// Bounds of a committer's queue and of its waiting.
#[derive(Copy, Clone, Debug)]
pub struct Bounds {
    /// Jobs that may wait, and jobs in one batch.
    pub jobs: usize,
    /// Bytes (by [`Stage::weight`]) of jobs submitted and not finished. A heavier job passes alone.
    pub bytes: usize,
    /// How long a record may stay only buffered.
    pub lazy: Duration,
    /// After this much time without an append the log is marked (R31).
    pub idle: Duration,
}

impl Default for Bounds {
    /// 1024 jobs, 64 MiB, 50 ms, 1 s.
    fn default() -> Bounds {
        Bounds { jobs: 1024, bytes: 64 << 20, lazy: Duration::from_millis(50), idle: Duration::from_secs(1) }
    }
}

/// Why a job was not taken; the job comes back.
#[derive(PartialEq, Eq, thiserror::Error)]
pub enum Refused<J> {
    /// The queue is at its bound: wait, or shed load.
    #[error("too many jobs wait for the log: try again")]
    Full(J),
    /// The committer has ended.
    #[error("the log's committer has ended")]
    Closed(J),
}

impl<J> fmt::Debug for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full(_) => "Full(..)",
            Refused::Closed(_) => "Closed(..)",
        })
    }
}

/// A committer's thread, to wait for.
pub struct OwnerHandle<S: Stage>(Joined<Thread<S>>);

impl<S: Stage> OwnerHandle<S> {
    /// Waits for its end and gives the owner's state and the log back; none if it panicked.
    pub fn join(self) -> Option<(S, Log)> {
        self.0.join().map(|thread| (thread.stage, thread.log))
    }
}

enum Message<J> {
    Job(J, usize),
    Stop,
}

/// A way to hand something to a queue.
type Sending<J> = fn(&Queue<J>, J) -> Result<(), NotSent<J>>;

/// Handle to a committer's thread. The thread ends when all handles are dropped, or on
/// [`shutdown`](Self::shutdown); it finishes what was submitted before.
pub struct Committer<J> {
    queue: Queue<Message<J>>,
    budget: Arc<Budget>,
    weight: fn(&J) -> usize,
}

impl<J> Clone for Committer<J> {
    fn clone(&self) -> Self {
        Committer { queue: self.queue.clone(), budget: self.budget.clone(), weight: self.weight }
    }
}

impl<J: Send + 'static> Committer<J> {
    /// Starts the thread `name`. Joining it, once it has ended, gives the owner's state and the log back; the
    /// log is marked then unless it is out of service.
    ///
    /// # Errors
    /// `Io` when the system starts no thread.
    pub fn spawn<S: Stage<Job = J>>(
        name: &str,
        stage: S,
        log: Log,
        bounds: Bounds,
    ) -> Result<(Committer<J>, OwnerHandle<S>), LogError> {
        let budget = Arc::new(Budget { limit: bounds.bytes, state: Mutex::default(), freed: Condvar::new() });
        let thread = Thread {
            stage,
            log,
            bounds,
            close: CloseOnDrop(budget.clone()),
            lazy_since: None,
            quiet_since: Instant::now(),
        };
        let (queue, joined) = threads::spawn(name, bounds.jobs, thread)
            .map_err(|e| LogError::io(format!("start the thread {name}"), e))?;
        Ok((Committer { queue, budget, weight: S::weight }, OwnerHandle(joined)))
    }

    /// Hands a job over; blocks while the queue is at its bound.
    ///
    /// # Errors
    /// `Closed`, with the job.
    pub fn submit(&self, job: J) -> Result<(), Refused<J>> {
        let weight = (self.weight)(&job);
        if self.budget.take(weight, true) != Taken::Yes {
            return Err(Refused::Closed(job));
        }
        self.queue.send(Message::Job(job, weight)).map_err(|back| self.back(back, weight, Refused::Closed))
    }

    /// Hands a job over, or gives it back at once.
    ///
    /// # Errors
    /// `Full`, `Closed`; both with the job.
    pub fn try_submit(&self, job: J) -> Result<(), Refused<J>> {
        self.try_with(job, Queue::try_send)
    }

    /// Does a job here and now, sync and all, if the thread has nothing to do; else as
    /// [`try_submit`](Self::try_submit). See [`Queue::here`].
    ///
    /// # Errors
    /// `Full`, `Closed`; both with the job.
    pub fn here(&self, job: J) -> Result<(), Refused<J>> {
        self.try_with(job, Queue::here)
    }

    fn try_with(&self, job: J, send: Sending<Message<J>>) -> Result<(), Refused<J>> {
        let weight = (self.weight)(&job);
        match self.budget.take(weight, false) {
            Taken::Yes => {}
            Taken::Full => return Err(Refused::Full(job)),
            Taken::Closed => return Err(Refused::Closed(job)),
        }
        send(&self.queue, Message::Job(job, weight)).map_err(|e| match e {
            NotSent::Full(m) => self.back(m, weight, Refused::Full),
            NotSent::Ended(m) => self.back(m, weight, Refused::Closed),
        })
    }

    /// Ends the thread after what was submitted before. Jobs submitted meanwhile by others may be
    /// finished, refused or dropped; whoever waits for one sees its reply channel close.
    pub fn shutdown(&self) {
        // An error means that it has ended already.
        let _ = self.queue.send(Message::Stop);
    }

    fn back(&self, message: Message<J>, weight: usize, refuse: fn(J) -> Refused<J>) -> Refused<J> {
        self.budget.give(weight);
        match message {
            Message::Job(job, _) => refuse(job),
            Message::Stop => unreachable!("only shutdown sends it"),
        }
    }
}

/// Bytes in flight.
struct Budget {
    limit: usize,
    state: Mutex<BudgetState>,
    freed: Condvar,
}

#[derive(Default)]
struct BudgetState {
    used: usize,
    /// How many wait for room.
    waiting: usize,
    closed: bool,
}

#[derive(PartialEq, Eq)]
enum Taken {
    Yes,
    Full,
    Closed,
}

impl Budget {
    fn take(&self, weight: usize, wait: bool) -> Taken {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return Taken::Closed;
            }
            if state.used == 0 || state.used.saturating_add(weight) <= self.limit {
                state.used += weight;
                return Taken::Yes;
            }
            if !wait {
                return Taken::Full;
            }
            state.waiting += 1;
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    fn give(&self, weight: usize) {
        if weight > 0 {
            let mut state = lock(&self.state);
            state.used -= weight;
            // A system call, and this is once a batch: only if it wakes somebody.
            if state.waiting > 0 {
                self.freed.notify_all();
            }
        }
    }
}

/// Wakes whoever waits for room when the thread ends, be it by a panic.
struct CloseOnDrop(Arc<Budget>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.freed.notify_all();
    }
}

struct Thread<S: Stage> {
    stage: S,
    log: Log,
    bounds: Bounds,
    close: CloseOnDrop,
    /// When the oldest record that is only buffered was staged.
    lazy_since: Option<Instant>,
    /// Since when nothing was appended.
    quiet_since: Instant,
}

impl<S: Stage> Worker for Thread<S> {
    type Job = Message<S::Job>;

    fn work(&mut self, first: Self::Job, waiting: &dyn Waiting<Self::Job>) -> ControlFlow<()> {
        let Message::Job(job, weight) = first else { return ControlFlow::Break(()) };
        let before = self.log.end();
        let stop = self.batch(job, weight, waiting);
        // Who only asks (an owner's tidying) does not keep the log from coming to rest.
        if self.log.end() != before {
            self.quiet_since = Instant::now();
        }
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn alarm_at(&self) -> Option<Instant> {
        let idle = self.quiet_since + self.bounds.idle;
        Some(self.lazy_since.map_or(idle, |since| idle.min(since + self.bounds.lazy)))
    }

    fn alarm(&mut self) {
        let now = Instant::now();
        if self.lazy_since.is_some_and(|since| now >= since + self.bounds.lazy) {
            self.sync_lazy();
        }
        if now >= self.quiet_since + self.bounds.idle {
            self.mark();
            self.stage.idle(&mut self.log);
            self.note_lazy();
            self.quiet_since = Instant::now();
        }
    }

    fn end(&mut self, waiting: &dyn Waiting<Self::Job>) {
        // What slipped in behind the stop is finished too.
        while let Some(message) = waiting.next() {
            if let Message::Job(job, weight) = message {
                self.batch(job, weight, waiting);
            }
        }
        self.mark();
    }
}

impl<S: Stage> Thread<S> {
    /// Stages this job and those that wait, syncs once, finishes all. Returns whether a stop was among them.
    fn batch(&mut self, job: S::Job, weight: usize, waiting: &dyn Waiting<Message<S::Job>>) -> bool {
        let (mut done, mut weights, mut stop) = (Vec::new(), weight, false);
        done.push(self.stage.stage(job, &mut self.log));
        while done.len() < self.bounds.jobs && weights < self.bounds.bytes {
            match waiting.next() {
                Some(Message::Job(job, weight)) => {
                    weights += weight;
                    done.push(self.stage.stage(job, &mut self.log));
                }
                Some(Message::Stop) => {
                    stop = true;
                    break;
                }
                None => break,
            }
        }
        let outcome = match self.stage.needs_sync(&done) {
            true => self.log.sync(),
            false if self.log.failed() => Err(LogError::Failed),
            false => Ok(self.log.synced()),
        };
        self.stage.finish(done, outcome, &mut self.log);
        self.close.0.give(weights);
        self.note_lazy();
        stop
    }

    /// Notes since when something is only buffered: a lazy batch, or what the owner appended when it finished.
    fn note_lazy(&mut self) {
        if self.log.end() == self.log.synced() || self.log.failed() {
            self.lazy_since = None;
        } else {
            self.lazy_since.get_or_insert_with(Instant::now);
        }
    }

    fn sync_lazy(&mut self) {
        let outcome = self.log.sync();
        self.stage.finish(Vec::new(), outcome, &mut self.log);
        self.lazy_since = None;
        self.note_lazy();
    }

    /// Marks the log. Nobody waits for a mark: a failure shows with the next batch.
    fn mark(&mut self) {
        if self.lazy_since.is_some() {
            self.sync_lazy();
        }
        if !self.log.failed()
            && let Err(e) = self.log.mark()
        {
            tracing::warn!(error = %e, code = e.code(), "cannot mark the log");
        }
    }
}
