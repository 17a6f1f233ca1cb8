//! Probe: are you there?

use crate::node::Node;
use std::sync::Arc;
use types::Result;
use types::message::Empty;
use types::message::member::ProbeReply;

/// Says which registration this server believes in.
pub async fn run(node: Arc<Node>, _request: Empty) -> Result<ProbeReply> {
    Ok(ProbeReply { incarnation: node.serving.incarnation() })
}
