//! LetGo: stop serving for a handover (R27). What is on its way into the log is decided there.

use crate::node::Node;
use std::sync::Arc;
use types::Result;
use types::message::Empty;
use types::message::member::LetGoRequest;

/// Gives the lease of that epoch up; from the answer on nothing is served in it.
pub async fn run(node: Arc<Node>, request: LetGoRequest) -> Result<Empty> {
    node.serving.check_pair(request.pair)?;
    node.serving.let_go(request.epoch);
    log::crash_point("handover.let-go");
    Ok(Empty {})
}
