//! Who acts in a pair now, as clients and servers are told; and where new files go.

use crate::live::{Beat, Live};
use nm_core::state::State;
use nm_core::store::StoreError;
use std::time::Duration;
use types::limits::SPREAD_PAIRS;
use types::message::manager::{MemberAddr, Placement};
use types::placement::{choose, spread};
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

/// The pairs that new files of a folder may go to, with their weights: those whose acting member holds a lease, at most
/// [`SPREAD_PAIRS`] of them. Empty while nobody serves.
pub(crate) fn choices(
    state: State<'_>,
    live: &Live,
    folder: u64,
    now: Duration,
) -> Result<Vec<(Pair, u64)>, StoreError> {
    let mut pairs: Vec<(Pair, u64)> = state
        .pairs()?
        .into_iter()
        .filter(|pair| live.leases.holder(pair, now).is_some())
        .map(|pair| {
            let room = room(live, &pair);
            (pair, room)
        })
        .collect();
    if pairs.len() > SPREAD_PAIRS {
        let near = spread(folder, pairs.iter().map(|(pair, room)| (pair.id, *room)), SPREAD_PAIRS);
        pairs.retain(|(pair, _)| near.contains(&pair.id));
    }
    Ok(pairs)
}

/// The one of `choices` for a new file.
pub(crate) fn chosen<'a>(choices: &'a [(Pair, u64)], folder: u64, name: &str) -> Option<&'a Pair> {
    let id = choose(folder, name, choices.iter().map(|(pair, room)| (pair.id, *room)))?;
    choices.iter().map(|(pair, _)| pair).find(|pair| pair.id == id)
}

/// What fits on both members, bytes; nothing where one is in trouble or has to make room.
fn room(live: &Live, pair: &Pair) -> u64 {
    let beats = [&pair.primary, &pair.backup].into_iter().filter_map(|name| live.beats.get(name));
    let room = |beat: &Beat| if beat.trouble || beat.short { 0 } else { beat.free_bytes };
    beats.map(room).min().unwrap_or_default()
}
