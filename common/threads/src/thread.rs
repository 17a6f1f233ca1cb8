//! A worker with a thread: the jobs that wait for it, and who does them.
//!
//! The thread does them, asleep while there are none. A lone job is done by whoever brings it, if it may block
//! ([`Post::here`]): then nobody is woken. (The combining of flat combining, Hendler et al., SPAA 2010, for one.)

use crate::{NotSent, Waiting, Worker};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// How often the thread lets others run and looks again before it sleeps: under load those that it has just answered
/// bring more at once.
const YIELDS: u32 = 4;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits, and who sleeps because of it.
struct Pile<J> {
    jobs: VecDeque<J>,
    /// Nobody can send any more.
    closed: bool,
    /// The worker broke off, or panicked.
    broke: bool,
    /// Nothing is taken any more.
    ended: bool,
    /// Somebody else does what there is to do: no need to wake the thread.
    lent: bool,
    /// The thread sleeps, until then if there is a time.
    asleep: Option<Option<Instant>>,
    /// Senders that sleep until there is a place.
    senders: usize,
}

impl<J> Pile<J> {
    fn has_news(&self) -> bool {
        !self.jobs.is_empty() || self.closed || self.broke
    }
}

/// Where jobs lie.
struct Desk<J> {
    bound: usize,
    pile: Mutex<Pile<J>>,
    /// For the thread.
    news: Condvar,
    /// For senders.
    place: Condvar,
}

impl<J> Desk<J> {
    fn push(&self, mut pile: MutexGuard<'_, Pile<J>>, job: J) {
        pile.jobs.push_back(job);
        self.rouse(pile);
    }

    /// Wakes the thread, if it sleeps and nobody stands in for it. A system call, hence no more often than that.
    fn rouse(&self, mut pile: MutexGuard<'_, Pile<J>>) {
        let wakes = !pile.lent && pile.asleep.take().is_some();
        drop(pile);
        if wakes {
            self.news.notify_one();
        }
    }

