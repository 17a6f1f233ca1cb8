//! PassPiece: a piece of an upload that goes on at the acting member (R18), with the digests it has computed. An
//! empty one with a target opens the session here and asks what is here already; without, it only tells digests.

use crate::node::Node;
use crate::sessions::Piece;
use crate::upload::Sender;
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
        let upload = node.sessions.find(id)?;
        if body.is_empty() {
            upload.tell(request.digests_from, &request.digests);
            return Ok(upload.progress());
        }
        let sender = Sender::Acting(request.digests_from, request.digests);
        let piece = Piece { offset: request.offset, bytes: body, crcs: request.crcs };
        return upload.piece(&node, sender, piece).await;
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
    Ok(upload.progress())
}
