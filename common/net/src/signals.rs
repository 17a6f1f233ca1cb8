//! Stop means stop: a server that is told a second time while it stops ends at once.

use tokio::signal::unix::{SignalKind, signal};
use types::{Code, Result};

/// Ends this process at once when it has been told to stop (SIGTERM or SIGINT) twice from now on. What it was at is
/// left as a crash would leave it. Needs a runtime.
///
/// # Errors
/// `IO` when the system refuses.
pub fn exit_at_second_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        tracing::warn!("told to stop a second time: ending at once");
        std::process::exit(Code::Cancelled.exit_status().into());
    });
    Ok(())
}
