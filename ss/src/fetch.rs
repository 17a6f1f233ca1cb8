//! Copies versions from the partner (R20): manifest by pages, bytes with several ranges in flight, each
//! checked, the whole compared with its digest before it counts.

use crate::node::Node;
use crate::sessions::lock;
use crate::store::Content;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use types::content::{block_crcs, crc64};
use types::ids::SessionId;
use types::limits::{CHUNK, FILE_MAX, PIECE};
use types::message::partner::{GetBytesRequest, GetManifestRequest};
use types::record::{Manifest, Version};
use types::{Code, Error, Result};

/// Copies under way at once.
const COPIES: usize = 16;
/// Ranges of one copy in flight.
const RANGES: usize = 8;
/// How long to wait for a manifest that is not there yet (R20).
const MANIFEST_WAIT: Duration = Duration::from_secs(2);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long bytes that the partner passes on by itself may make no progress before they are fetched.
const PASSING_WAIT: Duration = Duration::from_secs(1);

/// What is wanted, by identity: session and digest (R11).
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Session it came from.
    pub session: SessionId,
    /// SHA-256 of the content.
    pub sha256: Vec<u8>,
}

impl Wanted {
    /// A version of a row.
    pub fn version(version: &Version) -> Result<Wanted> {
        Ok(Wanted { session: version.session_id()?, sha256: version.sha256.clone() })
    }
}

/// Copies under way; the same version is copied once.
pub struct Fetches {
    running: Mutex<HashMap<SessionId, watch::Receiver<Option<Result<()>>>>>,
    slots: Arc<Semaphore>,
}

impl Default for Fetches {
    fn default() -> Fetches {
        Fetches { running: Mutex::default(), slots: Arc::new(Semaphore::new(COPIES)) }
    }
}

/// Brings a version here and waits for it, at most `patience`; the copy goes on beyond that, so asking
/// again later finds it further or done.
///
/// # Errors
/// `UNAVAILABLE` when the partner cannot supply it (now) or it takes longer; `DAMAGED` when what came does
/// not fit its digest; `DISK_FULL`.
pub async fn bring(node: &Arc<Node>, wanted: Wanted, patience: Duration) -> Result<()> {
    let mut running = {
        let mut table = lock(&node.fetches.running);
        match table.get(&wanted.session) {
            Some(running) => running.clone(),
            None => {
                let (ended, running) = watch::channel(None);
                table.insert(wanted.session, running.clone());
                let node = node.clone();
                tokio::spawn(async move {
                    let session = wanted.session;
                    let copied = copy(&node, wanted).await;
                    lock(&node.fetches.running).remove(&session);
                    ended.send_replace(Some(copied));
                });
                running
            }
        }
    };
    let ended = timeout(patience, running.wait_for(Option::is_some)).await;
    match ended {
        Ok(Ok(ended)) => ended.clone().unwrap_or(Ok(())),
        Ok(Err(_)) => Err(Error::internal("a copy was forgotten")),
        Err(_) => Err(Error::new(Code::Unavailable, "the copy is still under way", "wait for it")),
    }
}

/// Whether the bytes of a version are durable here, prepared sessions included.
pub fn holds(node: &Node, session: SessionId, sha256: &[u8]) -> bool {
    let held = node.store().and_then(|store| store.lookup(session));
    held.is_ok_and(|held| held.is_some_and(|held| held.manifest.sha256 == sha256))
}

async fn copy(node: &Arc<Node>, wanted: Wanted) -> Result<()> {
    let _slot = node.fetches.slots.clone().acquire_owned().await.map_err(Error::internal)?;
    wait_for_passing(node, &wanted).await;
    match node.store()?.lookup(wanted.session) {
        // Whatever state it is in: its row keeps it.
        Ok(Some(held)) if held.manifest.sha256 == wanted.sha256 => return Ok(()),
        // What is here cannot be read: the copy takes its place.
        Err(error) if error.code != Code::Damaged => return Err(error),
        _ => {}
    }
    copy_anew(node, &wanted).await
}

