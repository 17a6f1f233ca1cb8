//! A future that must not wait for others: on a thread and a runtime of its own.

use crate::is_simulated;
use std::future::Future;
use std::io;

/// To wait for its end.
pub struct Alone(tokio::task::JoinHandle<()>);

/// Runs `future` on a thread `name` with a runtime of its own, so that nothing which keeps the present runtime busy holds
/// it up. Must be called within a runtime.
///
/// # Errors
/// What the system says when it has no thread.
pub fn alone(name: &str, future: impl Future<Output = ()> + Send + 'static) -> io::Result<Alone> {
    if is_simulated() {
        return Ok(Alone(tokio::spawn(future)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let run = move || {
        runtime.block_on(future);
        drop(end);
    };
    std::thread::Builder::new().name(name.into()).spawn(run)?;
    Ok(Alone(tokio::spawn(async move {
        // Nothing is sent: the end drops the other side.
        let _ = ended.await;
    })))
}

impl Alone {
    /// Waits for its end, be it a panic.
    pub async fn ended(self) {
        // A panic is told where it happens.
        let _ = self.0.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_on_while_the_runtime_it_was_started_on_is_blocked() {
        let (told, tells) = std::sync::mpsc::channel();
        let alone = alone("beside", async move {
            tokio::task::yield_now().await;
            told.send(()).unwrap();
        });
        // This is the only thread of the runtime here.
        tells.recv().unwrap();
        alone.unwrap().ended().await;
    }
}
