//! A new server's folder comes in (R24). The server speaks for itself only; whose the files are is said here.

use crate::service::Call;
use nm_core::state::State;
use types::command::{Answer, Answers, EndImport, Op};
use types::limits::IMPORT_BATCH;
use types::message::member::TakeInRequest;
use types::{Error, Result};

pub(crate) async fn take_in(call: Call, request: TakeInRequest) -> Result<Answers> {
    if request.entries.len() > IMPORT_BATCH {
        return Err(Error::bad_request(format_args!("{} entries at once", request.entries.len())));
    }
    let user = {
        let view = call.manager.view()?;
        State::new(&view).administrator()?
    };
    let user = user.ok_or_else(|| Error::internal("the cluster has no administrator"))?;
    if let Some(entry) = request.entries.first() {
        call.manager.until_met(&entry.server, entry.incarnation).await?;
    }
    let mut ops = Vec::with_capacity(request.entries.len());
    for mut entry in request.entries {
        call.require_server(&entry.server)?;
        entry.user.clone_from(&user);
        ops.push(Op::Import(entry));
    }
    let answers = call.manager.proposer.propose_all(ops).await?;
    Ok(Answers { answers })
}

pub(crate) async fn taken_in(call: Call, request: EndImport) -> Result<Answer> {
    call.require_server(&request.server)?;
    call.manager.proposer.propose(Op::EndImport(request)).await
}
