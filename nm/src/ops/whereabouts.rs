//! Who acts in a pair; waits for somebody else than the client already tried.

use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use std::time::Duration;
use tokio::time::Instant;
use types::message::manager::{Placement, WhereaboutsRequest};
use types::{Code, Error, Result};

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn run(call: Call, request: WhereaboutsRequest) -> Result<Placement> {
    call.user()?;
    let manager = &call.manager;
    let deadline = Instant::now() + Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
    let mut board = manager.board.watch(request.pair);
    loop {
        board.mark_unchanged();
        let now = {
            let view = manager.view()?;
            let state = State::new(&view);
            let pair = state.pair(request.pair)?.ok_or_else(|| {
                Error::new(
                    Code::NotFound,
                    format_args!("there is no pair {}", request.pair),
                    "look the path up again",
                )
            })?;
            placement(state, &manager.live(), &pair, manager.now())?
        };
        if is_news(&now, &request) || !manager.wait(deadline, board.changed()).await {
            return Ok(now);
        }
    }
}

fn is_news(placement: &Placement, request: &WhereaboutsRequest) -> bool {
    let acting = placement.members.iter().find(|member| member.name == placement.acting);
    acting.is_some_and(|acting| {
        placement.epoch > request.known_epoch || acting.incarnation != request.known_incarnation
    })
}
