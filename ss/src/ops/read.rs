//! Read: a range of a version. What stands inline or is in the system's memory is answered where the request was read,
//! without a thread hop (R37).

use crate::node::Node;
use crate::repair::{heal, is_bad};
use bytes::Bytes;
use net::buffers::charged;
use net::{BoxFuture, Outgoing};
use ss_core::head::{Place, readable};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use types::capability::right;
use types::content::crc64;
use types::ids::VersionNumber;
use types::limits::PIECE;
use types::message::member::DamageReport;
use types::message::store::{Read, ReadReply, ReadRequest};
use types::record::{Manifest, Version};
use types::{Code, Error, Result};

/// How long a read waits until others have taken their bytes.
const WAIT: Duration = Duration::from_secs(10);

/// Checks and finds at once; only bytes that are not in memory wait for a disk thread. What does not check is repaired
/// from the partner and read again: a bad copy is never served (I6).
pub fn run(node: Arc<Node>, user: &str, request: &ReadRequest) -> BoxFuture<'static, Result<Outgoing>> {
    let (offset, len) = (request.offset, request.len.min(PIECE as u32));
    let version = match find(&node, user, request) {
        Ok(found) => found,
        Err(error) => return Box::pin(ready(Err(error))),
    };
    if offset == version.size || len == 0 {
        return Box::pin(ready(Ok(answer(version, Bytes::new(), crc64(&[])))));
    }
    let name = request.name.clone();
    match manifest_of(&node, &version) {
        Ok(manifest) if manifest.is_inline() => {
            let read = node.store().and_then(|store| store.read(&manifest, offset, len));
            match read {
                Err(error) if is_bad(&error) => Box::pin(read_healed(node, name, version, None, offset, len)),
                read => Box::pin(ready(read.map(|(bytes, crc)| answer(version, bytes, crc)))),
            }
        }
        Ok(manifest) => Box::pin(read_chunks(node, name, version, manifest, offset, len)),
        Err(error) if is_bad(&error) => Box::pin(read_healed(node, name, version, None, offset, len)),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

async fn read_chunks(
    node: Arc<Node>,
    name: String,
    version: Version,
    manifest: Arc<Manifest>,
    offset: u64,
    len: u32,
) -> Result<Outgoing> {
    let store = node.store()?.clone();
    let memory = timeout(WAIT, node.sessions.reads.clone().acquire_many_owned(len)).await;
    let memory = memory.ok().and_then(|memory| memory.ok()).ok_or_else(too_much)?;
    // From here on it stays until its bytes are read (R32). If it has gone meanwhile, the read says so.
    let _pin = store.pin(version.session_id()?)?;
    let read = match store.read_now(&manifest, offset, len) {
        Some(read) => Ok(read),
        None => {
            let manifest = manifest.clone();
            node.pool.run(move || store.read(&manifest, offset, len)).await
        }
    };
    match read {
        Err(error) if is_bad(&error) => read_healed(node, name, version, Some(manifest), offset, len).await,
        // Given back when they are written out.
        read => read.map(|(bytes, crc)| answer(version, charged(bytes, memory), crc)),
    }
}

fn too_much() -> Error {
    Error::new(Code::Busy, "too many bytes are on their way to readers", "ask again in a moment")
}

/// The same once what is bad has been repaired.
async fn read_healed(
    node: Arc<Node>,
    name: String,
    version: Version,
    manifest: Option<Arc<Manifest>>,
    offset: u64,
    len: u32,
) -> Result<Outgoing> {
    let store = node.store()?.clone();
    let _pin = store.pin(version.session_id()?)?;
    tracing::warn!(session = %version.session_id()?, "a read met bad bytes");
    let healed = heal(&node, &version, manifest.as_deref(), offset, len).await;
    let repaired = u64::from(healed.is_ok());
    node.completions.report_damage(DamageReport {
        server: node.name().to_owned(),
        repaired,
        damaged: 1 - repaired,
        example: format!("{name} {}: a read met bad bytes", version.version()),
    });
    healed?;
    let manifest = manifest_of(&node, &version)?;
    let (bytes, crc) = node.pool.run(move || store.read(&manifest, offset, len)).await?;
    Ok(answer(version, bytes, crc))
}

/// The version that is read.
pub(super) fn find(node: &Node, user: &str, request: &ReadRequest) -> Result<Version> {
    let capability = node.capability(request.capability.as_ref(), user)?;
    capability.require(right::READ, request.pair, request.folder, request.file)?;
    if request.stale_ok {
        node.serving.check_pair(request.pair)?;
    } else {
        node.admit(request.pair, request.epoch)?;
    }
    let store = node.store()?;
    let record = store.record(request.file)?.ok_or_else(|| unknown(&request.name))?;
    let place = Place { folder: request.folder, name: &request.name };
    let wanted = VersionNumber { epoch: request.version_epoch, number: request.version_number };
    let holds = |version: &Version| match version.session_id().and_then(|session| store.lookup(session)) {
        Ok(held) => held.is_some_and(|held| held.manifest.sha256 == version.sha256),
        // It is here, if damaged: an older version would be another content than was asked for.
        Err(error) => is_bad(&error),
    };
    let version = readable(&record, place, wanted, holds)?;
    if request.offset > version.size {
        return Err(Error::new(
            Code::BadRange,
            format_args!("{} has {} bytes", request.name, version.size),
            "ask for a range within it",
        ));
    }
    Ok(version.clone())
}

fn manifest_of(node: &Node, version: &Version) -> Result<Arc<Manifest>> {
    let held = node.store()?.lookup(version.session_id()?)?;
    let held = held.filter(|held| held.manifest.sha256 == version.sha256);
    // It was there a moment ago: its row has gone.
    held.map(|held| held.manifest).ok_or_else(|| unknown("the version"))
}

/// Its row is on its way here, or its tombstone was collected: the name manager knows which.
fn unknown(name: &str) -> Error {
    Error::new(Code::Moved, format_args!("{name} is not known here"), "look the path up again")
}

fn answer(version: Version, bytes: Bytes, crc64: u64) -> Outgoing {
    Outgoing::reply::<Read>(&ReadReply { version: Some(version), crc64 }, bytes)
}
