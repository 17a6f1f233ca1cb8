//! Pages through the records of a pair, for fsck.

use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use types::capability::{Capability, SignedCapability, right};
use types::limits::{CAPABILITY_TTL, PAGE_BYTES, PAGE_ROWS};
use types::message::manager::{PairRecordsReply, PairRecordsRequest};
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: PairRecordsRequest) -> Result<PairRecordsReply> {
    let user = call.require_admin()?;
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let pair = state.pair(request.pair)?.ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format_args!("there is no pair {}", request.pair),
            "`pairfs status` shows the pairs",
        )
    })?;
    let limit = match request.limit as usize {
        0 => PAGE_ROWS,
        limit => limit.min(PAGE_ROWS),
    };
    let rows = state.feed_rows(pair.id, request.after, limit, PAGE_BYTES)?;
    let capability = Capability {
        user,
        stamp: state.feed_end(0)?,
        expires_ms: manager.proposer.time() + CAPABILITY_TTL.as_millis() as u64,
        rights: right::READ,
        pair: pair.id,
        operator: true,
        ..Capability::default()
    };
    let servers: Vec<&str> = [&pair.primary, &pair.backup]
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(String::as_str)
        .collect();
    let end = rows.last().is_none_or(|row| row.seq >= pair.feed_end);
    Ok(PairRecordsReply {
        rows,
        placement: Some(placement(state, &manager.live(), &pair, manager.now())?),
        capability: Some(SignedCapability::sign(&capability, &manager.cluster.master_key, &servers)),
        end,
    })
}
