//! How long `up` and `node start` wait for servers.

use std::time::{Duration, Instant};

/// How long a member may take until it answers on its port, unless told otherwise.
const LISTEN_MAX: Duration = Duration::from_secs(20);
/// How long a cluster may take until every pair is active, unless told otherwise.
const SERVE_MAX: Duration = Duration::from_secs(120);

/// Bounds of a start. With `--timeout` the whole may take so long, and each step of it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    each: Duration,
    whole: Duration,
    end: Instant,
}

impl Patience {
    /// From now on; `timeout`: what was asked for.
    pub fn new(timeout: Option<Duration>) -> Patience {
        let whole = timeout.unwrap_or(SERVE_MAX);
        Patience { each: timeout.unwrap_or(LISTEN_MAX), whole, end: Instant::now() + whole }
    }

    /// Until when a member that was started by now must answer.
    pub fn listen(self) -> Instant {
        self.end.min(Instant::now() + self.each)
    }

    /// Until when all must serve.
    pub fn end(self) -> Instant {
        self.end
    }

    /// How long the whole may take.
    pub fn whole(self) -> Duration {
        self.whole
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new(None)
    }
}
