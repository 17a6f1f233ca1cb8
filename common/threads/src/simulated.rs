//! Workers without threads.

use crate::{Joined, Queue, Waiting, Worker};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// When a worker has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// At this time, or when there is news before.
    At(Instant),
    /// When there is news.
    News,
    /// Never again.
    Ended,
}

/// A worker, in steps.
pub trait Steps: Send {
    /// When the next step is due.
    fn due(&self) -> Due;

    /// Does it: one job with what the worker takes along of those behind it, or an alarm, or the end.
    fn step(&mut self);
}

/// Tells that there is news for a worker.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// How a simulation runs workers.
pub trait Runner {
    /// Takes the steps of a worker over: does each when it is due, or later. What it gives is called when there is
    /// news, from within other steps: it only notes it.
    fn start(&self, name: &str, steps: Box<dyn Steps>) -> Wake;
}

thread_local! {
    static RUNNER: RefCell<Option<Rc<dyn Runner>>> = const { RefCell::new(None) };
}

/// Has `runner` run all workers that this thread starts from now on; none: threads do.
pub fn simulate(runner: Option<Rc<dyn Runner>>) {
    RUNNER.with_borrow_mut(|place| *place = runner);
}

/// Whether workers of this thread are simulated.
pub fn is_simulated() -> bool {
    RUNNER.with_borrow(Option::is_some)
}

