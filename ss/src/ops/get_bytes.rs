//! GetBytes: a range of a content, or of an upload that goes on, for the partner.

use crate::node::Node;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use types::content::crc64;
use types::ids::SessionId;
use types::limits::PIECE;
use types::message::partner::{GetBytesReply, GetBytesRequest};
use types::{Code, Error, Result};

/// A copy that asks on within this time finds the content still here (R32).
const COPY: Duration = Duration::from_secs(30);

/// Reads, checked against the checksums of the blocks.
pub async fn run(node: Arc<Node>, request: GetBytesRequest) -> Result<(GetBytesReply, Bytes)> {
    let session = SessionId::from_slice(&request.session)?;
    let store = node.store()?.clone();
    let len = request.len.min(PIECE as u32);
    store.pin_for(session, COPY)?;
    let upload = node.sessions.get(session);
    if upload.is_none() {
        node.yield_to_clients(1, len.into()).await;
    }
    let read = move || match (store.lookup(session)?, upload) {
        (Some(held), _) => store.read(&held.manifest, request.offset, len),
        (None, Some(upload)) => {
            let range = request.offset..request.offset.saturating_add(len.into());
            let bytes = upload.read_back(&store, range)?;
            let crc64 = crc64(&bytes);
            Ok((bytes, crc64))
        }
        (None, None) => {
            Err(Error::new(Code::NoSuchSession, "that content is not here", "look at the row again"))
        }
    };
    let (bytes, crc64) = node.pool.run(read).await?;
    Ok((GetBytesReply { crc64 }, bytes))
}
