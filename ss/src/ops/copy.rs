//! Copy: a version of one file becomes a version of another. It cites the same chunks (R16): who asks shows that it
//! may read the one and write the other. The rest is a commit.

use super::commit::{self, Source};
use super::read;
use crate::node::Node;
use crate::store::{Held, Pin};
use std::sync::Arc;
use types::command::Asker;
use types::ids::SessionId;
use types::message::store::{CommitRequest, CopyRequest, ReadRequest, Receipt};
use types::record::Manifest;
use types::{Error, Result};

/// What is cited: session and manifest, kept from being collected.
struct Cited {
    session: SessionId,
    manifest: Arc<Manifest>,
    _pin: Pin,
}

/// Finds what is cited and commits it.
///
/// # Errors
/// Those of [`read::find`] and of [`commit::run`].
pub async fn run(node: Arc<Node>, user: String, mut request: CopyRequest) -> Result<Receipt> {
    let mut commit = request.commit.take().ok_or_else(|| Error::bad_request("a copy without its commit"))?;
    let store = node.store()?;
    let session = SessionId::from_slice(&commit.session)?;
    let held = store.lookup(session)?.filter(|held| same_request(held, commit.asker.as_ref()));
    let cited = match held {
        // An earlier attempt got so far; what it copied may have gone since.
        Some(held) => Cited { session, manifest: held.manifest, _pin: store.pin(session)? },
        None => find(&node, &user, &commit, request)?,
    };
    commit.size = cited.manifest.size;
    commit.crc64 = cited.manifest.crc64;
    commit.sha256 = cited.manifest.sha256.to_vec();
    commit::run(node, user, commit, Source::Cited(cited.session, cited.manifest)).await
}

/// Whether a session was prepared by this same request: its own content needs no leave to be read.
fn same_request(held: &Held, asker: Option<&Asker>) -> bool {
    let key = |asker: &Asker| (asker.key().client, asker.number, asker.user.clone());
    held.origin.asker.as_ref().map(key) == asker.map(key) && asker.is_some()
}

fn find(node: &Node, user: &str, commit: &CommitRequest, request: CopyRequest) -> Result<Cited> {
    let source = request.source.ok_or_else(|| Error::bad_request("a copy of nothing"))?;
    let read = ReadRequest {
        pair: source.pair,
        file: source.file,
        folder: source.folder,
        name: source.name,
        capability: request.capability,
        epoch: commit.epoch,
        version_epoch: request.version_epoch,
        version_number: request.version_number,
        offset: 0,
        len: 1,
        stale_ok: false,
    };
    let version = read::find(node, user, &read)?;
    let session = version.session_id()?;
    let store = node.store()?;
    // Pinned first, then looked at: from here on it stays (R32).
    let pin = store.pin(session)?;
    let held = store.lookup(session)?.filter(|held| held.manifest.sha256 == version.sha256);
    let held = held.ok_or_else(|| Error::bad_request("an empty version is written, not copied"))?;
    Ok(Cited { session, manifest: held.manifest, _pin: pin })
}
