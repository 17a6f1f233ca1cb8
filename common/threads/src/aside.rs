//! Blocking for a moment within the runtime.

use crate::is_simulated;
use tokio::runtime::Handle;

/// Whether the present task may block its thread for about as long as a disk needs for a sync: another thread of the
/// runtime has then been woken, which takes over the other tasks, the sockets and the timers. `false` if there is none.
///
/// tokio's own `block_in_place` hands the whole worker over to one more thread and takes it back, which costs as much as
/// what it is to save here.
pub fn step_aside() -> bool {
    let Ok(runtime) = Handle::try_current() else { return false };
    if is_simulated() || runtime.metrics().num_workers() < 2 {
        return false;
    }
    // What one task wakes last it runs itself next, and tells nobody. The second of these ends that: what was woken before
    // is then in the queue from which others take, and one of them is woken if none looks already.
    for _ in 0..2 {
        runtime.spawn(std::future::ready(()));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_runtime_of_one_thread_has_nobody_to_step_in() {
        assert!(!step_aside());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn while_a_task_blocks_the_others_and_the_timers_go_on() {
        let blocks = tokio::spawn(async {
            let (told, tells) = std::sync::mpsc::channel();
            // Woken by this task, so this thread would run it next.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                told.send(()).unwrap();
            });
            assert!(step_aside());
            tells.recv_timeout(Duration::from_secs(60)).unwrap();
        });
        blocks.await.unwrap();
    }
}
