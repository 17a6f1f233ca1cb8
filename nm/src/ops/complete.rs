//! Writes that the acting member has prepared become versions.

use crate::service::Call;
use types::Result;
use types::command::{Answers, Op};
use types::message::member::CompleteRequest;

pub(crate) async fn run(call: Call, request: CompleteRequest) -> Result<Answers> {
    for write in &request.writes {
        call.require_server(&write.server)?;
    }
    if let Some(write) = request.writes.first() {
        call.manager.until_met(&write.server, write.incarnation).await?;
    }
    let names: Vec<(u64, String)> =
        request.writes.iter().map(|write| (write.folder, write.name.clone())).collect();
    let ops = request.writes.into_iter().map(Op::WriteComplete).collect();
    let answers = call.manager.proposer.propose_all(ops).await?;
    for (folder, name) in names {
        // What was decided may stand where something was that is not gone for everyone yet, and a refusal may tell that it
        // is gone.
        call.manager.unseen.entry(folder, &name).await;
    }
    Ok(Answers { answers })
}
