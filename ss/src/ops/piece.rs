//! Piece: some bytes of an upload. No capability: the session belongs to its user (R15).

use crate::node::Node;
use crate::sessions::Piece;
use crate::upload::Sender;
use bytes::Bytes;
use std::sync::Arc;
use types::Result;
use types::ids::SessionId;
use types::message::store::{PieceRequest, SessionState};

/// Takes the piece; answers when it is here and the partner is not too far behind (R18).
pub async fn run(node: Arc<Node>, user: String, request: PieceRequest, body: Bytes) -> Result<SessionState> {
    let upload = node.sessions.find(SessionId::from_slice(&request.session)?)?;
    upload.check_user(&user)?;
    let piece = Piece { offset: request.offset, bytes: body, crcs: request.crcs };
    upload.piece(&node, Sender::Client, piece).await
}
