//! Damping: a server that fails again and again does not take its role back before it was stable for a while. Each return
//! and each failure costs its clients a pause; its partner acts meanwhile, and what it lacks it gets as ever.
//! (The idea is that of BGP's route flap damping, RFC 2439, with one threshold instead of a decaying penalty.)
//!
//! How often a server failed stands in the log ([`Server::failures_ms`]); what follows is the leader's matter, by its
//! settings. Times are log time, ms since 1970.

use std::fmt;
use std::time::Duration;
use types::limits::FAILURES_KEPT;
use types::record::Server;

/// When a server counts as flapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// So many failures…; 0: nobody is damped.
    pub failures: usize,
    /// …within this time; and so long a damped server has to be stable.
    pub window: Duration,
}

impl Damping {
    /// Until when `server` does not take its role back by itself; none: it may at any time. The time counts from its
    /// last registration, as before that it was not there.
    pub fn until(self, server: &Server) -> Option<u64> {
        let count = self.failures.min(FAILURES_KEPT);
        let window = self.window.as_millis() as u64;
        let recent = server.failures_ms.len().checked_sub(count).filter(|_| count > 0)?;
        let (first, last) = (server.failures_ms.get(recent)?, server.failures_ms.last()?);
        let is_flapping = last.saturating_sub(*first) <= window;
        is_flapping.then(|| server.registered_ms.max(*last).saturating_add(window))
    }

    /// How long `server` still does not take its role back by itself.
    pub fn left(self, server: &Server, now_ms: u64) -> Option<Duration> {
        let left = self.until(server)?.saturating_sub(now_ms);
        (left > 0).then(|| Duration::from_millis(left))
    }
}

impl fmt::Display for Damping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed {} times within {} s", self.failures, self.window.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const DAMPING: Damping = Damping { failures: 3, window: Duration::from_secs(600) };

    fn failed(minutes: &[u64], registered: u64) -> Server {
        let failures_ms = minutes.iter().map(|at| at * MINUTE).collect();
        Server { failures_ms, registered_ms: registered * MINUTE, ..Server::default() }
    }

    #[test]
    fn the_third_failure_in_ten_minutes_keeps_a_server_from_its_role_until_it_was_stable_that_long() {
        assert_eq!(DAMPING.until(&failed(&[], 0)), None);
        assert_eq!(DAMPING.until(&failed(&[1, 5], 6)), None);
        assert_eq!(DAMPING.until(&failed(&[1, 5, 12], 13)), None, "not within ten minutes");
        let flapping = failed(&[1, 5, 11], 13);
        assert_eq!(DAMPING.until(&flapping), Some(23 * MINUTE), "from its return on");
        assert_eq!(DAMPING.left(&flapping, 14 * MINUTE), Some(Duration::from_secs(9 * 60)));
        assert_eq!(DAMPING.left(&flapping, 23 * MINUTE), None);
        assert_eq!(DAMPING.until(&failed(&[1, 5, 11, 30], 31)), None, "it was stable in between");
    }

    #[test]
    fn with_damping_off_a_server_may_fail_as_often_as_it_likes() {
        let off = Damping { failures: 0, ..DAMPING };
        assert_eq!(off.until(&failed(&[1, 1, 1, 1], 1)), None);
        let many = Damping { failures: usize::MAX, ..DAMPING };
        assert!(many.until(&failed(&[1; FAILURES_KEPT], 1)).is_some(), "no more are kept");
    }
}
