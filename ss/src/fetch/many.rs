//! Small contents from the partner, many in one request. Nothing is durable yet: they are kept together with the
//! rows that name them.

use super::{Wanted, away, damaged};
use crate::node::Node;
use crate::store::{Content, Store};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use types::Result;
use types::content::block_crcs;
use types::ids::SessionId;
use types::limits::{BLOCK, FRAME_HEAD_MAX, FRAME_MAX};
use types::message::partner::{GetMany, GetManyReply, GetManyRequest};
use types::record::Manifest;

/// A content up to this is small: it stands in the journal, so it needs no sync of its own.
pub const SMALL_MAX: u64 = BLOCK as u64;
/// Bytes of contents in one answer.
pub const BATCH_BYTES: usize = 256 * 1024;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

const _: () = assert!(BATCH_BYTES >= BLOCK && BATCH_BYTES + FRAME_HEAD_MAX < FRAME_MAX);

/// Fetches what the partner has of `wanted`, compared with digest and checksums.
///
/// # Errors
/// `UNAVAILABLE` when it cannot be asked (what the name manager relays is asked for one by one); `DAMAGED` when what came is not what it should be.
pub async fn get(node: &Arc<Node>, wanted: Vec<Wanted>) -> Result<Vec<(SessionId, Content)>> {
    let bytes = wanted.iter().map(|wanted| wanted.size).sum();
    node.yield_to_clients(wanted.len() as u64, bytes).await;
    let sessions = wanted.iter().map(|wanted| wanted.session.0.to_vec()).collect();
    let request = GetManyRequest { sessions };
    let asked = node.partner.call::<GetMany>(&request, Bytes::new(), PATIENCE).await;
    let (reply, body) = asked.map_err(away)?;
    let store = node.store()?.clone();
    let contents = node.pool.run(move || take(&store, wanted, reply, body)).await?;
    node.fetches.progress.came(contents.iter().map(|(_, content)| content.size()).sum());
    Ok(contents)
}

fn take(
    store: &Store,
    wanted: Vec<Wanted>,
    reply: GetManyReply,
    mut body: Bytes,
) -> Result<Vec<(SessionId, Content)>> {
    let mut wanted: HashMap<SessionId, Vec<u8>> =
        wanted.into_iter().map(|wanted| (wanted.session, wanted.sha256)).collect();
    let mut contents = Vec::with_capacity(reply.contents.len());
    for came in reply.contents {
        let session = SessionId::from_slice(&came.session)?;
        let manifest = came.manifest.filter(|manifest| manifest.size <= body.len().min(BLOCK) as u64);
        let manifest = manifest.ok_or_else(|| damaged("an answer is shorter than it says"))?;
        let bytes = body.split_to(manifest.size as usize);
        // Another content under the same session, or one that nobody asked for: as if it had not come.
        if wanted.remove(&session).is_some_and(|sha256| manifest.sha256 == sha256) {
            tracing::debug!(%session, "copying from the partner");
            contents.push((session, content(store, manifest, bytes)?));
        }
    }
    Ok(contents)
}

fn content(store: &Store, manifest: Manifest, bytes: Bytes) -> Result<Content> {
    let (size, crc64, sha256) = (manifest.size, manifest.crc64, manifest.sha256.clone());
    let content = if manifest.chunks.is_empty() {
        store.small(bytes, crc64)
    } else {
        let mut writer = store.writer(Some(size));
        let pushed = writer.push_checked(0, &bytes, &block_crcs(&bytes));
        pushed.and_then(|_| writer.finish(size, Some(crc64), Some(&sha256)))
    };
    let content = content.map_err(|_| damaged("its bytes do not fit its manifest"))?;
    if content.manifest().sha256 != sha256 {
        return Err(damaged("its bytes do not fit its digest"));
    }
    Ok(content)
}
