//! The queue of a worker, and its thread.

use crate::Worker;
use crate::simulated::{Desk, Shift};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::io;
use std::thread::{Builder, JoinHandle};

/// Why a job was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum NotSent<J> {
    /// As many wait as may.
    Full(J),
    /// The worker has ended.
    Ended(J),
}

/// Takes jobs to a worker; clones lead to the same one.
pub struct Queue<J>(Kind<J>);

enum Kind<J> {
    Thread(Sender<J>),
    Simulated(Desk<J>),
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Queue(match &self.0 {
            Kind::Thread(sender) => Kind::Thread(sender.clone()),
            Kind::Simulated(desk) => Kind::Simulated(desk.clone()),
        })
    }
}

impl<J> Queue<J> {
    pub(crate) fn simulated(desk: Desk<J>) -> Queue<J> {
        Queue(Kind::Simulated(desk))
    }

    /// Hands `job` over; waits for a place.
    ///
    /// # Errors
    /// The job, when the worker has ended.
    pub fn send(&self, job: J) -> Result<(), J> {
        match &self.0 {
            Kind::Thread(sender) => sender.send(job).map_err(|error| error.0),
            Kind::Simulated(desk) => desk.send(job),
        }
    }

    /// Hands `job` over, or gives it back at once.
    ///
    /// # Errors
    /// `Full`, `Ended`; both with the job.
    pub fn try_send(&self, job: J) -> Result<(), NotSent<J>> {
        match &self.0 {
            Kind::Thread(sender) => sender.try_send(job).map_err(|error| match error {
                TrySendError::Full(job) => NotSent::Full(job),
                TrySendError::Disconnected(job) => NotSent::Ended(job),
            }),
            Kind::Simulated(desk) => desk.send(job).map_err(NotSent::Ended),
        }
    }
}

/// The jobs that wait behind the one that a worker was given.
pub trait Waiting<J> {
    /// The next of them.
    fn next(&self) -> Option<J>;
}

impl<J> Waiting<J> for Receiver<J> {
    fn next(&self) -> Option<J> {
        self.try_recv().ok()
    }
}

/// A worker that can be waited for.
pub struct Joined<W: Worker>(Handle<W>);

enum Handle<W: Worker> {
    Thread(JoinHandle<W>),
    Simulated(Shift<W>),
}

impl<W: Worker> Joined<W> {
    pub(crate) fn simulated(shift: Shift<W>) -> Joined<W> {
        Joined(Handle::Simulated(shift))
    }

    /// Waits for its end and gives it back; none if it panicked. Blocks.
    pub fn join(self) -> Option<W> {
        match self.0 {
            Handle::Thread(thread) => thread.join().ok(),
            Handle::Simulated(shift) => shift.finish(),
        }
    }
}

pub(crate) fn start<W: Worker>(
    name: &str,
    bound: usize,
    mut worker: W,
) -> io::Result<(Queue<W::Job>, Joined<W>)> {
    let (sender, jobs) = bounded(bound.max(1));
    let work = move || {
        serve(&mut worker, &jobs);
        worker.end(&jobs);
        worker
    };
    let thread = Builder::new().name(name.into()).spawn(work)?;
    Ok((Queue(Kind::Thread(sender)), Joined(Handle::Thread(thread))))
}

fn serve<W: Worker>(worker: &mut W, jobs: &Receiver<W::Job>) {
    loop {
        let job = match worker.alarm_at() {
            Some(at) => jobs.recv_deadline(at),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match job {
            Ok(job) => {
                if worker.work(job, jobs).is_break() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => worker.alarm(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{NotSent, Waiting, Worker, spawn};
    use std::ops::ControlFlow;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    enum Job {
        Add(u32),
        Hold(Receiver<()>),
        Break,
    }

    struct Sum {
        sum: u32,
        alarms: u32,
        at: Option<Instant>,
        rang: Sender<()>,
        ended: bool,
    }

    impl Worker for Sum {
        type Job = Job;

        fn work(&mut self, first: Job, waiting: &dyn Waiting<Job>) -> ControlFlow<()> {
            let mut job = Some(first);
            while let Some(now) = job {
                match now {
                    Job::Add(number) => self.sum += number,
                    Job::Hold(until) => until.recv().unwrap(),
                    Job::Break => return ControlFlow::Break(()),
                }
                job = waiting.next();
            }
            ControlFlow::Continue(())
        }

        fn alarm_at(&self) -> Option<Instant> {
            self.at
        }

        fn alarm(&mut self) {
            self.alarms += 1;
            self.at = None;
            self.rang.send(()).unwrap();
        }

        fn end(&mut self, waiting: &dyn Waiting<Job>) {
            while let Some(Job::Add(number)) = waiting.next() {
                self.sum += number;
            }
            self.ended = true;
        }
    }

    fn sum(at: Option<Instant>) -> (Sum, Receiver<()>) {
        let (rang, rings) = channel();
        (Sum { sum: 0, alarms: 0, at, rang, ended: false }, rings)
    }

    #[test]
    fn a_worker_ends_when_nobody_can_send_and_does_what_was_sent_before() {
        let (queue, joined) = spawn("sum", 4, sum(None).0).unwrap();
        for number in 1..=10 {
            assert!(queue.clone().send(Job::Add(number)).is_ok());
        }
        drop(queue);
        let sum = joined.join().unwrap();
        assert_eq!((sum.sum, sum.ended, sum.alarms), (55, true, 0));
    }

    #[test]
    fn a_full_queue_and_an_ended_worker_give_the_job_back() {
        let (queue, joined) = spawn("sum", 1, sum(None).0).unwrap();
        let (release, held) = channel();
        assert!(queue.send(Job::Hold(held)).is_ok());
        // The first is being done or waits; one more may wait, no third.
        let refused = loop {
            if let Err(refused) = queue.try_send(Job::Add(1)) {
                break refused;
            }
        };
        assert!(matches!(refused, NotSent::Full(Job::Add(1))));
        release.send(()).unwrap();
        assert!(queue.send(Job::Break).is_ok());
        assert!(joined.join().unwrap().ended);
        assert!(matches!(queue.send(Job::Add(1)), Err(Job::Add(1))));
        assert!(matches!(queue.try_send(Job::Add(1)), Err(NotSent::Ended(_))));
    }

    #[test]
    fn an_alarm_rings_at_its_time_without_a_job() {
        let at = Instant::now() + Duration::from_millis(20);
        let (worker, rings) = sum(Some(at));
        let (queue, joined) = spawn("sum", 1, worker).unwrap();
        rings.recv().unwrap();
        assert!(Instant::now() >= at);
        drop(queue);
        assert_eq!(joined.join().unwrap().alarms, 1);
    }
}
