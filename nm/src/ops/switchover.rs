//! Hands a pair over to its other member, without an error to any client.

use crate::manager::Manager;
use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use std::time::Duration;
use tokio::time::Instant;
use types::command::{Op, Prefer};
use types::message::manager::{Placement, SwitchoverRequest};
use types::record::Pair;
use types::{Code, Error, Result};

/// How long it is tried unless the request says.
const WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(3600);

pub(crate) async fn run(call: Call, request: SwitchoverRequest) -> Result<Placement> {
    call.require_admin()?;
    let manager = &call.manager;
    let pair = pair_named(manager, &request.pair)?;
    let to = match request.to.as_str() {
        "" => pair.partner_of(&pair.acting).to_owned(),
        to => to.to_owned(),
    };
    check_there(manager, &pair, &to)?;
    manager.proposer.propose(Op::Prefer(Prefer { pair: pair.id, server: to.clone() })).await?;
    manager.live().wishes.insert(pair.id, to.clone());
    manager.signals.wake(pair.id);
    let acts = until_acts(manager, pair.id, &to, request.wait_ms).await?;
    match acts {
        Ok(placement) => Ok(placement),
        Err(now) => {
            manager.live().wishes.remove(&pair.id);
            Err(Error::new(
                Code::Timeout,
                format_args!("{to} does not act for {} yet: {}", pair.name, why(&now)),
                "it stays the preferred member; see `pairfs status` and `pairfs events`",
            ))
        }
    }
}

/// Refuses what would only take effect some day, when the member is back.
fn check_there(manager: &Manager, pair: &Pair, to: &str) -> Result<()> {
    let view = manager.view()?;
    let server = State::new(&view).server(to)?;
    let is_there = server.is_some_and(|server| manager.live().alive(&server, manager.now()));
    if is_there || pair.partner_of(&pair.acting) != to && pair.acting != to {
        return Ok(()); // one that is no member is refused by the log
    }
    Err(Error::new(
        Code::Unavailable,
        format_args!("{to} is not there: nothing was changed"),
        "start it first; `pairfs status` shows what runs",
    ))
}

/// The pair of that name.
pub(super) fn pair_named(manager: &Manager, name: &str) -> Result<Pair> {
    let view = manager.view()?;
    State::new(&view).pair_by_name(name)?.ok_or_else(|| {
        Error::new(Code::NotFound, format_args!("there is no pair {name}"), "`pairfs status` shows the pairs")
    })
}

/// Waits until `to` serves the pair: then how it is placed; else, when the time is over, how it still is.
pub(super) async fn until_acts(
    manager: &Manager,
    pair: u32,
    to: &str,
    wait_ms: u32,
) -> Result<std::result::Result<Placement, Placement>> {
    let wait = match wait_ms {
        0 => WAIT,
        wait => Duration::from_millis(wait.into()).min(WAIT_MAX),
    };
    let deadline = Instant::now() + wait;
    let mut board = manager.board.watch(pair);
    loop {
        board.mark_unchanged();
        let now = {
            let view = manager.view()?;
            let state = State::new(&view);
            let pair = state.pair(pair)?.ok_or_else(|| Error::internal("the pair is gone"))?;
            placement(state, &manager.live(), &pair, manager.now())?
        };
        if now.acting == to {
            return Ok(Ok(now));
        }
        if !manager.wait(deadline, board.changed()).await {
            return Ok(Err(now));
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
