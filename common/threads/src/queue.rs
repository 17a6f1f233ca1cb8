//! The queue of a worker, and its thread.

use crate::Worker;
use crate::simulated::{Desk, Shift};
use crate::thread::{self, Post, Staff};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

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
    Thread(Arc<Post<J>>),
    Simulated(Desk<J>),
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Queue(match &self.0 {
            Kind::Thread(post) => Kind::Thread(post.clone()),
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
            Kind::Thread(post) => post.send(job),
            Kind::Simulated(desk) => desk.send(job),
        }
    }

    /// Hands `job` over, or gives it back at once.
    ///
    /// # Errors
    /// `Full`, `Ended`; both with the job.
    pub fn try_send(&self, job: J) -> Result<(), NotSent<J>> {
        match &self.0 {
            Kind::Thread(post) => post.try_send(job),
            Kind::Simulated(desk) => desk.send(job).map_err(NotSent::Ended),
        }
    }

    /// Does `job` here and now, in the caller's thread, if the worker has nothing else to do: that saves waking its
    /// thread and being woken by it. Else as [`try_send`](Self::try_send); nothing overtakes what was sent before.
    /// Blocks for as long as the job takes; see [`step_aside`](crate::step_aside).
    ///
    /// # Errors
    /// `Full`, `Ended`; both with the job.
    pub fn here(&self, job: J) -> Result<(), NotSent<J>> {
        match &self.0 {
            Kind::Thread(post) => post.here(job),
            // It is a step of its own, whoever does it.
            Kind::Simulated(desk) => desk.send(job).map_err(NotSent::Ended),
        }
    }
}

/// The jobs that wait behind the one that a worker was given.
pub trait Waiting<J> {
    /// The next of them.
    fn next(&self) -> Option<J>;
}

/// A worker that can be waited for.
pub struct Joined<W: Worker>(Handle<W>);

enum Handle<W: Worker> {
    Thread(JoinHandle<Option<W>>),
    Simulated(Shift<W>),
}

impl<W: Worker> Joined<W> {
    pub(crate) fn simulated(shift: Shift<W>) -> Joined<W> {
        Joined(Handle::Simulated(shift))
    }

    /// Waits for its end and gives it back; none if it panicked. Blocks.
    pub fn join(self) -> Option<W> {
        match self.0 {
            Handle::Thread(thread) => thread.join().ok().flatten(),
            Handle::Simulated(shift) => shift.finish(),
        }
    }
}

pub(crate) fn start<W: Worker>(
    name: &str,
    bound: usize,
    worker: W,
) -> io::Result<(Queue<W::Job>, Joined<W>)> {
    let staff = Arc::new(Staff::new(bound, worker));
    let thread = thread::start(name, staff.clone())?;
    Ok((Queue(Kind::Thread(Arc::new(Post::new(staff)))), Joined(Handle::Thread(thread))))
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

    /// Notes in which thread each job was done.
    #[derive(Default)]
    struct Where {
        done: Vec<(u32, std::thread::ThreadId)>,
        at: Option<Instant>,
        rang: Option<Sender<()>>,
    }

    enum Task {
        Note(u32),
        Hold(Sender<()>, Receiver<()>),
        RingAt(Instant),
        Panic,
    }

    impl Worker for Where {
        type Job = Task;

        fn work(&mut self, job: Task, _: &dyn Waiting<Task>) -> ControlFlow<()> {
            match job {
                Task::Note(number) => self.done.push((number, std::thread::current().id())),
                Task::Hold(begun, until) => {
                    begun.send(()).unwrap();
                    until.recv().unwrap();
                }
                Task::RingAt(at) => self.at = Some(at),
                Task::Panic => panic!("as if"),
            }
            ControlFlow::Continue(())
        }

        fn alarm_at(&self) -> Option<Instant> {
            self.at
        }

        fn alarm(&mut self) {
            self.at = None;
            self.rang.take().unwrap().send(()).unwrap();
        }
    }

    #[test]
    fn a_lone_job_is_done_by_who_brings_it_and_overtakes_none_that_waits() {
        let (queue, joined) = spawn("where", 4, Where::default()).unwrap();
        assert!(queue.here(Task::Note(1)).is_ok());
        let ((begun, begins), (release, held)) = (channel(), channel());
        assert!(queue.send(Task::Hold(begun, held)).is_ok());
        begins.recv().unwrap();
        assert!(queue.send(Task::Note(2)).is_ok());
        assert!(queue.here(Task::Note(3)).is_ok());
        release.send(()).unwrap();
        drop(queue);
        let done = joined.join().unwrap().done;
        assert_eq!(done.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
        let here = std::thread::current().id();
        assert_eq!(done.iter().map(|(_, thread)| *thread == here).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn what_came_while_a_job_was_done_by_who_brought_it_is_done_then() {
        let (queue, joined) = spawn("where", 4, Where::default()).unwrap();
        let ((begun, begins), (release, held)) = (channel(), channel());
        let lone = queue.clone();
        let brings = std::thread::spawn(move || assert!(lone.here(Task::Hold(begun, held)).is_ok()));
        begins.recv().unwrap();
        assert!(queue.send(Task::Note(1)).is_ok());
        assert!(queue.here(Task::Note(2)).is_ok());
        release.send(()).unwrap();
        brings.join().unwrap();
        drop(queue);
        let done = joined.join().unwrap().done;
        assert_eq!(done.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn an_alarm_set_by_who_brought_a_job_wakes_the_sleeping_thread_in_time() {
        let (rang, rings) = channel();
        let (queue, _joined) = spawn("where", 4, Where { rang: Some(rang), ..Where::default() }).unwrap();
        assert!(queue.here(Task::RingAt(Instant::now() + Duration::from_millis(20))).is_ok());
        rings.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_panic_of_who_brought_a_job_ends_the_worker_as_one_of_its_own() {
        let (queue, joined) = spawn("where", 4, Where::default()).unwrap();
        assert!(queue.here(Task::Panic).is_ok());
        assert!(joined.join().is_none());
        assert!(matches!(queue.here(Task::Note(1)), Err(NotSent::Ended(_))));
        assert!(queue.send(Task::Note(1)).is_err());
    }
}
