//! Who may serve: the leader's table of leases (R2–R4, R6, R9). Volatile: it dies with the leadership.
//!
//! The leader counts a lease from the *arrival* of the heartbeat that it answers, for the whole timeout; the
//! holder counts it from the *sending* and gives up a guard before. So the leader's end is always the later
//! one, and "ended" here means ended there.
//!
//! Time is the leader's monotonic clock, as a value.

use std::collections::BTreeMap;
use std::time::Duration;
use types::limits::Pace;
use types::mutation::{self, Mutation};
use types::record::{Pair, Phase, Server};

/// Nothing is served before the feeds are applied up to here (R9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeFrom {
    /// End of the control feed.
    pub control: u64,
    /// End of the pair's feed.
    pub pair: u64,
}

/// A heartbeat that asks for a lease.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The server's pair, as applied now.
    pub pair: &'a Pair,
    /// The server, as applied now.
    pub server: &'a Server,
    /// The registration that the heartbeat names.
    pub incarnation: u64,
    /// When the heartbeat arrived.
    pub arrival: Duration,
    /// The feeds' ends as applied now.
    pub ends: ServeFrom,
}

/// A lease that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Epoch it is for.
    pub epoch: u64,
    /// What has to be applied before anything is served.
    pub serve_from: ServeFrom,
    /// Until when the leader counts it.
    pub until: Duration,
    /// It goes on without a gap; else it is a new one.
    pub extended: bool,
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server was declared failed, or registered anew since.
    RegisterAgain,
    /// The other member acts.
    NotActing,
    /// It has not recovered its store.
    NotRecovered,
    /// The pair changes hands now (R3).
    Changing,
    /// Somebody else's lease may run until then.
    Wait {
        /// When that lease has surely ended.
        until: Duration,
    },
    /// The heartbeat is older than a lease is long.
    Late,
}

#[derive(Clone, Debug)]
struct Held {
    server: String,
    incarnation: u64,
    until: Duration,
    /// Epoch and start; none for a lease that a leader before may have given.
    given: Option<(u64, ServeFrom)>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    held: Option<Held>,
    blocked: bool,
}

/// The leases of all pairs.
#[derive(Clone, Debug)]
pub struct Leases {
    timeout: Duration,
    pairs: BTreeMap<u32, Entry>,
}

