//! Drops uploads whose clients have gone (I9), here and what of them is in the store.

use crate::node::Node;
use net::clock::boottime;
use std::sync::Arc;
use std::time::Duration;

/// How often to look.
const ROUND: Duration = Duration::from_secs(5);

/// Looks until the server stops.
pub async fn run(node: Arc<Node>) {
    while !node.is_stopped() {
        tokio::select! {
            () = node.stopped() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        for upload in node.sessions.expire(boottime()) {
            tracing::info!(session = %upload.id, "an upload made no progress and is dropped");
            node.forget(&upload).await;
            if node.serving.epoch().is_some() {
                node.partner.abort(upload.id);
            }
        }
    }
}
