//! What this leader knows beside the log: heartbeats, leases, who wants to leave. Volatile; a new leader
//! begins with nothing of it.

use crate::port;
use net::Session;
use nm_core::gray::Gray;
use nm_core::lease::Leases;
use nm_core::monitor::Monitor;
use nm_core::reach::Met;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use types::limits::Pace;
use types::message::member::ScrubState;
use types::mutation::{self, Mutation};
use types::record::{Pair, Server};

/// The newest heartbeat of a server, and how to answer it later.
#[derive(Clone, Debug)]
pub(crate) struct Beat {
    pub(crate) session: Arc<Session>,
    pub(crate) incarnation: u64,
    pub(crate) number: u64,
    pub(crate) arrival: Duration,
    pub(crate) used_bytes: u64,
    pub(crate) free_bytes: u64,
    /// Its store takes no more writes.
    pub(crate) trouble: bool,
    /// Room is to be made on its disk.
    pub(crate) short: bool,
    /// Records that it has set aside.
    pub(crate) set_aside: u64,
    /// Why its store takes no more writes until it is started again; empty if it does.
    pub(crate) broken: String,
    /// Age of its oldest unfinished disk operation, ms.
    pub(crate) oldest_io_ms: u64,
    /// Age of the last sync of its disk, ms.
    pub(crate) last_sync_ms: Option<u64>,
    /// How far its background scrubber is.
    pub(crate) scrub: Option<ScrubState>,
}

/// How far a server that stops has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It wants to hand over.
    Wants,
    /// It has given its lease up and gets no other.
    Released,
}

/// All of it, behind one lock. Nobody waits for anything while holding that.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) leases: Leases,
    pub(crate) monitor: Monitor,
    /// Which servers know nothing that the log has lost.
    pub(crate) met: Met,
    /// Who is heard and does no work.
    pub(crate) gray: Gray,
    pub(crate) beats: BTreeMap<String, Beat>,
    leaving: BTreeMap<String, (u64, Leaving)>,
    /// Pairs of which it was told that the preferred member is kept from its role.
    pub(crate) damped: BTreeSet<u32>,
    /// Whom an operator wants to act, by pair.
    pub(crate) wishes: BTreeMap<u32, String>,
}

impl Live {
    pub(crate) fn new(pace: Pace, since: Duration, pairs: &[Pair], servers: &[Server], met: Met) -> Live {
        let acting = pairs.iter().filter_map(|pair| {
            servers.iter().find(|server| server.name == pair.acting).map(|server| (pair, server))
        });
        let since = match mutation::is(Mutation::NewLeaderDoesNotWait) {
            true => since.saturating_sub(pace.timeout),
            false => since,
        };
        Live {
            leases: Leases::new(pace, since, acting),
            monitor: Monitor::new(pace, since),
            met,
            gray: Gray::new(pace.hang, port::apart(pace)),
            beats: BTreeMap::new(),
            leaving: BTreeMap::new(),
            damped: BTreeSet::new(),
            wishes: BTreeMap::new(),
        }
    }

    /// The newest heartbeat of this registration, if its connection still stands.
    pub(crate) fn beat(&self, server: &Server) -> Option<&Beat> {
        self.beats
            .get(&server.name)
            .filter(|beat| beat.incarnation == server.incarnation && !beat.session.is_closed())
    }

    /// Why the server cannot go on as a member, though its process lives (R31): its store is out of service, and its
    /// partner can stand in for it if it acts. Without one it stays: reads go on.
    pub(crate) fn broken(
        &self,
        server: &Server,
        pair: &Pair,
        partner: Option<&Server>,
        now: Duration,
    ) -> Option<&str> {
        let well = |server: &Server| {
            self.alive(server, now) && self.beat(server).is_some_and(|beat| beat.broken.is_empty())
        };
        let heir = || partner.is_some_and(|partner| partner.fresh && partner.recovered && well(partner));
        let beat = self.beat(server).filter(|beat| !beat.broken.is_empty())?;
        (pair.acting != server.name || heir()).then_some(beat.broken.as_str())
    }

    pub(crate) fn set_leaving(&mut self, server: &str, incarnation: u64, how: Leaving) {
        self.leaving.insert(server.to_owned(), (incarnation, how));
    }

    /// A server has registered: what an earlier registration of it wanted is over.
    pub(crate) fn registered(&mut self, server: &Server) {
        if self.leaving.get(&server.name).is_some_and(|(incarnation, _)| *incarnation != server.incarnation) {
            self.leaving.remove(&server.name);
        }
    }

    /// Whether a server has asked to hand over before it stops.
    pub(crate) fn wants_to_leave(&self, server: &str) -> bool {
        matches!(self.leaving.get(server), Some((_, Leaving::Wants)))
    }

    pub(crate) fn leaving(&self, server: &Server) -> Option<Leaving> {
        let (incarnation, how) = self.leaving.get(&server.name)?;
        (*incarnation == server.incarnation).then_some(*how)
    }

    /// Whether this leader hears the server and it has not taken its leave.
    pub(crate) fn alive(&self, server: &Server, now: Duration) -> bool {
        self.monitor.alive(server, now) && self.leaving(server) != Some(Leaving::Released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_has_left_or_is_back_does_not_count_as_leaving_for_ever() {
        let mut live = Live::new(Pace::FAST, Duration::ZERO, &[], &[], Met::default());
        let start = |incarnation| Server { name: "ss1".into(), pair: 1, incarnation, ..Server::default() };
        live.set_leaving("ss1", 1, Leaving::Wants);
        assert!(live.wants_to_leave("ss1") && !live.wants_to_leave("ss2"));
        live.set_leaving("ss1", 1, Leaving::Released);
        assert!(!live.wants_to_leave("ss1"));
        assert_eq!(live.leaving(&start(1)), Some(Leaving::Released));
        live.registered(&start(1));
        assert!(live.leaving(&start(1)).is_some(), "the same registration, told twice");
        live.registered(&start(2));
        assert!(live.leaving.is_empty());
    }
}
