//! Probe: are you there, and how are you set?

use crate::node::Node;
use std::sync::Arc;
use types::Result;
use types::message::member::{ProbeReply, ProbeRequest};

/// Says which registration this server believes in, and its settings if asked.
pub async fn run(node: Arc<Node>, request: ProbeRequest) -> Result<ProbeReply> {
    let settings = if request.settings { node.settings.list() } else { Vec::new() };
    Ok(ProbeReply { incarnation: node.serving.incarnation(), settings })
}
