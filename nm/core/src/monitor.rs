//! Who is silent: decides from the arrivals of heartbeats who is suspect and who has failed (R4, R5).
//!
//! Time is the leader's monotonic clock, as a value. The shell calls [`Monitor::tick`] once each
//! [`Pace::check`]; a tick that comes more than a check late means that this process itself stood still, and
//! then everybody's silence begins anew.

use std::collections::BTreeMap;
use std::time::Duration;
use types::limits::Pace;
use types::mutation::{self, Mutation};
use types::record::Server;

#[derive(Clone, Debug)]
struct Watched {
    incarnation: u64,
    /// When its last heartbeat arrived; none if this leader has heard none of this registration.
    heard: Option<Duration>,
    /// Its silence counts from here.
    window: Duration,
    told_suspect: bool,
    gone: Option<String>,
}

/// What a tick has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A heartbeat is missing; told once for each silence.
    Suspect {
        /// Server.
        server: String,
        /// How long nothing has arrived.
        silence: Duration,
    },
    /// Silent for the whole timeout: it has failed.
    Silent {
        /// Server.
        server: String,
        /// How long nothing has arrived.
        silence: Duration,
    },
}

/// The arrivals of all servers.
#[derive(Clone, Debug)]
pub struct Monitor {
    pace: Pace,
    since: Duration,
    last_tick: Duration,
    servers: BTreeMap<String, Watched>,
}

impl Monitor {
    /// The monitor of a leader that begins at `since`: nobody's silence begins earlier (R4).
    pub fn new(pace: Pace, since: Duration) -> Monitor {
        Monitor { pace, since, last_tick: since, servers: BTreeMap::new() }
    }

    fn watched(&mut self, server: &str, incarnation: u64, from: Duration) -> &mut Watched {
        let fresh = || Watched { incarnation, heard: None, window: from, told_suspect: false, gone: None };
        let watched = self.servers.entry(server.to_owned()).or_insert_with(fresh);
        if watched.incarnation < incarnation {
            *watched = fresh();
        }
        watched
    }

    /// A registration was made: its silence begins now.
    pub fn registered(&mut self, server: &str, incarnation: u64, now: Duration) {
        self.watched(server, incarnation, now);
    }

    /// A heartbeat has arrived. One of an earlier registration, or of one that is proved to be gone, counts
    /// for nothing.
    pub fn heard(&mut self, server: &str, incarnation: u64, now: Duration) {
        let watched = self.watched(server, incarnation, now);
        if watched.incarnation == incarnation && watched.gone.is_none() {
            watched.heard = Some(now);
            watched.window = now;
            watched.told_suspect = false;
        }
    }

