//! How fast a resync may go (R29): as fast as it can while no client is there, and only as fast as clients do not
//! feel it while one is.
//!
//! Additive increase, multiplicative decrease (as TCP's congestion control, Jacobson 1988), on what clients see
//! instead of lost packets: the rate grows while requests take about as long as they do without a resync, and is
//! halved when more than a tenth of those in a window take much longer. It never falls below a floor, so a
//! resync ends whatever clients do. Time is a monotonic clock, as a value.

use std::time::Duration;
use types::limits::{KIB, MIB};

/// Without a request for so long nobody is there to feel anything.
const QUIET: Duration = Duration::from_millis(250);
/// One verdict in this time.
const WINDOW: Duration = Duration::from_millis(50);
/// Much longer: so many times what it takes without a resync …
const SLOWER: u32 = 3;
/// … and at least so much.
const SLOW_MIN: Duration = Duration::from_millis(2);
/// The rate to begin with while a client is there, bytes/s.
const START: u64 = 32 * MIB as u64;
/// It never falls below this, bytes/s.
const FLOOR: u64 = 8 * MIB as u64;
/// It never grows beyond this, bytes/s.
const TOP: u64 = 512 * MIB as u64;
/// What a window without slow requests adds, bytes/s.
const STEP: u64 = 4 * MIB as u64;
/// What a content costs beside its bytes: looking it up, its records.
const EACH: u64 = 8 * KIB as u64;
/// The longest wait that is asked for at once: a request in between may change the rate.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// What took how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A small write.
    Write,
    /// What the other member passes on.
    Passed,
    /// A wake-up that was asked for: how late it came tells how busy the processors are.
    Wake,
}

const KINDS: usize = 3;

/// The guard of one server.
#[derive(Clone, Debug)]
pub struct Guard {
    /// What each kind takes without a resync, smoothed.
    usual: [Option<Duration>; KINDS],
    last_request: Option<Duration>,
    last_copy: Option<Duration>,
    window_end: Duration,
    seen: u32,
    slow: u32,
    rate: u64,
    /// When the bytes let through so far are due at the rate.
    due: Duration,
    /// The rate that an operator allows at most, clients or not, bytes/s; 0: any.
    most: u64,
    /// When the bytes let through so far are due at that.
    allowed: Duration,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard {
            usual: [None; KINDS],
            last_request: None,
            last_copy: None,
            window_end: Duration::ZERO,
            seen: 0,
            slow: 0,
            rate: START,
            due: Duration::ZERO,
            most: 0,
            allowed: Duration::ZERO,
        }
    }
}

impl Guard {
    /// An operator's bound: `most` bytes a second, also while no client is there; 0: none.
    pub fn set_most(&mut self, most: u64) {
        self.most = most;
    }

    /// A client's request came; how long it takes is told later, if at all.
    pub fn request(&mut self, now: Duration) {
        self.last_request = Some(now);
    }

    /// A request ended, having taken so long.
    pub fn took(&mut self, now: Duration, kind: Kind, time: Duration) {
        if kind != Kind::Wake {
            self.request(now);
        }
        let usual = &mut self.usual[kind as usize];
        if !is_recent(self.last_copy, now) {
            // An eighth of the difference: some dozen requests make it.
            *usual = Some(usual.map_or(time, |usual| usual * 7 / 8 + time / 8));
            return;
        }
        let limit = usual.map_or(SLOW_MIN, |usual| (usual * SLOWER).max(SLOW_MIN));
        self.seen += 1;
        self.slow += u32::from(time > limit);
        if now >= self.window_end {
            self.rate = match self.slow * 10 > self.seen {
                true => (self.rate / 2).max(FLOOR),
                false => (self.rate + STEP).min(TOP),
            };
            (self.seen, self.slow, self.window_end) = (0, 0, now + WINDOW);
        }
    }

