//! Hands a pair over to its other member, without an error to any client.

use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use std::time::Duration;
use tokio::time::Instant;
use types::command::{Op, Prefer};
use types::message::manager::{Placement, SwitchoverRequest};
use types::{Code, Error, Result};

/// How long it is tried unless the request says.
const WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(3600);

pub(crate) async fn run(call: Call, request: SwitchoverRequest) -> Result<Placement> {
    call.require_admin()?;
    let manager = &call.manager;
    let pair = {
        let view = manager.view()?;
        State::new(&view).pair_by_name(&request.pair)?
    };
    let pair = pair.ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format_args!("there is no pair {}", request.pair),
            "`pairfs status` shows the pairs",
        )
    })?;
    let to = match request.to.as_str() {
        "" => pair.partner_of(&pair.acting).to_owned(),
        to => to.to_owned(),
    };
    manager.proposer.propose(Op::Prefer(Prefer { pair: pair.id, server: to.clone() })).await?;
    manager.live().wishes.insert(pair.id, to.clone());
    manager.signals.wake(pair.id);
    let wait = match request.wait_ms {
        0 => WAIT,
        wait => Duration::from_millis(wait.into()).min(WAIT_MAX),
    };
    let deadline = Instant::now() + wait;
    let mut board = manager.board.watch(pair.id);
    loop {
        board.mark_unchanged();
        let now = {
            let view = manager.view()?;
            let state = State::new(&view);
            let pair = state.pair(pair.id)?.ok_or_else(|| Error::internal("the pair is gone"))?;
            placement(state, &manager.live(), &pair, manager.now())?
        };
        if now.acting == to {
            return Ok(now);
        }
        if !manager.wait(deadline, board.changed()).await {
            manager.live().wishes.remove(&pair.id);
            return Err(Error::new(
                Code::Timeout,
                format_args!("{to} does not act for {} yet: {}", pair.name, why(&now)),
                "it stays the preferred member; see `pairfs status` and `pairfs events`",
            ));
        }
    }
}

fn why(placement: &Placement) -> &str {
    match (placement.reason.as_str(), placement.degraded) {
        ("", true) => "it has not caught up",
        ("", false) => "the handover did not succeed in time",
        (reason, _) => reason,
    }
}