pub(crate) fn runner() -> Option<Rc<dyn Runner>> {
    RUNNER.with_borrow(Clone::clone)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where jobs lie.
struct Pile<J> {
    jobs: VecDeque<J>,
    ended: bool,
}

/// The senders' side; the last clone gone, nobody can send any more. Not bounded: a simulation has one thread, and who
/// waited for room would wait for ever.
pub(crate) struct Desk<J>(Arc<Front<J>>);

struct Front<J> {
    pile: Arc<Mutex<Pile<J>>>,
    closed: Arc<Mutex<bool>>,
    wake: Arc<Mutex<Option<Wake>>>,
}

impl<J> Clone for Desk<J> {
    fn clone(&self) -> Self {
        Desk(self.0.clone())
    }
}

impl<J> Front<J> {
    fn wake(&self) {
        let wake = locked(&self.wake).clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}

impl<J> Drop for Front<J> {
    fn drop(&mut self) {
        *locked(&self.closed) = true;
        self.wake();
    }
}

impl<J> Desk<J> {
    pub(crate) fn send(&self, job: J) -> Result<(), J> {
        {
            let mut pile = locked(&self.0.pile);
            if pile.ended {
                return Err(job);
            }
            pile.jobs.push_back(job);
        }
        self.0.wake();
        Ok(())
    }
}

impl<J> Waiting<J> for Arc<Mutex<Pile<J>>> {
    fn next(&self) -> Option<J> {
        locked(self).jobs.pop_front()
    }
}

/// The worker's side.
pub(crate) struct Shift<W: Worker>(Arc<Mutex<State<W>>>);

struct State<W: Worker> {
    worker: Option<W>,
    pile: Arc<Mutex<Pile<W::Job>>>,
    closed: Arc<Mutex<bool>>,
}

impl<W: Worker> State<W> {
    fn due(&self) -> Due {
        let Some(worker) = &self.worker else { return Due::Ended };
        {
            let pile = locked(&self.pile);
            if pile.ended {
                return Due::Ended;
            }
            if !pile.jobs.is_empty() || *locked(&self.closed) {
                return Due::Now;
            }
        }
        worker.alarm_at().map_or(Due::News, Due::At)
    }

    fn step(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        if locked(&self.pile).ended {
            return;
        }
        let end = match self.pile.next() {
            Some(job) => {
                let end = worker.work(job, &self.pile).is_break();
                if !end {
                    crate::ring(worker);
                }
                end
            }
            None if *locked(&self.closed) => true,
            None => {
                worker.alarm();
                false
            }
        };
        if end {
            worker.end(&self.pile);
            let mut pile = locked(&self.pile);
            pile.ended = true;
            let left = std::mem::take(&mut pile.jobs);
            drop(pile);
            // Who waits for one of these is told by its closed channel, which may wake others.
            drop(left);
        }
    }
}

struct Stepper<W: Worker>(Arc<Mutex<State<W>>>);

impl<W: Worker> Steps for Stepper<W> {
    fn due(&self) -> Due {
        locked(&self.0).due()
    }

    fn step(&mut self) {
        locked(&self.0).step();
    }
}

impl<W: Worker> Shift<W> {
    /// Does what is left and gives the worker back.
    pub(crate) fn finish(self) -> Option<W> {
        let mut state = locked(&self.0);
        while state.due() == Due::Now {
            state.step();
        }
        state.worker.take()
    }
}

pub(crate) fn start<W: Worker>(runner: &dyn Runner, name: &str, worker: W) -> (Queue<W::Job>, Joined<W>) {
    let pile = Arc::new(Mutex::new(Pile { jobs: VecDeque::new(), ended: false }));
    let (closed, wake) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(None)));
    let front = Front { pile: pile.clone(), closed: closed.clone(), wake: wake.clone() };
    let state = Arc::new(Mutex::new(State { worker: Some(worker), pile, closed }));
    *locked(&wake) = Some(runner.start(name, Box::new(Stepper(state.clone()))));
    (Queue::simulated(Desk(Arc::new(front))), Joined::simulated(Shift(state)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn;
    use std::ops::ControlFlow;

    struct Log(Vec<u32>, Option<Instant>);

    impl Worker for Log {
        type Job = u32;

        fn work(&mut self, first: u32, waiting: &dyn Waiting<u32>) -> ControlFlow<()> {
            self.0.push(first);
            if let Some(next) = waiting.next() {
                self.0.push(next * 10);
            }
            if first == 99 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn alarm_at(&self) -> Option<Instant> {
            self.1
        }

        fn alarm(&mut self) {
            self.0.push(0);
            self.1 = None;
        }
    }

    #[derive(Default)]
    struct Hands {
        taken: RefCell<Vec<Box<dyn Steps>>>,
        news: Arc<Mutex<u32>>,
    }

    impl Runner for Hands {
        fn start(&self, _: &str, steps: Box<dyn Steps>) -> Wake {
            self.taken.borrow_mut().push(steps);
            let news = self.news.clone();
            Arc::new(move || *locked(&news) += 1)
        }
    }

    fn hands() -> Rc<Hands> {
        let hands = Rc::new(Hands::default());
        simulate(Some(hands.clone()));
        hands
    }

    #[test]
    fn nothing_happens_between_the_steps() {
        let hands = hands();
        let (queue, joined) = spawn("log", 1, Log(Vec::new(), None)).unwrap();
        let mut steps = hands.taken.borrow_mut().pop().unwrap();
        assert_eq!(steps.due(), Due::News);
        for number in 1..=3 {
            queue.send(number).unwrap();
        }
        assert_eq!((*locked(&hands.news), steps.due()), (3, Due::Now));
        steps.step();
        assert_eq!(steps.due(), Due::Now, "the third waits for the next step");
        drop(queue);
        assert_eq!(joined.join().unwrap().0, [1, 20, 3]);
        assert_eq!(steps.due(), Due::Ended);
        simulate(None);
        assert!(!is_simulated());
    }

    #[test]
    fn an_alarm_is_a_step_and_a_worker_that_breaks_off_takes_no_more() {
        let hands = hands();
        let at = Instant::now();
        let (queue, joined) = spawn("log", 1, Log(Vec::new(), Some(at))).unwrap();
        let mut steps = hands.taken.borrow_mut().pop().unwrap();
        assert_eq!(steps.due(), Due::At(at));
        steps.step();
        assert_eq!(steps.due(), Due::News);
        queue.send(99).unwrap();
        steps.step();
        assert_eq!(steps.due(), Due::Ended);
        assert_eq!(queue.send(1), Err(1));
        assert_eq!(joined.join().unwrap().0, [0, 99]);
        simulate(None);
    }
}
