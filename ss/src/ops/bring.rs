//! Bring: copy owed versions from the partner, which has come back (R12).

use crate::fetch::{Wanted, bring};
use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use types::Result;
use types::ids::SessionId;
use types::message::member::{BringReply, BringRequest};

/// How long to wait for the copies; those that take longer go on, and the next request finds them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Copies all at once, within the bound of copies; tells which are durable here.
pub async fn run(node: Arc<Node>, request: BringRequest) -> Result<BringReply> {
    node.serving.check_pair(request.pair)?;
    let mut copies = JoinSet::new();
    for version in request.versions {
        let session = SessionId::from_slice(&version.session)?;
        let wanted = Wanted { session, sha256: version.sha256.clone(), size: 0 };
        let node = node.clone();
        copies.spawn(async move { (version.session, bring(&node, wanted, PATIENCE).await) });
    }
    let mut reply = BringReply::default();
    while let Some(ended) = copies.join_next().await {
        match ended {
            Ok((session, Ok(()))) => reply.brought.push(session),
            Ok((_, Err(error))) => reply.trouble = error.message,
            Err(error) => reply.trouble = error.to_string(),
        }
    }
    Ok(reply)
}
