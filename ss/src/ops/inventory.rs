//! Inventory: records and what is held of them, for comparing copies (fsck).

use crate::node::Node;
use crate::store::Store;
use std::sync::Arc;
use types::content::sha256;
use types::limits::{FRAME_HEAD_MAX, MIB, PAGE_ROWS};
use types::message::store::{HeldFile, HeldVersion, InventoryReply, InventoryRequest};
use types::record::{Manifest, Record, Version};
use types::{Code, Error, Result};

/// A page that verifies ends after so many bytes, so that it ends in time.
const VERIFY_BYTES: u64 = 256 * MIB as u64;
/// About how many bytes a page may have.
const PAGE_BYTES: usize = FRAME_HEAD_MAX / 2;

/// Lists a page of files, operators only. Needs no lease: both members are asked.
pub async fn run(node: Arc<Node>, user: String, request: InventoryRequest) -> Result<InventoryReply> {
    let capability = node.capability(request.capability.as_ref(), &user)?;
    if !capability.operator || capability.pair != request.pair {
        let what = "the inventory of a server is for operators";
        return Err(Error::new(Code::Denied, what, "sign in as an administrator"));
    }
    node.serving.check_pair(request.pair)?;
    let store = node.store()?.clone();
    node.pool.run(move || page(&store, &request)).await
}

fn page(store: &Store, request: &InventoryRequest) -> Result<InventoryReply> {
    let (mut after, limit) = match request.file {
        0 => (request.after, (request.limit.max(1) as usize).min(PAGE_ROWS)),
        file => (file.saturating_sub(1), 1),
    };
    let mut reply = InventoryReply::default();
    let (mut bytes, mut verified) = (0, 0);
    loop {
        let records = store.records_after(after, PAGE_ROWS)?;
        let Some(last) = records.last() else {
            reply.end = true;
            return Ok(reply);
        };
        after = last.id;
        for record in records {
            if request.file != 0 && record.id != request.file {
                reply.end = true;
                return Ok(reply);
            }
            // Folders and links are of no pair.
            if record.pair != request.pair {
                continue;
            }
            let file = held_file(store, &record, request.verify)?;
            bytes += prost::Message::encoded_len(&file);
            verified += file.versions.iter().map(|version| version.size).sum::<u64>();
            reply.files.push(file);
            let full = bytes > PAGE_BYTES || (request.verify && verified > VERIFY_BYTES);
            if reply.files.len() >= limit || full {
                reply.end = request.file != 0;
                return Ok(reply);
            }
        }
    }
}

fn held_file(store: &Store, record: &Record, verify: bool) -> Result<HeldFile> {
    let mut versions = Vec::new();
    for version in &record.versions {
        if let Some(held) = held_version(store, version, verify)? {
            versions.push(held);
        }
    }
    Ok(HeldFile { record: Some(record.clone()), versions })
}

fn held_version(store: &Store, version: &Version, verify: bool) -> Result<Option<HeldVersion>> {
    let session = version.session_id()?;
    let mut told = HeldVersion {
        session: version.session.clone(),
        size: version.size,
        sha256: version.sha256.clone(),
        ..HeldVersion::default()
    };
    match store.lookup(session) {
        Ok(Some(held)) => {
            told.size = held.manifest.size;
            told.sha256 = held.manifest.sha256.to_vec();
            told.manifest = manifest_digest(&held.manifest);
        }
        // An empty content needs no bytes; both members have it by its row.
        Ok(None) if version.is_empty() => {
            told.manifest =
                manifest_digest(&Manifest { sha256: version.sha256.clone().into(), ..Manifest::default() });
            return Ok(Some(told));
        }
        Ok(None) => return Ok(None),
        Err(error) => {
            told.damage = error.message;
            return Ok(Some(told));
        }
    }
    if verify {
        told.damage = store.verify(session)?.err().unwrap_or_default();
    }
    Ok(Some(told))
}

/// Equal for equal manifests: the chunks' digests and lengths, or the digest of an inline content.
fn manifest_digest(manifest: &Manifest) -> Vec<u8> {
    let mut listed = Vec::with_capacity(40 * manifest.chunks.len() + 40);
    if manifest.is_inline() {
        listed.extend_from_slice(&manifest.sha256);
        listed.extend_from_slice(&manifest.size.to_le_bytes());
    }
    for chunk in &manifest.chunks {
        listed.extend_from_slice(&chunk.sha256);
        listed.extend_from_slice(&u64::from(chunk.len).to_le_bytes());
    }
    sha256(&listed).to_vec()
}