/// Copies a version from the partner, whatever is held of it here. All of it is compared with its digests before it
/// counts; then it takes the place of what is here.
pub(crate) async fn copy_anew(node: &Arc<Node>, wanted: &Wanted) -> Result<()> {
    tracing::debug!(session = %wanted.session, "copying from the partner");
    let manifest = manifest(node, wanted).await?;
    let content =
        if manifest.is_inline() { inline(node, &manifest)? } else { bytes(node, wanted, manifest).await? };
    node.store()?.keep_fetched(wanted.session, content).await?;
    node.sessions.content_landed();
    Ok(())
}

/// Bytes that the partner is passing on by itself are on their way: no need to fetch them too.
async fn wait_for_passing(node: &Arc<Node>, wanted: &Wanted) {
    let Some(upload) = node.sessions.get(wanted.session) else { return };
    let (mut changes, mut landings) = (upload.changes(), node.sessions.landings());
    let mut end = Instant::now() + PASSING_WAIT;
    while !holds(node, wanted.session, &wanted.sha256) && !upload.is_over() {
        let before = upload.progress().held;
        let news = async {
            tokio::select! {
                _ = changes.changed() => {}
                _ = landings.changed() => {}
            }
        };
        if timeout_at(end, news).await.is_err() {
            return;
        }
        if upload.progress().held > before {
            end = Instant::now() + PASSING_WAIT;
        }
    }
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
    Ok(content)
}

async fn bytes(node: &Arc<Node>, wanted: &Wanted, manifest: Manifest) -> Result<Content> {
    let size = manifest.size;
    let mut writer = node.store()?.writer(Some(size));
    let mut flying = VecDeque::new();
    let mut asked = 0;
    while asked < size || !flying.is_empty() {
        while asked < size && flying.len() < RANGES {
            let end = (asked + PIECE as u64).min((asked / CHUNK as u64 + 1) * CHUNK as u64).min(size);
            flying.push_back((asked, tokio::spawn(range(node.clone(), wanted.session, asked..end))));
            asked = end;
        }
        let Some((offset, next)) = flying.pop_front() else { break };
        let bytes = next.await.map_err(Error::internal)??;
        writer = node
            .pool
            .run(move || {
                writer.push(offset, &bytes, &block_crcs(&bytes))?;
                Ok(writer)
            })
            .await?;
    }
    let content = node
        .pool
        .run(move || {
            writer.finish(size, Some(manifest.crc64), Some(&manifest.sha256)).map(|it| (it, manifest))
        })
        .await;
    let (content, manifest) = content?;
    let same = content.manifest().chunks.iter().map(|chunk| &chunk.sha256);
    if !same.eq(manifest.chunks.iter().map(|chunk| &chunk.sha256)) {
        return Err(damaged("its chunks do not fit their digests"));
    }
    Ok(content)
}

/// Bytes of a version or of a session that the partner has.
pub(crate) async fn range(node: Arc<Node>, session: SessionId, range: Range<u64>) -> Result<Bytes> {
    let (offset, len) = (range.start, range.end - range.start);
    let request = GetBytesRequest {
        session: session.0.to_vec(),
        offset,
        len: u32::try_from(len).map_err(Error::bad_request)?,
    };
    let (reply, bytes) = node.sources.bytes(&request, PATIENCE).await.map_err(away)?;
    if bytes.len() as u64 != len || crc64(&bytes) != reply.crc64 {
        return Err(damaged("bytes changed on the way"));
    }
    Ok(bytes)
}

/// The name manager tries again, and sends a newer row instead if there is one (R20).
fn away(error: Error) -> Error {
    if error.code == Code::Damaged { error } else { Error { code: Code::Unavailable, ..error } }
}

fn damaged(what: &str) -> Error {
    Error::new(
        Code::Damaged,
        format_args!("a copy from the partner failed: {what}"),
        "look at the partner's disk",
    )
}
