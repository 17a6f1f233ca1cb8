//! Lists a folder, a page at a time.

use crate::service::Call;
use nm_core::query;
use types::Result;
use types::message::manager::{ListReply, ListRequest};

pub(crate) async fn run(call: Call, request: ListRequest) -> Result<ListReply> {
    let user = call.user()?;
    let view = call.manager.view()?;
    query::list(&view, &user, &request)
}