    /// The process of this registration is proved to be gone (R5).
    pub fn gone(&mut self, server: &str, incarnation: u64, now: Duration, why: &str) {
        let watched = self.watched(server, incarnation, now);
        if watched.incarnation == incarnation {
            watched.gone.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Looks at all `servers` of the log.
    pub fn tick(&mut self, now: Duration, servers: &[Server]) -> Vec<Finding> {
        let late = now.saturating_sub(self.last_tick) > 2 * self.pace.check;
        // Whom the first look finds was there before this leader; whoever comes later has just registered.
        let new_since = if self.last_tick == self.since { self.since } else { now };
        self.last_tick = now;
        let (timeout, suspect) = (self.pace.timeout, suspect_after(self.pace));
        let mut findings = Vec::new();
        for server in servers.iter().filter(|server| !server.failed) {
            let watched = self.watched(&server.name, server.incarnation, new_since);
            if late && !mutation::is(Mutation::NewLeaderDoesNotWait) {
                watched.window = now;
            }
            let silence = now.saturating_sub(watched.window);
            let name = server.name.clone();
            if silence >= timeout && watched.gone.is_none() {
                watched.gone = Some(format!("no heartbeat for {:.1} s", silence.as_secs_f64()));
                findings.push(Finding::Silent { server: name, silence });
            } else if silence > suspect && !watched.told_suspect && watched.gone.is_none() {
                watched.told_suspect = true;
                findings.push(Finding::Suspect { server: name, silence });
            }
        }
        findings
    }

    /// Why this registration is taken for failed, if it is.
    pub fn verdict(&self, server: &Server) -> Option<&str> {
        self.known(server)?.gone.as_deref()
    }

    /// Whether this leader hears the server: a heartbeat of this registration arrived less than the timeout
    /// ago and nothing speaks against it.
    pub fn alive(&self, server: &Server, now: Duration) -> bool {
        !server.failed
            && self.known(server).is_some_and(|watched| {
                let fresh = |heard| now.saturating_sub(heard) < self.pace.timeout;
                watched.gone.is_none() && watched.heard.is_some_and(fresh)
            })
    }

    /// Whether a heartbeat is missing.
    pub fn suspect(&self, server: &Server, now: Duration) -> bool {
        self.silence(server, now).is_some_and(|silence| silence > suspect_after(self.pace))
    }

    /// How long ago the last heartbeat of this registration arrived; none if this leader has heard none.
    pub fn silence(&self, server: &Server, now: Duration) -> Option<Duration> {
        self.known(server)?.heard.map(|heard| now.saturating_sub(heard))
    }

    fn known(&self, server: &Server) -> Option<&Watched> {
        self.servers.get(&server.name).filter(|watched| watched.incarnation == server.incarnation)
    }
}

/// Silence beyond which a heartbeat counts as missing.
fn suspect_after(pace: Pace) -> Duration {
    pace.heartbeat * 3 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn server() -> Server {
        Server { name: "ss1".into(), incarnation: 3, ..Server::default() }
    }

    /// Ticks every check from `from` to `to`; gives what was found and when.
    fn run(monitor: &mut Monitor, from: u32, to: u32, server: &Server) -> Vec<(u32, Finding)> {
        (from..=to)
            .step_by(5)
            .flat_map(|at| {
                monitor.tick(at * S, std::slice::from_ref(server)).into_iter().map(move |found| (at, found))
            })
            .collect()
    }

    #[test]
    fn a_dead_server_is_found_15_to_20_s_after_its_last_heartbeat() {
        for last in 100..105 {
            let mut monitor = Monitor::new(Pace::NORMAL, 95 * S);
            assert!(run(&mut monitor, 95, 100, &server()).is_empty());
            monitor.heard("ss1", 3, last * S);
            let found = run(&mut monitor, 105, 140, &server());
            let kinds: Vec<_> = found.iter().map(|(_, finding)| finding).collect();
            assert!(matches!(kinds[..], [Finding::Suspect { .. }, Finding::Silent { .. }]), "{found:?}");
            let failed = found[1].0 - last;
            assert!((15..=20).contains(&failed), "failed after {failed} s");
            assert!(!monitor.alive(&server(), 140 * S));
            assert!(monitor.verdict(&server()).unwrap().starts_with("no heartbeat for"));
        }
    }

    #[test]
    fn a_server_that_has_just_registered_is_not_failed_for_the_silence_before() {
        let mut monitor = Monitor::new(Pace::NORMAL, Duration::ZERO);
        assert!(run(&mut monitor, 0, 60, &Server { failed: true, ..server() }).is_empty());
        let again = Server { incarnation: 4, ..server() };
        let found = run(&mut monitor, 65, 75, &again);
        assert!(!found.iter().any(|(_, finding)| matches!(finding, Finding::Silent { .. })), "{found:?}");
        assert_eq!(monitor.verdict(&again), None);
    }

    #[test]
    fn a_server_that_sends_is_never_failed_nor_suspect() {
        let mut monitor = Monitor::new(Pace::NORMAL, Duration::ZERO);
        for at in (5..300).step_by(5) {
            monitor.heard("ss1", 3, at * S);
            assert!(monitor.tick(at * S + S, &[server()]).is_empty());
            assert!(monitor.alive(&server(), at * S + S));
        }
    }

    #[test]
    fn a_name_manager_that_stood_still_fails_nobody_when_it_goes_on() {
        let mut monitor = Monitor::new(Pace::NORMAL, Duration::ZERO);
        monitor.heard("ss1", 3, 5 * S);
        assert!(run(&mut monitor, 5, 10, &server()).is_empty());
        assert!(run(&mut monitor, 60, 65, &server()).is_empty(), "a tick 50 s late begins all windows anew");
        let found = run(&mut monitor, 70, 90, &server());
        assert_eq!(found.last().unwrap().0, 75, "and then a whole timeout counts");
    }

    #[test]
    fn a_new_leader_waits_a_full_timeout_for_servers_it_has_not_heard() {
        let mut monitor = Monitor::new(Pace::NORMAL, 1000 * S);
        let found = run(&mut monitor, 1005, 1014, &server());
        assert!(found.iter().all(|(_, finding)| matches!(finding, Finding::Suspect { .. })));
        assert_eq!(monitor.silence(&server(), 1014 * S), None, "unknown, not silent");
        let found = run(&mut monitor, 1015, 1015, &server());
        assert!(matches!(found[..], [(_, Finding::Silent { .. })]));
    }

    #[test]
    fn a_process_known_to_be_gone_is_not_brought_back_by_a_late_heartbeat() {
        let mut monitor = Monitor::new(Pace::NORMAL, Duration::ZERO);
        monitor.heard("ss1", 3, 5 * S);
        monitor.gone("ss1", 3, 6 * S, "its process ended");
        monitor.heard("ss1", 3, 7 * S);
        assert!(!monitor.alive(&server(), 7 * S));
        assert_eq!(monitor.verdict(&server()), Some("its process ended"));
        let again = Server { incarnation: 4, ..server() };
        monitor.heard("ss1", 4, 8 * S);
        assert!(monitor.alive(&again, 8 * S), "its next start is another one");
        monitor.gone("ss1", 3, 9 * S, "late news of the start before");
        assert!(monitor.alive(&again, 9 * S));
    }

    #[test]
    fn the_next_silence_is_told_again() {
        let mut monitor = Monitor::new(Pace::NORMAL, Duration::ZERO);
        for start in [0, 100] {
            monitor.heard("ss1", 3, start * S);
            monitor.tick(start * S, &[server()]);
            let found = monitor.tick(start * S + 8 * S, &[server()]);
            assert!(matches!(found[..], [Finding::Suspect { .. }]), "{found:?}");
            assert!(monitor.tick(start * S + 9 * S, &[server()]).is_empty());
        }
    }
}
