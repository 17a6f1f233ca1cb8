//! GetManifest: the manifest of a version for the partner, a page at a time.

use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use types::ids::SessionId;
use types::limits::FRAME_HEAD_MAX;
use types::message::partner::{GetManifestReply, GetManifestRequest};
use types::record::Manifest;
use types::{Code, Error, Result};

/// The longest wait for a content that is not here yet.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Chunks of one page; each takes some 50 bytes.
const PAGE: usize = 4096;

const _: () = assert!(PAGE * 64 < FRAME_HEAD_MAX);

/// Gives the page, waiting for the content if asked to (R20).
pub async fn run(node: Arc<Node>, request: GetManifestRequest) -> Result<GetManifestReply> {
    let session = SessionId::from_slice(&request.session)?;
    let wait = Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
    let manifest = wait_for(&node, session, wait).await?;
    let chunks = u32::try_from(manifest.chunks.len()).map_err(Error::internal)?;
    let page = manifest.chunks.iter().skip(request.from_chunk as usize).take(PAGE).cloned().collect();
    let inline = if request.from_chunk == 0 { manifest.inline.clone() } else { Default::default() };
    let manifest = Manifest {
        size: manifest.size,
        inline,
        crc64: manifest.crc64,
        chunks: page,
        digest_kind: manifest.digest_kind,
        sha256: manifest.sha256.clone(),
    };
    Ok(GetManifestReply { manifest: Some(manifest), chunks })
}

async fn wait_for(node: &Node, session: SessionId, wait: Duration) -> Result<Arc<Manifest>> {
    let end = Instant::now() + wait;
    let mut landings = node.sessions.landings();
    loop {
        landings.mark_unchanged();
        if let Some(held) = node.store()?.lookup(session)? {
            return Ok(held.manifest);
        }
        if !matches!(timeout_at(end, landings.changed()).await, Ok(Ok(()))) {
            return Err(Error::new(
                Code::NoSuchSession,
                "that content is not here",
                "look at the row again: the version may be gone",
            ));
        }
    }
}