impl Leases {
    /// The table of a leader that begins at `since` with these pairs and their acting servers: whoever acts
    /// may hold a lease of the leader before for a full timeout (R4).
    pub fn new<'a>(
        pace: Pace,
        since: Duration,
        acting: impl IntoIterator<Item = (&'a Pair, &'a Server)>,
    ) -> Leases {
        let pairs = acting
            .into_iter()
            .map(|(pair, server)| {
                let held = Held {
                    server: server.name.clone(),
                    incarnation: server.incarnation,
                    until: since + pace.timeout,
                    given: None,
                };
                (pair.id, Entry { held: Some(held), blocked: false })
            })
            .collect();
        Leases { timeout: pace.timeout, pairs }
    }

    /// Decides on a heartbeat. The caller has confirmed after the arrival that it still leads (R3) and took
    /// `ask` from the state while it held this table, so that no proposal comes in between.
    pub fn ask(&mut self, now: Duration, ask: Ask<'_>) -> Result<Grant, Refusal> {
        let Ask { pair, server, incarnation, arrival, ends } = ask;
        if server.failed || server.incarnation != incarnation {
            return Err(Refusal::RegisterAgain);
        }
        if pair.acting != server.name {
            return Err(Refusal::NotActing);
        }
        if !server.recovered {
            return Err(Refusal::NotRecovered);
        }
        let until = arrival + self.timeout;
        let entry = self.pairs.entry(pair.id).or_default();
        let changing = entry.blocked || pair.phase() != Phase::Steady;
        if changing && !mutation::is(Mutation::GrantWhileChanging) {
            return Err(Refusal::Changing);
        }
        if until <= now {
            return Err(Refusal::Late);
        }
        let (mut serve_from, mut extended, mut counted) = (ends, false, until);
        if let Some(held) = entry.held.as_ref().filter(|held| held.until > now) {
            let others = held.server != server.name || held.incarnation != incarnation;
            if others && !mutation::is(Mutation::KeepLeaseInHandover) {
                return Err(Refusal::Wait { until: held.until });
            }
            counted = until.max(held.until);
            if let Some((epoch, from)) = held.given
                && epoch == pair.epoch
            {
                (serve_from, extended) = (from, true);
            }
        }
        entry.held = Some(Held {
            server: server.name.clone(),
            incarnation,
            until: counted,
            given: Some((pair.epoch, serve_from)),
        });
        Ok(Grant { epoch: pair.epoch, serve_from, until: counted, extended })
    }

    /// The server and registration that hold a lease of this leader for `epoch` now.
    pub fn holder(&self, pair: &Pair, now: Duration) -> Option<(&str, u64)> {
        let held = self.pairs.get(&pair.id)?.held.as_ref()?;
        let current = held.given.is_some_and(|(epoch, _)| epoch == pair.epoch);
        (current && held.until > now).then_some((held.server.as_str(), held.incarnation))
    }

    /// Whether nobody in the pair can hold a lease now.
    pub fn ended(&self, pair: u32, now: Duration) -> bool {
        self.ends_at(pair).is_none_or(|until| until <= now)
    }

    /// When the lease that may be held in the pair has surely ended.
    pub fn ends_at(&self, pair: u32) -> Option<Duration> {
        self.pairs.get(&pair)?.held.as_ref().map(|held| held.until)
    }

    /// From now on nobody in the pair gets a lease: a `Promote` or `Handover` is about to be proposed (R3).
    pub fn block(&mut self, pair: u32) {
        self.pairs.entry(pair).or_default().blocked = true;
    }

    /// The fate of that proposal is known: the pair's phase tells the rest.
    pub fn unblock(&mut self, pair: u32) {
        self.pairs.entry(pair).or_default().blocked = false;
    }

    /// The server has given its lease up, or its process is proved to be gone (R5).
    pub fn release(&mut self, pair: u32, server: &str, incarnation: u64) {
        self.end(pair, |held| held.server == server && held.incarnation == incarnation);
    }

    /// The server has started again on the same boot of the same host: the start before is gone (R6). From
    /// elsewhere nothing is known, and its lease runs out first.
    pub fn restarted(&mut self, pair: u32, server: &str, same_boot: bool) {
        self.end(pair, |held| same_boot && held.server == server);
    }

    fn end(&mut self, pair: u32, which: impl FnOnce(&Held) -> bool) {
        if let Some(entry) = self.pairs.get_mut(&pair)
            && entry.held.as_ref().is_some_and(which)
        {
            entry.held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);
    const ENDS: ServeFrom = ServeFrom { control: 5, pair: 9 };

    fn pair(acting: &str, epoch: u64) -> Pair {
        Pair {
            id: 1,
            name: "ss1".into(),
            primary: "ss1".into(),
            backup: "ss1_backup".into(),
            acting: acting.into(),
            preferred: "ss1".into(),
            epoch,
            ..Pair::default()
        }
    }

    fn server(name: &str, incarnation: u64) -> Server {
        Server { name: name.into(), pair: 1, incarnation, recovered: true, fresh: true, ..Server::default() }
    }

    fn ask<'a>(pair: &'a Pair, server: &'a Server, arrival: Duration) -> Ask<'a> {
        Ask { pair, server, incarnation: server.incarnation, arrival, ends: ENDS }
    }

    fn empty() -> Leases {
        Leases::new(Pace::NORMAL, Duration::ZERO, [])
    }

    #[test]
    fn reading_goes_on_without_waiting_while_heartbeats_arrive() {
        let (pair, server) = (pair("ss1", 1), server("ss1", 1));
        let mut leases = empty();
        let first = leases.ask(10 * S, ask(&pair, &server, 10 * S)).unwrap();
        assert!(!first.extended);
        let later = Ask { ends: ServeFrom { control: 50, pair: 90 }, ..ask(&pair, &server, 20 * S) };
        let next = leases.ask(20 * S, later).unwrap();
        assert_eq!((next.extended, next.serve_from), (true, ENDS));
        assert_eq!(next.until, 35 * S);
    }

    #[test]
    fn after_a_gap_a_removed_file_is_not_read_again() {
        let (pair, server) = (pair("ss1", 1), server("ss1", 1));
        let mut leases = empty();
        leases.ask(10 * S, ask(&pair, &server, 10 * S)).unwrap();
        assert!(leases.ended(1, 25 * S), "rm may be acknowledged now");
        let ends = ServeFrom { control: 50, pair: 90 };
        let grant = leases.ask(25 * S, Ask { ends, ..ask(&pair, &server, 25 * S) }).unwrap();
        assert_eq!((grant.extended, grant.serve_from), (false, ends));
    }

    #[test]
    fn two_members_never_serve_at_once_when_the_acting_one_changes() {
        let (old, new) = (server("ss1", 1), server("ss1_backup", 1));
        let mut leases = empty();
        leases.ask(10 * S, ask(&pair("ss1", 1), &old, 10 * S)).unwrap();
        let changed = pair("ss1_backup", 2);
        let refused = leases.ask(12 * S, ask(&changed, &new, 12 * S));
        assert_eq!(refused, Err(Refusal::Wait { until: 25 * S }));
        assert_eq!(leases.ask(12 * S, ask(&changed, &old, 12 * S)), Err(Refusal::NotActing));
        leases.release(1, "ss1", 1);
        assert_eq!(leases.ask(12 * S, ask(&changed, &new, 12 * S)).unwrap().epoch, 2);
    }

    #[test]
    fn a_deposed_member_gets_no_lease_while_a_promotion_is_on_its_way() {
        let server = server("ss1", 1);
        let mut leases = empty();
        leases.block(1);
        assert_eq!(leases.ask(S, ask(&pair("ss1", 1), &server, S)), Err(Refusal::Changing));
        leases.unblock(1);
        for phase in [Phase::Promoted, Phase::Handover] {
            let pair = Pair { phase: phase.into(), ..pair("ss1", 1) };
            assert_eq!(leases.ask(S, ask(&pair, &server, S)), Err(Refusal::Changing));
        }
        assert!(leases.ask(S, ask(&pair("ss1", 1), &server, S)).is_ok());
    }

    #[test]
    fn a_new_leader_does_not_take_a_lease_for_ended_that_the_one_before_gave() {
        let (pair, server) = (pair("ss1", 1), server("ss1", 4));
        let mut leases = Leases::new(Pace::NORMAL, 100 * S, [(&pair, &server)]);
        assert!(!leases.ended(1, 114 * S));
        assert!(leases.holder(&pair, 101 * S).is_none(), "nothing is known of it");
        let other = Server { incarnation: 5, ..server.clone() };
        let refused = leases.ask(101 * S, ask(&pair, &other, 101 * S));
        assert_eq!(refused, Err(Refusal::Wait { until: 115 * S }));
        let grant = leases.ask(101 * S, ask(&pair, &server, 101 * S)).unwrap();
        assert_eq!((grant.extended, grant.serve_from), (false, ENDS), "its own may go on at once");
        assert_eq!(leases.holder(&pair, 101 * S), Some(("ss1", 4)));
    }

    #[test]
    fn a_server_that_was_killed_and_started_again_serves_at_once() {
        let pair = pair("ss1", 1);
        let mut leases = empty();
        leases.ask(10 * S, ask(&pair, &server("ss1", 1), 10 * S)).unwrap();
        let again = server("ss1", 2);
        leases.restarted(1, "ss1", false);
        assert!(matches!(leases.ask(11 * S, ask(&pair, &again, 11 * S)), Err(Refusal::Wait { .. })));
        leases.restarted(1, "ss1", true);
        assert!(leases.ask(11 * S, ask(&pair, &again, 11 * S)).is_ok());
    }

    #[test]
    fn a_heartbeat_that_was_long_on_its_way_gives_no_lease() {
        let (pair, server) = (pair("ss1", 1), server("ss1", 1));
        assert_eq!(empty().ask(30 * S, ask(&pair, &server, 15 * S)), Err(Refusal::Late));
    }

    proptest! {
        /// Plays heartbeats, releases and changes of the acting member; a member serves from its grant until
        /// the guard before its end by its own count.
        #[test]
        fn whatever_happens_one_member_serves(steps in prop::collection::vec((0u8..6, 0u64..4000, 0u64..900), 1..80)) {
            let pace = Pace::NORMAL;
            let servers = [server("ss1", 1), server("ss1_backup", 1)];
            let mut leases = empty();
            let mut pair = pair("ss1", 1);
            let mut serves = [Duration::ZERO; 2];
            let mut now = 100 * S;
            for (what, pause, travel) in steps {
                now += Duration::from_millis(pause);
                let acting = usize::from(pair.acting != "ss1");
                match what {
                    0..=2 => {
                        let who = usize::from(what == 2) ^ acting;
                        let sent = now - Duration::from_millis(travel);
                        if leases.ask(now, ask(&pair, &servers[who], now)).is_ok() {
                            serves[who] = sent + pace.lease();
                        }
                    }
                    3 => {
                        serves[acting] = Duration::ZERO;
                        leases.release(1, &servers[acting].name, 1);
                    }
                    4 => {
                        pair.acting = servers[1 - acting].name.clone();
                        pair.epoch += 1;
                    }
                    _ => leases.unblock(1),
                }
                prop_assert!(serves.iter().filter(|until| **until > now).count() <= 1);
                if leases.ended(1, now) {
                    prop_assert!(serves.iter().all(|until| *until <= now));
                }
            }
        }
    }
}
