//! One content from the partner.

use super::{Wanted, away, damaged};
use crate::node::Node;
use crate::store::Content;
use crate::wire::passes;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use types::content::{block_crcs, crc64_concat};
use types::ids::SessionId;
use types::limits::{BLOCK, CHUNK, FILE_MAX, PIECE};
use types::message::partner::{GetBytesRequest, GetManifestRequest};
use types::record::Manifest;
use types::{Code, Error, Result};

/// Ranges of one copy in flight.
const RANGES: usize = 8;
/// How long to wait for a manifest that is not there yet (R20).
const MANIFEST_WAIT: Duration = Duration::from_secs(2);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A range is asked for so often before the copy is given up with what it holds: the partner may be starting again.
const TRIES: usize = 3;

/// Copies a content.
pub(super) async fn content(node: &Arc<Node>, wanted: &Wanted) -> Result<Content> {
    let manifest = manifest(node, wanted).await?;
    if manifest.is_inline() { inline(node, &manifest) } else { bytes(node, wanted, manifest).await }
}

async fn manifest(node: &Node, wanted: &Wanted) -> Result<Manifest> {
    let mut whole: Option<Manifest> = None;
    loop {
        let have = whole.as_ref().map_or(0, |manifest| manifest.chunks.len());
        let request = GetManifestRequest {
            session: wanted.session.0.to_vec(),
            from_chunk: u32::try_from(have).map_err(Error::bad_request)?,
            wait_ms: u32::try_from(MANIFEST_WAIT.as_millis()).unwrap_or(u32::MAX),
        };
        let patience = MANIFEST_WAIT + PATIENCE;
        let page = node.sources.manifest(&request, patience).await.map_err(away)?;
        let chunks = page.chunks as usize;
        let part = page.manifest.ok_or_else(|| Error::bad_request("a page without a manifest"))?;
        let came = part.chunks.len();
        let manifest = match &mut whole {
            None => whole.insert(part),
            Some(manifest) => {
                manifest.chunks.extend(part.chunks);
                manifest
            }
        };
        if manifest.sha256 != wanted.sha256 || manifest.size > FILE_MAX {
            return Err(damaged("its manifest names another content"));
        }
        if manifest.chunks.len() >= chunks || came == 0 {
            break;
        }
    }
    let manifest = whole.ok_or_else(|| damaged("it has no manifest"))?;
    let covered: u64 = manifest.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
    if !manifest.is_inline() && covered != manifest.size {
        return Err(damaged("its manifest does not cover it"));
    }
    Ok(manifest)
}

fn inline(node: &Node, manifest: &Manifest) -> Result<Content> {
    let content = node.store()?.small(manifest.inline.clone(), manifest.crc64)?;
    if content.manifest().sha256 != manifest.sha256 {
        return Err(damaged("its bytes do not fit its digest"));
    }
    node.fetches.progress.came(manifest.size);
    Ok(content)
}

/// A range that came: its bytes, and the CRC-64 of each of their blocks.
type Came = (Bytes, Vec<u64>);

async fn bytes(node: &Arc<Node>, wanted: &Wanted, manifest: Manifest) -> Result<Content> {
    let size = manifest.size;
    let mut writer = node.store()?.writer(Some(size));
    let mut part = node.fetches.progress.begin();
    let mut flying: VecDeque<(u64, Flight)> = VecDeque::new();
    let mut asked = 0;
    while asked < size || !flying.is_empty() {
        while asked < size && flying.len() < RANGES {
            let end = (asked + PIECE as u64).min((asked / CHUNK as u64 + 1) * CHUNK as u64).min(size);
            node.yield_to_clients(1, end - asked).await;
            let flight = Flight(tokio::spawn(patiently(node.clone(), wanted.session, asked..end)));
            flying.push_back((asked, flight));
            asked = end;
        }
        let Some((offset, mut next)) = flying.pop_front() else { break };
        let (bytes, crcs) = (&mut next.0).await.map_err(Error::internal)??;
        part.came(bytes.len() as u64);
        writer = node
            .pool
            .run(move || {
                writer.push_checked(offset, &bytes, &crcs)?;
                Ok(writer)
            })
            .await
            .map_err(unfit)?;
    }
    let chunks = manifest.chunks;
    let finish = move || writer.finish(size, Some(manifest.crc64), Some(&manifest.sha256));
    let content = node.pool.run(finish).await.map_err(unfit)?;
    let same = content.manifest().chunks.iter().map(|chunk| &chunk.sha256);
    if !same.eq(chunks.iter().map(|chunk| &chunk.sha256)) {
        return Err(damaged("its chunks do not fit their digests"));
    }
    Ok(content)
}

fn unfit(error: Error) -> Error {
    match error.code {
        Code::BadRequest => damaged("its bytes do not fit its manifest"),
        _ => error,
    }
}

/// A request under way; given up when nobody waits for it any more.
struct Flight(JoinHandle<Result<Came>>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A range; what is here already is not given up because the partner is away for a moment.
async fn patiently(node: Arc<Node>, session: SessionId, range: Range<u64>) -> Result<Came> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match checked(&node, session, range.clone()).await {
            Err(error) if passes(&error) && tries > 0 && !node.is_stopped() => {
                tracing::debug!(%error, %session, at = range.start, "asking for a range again");
            }
            came => return came.map_err(away),
        }
    }
}

/// Bytes of a version or of a session that the partner has.
pub(crate) async fn range(node: Arc<Node>, session: SessionId, range: Range<u64>) -> Result<Bytes> {
    checked(&node, session, range).await.map(|(bytes, _)| bytes).map_err(away)
}

async fn checked(node: &Arc<Node>, session: SessionId, range: Range<u64>) -> Result<Came> {
    let (offset, len) = (range.start, range.end - range.start);
    let request = GetBytesRequest {
        session: session.0.to_vec(),
        offset,
        len: u32::try_from(len).map_err(Error::bad_request)?,
    };
    let (reply, bytes) = node.sources.bytes(&request, PATIENCE).await?;
    // Made once, for the comparison here and for the store.
    let crcs = block_crcs(&bytes);
    let blocks = bytes.chunks(BLOCK).zip(&crcs);
    let whole = blocks.fold(0, |sum, (block, crc)| crc64_concat(sum, *crc, block.len() as u64));
    if bytes.len() as u64 != len || whole != reply.crc64 {
        return Err(damaged("bytes changed on the way"));
    }
    Ok((bytes, crcs))
}
