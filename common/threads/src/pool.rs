//! Several threads that do what comes, whichever is free.

use crate::{Queue, Waiting, Worker, simulated, spawn};
use crossbeam_channel::{Sender, bounded};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// Something to do once.
pub type Task = Box<dyn FnOnce() + Send>;

/// The threads; they end when the last clone is gone and what was sent is done.
#[derive(Clone)]
pub struct Pool(Kind);

#[derive(Clone)]
enum Kind {
    Threads(Sender<Task>),
    /// One after the other gets something: each takes its own time.
    Simulated(Arc<[Queue<Task>]>, Arc<AtomicUsize>),
}

impl Pool {
    /// `threads` threads named `name-0` and so on, for which at most `bound` tasks wait.
    ///
    /// # Errors
    /// What the system says when it has no thread.
    pub fn new(name: &str, threads: usize, bound: usize) -> io::Result<Pool> {
        if simulated::is_simulated() {
            let spawned = (0..threads).map(|number| Ok(spawn(&format!("{name}-{number}"), bound, Doer)?.0));
            let queues: io::Result<Vec<_>> = spawned.collect();
            return Ok(Pool(Kind::Simulated(queues?.into(), Arc::default())));
        }
        let (tasks, queue) = bounded::<Task>(bound);
        for number in 0..threads {
            let queue = queue.clone();
            let work = move || {
                for task in queue {
                    survive(task);
                }
            };
            Builder::new().name(format!("{name}-{number}")).spawn(work)?;
        }
        Ok(Pool(Kind::Threads(tasks)))
    }

    /// Has one of them do `task`; waits while too many wait. A task that panics is over, and its thread goes on.
    ///
    /// # Errors
    /// The task, when they have ended.
    pub fn send(&self, task: Task) -> Result<(), Task> {
        match &self.0 {
            Kind::Threads(tasks) => tasks.send(task).map_err(|error| error.0),
            Kind::Simulated(queues, next) => {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                match queues.get(turn % queues.len().max(1)) {
                    Some(queue) => queue.send(task),
                    None => Err(task),
                }
            }
        }
    }
}

fn survive(task: Task) {
    // Whoever waits for it is told by what it drops.
    let _ = catch_unwind(AssertUnwindSafe(task));
}

struct Doer;

impl Worker for Doer {
    type Job = Task;

    fn work(&mut self, task: Task, _: &dyn Waiting<Task>) -> ControlFlow<()> {
        survive(task);
        ControlFlow::Continue(())
    }

    fn end(&mut self, waiting: &dyn Waiting<Task>) {
        while let Some(task) = waiting.next() {
            survive(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_task_that_panics_costs_no_thread_and_all_that_was_sent_is_done() {
        let pool = Pool::new("test", 1, 8).unwrap();
        let (told, tells) = channel();
        assert!(pool.send(Box::new(|| panic!("as if"))).is_ok());
        for number in 0..5 {
            let told = told.clone();
            assert!(pool.send(Box::new(move || told.send(number).unwrap())).is_ok());
        }
        drop((pool, told));
        assert_eq!(tells.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
