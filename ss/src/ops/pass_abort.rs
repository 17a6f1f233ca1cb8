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
    match node.sessions.get(id) {
        Some(upload) if upload.is_committing() => {}
        Some(upload) => node.forget(&upload).await,
        None if node.store()?.lookup(id)?.is_some_and(|held| held.origin.for_partner) => {
            node.drop_undecided(id).await?;
        }
        None => {}
    }
    Ok(Empty {})
}