    /// Sleeps until there is news, or until then.
    fn sleep(&self, mut pile: MutexGuard<'_, Pile<J>>, until: Option<Instant>) {
        pile.asleep = Some(until);
        while pile.asleep.is_some() {
            pile = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => {
                    pile.asleep = None;
                    return;
                }
                Some(left) => self.news.wait_timeout(pile, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.news.wait(pile).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl<J> Waiting<J> for Desk<J> {
    fn next(&self) -> Option<J> {
        let mut pile = locked(&self.pile);
        let job = pile.jobs.pop_front();
        let wakes = job.is_some() && pile.senders > 0;
        drop(pile);
        if wakes {
            self.place.notify_one();
        }
        job
    }
}

/// A worker and what waits for it.
pub(crate) struct Staff<W: Worker> {
    desk: Desk<W::Job>,
    /// Whoever has it does jobs; locked before the pile. None: it has ended.
    worker: Mutex<Option<W>>,
}

impl<W: Worker> Staff<W> {
    pub(crate) fn new(bound: usize, worker: W) -> Staff<W> {
        let pile = Pile {
            jobs: VecDeque::new(),
            closed: false,
            broke: false,
            ended: false,
            lent: false,
            asleep: None,
            senders: 0,
        };
        let desk =
            Desk { bound: bound.max(1), pile: Mutex::new(pile), news: Condvar::new(), place: Condvar::new() };
        Staff { desk, worker: Mutex::new(Some(worker)) }
    }

    /// The thread's work, to its end.
    fn serve(&self) {
        let mut yields = YIELDS;
        loop {
            // Before a job is taken: nobody else gets in between.
            let mut held = locked(&self.worker);
            let Some(worker) = held.as_mut() else { return };
            if locked(&self.desk.pile).broke {
                return;
            }
            if let Some(job) = self.desk.next() {
                if worker.work(job, &self.desk).is_break() {
                    return;
                }
                crate::ring(worker);
                yields = 0;
                continue;
            }
            if crate::ring(worker) {
                continue;
            }
            if yields < YIELDS {
                yields += 1;
                drop(held);
                std::thread::yield_now();
                continue;
            }
            let alarm = worker.alarm_at();
            let pile = locked(&self.desk.pile);
            if pile.closed && pile.jobs.is_empty() {
                return;
            }
            if !pile.has_news() {
                drop(held);
                self.desk.sleep(pile, alarm);
            }
        }
    }

    /// The end of the thread, be it by a panic: gives the worker back, and lets go of what nobody does any more.
    fn end(&self) -> Option<W> {
        let mut held = locked(&self.worker);
        if let Some(worker) = held.as_mut() {
            worker.end(&self.desk);
        }
        let worker = held.take();
        drop(held);
        self.close();
        worker
    }

    fn close(&self) {
        let mut pile = locked(&self.desk.pile);
        pile.ended = true;
        let left = std::mem::take(&mut pile.jobs);
        drop(pile);
        self.desk.place.notify_all();
        // Who waits for one of these is told by its closed channel, which may wake others.
        drop(left);
    }
}

/// Starts the thread of `staff`.
pub(crate) fn start<W: Worker>(name: &str, staff: Arc<Staff<W>>) -> io::Result<JoinHandle<Option<W>>> {
    let work = move || {
        let done = catch_unwind(AssertUnwindSafe(|| {
            staff.serve();
            staff.end()
        }));
        done.unwrap_or_else(|_| {
            // Told where it happened. Its worker goes, so that those that wait for what it holds are told.
            drop(locked(&staff.worker).take());
            staff.close();
            None
        })
    };
    Builder::new().name(name.into()).spawn(work)
}

/// What a sender needs of a worker of any kind.
trait Desks<J>: Send + Sync {
    fn desk(&self) -> &Desk<J>;

    fn here(&self, job: J) -> Result<(), NotSent<J>>;
}

impl<W: Worker> Desks<W::Job> for Staff<W> {
    fn desk(&self) -> &Desk<W::Job> {
        &self.desk
    }

    fn here(&self, job: W::Job) -> Result<(), NotSent<W::Job>> {
        let Ok(mut held) = self.worker.try_lock() else { return try_send(&self.desk, job) };
        {
            let mut pile = locked(&self.desk.pile);
            if held.is_none() || pile.has_news() || pile.ended {
                drop(pile);
                drop(held);
                return try_send(&self.desk, job);
            }
            pile.lent = true;
        }
        let done = held.as_mut().map(|worker| {
            catch_unwind(AssertUnwindSafe(|| (worker.work(job, &self.desk).is_break(), worker.alarm_at())))
        });
        // A panic is told where it happened; the thread ends as by one of its own.
        let (broke, alarm) = match done {
            Some(Ok(done)) => done,
            _ => {
                drop(held.take());
                (true, None)
            }
        };
        drop(held);
        let mut pile = locked(&self.desk.pile);
        pile.lent = false;
        pile.broke |= broke;
        let sooner = match (pile.asleep, alarm) {
            (Some(Some(until)), Some(alarm)) => alarm < until,
            (Some(None), alarm) => alarm.is_some(),
            _ => false,
        };
        if sooner || pile.has_news() {
            self.desk.rouse(pile);
        }
        Ok(())
    }
}

fn try_send<J>(desk: &Desk<J>, job: J) -> Result<(), NotSent<J>> {
    let pile = locked(&desk.pile);
    if pile.ended {
        return Err(NotSent::Ended(job));
    }
    if pile.jobs.len() >= desk.bound {
        return Err(NotSent::Full(job));
    }
    desk.push(pile, job);
    Ok(())
}

/// The senders' side; it gone, nobody can send any more.
pub(crate) struct Post<J>(Arc<dyn Desks<J>>);

impl<J> Post<J> {
    pub(crate) fn new<W: Worker<Job = J>>(staff: Arc<Staff<W>>) -> Post<J> {
        Post(staff)
    }

    pub(crate) fn send(&self, job: J) -> Result<(), J> {
        let desk = self.0.desk();
        let mut pile = locked(&desk.pile);
        loop {
            if pile.ended {
                return Err(job);
            }
            if pile.jobs.len() < desk.bound {
                desk.push(pile, job);
                return Ok(());
            }
            pile.senders += 1;
            pile = desk.place.wait(pile).unwrap_or_else(PoisonError::into_inner);
            pile.senders -= 1;
        }
    }

    pub(crate) fn try_send(&self, job: J) -> Result<(), NotSent<J>> {
        try_send(self.0.desk(), job)
    }

    pub(crate) fn here(&self, job: J) -> Result<(), NotSent<J>> {
        self.0.here(job)
    }
}

impl<J> Drop for Post<J> {
    fn drop(&mut self) {
        let desk = self.0.desk();
        let mut pile = locked(&desk.pile);
        pile.closed = true;
        desk.rouse(pile);
    }
}
