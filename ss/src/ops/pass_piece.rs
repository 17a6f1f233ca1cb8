//! PassPiece: a piece of an upload that goes on at the acting member (R18). An empty one opens the session
//! here and asks what is here already.

use crate::node::Node;
use bytes::Bytes;
use net::clock::boottime;
use ss_core::session::WriteSession;
use std::sync::Arc;
use std::time::Duration;
use types::Result;
use types::ids::SessionId;
use types::message::partner::PassPieceRequest;
use types::message::store::SessionState;

/// Takes the piece, in the reign of its sender.
pub async fn run(node: Arc<Node>, request: PassPieceRequest, body: Bytes) -> Result<SessionState> {
    node.serving.check_reign(request.epoch)?;
    let id = SessionId::from_slice(&request.session)?;
    let Some(target) = request.target else {
        return node.sessions.find(id)?.piece(&node, request.offset, request.crcs, body).await;
    };
    node.serving.check_pair(target.pair)?;
    if let Some(held) = node.store()?.lookup(id)? {
        return Ok(SessionState { held: held.manifest.size, partner_held: 0, passing: false });
    }
    let timeout = Duration::from_millis(request.timeout_ms);
    let upload = node.sessions.get_or_open(id, request.size, || {
        WriteSession::open(boottime(), &request.user, target.clone(), timeout)
    })?;
    upload.again(&request.user, &target)?;
    if body.is_empty() {
        return Ok(upload.progress());
    }
    upload.piece(&node, request.offset, request.crcs, body).await
}
