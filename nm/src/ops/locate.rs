//! Finds a path: what stands there, where its bytes are, and what shows the servers that one may.

use crate::live::Live;
use crate::manager::Manager;
use crate::placement::{self, placement};
use crate::service::Call;
use nm_core::query::{self, Found};
use nm_core::state::State;
use std::time::Duration;
use types::capability::{Capability, SignedCapability, right};
use types::message::manager::{Choice, LocateRequest, Located};
use types::path::PathName;
use types::record::Pair;
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: LocateRequest) -> Result<Located> {
    let path = PathName::parse(&request.path)?;
    let located = locate(&call, &request);
    // Who hears that something is gone, or that another thing is in its place, must not find the old one afterwards.
    call.manager.unseen.path(&path).await;
    located
}

fn locate(call: &Call, request: &LocateRequest) -> Result<Located> {
    let user = call.user()?;
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let found = query::locate(&view, &user, request)?;
    let now_ms = manager.proposer.time();
    let mut located = Located {
        folder: found.folder,
        name: found.name.clone(),
        stamp: found.stamp,
        now_ms,
        durability: found.durability.0,
        durability_from: found.durability.1,
        ..Located::default()
    };
    let live = manager.live();
    let now = manager.now();
    let sought = pair_of(state, &live, &found, request.beside, now)?;
    let placed = sought.map(|pair| placement(state, &live, &pair, now).map(|it| (pair, it))).transpose()?;
    let others = match found.whole_folder && request.rights & right::WRITE != 0 {
        true => placement::choices(state, &live, found.folder, now)?,
        false => Vec::new(),
    };
    let mut choices = Vec::with_capacity(others.len());
    // One alone is no choice.
    let several = others.len() > 1;
    for (pair, weight) in others.into_iter().filter(|_| several) {
        choices.push((placement(state, &live, &pair, now)?, pair, weight));
    }
    drop(live);
    if let Some((pair, placement)) = placed {
        located.placement = Some(placement);
        if request.rights != 0 {
            located.capability = Some(sign(manager, &user, &found, &pair, request.rights, now_ms));
        }
    }
    for (placement, pair, weight) in choices {
        let capability = Some(sign(manager, &user, &found, &pair, request.rights, now_ms));
        located.choices.push(Choice { placement: Some(placement), capability, weight });
    }
    if request.copies {
        located.held_by = held_by(manager, state, &found, now)?;
    }
    located.record = found.record;
    Ok(located)
}

/// What shows the servers of `pair` that `user` may do what was asked for.
fn sign(
    manager: &Manager,
    user: &str,
    found: &Found,
    pair: &Pair,
    rights: u32,
    now_ms: u64,
) -> SignedCapability {
    let capability = Capability {
        user: user.to_owned(),
        stamp: found.stamp,
        expires_ms: now_ms + manager.settings.capability_life.as_millis() as u64,
        // What was asked for, not all that the user may do: a stolen one is worth less.
        rights: found.rights & granted(rights),
        pair: pair.id,
        folder: found.folder,
        file: match &found.record {
            Some(record) if !found.whole_folder => record.id,
            _ => 0,
        },
        operator: false,
    };
    let members = [&pair.primary, &pair.backup].into_iter().filter(|name| !name.is_empty());
    let servers: Vec<&str> = members.map(String::as_str).collect();
    SignedCapability::sign(&capability, &manager.cluster.master_key, &servers)
}

/// The members of the file's pair that answer and hold its head durably.
fn held_by(manager: &Manager, state: State<'_>, found: &Found, now: Duration) -> Result<Vec<String>> {
    let Some(record) = found.record.as_ref().filter(|record| record.is_file()) else { return Ok(Vec::new()) };
    let Some(pair) = state.pair(found.pair)? else { return Ok(Vec::new()) };
    let mut held = Vec::new();
    for name in [&pair.primary, &pair.backup] {
        let Some(server) = state.server(name)?.filter(|server| manager.live().alive(server, now)) else {
            continue;
        };
        let applied = manager.members.get(&server).map_or(0, |member| member.own.feeder().watermark());
        if query::holds_head(record, name, pair.acting == *name, applied) {
            held.push(server.name);
        }
    }
    Ok(held)
}

/// What a request for `rights` is given: writing includes reading.
fn granted(rights: u32) -> u32 {
    if rights & right::WRITE != 0 { right::ALL } else { rights }
}

/// The pair of what was found, or the one for a new file: the one wanted, else one that serves; while nobody serves any
/// one, so that the client learns why it has to wait.
fn pair_of(state: State<'_>, live: &Live, found: &Found, beside: u32, now: Duration) -> Result<Option<Pair>> {
    match &found.record {
        Some(record) if !record.is_file() => return Ok(None),
        _ if found.pair != 0 => return Ok(state.pair(found.pair)?),
        Some(_) => return Ok(None),
        None => {}
    }
    if beside != 0
        && let Some(pair) = state.pair(beside)?
    {
        return Ok(Some(pair));
    }
    let choices = placement::choices(state, live, found.folder, now)?;
    if let Some(pair) = placement::chosen(&choices, found.folder, &found.name) {
        return Ok(Some(pair.clone()));
    }
    let any = state.pairs()?.into_iter().next();
    any.map(Some).ok_or_else(|| {
        Error::new(
            Code::NoActingMember,
            "no pair of storage servers is there",
            "start one; `pairfs status` shows what runs",
        )
    })
}
