//! A registered server has recovered its store and tells where it stands.

use crate::service::Call;
use nm_core::state::State;
use types::command::{Op, Recovered};
use types::record::Server;
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: Recovered) -> Result<Server> {
    call.require_server(&request.server)?;
    let manager = &call.manager;
    let known = {
        let view = manager.view()?;
        State::new(&view).server(&request.server)?
    };
    let pair = known.map_or(0, |known| known.pair);
    if let Some(what) = manager.live().met.reports(&request, pair) {
        let next = "stop the name manager and bring its newest data back, or start it with --rebuild";
        return Err(Error::new(Code::Damaged, format_args!("the name manager's data: {what}"), next));
    }
    let damaged = request.damaged;
    let answer = manager.proposer.propose(Op::Recovered(request)).await?;
    let server = answer.server.ok_or_else(|| Error::internal("a recovery without a server"))?;
    if !damaged {
        manager.live().met.reported(&server);
        manager.note_met();
    }
    Ok(server)
}
