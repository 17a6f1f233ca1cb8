//! Read: a range of a version. What stands inline is answered where the request was read, without a
//! thread hop (R37).

use crate::node::Node;
use bytes::Bytes;
use net::{BoxFuture, Outgoing};
use ss_core::head::{Place, readable};
use std::future::ready;
use std::sync::Arc;
use types::capability::right;
use types::content::crc64;
use types::ids::VersionNumber;
use types::limits::PIECE;
use types::message::store::{Read, ReadReply, ReadRequest};
use types::record::{Manifest, Version};
use types::{Code, Error, Result};

/// Checks and finds at once; only bytes outside the manifest wait for a disk thread.
pub fn run(node: Arc<Node>, user: &str, request: &ReadRequest) -> BoxFuture<'static, Result<Outgoing>> {
    let len = request.len.min(PIECE as u32);
    let (version, manifest) = match find(&node, user, request) {
        Ok(found) => found,
        Err(error) => return Box::pin(ready(Err(error))),
    };
    let Some(manifest) = manifest else {
        return Box::pin(ready(Ok(answer(version, Bytes::new(), crc64(&[])))));
    };
    let offset = request.offset;
    if manifest.is_inline() {
        let read = node.store().and_then(|store| store.read(&manifest, offset, len));
        return Box::pin(ready(read.map(|(bytes, crc)| answer(version, bytes, crc))));
    }
    Box::pin(async move {
        let store = node.store()?.clone();
        // From here on it stays until its bytes are read (R32). If it has gone meanwhile, the read says so.
        let _pin = store.pin(version.session_id()?)?;
        let (bytes, crc) = node.pool.run(move || store.read(&manifest, offset, len)).await?;
        Ok(answer(version, bytes, crc))
    })
}

/// The version that is read, and its manifest unless nothing is to be read of it.
pub(super) fn find(
    node: &Node,
    user: &str,
    request: &ReadRequest,
) -> Result<(Version, Option<Arc<Manifest>>)> {
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
    let held = |version: &Version| {
        let held = version.session_id().and_then(|session| store.lookup(session)).ok().flatten();
        held.filter(|held| held.manifest.sha256 == version.sha256)
    };
    let version = readable(&record, place, wanted, |version| held(version).is_some())?;
    if request.offset > version.size {
        return Err(Error::new(
            Code::BadRange,
            format_args!("{} has {} bytes", request.name, version.size),
            "ask for a range within it",
        ));
    }
    let nothing = request.offset == version.size || request.len == 0;
    let manifest = if nothing { None } else { held(version).map(|held| held.manifest) };
    Ok((version.clone(), manifest))
}

/// Its row is on its way here, or its tombstone was collected: the name manager knows which.
fn unknown(name: &str) -> Error {
    Error::new(Code::Moved, format_args!("{name} is not known here"), "look the path up again")
}

fn answer(version: Version, bytes: Bytes, crc64: u64) -> Outgoing {
    Outgoing::reply::<Read>(&ReadReply { version: Some(version), crc64 }, bytes)
}
