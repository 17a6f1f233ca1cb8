//! Compare: what this server holds in a range of ids and the name manager does not list is set aside (R24).

use super::apply::check_registration;
use crate::node::Node;
use crate::store::Listed;
use std::sync::Arc;
use types::limits::{COMPARE_PAGE, NAMES_TOLD};
use types::message::member::{CompareReply, CompareRequest};
use types::{Error, Result};

/// Compares a range.
pub async fn run(node: Arc<Node>, request: CompareRequest) -> Result<CompareReply> {
    check_registration(&node, request.generation, request.incarnation)?;
    if request.feed != 0 {
        node.serving.check_pair(request.feed)?;
    }
    if request.ids.len() > COMPARE_PAGE || !request.ids.is_sorted() {
        return Err(Error::bad_request("a page of ids that is too long or not in order"));
    }
    let CompareRequest { feed, after, upto, ids, end, .. } = request;
    let listed = Listed { feed, after, upto, ids, end };
    let store = node.store()?.clone();
    let looking = store.clone();
    let unlisted = node.pool.run(move || looking.unlisted(&listed)).await?;
    let told = unlisted.iter().filter(|record| !record.is_tombstone());
    for record in told.clone() {
        let (id, name) = (record.id, &record.name);
        tracing::warn!(id, name, feed, "the index does not know this record: it is set aside");
    }
    let reply = CompareReply {
        set_aside: told.clone().count() as u64,
        names: told.map(|record| record.name.clone()).take(NAMES_TOLD).collect(),
    };
    store.set_aside(unlisted).await?;
    Ok(reply)
}
