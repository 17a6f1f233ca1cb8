//! PassAbort: the acting member has dropped a session.

use crate::node::Node;
use std::sync::Arc;
use types::Result;
use types::ids::SessionId;
use types::message::Empty;
use types::message::partner::PassAbortRequest;

/// Drops it here too, unless this server has come to commit it itself.
pub async fn run(node: Arc<Node>, request: PassAbortRequest) -> Result<Empty> {
    let id = SessionId::from_slice(&request.session)?;
    if let Some(upload) = node.sessions.get(id)
        && !upload.is_committing()
    {
        node.forget(&upload).await;
    }
    Ok(Empty {})
}
