//! Aside: what was set aside here because the index did not list it (R24): told to an operator, or given up by one.

use crate::node::Node;
use prost::Message;
use std::sync::Arc;
use types::limits::{ASIDE_PAGE, PAGE_BYTES};
use types::message::store::{AsideReply, AsideRequest};
use types::record::Record;
use types::{Code, Error, Result};

/// Tells a page, or gives up what is named. Needs no lease: each member has its own.
pub async fn run(node: Arc<Node>, user: String, request: AsideRequest) -> Result<AsideReply> {
    let capability = node.capability(request.capability.as_ref(), &user)?;
    if !capability.operator || capability.pair != request.pair {
        let what = "what is set aside is for operators";
        return Err(Error::new(Code::Denied, what, "sign in as an administrator"));
    }
    node.serving.check_pair(request.pair)?;
    let store = node.store()?.clone();
    if request.give_up.is_empty() {
        let mut records = node.pool.run(move || store.aside_after(request.after, ASIDE_PAGE)).await?;
        let mut bytes = 0;
        let fits = |record: &Record| {
            bytes += record.encoded_len();
            bytes <= PAGE_BYTES
        };
        let count = records.iter().map(fits).take_while(|fits| *fits).count().max(1);
        records.truncate(count);
        return Ok(AsideReply { records, given_up: 0 });
    }
    if request.give_up.len() > ASIDE_PAGE {
        return Err(Error::bad_request(format_args!("{} records at once", request.give_up.len())));
    }
    let mut records = Vec::new();
    for name in &request.give_up {
        records.extend(store.aside(name.id)?.filter(|record| record.seq == name.seq));
    }
    for Record { id, name, .. } in &records {
        tracing::warn!(id, name, user, "what was set aside is given up");
    }
    let given_up = store.give_up_aside(records).await?;
    Ok(AsideReply { records: Vec::new(), given_up })
}
