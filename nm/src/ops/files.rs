//! Pages through the files of a pair in the order of their ids, for fsck: the servers list theirs in the same order, so
//! that all three can be compared as they come.

use crate::ops::records::cover;
use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use nm_core::store::StoreError;
use types::Result;
use types::limits::{PAGE_BYTES, PAGE_ROWS};
use types::message::manager::{PairFilesReply, PairFilesRequest};
use types::record::Pair;

pub(crate) async fn run(call: Call, request: PairFilesRequest) -> Result<PairFilesReply> {
    let user = call.require_admin()?;
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let pair = super::records::pair(state, request.pair)?;
    let floor = floor(&call, state, &pair)?;
    let limit = match request.limit as usize {
        0 => PAGE_ROWS,
        limit => limit.min(PAGE_ROWS),
    };
    let (records, next) = state.files_of(pair.id, request.after, limit, PAGE_BYTES)?;
    Ok(PairFilesReply {
        records,
        next,
        floor,
        placement: Some(placement(state, &manager.live(), &pair, manager.now())?),
        capability: Some(cover(manager, state, user, &pair)?),
    })
}

/// How far every member of the pair has said that it has applied its feed.
fn floor(call: &Call, state: State<'_>, pair: &Pair) -> Result<u64, StoreError> {
    let mut floor = u64::MAX;
    for name in [&pair.primary, &pair.backup].into_iter().filter(|name| !name.is_empty()) {
        let Some(server) = state.server(name)? else { return Ok(0) };
        let member = call.manager.members.get(&server);
        floor = floor.min(member.map_or(server.pair_cursor, |member| member.own.feeder().watermark()));
    }
    Ok(floor)
}
