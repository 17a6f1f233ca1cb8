//! Finds a path: what stands there, where its bytes are, and what shows the servers that one may.

use crate::live::Live;
use crate::placement::placement;
use crate::service::Call;
use nm_core::query::{self, Found};
use nm_core::state::State;
use nm_core::store::StoreError;
use std::time::Duration;
use types::capability::{Capability, SignedCapability, right};
use types::limits::CAPABILITY_TTL;
use types::message::manager::{LocateRequest, Located};
use types::record::Pair;
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: LocateRequest) -> Result<Located> {
    let user = call.user()?;
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let found = query::locate(&view, &user, &request)?;
    let now_ms = manager.proposer.time();
    let mut located = Located {
        folder: found.folder,
        name: found.name.clone(),
        stamp: found.stamp,
        now_ms,
        ..Located::default()
    };
    let live = manager.live();
    let now = manager.now();
    if let Some(pair) = pair_of(state, &live, &found, now)? {
        located.placement = Some(placement(state, &live, &pair, now)?);
        drop(live);
        if request.rights != 0 {
            let capability = Capability {
                user,
                stamp: found.stamp,
                expires_ms: now_ms + CAPABILITY_TTL.as_millis() as u64,
                // What was asked for, not all that the user may do: a stolen one is worth less.
                rights: found.rights & granted(request.rights),
                pair: pair.id,
                folder: found.folder,
                file: match &found.record {
                    Some(record) if !found.whole_folder => record.id,
                    _ => 0,
                },
                operator: false,
            };
            let servers: Vec<&str> = [&pair.primary, &pair.backup]
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(String::as_str)
                .collect();
            located.capability =
                Some(SignedCapability::sign(&capability, &manager.cluster.master_key, &servers));
        }
    }
    located.record = found.record;
    Ok(located)
}

/// What a request for `rights` is given: writing includes reading.
fn granted(rights: u32) -> u32 {
    if rights & right::WRITE != 0 { right::ALL } else { rights }
}

/// The pair of what was found, or the one for a new file.
fn pair_of(state: State<'_>, live: &Live, found: &Found, now: Duration) -> Result<Option<Pair>> {
    match &found.record {
        Some(record) if !record.is_file() => Ok(None),
        _ if found.pair != 0 => Ok(state.pair(found.pair)?),
        Some(_) => Ok(None),
        None => match choose(state, live, now)? {
            Some(pair) => Ok(Some(pair)),
            None => Err(Error::new(
                Code::NoActingMember,
                "no pair of storage servers is there",
                "start one; `pairfs status` shows what runs",
            )),
        },
    }
}

/// The pair for a new file: of those that serve, the one with most room; else any, so that the client
/// learns why it has to wait.
pub(crate) fn choose(state: State<'_>, live: &Live, now: Duration) -> Result<Option<Pair>, StoreError> {
    let room = |pair: &Pair| {
        let serves = live.leases.holder(pair, now).is_some();
        let beat = live.beats.get(&pair.acting);
        let well = beat.is_some_and(|beat| !beat.trouble);
        (serves, well, beat.map_or(0, |beat| beat.free_bytes))
    };
    Ok(state.pairs()?.into_iter().max_by_key(|pair| (room(pair), std::cmp::Reverse(pair.id))))
}
