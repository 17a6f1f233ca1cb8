//! Piece: some bytes of an upload. No capability: the session belongs to its user (R15).

use crate::node::Node;
use bytes::Bytes;
use std::sync::Arc;
use types::Result;
use types::ids::SessionId;
use types::message::store::{PieceRequest, SessionState};

/// Takes the piece; answers when it is here and the partner is not too far behind (R18).
pub async fn run(node: Arc<Node>, user: String, request: PieceRequest, body: Bytes) -> Result<SessionState> {
    let upload = node.sessions.find(SessionId::from_slice(&request.session)?)?;
    upload.check_user(&user)?;
    upload.piece(&node, request.offset, request.crcs, body).await
}
