//! The words of `status`: the state of a pair and of a server, as people read them.

use std::fmt;
use types::record::{Pair, Phase, Server};

/// The state of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairState {
    /// The backup has never caught up: the primary serves, its files are at risk.
    Forming,
    /// Both are fresh, the preferred member acts.
    Active,
    /// The preferred member acts, the other is away or stale.
    Degraded,
    /// The other member acts; the preferred one is away, waits for an operator, or is kept from its role for a while.
    FailedOver,
    /// The other member acts; the preferred one catches up or is being handed over to.
    Recovering,
    /// Nobody may serve.
    Down,
}

impl PairState {
    /// The word in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            PairState::Forming => "forming",
            PairState::Active => "active",
            PairState::Degraded => "degraded",
            PairState::FailedOver => "failed_over",
            PairState::Recovering => "recovering",
            PairState::Down => "down",
        }
    }
}

impl fmt::Display for PairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the state of a pair follows from.
#[derive(Clone, Copy, Debug)]
pub struct PairView<'a> {
    /// The pair.
    pub pair: &'a Pair,
    /// Its members, as far as they have registered.
    pub members: [Option<&'a Server>; 2],
    /// The acting member holds a lease, or is getting one in a change of hands that is under way.
    pub serving: bool,
    /// The preferred member takes over by itself, and is not kept from it ([`crate::flap`]).
    pub auto_failback: bool,
}

/// The state of a pair.
pub fn pair_state(view: PairView<'_>) -> PairState {
    let PairView { pair, members, serving, auto_failback } = view;
    let find = |name: &str| members.into_iter().flatten().find(|server| server.name == name);
    let acting = find(&pair.acting);
    if !serving || acting.is_none_or(|acting| acting.failed) {
        return PairState::Down;
    }
    let well = |server: Option<&Server>| server.is_some_and(|server| server.fresh && !server.failed);
    if pair.acting == pair.preferred {
        return match well(find(pair.partner_of(&pair.acting))) {
            _ if !pair.formed => PairState::Forming,
            true => PairState::Active,
            false => PairState::Degraded,
        };
    }
    let preferred = find(&pair.preferred);
    let away = preferred.is_none_or(|preferred| preferred.failed);
    let waits = well(preferred) && (pair.hold || !auto_failback) && pair.phase() != Phase::Handover;
    if away || waits { PairState::FailedOver } else { PairState::Recovering }
}

/// Whether a change of the acting member is under way and its new one may be expected within moments.
pub fn between_reigns(pair: &Pair, acting_alive: bool) -> bool {
    pair.phase() != Phase::Steady && acting_alive
}

/// The state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// Its heartbeats arrive.
    Alive,
    /// A heartbeat is missing.
    Suspect,
    /// Failed, so in the log.
    Failed,
    /// Not yet heard by this leader.
    Unknown,
}

impl ServerState {
    /// The word in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            ServerState::Alive => "alive",
            ServerState::Suspect => "suspect",
            ServerState::Failed => "failed",
            ServerState::Unknown => "unknown",
        }
    }
}

/// The state of a server: `heard` by this leader at all, `suspect` by its monitor.
pub fn server_state(server: &Server, heard: bool, suspect: bool) -> ServerState {
    match (server.failed, heard, suspect) {
        (true, _, _) => ServerState::Failed,
        (_, false, _) => ServerState::Unknown,
        (_, _, true) => ServerState::Suspect,
        _ => ServerState::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(acting: &str) -> Pair {
        Pair {
            primary: "p".into(),
            backup: "b".into(),
            preferred: "p".into(),
            acting: acting.into(),
            formed: true,
            ..Pair::default()
        }
    }

    fn server(name: &str, fresh: bool, failed: bool) -> Server {
        Server { name: name.into(), fresh, failed, ..Server::default() }
    }

    fn state(pair: &Pair, primary: Option<&Server>, backup: Option<&Server>, serving: bool) -> PairState {
        pair_state(PairView { pair, members: [primary, backup], serving, auto_failback: true })
    }

    #[test]
    fn status_tells_the_story_of_a_failure_and_the_return() {
        let (p, b) = (server("p", true, false), server("b", true, false));
        let (p_failed, p_back) = (server("p", false, true), server("p", false, false));
        let forming = Pair { formed: false, ..pair("p") };
        assert_eq!(state(&forming, Some(&p), None, true), PairState::Forming);
        assert_eq!(state(&pair("p"), Some(&p), Some(&b), true), PairState::Active);
        assert_eq!(state(&pair("p"), Some(&p), Some(&b), false), PairState::Down);
        assert_eq!(state(&pair("b"), Some(&p_failed), Some(&b), true), PairState::FailedOver);
        assert_eq!(state(&pair("b"), Some(&p_back), Some(&b), true), PairState::Recovering);
        assert_eq!(state(&pair("b"), Some(&p), Some(&b), true), PairState::Recovering, "handover is next");
        assert_eq!(state(&pair("p"), Some(&p), Some(&server("b", false, false)), true), PairState::Degraded);
        assert_eq!(state(&pair("p"), Some(&p), Some(&server("b", false, true)), true), PairState::Degraded);
        assert_eq!(state(&pair("p"), Some(&p_failed), Some(&b), true), PairState::Down);
    }

    #[test]
    fn with_manual_failback_status_says_that_it_waits_for_a_person() {
        let (p, b) = (server("p", true, false), server("b", true, false));
        let pair = pair("b");
        let view =
            PairView { pair: &pair, members: [Some(&p), Some(&b)], serving: true, auto_failback: false };
        assert_eq!(pair_state(view), PairState::FailedOver);
        let catching_up = server("p", false, false);
        assert_eq!(
            pair_state(PairView { members: [Some(&catching_up), Some(&b)], ..view }),
            PairState::Recovering
        );
        let handing = Pair { phase: Phase::Handover.into(), ..pair.clone() };
        assert_eq!(pair_state(PairView { pair: &handing, ..view }), PairState::Recovering);
    }

    #[test]
    fn a_server_that_was_never_heard_is_unknown_not_dead() {
        assert_eq!(server_state(&server("p", true, false), false, false).name(), "unknown");
        assert_eq!(server_state(&server("p", true, false), true, true).name(), "suspect");
        assert_eq!(server_state(&server("p", true, false), true, false).name(), "alive");
        assert_eq!(server_state(&server("p", true, true), true, false).name(), "failed");
    }
}
