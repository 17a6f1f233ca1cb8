//! Places a name for the life of an upload (R14).

use crate::service::Call;
use std::time::Duration;
use types::Result;
use types::command::{Asker, Op, OpenUpload};
use types::ids::RequestKey;
use types::limits::{CLIENT_TIMEOUT_MAX, SESSION_IDLE};
use types::message::Empty;
use types::message::manager::OpenUploadRequest;

pub(crate) async fn run(call: Call, request: OpenUploadRequest) -> Result<Empty> {
    let user = call.user()?;
    let life = Duration::from_millis(request.timeout_ms).min(CLIENT_TIMEOUT_MAX) + SESSION_IDLE;
    let command = OpenUpload {
        // The session is the key: doing it twice changes nothing.
        asker: Some(Asker::new(&user, RequestKey::default(), [0; 32])),
        session: request.session,
        folder: request.folder,
        name: request.name,
        pair: request.pair,
        expires_ms: call.manager.proposer.time() + life.as_millis() as u64,
    };
    call.manager.proposer.propose(Op::OpenUpload(command)).await?;
    Ok(Empty {})
}
