//! Pages through the records of a pair in the order of its feed.

use crate::manager::Manager;
use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use nm_core::store::StoreError;
use types::capability::{Capability, SignedCapability, right};
use types::limits::{PAGE_BYTES, PAGE_ROWS};
use types::message::manager::{PairRecordsReply, PairRecordsRequest};
use types::record::Pair;
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: PairRecordsRequest) -> Result<PairRecordsReply> {
    let user = call.require_admin()?;
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let pair = pair(state, request.pair)?;
    let limit = match request.limit as usize {
        0 => PAGE_ROWS,
        limit => limit.min(PAGE_ROWS),
    };
    let rows = state.feed_rows(pair.id, request.after, limit, PAGE_BYTES)?;
    let end = rows.last().is_none_or(|row| row.seq >= pair.feed_end);
    Ok(PairRecordsReply {
        rows,
        placement: Some(placement(state, &manager.live(), &pair, manager.now())?),
        capability: Some(cover(manager, state, user, &pair)?),
        end,
    })
}

/// The pair of this number.
pub(super) fn pair(state: State<'_>, id: u32) -> Result<Pair> {
    state.pair(id)?.ok_or_else(|| {
        Error::new(Code::NotFound, format_args!("there is no pair {id}"), "`pairfs status` shows the pairs")
    })
}

/// What shows the servers of a pair that an operator asks.
pub(super) fn cover(
    manager: &Manager,
    state: State<'_>,
    user: String,
    pair: &Pair,
) -> Result<SignedCapability, StoreError> {
    let capability = Capability {
        user,
        stamp: state.feed_end(0)?,
        expires_ms: manager.proposer.time() + manager.settings.capability_life.as_millis() as u64,
        rights: right::READ,
        pair: pair.id,
        operator: true,
        ..Capability::default()
    };
    let members = [&pair.primary, &pair.backup].into_iter().filter(|name| !name.is_empty());
    let servers: Vec<&str> = members.map(String::as_str).collect();
    Ok(SignedCapability::sign(&capability, &manager.cluster.master_key, &servers))
}
