//! OpenSession: begins an upload, or finds it again, also on the member that was the partner (R28).

use crate::node::Node;
use crate::passer;
use net::clock::boottime;
use ss_core::session::WriteSession;
use std::sync::Arc;
use std::time::Duration;
use types::capability::right;
use types::ids::SessionId;
use types::limits::FILE_MAX;
use types::message::store::{OpenSessionRequest, SessionState};
use types::{Error, Result};

/// Opens the session for `user` and says what of it is here.
pub async fn run(node: Arc<Node>, user: String, request: OpenSessionRequest) -> Result<SessionState> {
    let id = SessionId::from_slice(&request.session)?;
    let target = request.target.ok_or_else(|| Error::bad_request("a session without a target"))?;
    let capability = node.serving.capability(request.capability.as_ref(), &user)?;
    capability.require(right::WRITE, target.pair, target.folder, target.file)?;
    let epoch = node.admit(target.pair, request.epoch)?;
    if request.size.is_some_and(|size| size > FILE_MAX) {
        return Err(Error::bad_request(format_args!("a file of more than {FILE_MAX} bytes")));
    }
    // Durable here already: prepared, or decided and its answer lost.
    if let Some(held) = node.store()?.lookup(id)? {
        let size = held.manifest.size;
        return Ok(SessionState { held: size, partner_held: size, passing: false });
    }
    let timeout = Duration::from_millis(request.timeout_ms);
    let upload = node
        .sessions
        .get_or_open(id, request.size, || WriteSession::open(boottime(), &user, target.clone(), timeout))?;
    upload.again(&user, &target)?;
    passer::start(&node, &upload, epoch);
    Ok(upload.progress())
}
