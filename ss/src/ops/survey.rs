//! Survey: what this server lacks of the rows beyond its cursor, after its promotion (R11).

use crate::fetch;
use crate::node::Node;
use std::sync::Arc;
use types::Result;
use types::message::member::{SurveyReply, SurveyRequest};

/// Compares each row with what is held, prepared sessions included.
pub async fn run(node: Arc<Node>, request: SurveyRequest) -> Result<SurveyReply> {
    node.serving.check_pair(request.pair)?;
    node.store()?;
    let asked = node.clone();
    let look = move || {
        Ok(ss_core::survey::survey(&request.rows, |version| {
            version.session_id().is_ok_and(|session| fetch::holds(&asked, session, &version.sha256))
        }))
    };
    let found = node.pool.run(look).await?;
    // What was seen may be buffered only; what is not reported owed must be here after a crash, too.
    node.store()?.barrier().await?;
    Ok(SurveyReply { lacks: found.lacks, holds: found.holds })
}
