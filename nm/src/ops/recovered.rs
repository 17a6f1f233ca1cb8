//! A registered server has recovered its store and tells where it stands.

use crate::service::Call;
use types::command::{Op, Recovered};
use types::record::Server;
use types::{Error, Result};

pub(crate) async fn run(call: Call, request: Recovered) -> Result<Server> {
    call.require_server(&request.server)?;
    let answer = call.manager.proposer.propose(Op::Recovered(request)).await?;
    answer.server.ok_or_else(|| Error::internal("a recovery without a server"))
}
