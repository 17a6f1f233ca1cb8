//! A server stops: first it hands over, then it gives its lease up (R6).

use crate::live::Leaving;
use crate::service::Call;
use nm_core::state::State;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use types::Result;
use types::message::Empty;
use types::message::member::LeaveRequest;
use types::record::{Pair, Server};

/// A handover that is not done by then is not waited for.
const WAIT: Duration = Duration::from_secs(10);

/// It wants to stop: answers when it need not wait any longer.
pub(crate) async fn leave(call: Call, request: LeaveRequest) -> Result<Empty> {
    call.require_server(&request.server)?;
    let manager = &call.manager;
    manager.live().set_leaving(&request.server, request.incarnation, Leaving::Wants);
    let deadline = Instant::now() + WAIT;
    let acted = acts(&call, &request)?;
    while let Some(pair) = must_wait(&call, &request, acted)? {
        let mut board = manager.board.watch(pair);
        board.mark_unchanged();
        manager.signals.wake(pair);
        // The state may have changed without a new placement.
        let look = deadline.min(Instant::now() + Duration::from_millis(100));
        let _ = timeout_at(look, board.changed()).await;
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(Empty {})
}

/// The registration and its pair, while it is the present one.
fn present(state: State<'_>, request: &LeaveRequest) -> Result<Option<(Server, Pair)>> {
    let Some(server) = state.server(&request.server)? else { return Ok(None) };
    let Some(pair) = state.pair(server.pair)? else { return Ok(None) };
    Ok((server.incarnation == request.incarnation && !server.failed).then_some((server, pair)))
}

fn acts(call: &Call, request: &LeaveRequest) -> Result<bool> {
    let view = call.manager.view()?;
    let present = present(State::new(&view), request)?;
    Ok(present.is_some_and(|(server, pair)| pair.acting == server.name))
}

/// The pair, while one that acted waits for the other member to serve.
fn must_wait(call: &Call, request: &LeaveRequest, acted: bool) -> Result<Option<u32>> {
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let Some((server, pair)) = present(state, request)?.filter(|_| acted) else { return Ok(None) };
    let Some(heir) = state.server(pair.partner_of(&server.name))? else { return Ok(None) };
    let live = manager.live();
    let now = manager.now();
    let may = heir.fresh && !heir.failed && live.leaving(&heir).is_none() && live.alive(&heir, now);
    let does = live.leases.holder(&pair, now).is_some_and(|(holder, _)| holder == heir.name);
    Ok((may && !does).then_some(pair.id))
}

/// Its lease is over; nobody else has to wait for it.
pub(crate) async fn release(call: Call, request: LeaveRequest) -> Result<Empty> {
    call.require_server(&request.server)?;
    let manager = &call.manager;
    let server = {
        let view = manager.view()?;
        State::new(&view).server(&request.server)?
    };
    if let Some(server) = server.filter(|server| server.incarnation == request.incarnation) {
        let mut live = manager.live();
        live.set_leaving(&server.name, server.incarnation, Leaving::Released);
        live.leases.release(server.pair, &server.name, server.incarnation);
        drop(live);
        manager.signals.wake(server.pair);
    }
    Ok(Empty {})
}
