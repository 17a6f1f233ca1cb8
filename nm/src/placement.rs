//! Who acts in a pair now, as clients and servers are told.

use crate::live::Live;
use nm_core::state::State;
use nm_core::store::StoreError;
use std::time::Duration;
use types::message::manager::{MemberAddr, Placement};
use types::record::{Pair, Phase, Server};

/// The placement of `pair`: its acting member is named only while it holds a lease and can be reached.
pub(crate) fn placement(
    state: State<'_>,
    live: &Live,
    pair: &Pair,
    now: Duration,
) -> Result<Placement, StoreError> {
    let mut members = Vec::with_capacity(2);
    for name in [&pair.primary, &pair.backup] {
        members.extend(state.server(name)?);
    }
    Ok(of(live, pair, &members, now))
}

/// The same with the members at hand.
pub(crate) fn of(live: &Live, pair: &Pair, members: &[Server], now: Duration) -> Placement {
    let acting = members.iter().find(|server| server.name == pair.acting);
    let partner = members.iter().find(|server| server.name != pair.acting);
    let reason = why_nobody(live, pair, acting, now);
    Placement {
        pair: pair.id,
        epoch: pair.epoch,
        acting: if reason.is_empty() { pair.acting.clone() } else { String::new() },
        members: members
            .iter()
            .map(|server| MemberAddr {
                name: server.name.clone(),
                addr: server.addr.clone(),
                incarnation: server.incarnation,
            })
            .collect(),
        name: pair.name.clone(),
        reason,
        degraded: partner.is_none_or(|partner| partner.failed || !partner.fresh),
    }
}

/// Empty if the acting member serves.
fn why_nobody(live: &Live, pair: &Pair, acting: Option<&Server>, now: Duration) -> String {
    let Some(acting) = acting else {
        return format!("{} has never registered", pair.primary);
    };
    let name = &acting.name;
    if pair.phase() != Phase::Steady {
        return format!("{} is changing hands", pair.name);
    }
    if acting.failed {
        return format!("{name} has failed and its partner may not stand in for it");
    }
    let holds = live.leases.holder(pair, now) == Some((name, acting.incarnation));
    match () {
        () if !acting.recovered => format!("{name} is starting"),
        () if !live.alive(acting, now) => format!("{name} does not answer"),
        () if !holds => format!("{name} has no lease now"),
        () if live.beat(acting).is_none() => format!("{name} has lost its connection"),
        () => String::new(),
    }
}
