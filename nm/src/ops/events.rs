//! What happened, for those who look and for those who wait.

use crate::service::Call;
use nm_core::state::State;
use std::time::Duration;
use tokio::time::Instant;
use types::Result;
use types::message::manager::{EventsReply, EventsRequest};

/// Events in one answer.
const PAGE: usize = 1000;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn run(call: Call, request: EventsRequest) -> Result<EventsReply> {
    call.user()?;
    let limit = match request.limit as usize {
        0 => PAGE,
        limit => limit.min(PAGE),
    };
    let deadline = Instant::now() + Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
    let mut applied = call.manager.raft.watch_applied();
    loop {
        applied.mark_unchanged();
        let events = {
            let view = call.manager.view()?;
            State::new(&view).events_after(request.after, limit)?
        };
        if !events.is_empty() || !call.manager.wait(deadline, applied.changed()).await {
            return Ok(EventsReply { events });
        }
    }
}
