//! Signals that end a command, so that what is half done is tidied up first.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the shell adds to the number of a signal for the exit status.
const BY_SIGNAL: i32 = 128;

/// SIGINT, SIGTERM and SIGHUP, listened to.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None: it was ignored when the program started, as with `nohup`, and stays so.
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from now on; within a runtime.
    ///
    /// # Errors
    /// That the system does not let us.
    pub fn listen() -> std::io::Result<Signals> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = SignalKind::hangup();
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignores(&status, hangup.as_raw_value()) { None } else { Some(signal(hangup)?) },
        })
    }

    /// Waits for one of them; the exit status of a command that it ends.
    pub async fn any(&mut self) -> u8 {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = hangup => SignalKind::hangup(),
        };
        u8::try_from(BY_SIGNAL + kind.as_raw_value()).unwrap_or(u8::MAX)
    }
}

/// Whether a process whose `/proc/PID/status` is `status` ignores the signal `number`.
fn ignores(status: &str, number: i32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_known() {
        let status = "Name:\tpairfs\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(ignores(status, 1) && ignores(status, 13) && !ignores(status, 15));
        assert!(!ignores("", 1));
    }
}
