//! What became of prepared sessions (R10): asked after a registration has fenced those before.

use crate::service::Call;
use nm_core::query;
use nm_core::state::State;
use types::message::member::{ResolveReply, ResolveRequest};
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: ResolveRequest) -> Result<ResolveReply> {
    call.require_server(&request.server)?;
    call.manager.confirm_leader().await?;
    let view = call.manager.view()?;
    let state = State::new(&view);
    let known = state.server(&request.server)?;
    let known = known.filter(|known| known.incarnation == request.incarnation && !known.failed);
    let Some(known) = known else {
        return Err(Error::new(
            Code::RegisterAgain,
            "this registration is over",
            "it registers again by itself",
        ));
    };
    let pair_end = state.pair(known.pair)?.map_or(0, |pair| pair.feed_end);
    let resolutions = query::resolutions(&view, known.pair, request.cursor, &request.sessions)?;
    Ok(ResolveReply { resolutions, pair_end })
}