    /// Lets `contents` contents of `bytes` bytes in all through, after the wait that is returned. `jitter` is any
    /// number: it stretches or shortens the wait by up to a quarter, so that several servers do not go in step.
    pub fn pass(&mut self, now: Duration, contents: u64, bytes: u64, jitter: u8) -> Duration {
        self.last_copy = Some(now);
        let bound = self.bound(now, bytes);
        if !is_recent(self.last_request, now) {
            (self.rate, self.due) = (START, now);
            self.last_copy = Some(now + bound);
            return bound;
        }
        let wait = self.due.saturating_sub(now).min(WAIT_MAX);
        let cost = bytes.saturating_add(contents.saturating_mul(EACH));
        let took = Duration::from_secs_f64(cost as f64 / self.rate as f64);
        self.due = self.due.clamp(now, now + WAIT_MAX) + took;
        let wait = (wait * (96 + u32::from(jitter % 65)) / 128).max(bound);
        self.last_copy = Some(now + wait);
        wait
    }

    /// The wait that the operator's bound asks for: what was let through before has to be due.
    fn bound(&mut self, now: Duration, bytes: u64) -> Duration {
        if self.most == 0 {
            return Duration::ZERO;
        }
        let begin = self.allowed.max(now);
        self.allowed = begin + Duration::from_secs_f64(bytes as f64 / self.most as f64);
        begin - now
    }

    /// The rate while clients are there, bytes/s; none while it is not limited.
    pub fn limit(&self, now: Duration) -> Option<u64> {
        is_recent(self.last_request, now).then_some(self.rate)
    }
}

fn is_recent(at: Option<Duration>, now: Duration) -> bool {
    at.is_some_and(|at| now.saturating_sub(at) < QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PIECE: u64 = 256 * KIB as u64;

    /// Copies for a second, with a request of so long every 5 ms (none: no client); bytes let through.
    fn one_second(guard: &mut Guard, begin: Duration, request: Option<Duration>) -> u64 {
        let (mut now, mut next, mut bytes) = (begin, begin, 0);
        while now < begin + 1000 * MS {
            while let Some(time) = request
                && next <= now
            {
                guard.took(next, Kind::Write, time);
                next += 5 * MS;
            }
            now += guard.pass(now, 1, PIECE, 32) + MS / 10;
            bytes += PIECE;
        }
        bytes
    }

    #[test]
    fn r29_without_clients_a_resync_is_not_held_back() {
        let mut guard = Guard::default();
        assert_eq!(one_second(&mut guard, 10 * WINDOW, None), 10_000 * PIECE);
        assert_eq!(guard.limit(Duration::from_secs(9)), None);
    }

    #[test]
    fn r29_a_resync_gives_way_when_clients_feel_it_and_still_ends() {
        let mut guard = Guard::default();
        for at in 0..100 {
            guard.took(at * MS, Kind::Write, MS);
        }
        let felt = one_second(&mut guard, 100 * MS, Some(20 * MS));
        let felt = felt.min(one_second(&mut guard, 1100 * MS, Some(20 * MS)));
        assert!(felt <= 2 * FLOOR, "{felt}");
        assert!(felt >= FLOOR / 2, "{felt}");
        let unfelt = one_second(&mut guard, 2100 * MS, Some(MS));
        let later = one_second(&mut guard, 3100 * MS, Some(MS));
        assert!(unfelt > 2 * felt && later > unfelt, "{felt} {unfelt} {later}");
    }

    #[test]
    fn r29_an_operators_bound_holds_also_while_no_client_is_there() {
        let most = 4 * MIB as u64;
        let mut guard = Guard::default();
        guard.set_most(most);
        for (second, request) in [None, Some(MS), None].into_iter().enumerate() {
            let bytes = one_second(&mut guard, Duration::from_secs(second as u64 + 1), request);
            assert!(bytes <= most + 2 * PIECE && bytes >= most / 2, "{bytes}");
        }
    }

    #[test]
    fn what_is_usual_is_learnt_only_while_nothing_is_copied() {
        let mut guard = Guard::default();
        for at in 0..100 {
            guard.took(at * MS, Kind::Write, 5 * MS);
        }
        let before = guard.usual;
        guard.pass(100 * MS, 1, PIECE, 0);
        one_second(&mut guard, 100 * MS, Some(50 * MS));
        assert_eq!(guard.usual, before);
        assert_eq!(guard.usual[Kind::Passed as usize], None);
    }

    #[test]
    fn no_wait_is_longer_than_its_bound_however_much_is_asked_for_at_once() {
        let mut guard = Guard::default();
        guard.request(MS);
        for jitter in 0..=255 {
            assert!(guard.pass(MS, 1000, 1 << 40, jitter) <= WAIT_MAX * 5 / 4);
        }
    }
}
