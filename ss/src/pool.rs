//! The threads that wait for the disk, so that those that serve connections never do (I9: a bounded
//! queue; who finds it full waits for a place).

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use types::{Code, Error, Result};

/// Jobs that wait for a thread; one more waits outside.
const QUEUE: usize = 1024;

/// A few threads for blocking work.
#[derive(Clone)]
pub struct Pool {
    threads: threads::Pool,
    places: Arc<Semaphore>,
}

impl Pool {
    /// A pool of `threads`; they end when the last clone is gone.
    pub fn new(threads: usize) -> Result<Pool> {
        let threads = threads::Pool::new("disk", threads, QUEUE).map_err(Error::from)?;
        Ok(Pool { threads, places: Arc::new(Semaphore::new(QUEUE)) })
    }

    /// Whether nobody waits for the disk now.
    pub fn is_idle(&self) -> bool {
        self.places.available_permits() == QUEUE
    }

    /// Runs `work` on one of the threads and gives what it gives. Once begun it runs to its end, also when
    /// the future is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| gone())?;
        let (sender, receiver) = oneshot::channel();
        // Whoever asked may have gone.
        self.begin(move || drop(sender.send(work())), place)?;
        receiver.await.unwrap_or_else(|_| Err(Error::internal("disk work panicked").outcome_unknown()))
    }

    /// Starts `work` on one of the threads and does not wait for its end.
    pub async fn start(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| gone())?;
        self.begin(work, place)
    }

    /// Starts `work` on one of the threads if there is a place in the queue.
    pub fn try_start(&self, work: impl FnOnce() + Send + 'static) {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            // Stopping: nobody needs it.
            let _ = self.begin(work, place);
        }
    }

    fn begin(&self, work: impl FnOnce() + Send + 'static, place: OwnedSemaphorePermit) -> Result<()> {
        let job = Box::new(move || {
            work();
            drop(place);
        });
        // Never blocks: there are as many places as the queue is long.
        self.threads.send(job).map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(Code::Unavailable, "the server is stopping", "try again, or ask another server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_disk_work_is_one_failed_request_not_a_dead_server() {
        let pool = Pool::new(1).unwrap();
        let error = pool.run::<()>(|| panic!("as if")).await.unwrap_err();
        assert_eq!(error.code, Code::Internal);
        assert_eq!(pool.run(|| Ok(7)).await, Ok(7));
    }
}
