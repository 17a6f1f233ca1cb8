//! Abort: the client gives an upload up. One that is on its way into the log is past that (R10).

use crate::node::Node;
use std::sync::Arc;
use types::Result;
use types::ids::SessionId;
use types::message::Empty;
use types::message::store::AbortRequest;

/// Drops the session, here and at the partner. A session that is not known is dropped already.
pub async fn run(node: Arc<Node>, user: String, request: AbortRequest) -> Result<Empty> {
    let id = SessionId::from_slice(&request.session)?;
    if let Some(upload) = node.sessions.get(id) {
        upload.abort(&user)?;
        node.forget(&upload).await;
        node.partner.abort(id, async move { upload.passed().await });
    }
    Ok(Empty {})
}
