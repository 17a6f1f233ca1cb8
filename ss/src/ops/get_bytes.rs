//! GetBytes: a range of a content for the partner.

use crate::node::Node;
use bytes::Bytes;
use std::sync::Arc;
use types::ids::SessionId;
use types::limits::PIECE;
use types::message::partner::{GetBytesReply, GetBytesRequest};
use types::{Code, Error, Result};

/// Reads, checked against the checksums of the blocks.
pub async fn run(node: Arc<Node>, request: GetBytesRequest) -> Result<(GetBytesReply, Bytes)> {
    let session = SessionId::from_slice(&request.session)?;
    let store = node.store()?.clone();
    let len = request.len.min(PIECE as u32);
    let read = move || {
        let held = store.lookup(session)?.ok_or_else(|| {
            Error::new(Code::NoSuchSession, "that content is not here", "look at the row again")
        })?;
        store.read(&held.manifest, request.offset, len)
    };
    let (bytes, crc64) = node.pool.run(read).await?;
    Ok((GetBytesReply { crc64 }, bytes))
}
