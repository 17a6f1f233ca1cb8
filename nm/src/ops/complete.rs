//! Writes that the acting member has prepared become versions.

use crate::service::Call;
use types::Result;
use types::command::{Answers, Op};
use types::message::member::CompleteRequest;

pub(crate) async fn run(call: Call, request: CompleteRequest) -> Result<Answers> {
    for write in &request.writes {
        call.require_server(&write.server)?;
    }
    let ops = request.writes.into_iter().map(Op::WriteComplete).collect();
    let answers = call.manager.proposer.propose_all(ops).await?;
    for record in answers.iter().filter_map(|answer| answer.record.as_ref()) {
        // It may stand where something was that is not gone for everyone yet.
        call.manager.unseen.entry(record.parent, &record.name).await;
    }
    Ok(Answers { answers })
}
