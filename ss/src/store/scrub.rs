//! What the scrubber needs of the store: to look at what lies on the disk rather than at what is remembered of it, and
//! to put a good copy of a chunk in the place of a bad one. Nothing is ever overwritten: the good copy is written
//! elsewhere, a durable record says where, and then the room of the bad one is free.

use std::sync::PoisonError;

use bytes::Bytes;
use log::{LogError, LogReader};
use types::content::{block_crcs, of_chunks, sha256};
use types::ids::{DigestKind, SessionId};
use types::limits::{BLOCK, PIECE};
use types::record::{ChunkRef, Manifest};
use types::{Error, Result};

use super::change::{Change, ChunkPlace, HoleRecord, PlacesRecord, RangeRecord};
use super::content::Reserved;
use super::shared::Shared;
use super::trouble::{damaged, log_error};
use super::{Held, Store, done};

impl Store {
    /// A content as its record on the disk tells it: checked against the record's checksum and its own digest, but
    /// for the bytes of its chunks. `None`: it is not held.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn content_on_disk(&self, session: SessionId) -> Result<Option<Held>> {
        let held = {
            // What the index names is there until it has been read.
            let _reading = self.shared.reading.read().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = self.shared.index.content(session)? else { return Ok(None) };
            self.shared.load(session, &entry)?
        };
        check_manifest(&held.manifest)?;
        Ok(Some(held))
    }

    /// Reads a chunk from the disk and compares it with its SHA-256.
    ///
    /// # Errors
    /// `Damaged`; `NoSuchVersion` when it is not held (any more); `Io`.
    pub fn verify_chunk(&self, chunk: &ChunkRef) -> Result<()> {
        self.shared.verify_chunk(chunk)
    }

    /// Whether more than one content has this chunk.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_shared(&self, chunk: &ChunkRef) -> Result<bool> {
        let entry = self.shared.index.chunk(&super::tables::digest_of(&chunk.sha256)?)?;
        Ok(entry.is_some_and(|entry| entry.refs > 1))
    }

    /// Puts `bytes` in the place of what is held of a chunk, durably; nothing happens if it is not held any more.
    ///
    /// # Errors
    /// `BadRequest` when they are not the chunk's; `DiskFull`; `Io`.
    pub async fn replace_chunk(&self, chunk: &ChunkRef, bytes: Bytes) -> Result<()> {
        self.shared.check()?;
        let (shared, chunk) = (self.shared.clone(), chunk.clone());
        let written = threads::run(move || write_chunk(&shared, &chunk, bytes)).await;
        let (change, reserved) = written.map_err(Error::internal)??;
        self.change(vec![change], reserved, true).await.and_then(done).map(|_| ())
    }
}

impl Store {
    /// The word that nothing is needed any more of the record that a session's content stands in, if that record does
    /// not check: the content is about to be put elsewhere, and neither a replay nor the compaction stops there then.
    pub(super) async fn bad_record(&self, session: SessionId) -> Result<Option<Change>> {
        let shared = self.shared.clone();
        let look = move || -> Result<Option<Change>> {
            let _reading = shared.reading.read().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = shared.index.content(session)? else { return Ok(None) };
            let payload = entry.payload as usize;
            if !matches!(shared.reader.read_hinted(entry.position, payload), Err(LogError::Damaged { .. })) {
                return Ok(None);
            }
            let range =
                RangeRecord { from: entry.position.0, to: LogReader::behind(entry.position, payload).0 };
            Ok(Some(Change::Hole(HoleRecord { ranges: vec![range], ..HoleRecord::default() })))
        };
        threads::run(look).await.map_err(Error::internal)?
    }
}

impl Shared {
    pub(super) fn verify_chunk(&self, chunk: &ChunkRef) -> Result<()> {
        let (bytes, _) = self.read_chunk(chunk, 0, chunk.len as usize)?;
        if sha256(&bytes)[..] == chunk.sha256[..] {
            return Ok(());
        }
        Err(damaged("a chunk does not have its SHA-256, though its checksums are right"))
    }
}

/// Compares a manifest with its own digest: the inline content, or the list of chunks.
pub(super) fn check_manifest(manifest: &Manifest) -> Result<()> {
    if manifest.is_inline() {
        let right = manifest.inline.len() as u64 == manifest.size
            && sha256(&manifest.inline)[..] == manifest.sha256[..];
        return if right { Ok(()) } else { Err(damaged("the content does not have its SHA-256")) };
    }
    let mut digests = Vec::with_capacity(manifest.chunks.len());
    for chunk in &manifest.chunks {
        digests.push(super::tables::digest_of(&chunk.sha256)?);
    }
    let size: u64 = manifest.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
    let tree = manifest.digest_kind != DigestKind::Cuts as u32;
    if size != manifest.size || (tree && of_chunks(&digests).sha256[..] != manifest.sha256[..]) {
        return Err(damaged("the manifest does not have its digest"));
    }
    Ok(())
}

/// Writes a chunk into a new extent and syncs it, or, if it is small, has the record carry it.
fn write_chunk(shared: &Shared, chunk: &ChunkRef, bytes: Bytes) -> Result<(Change, Option<Reserved>)> {
    if bytes.len() != chunk.len as usize || sha256(&bytes)[..] != chunk.sha256[..] {
        return Err(Error::bad_request("the bytes are not those of the chunk"));
    }
    let mut place = ChunkPlace {
        sha256: chunk.sha256.clone(),
        len: chunk.len,
        crcs: block_crcs(&bytes),
        ..ChunkPlace::default()
    };
    if bytes.len() <= BLOCK {
        let record = PlacesRecord { places: vec![place], ..PlacesRecord::default() };
        return Ok((Change::Repaired { record, tail: bytes }, None));
    }
    let _clock = shared.health.operation();
    let failed = |error| {
        shared.health.saw(&error);
        log_error(error)
    };
    let mut reserved = Reserved::new(shared.extents.clone());
    let extent = shared.extents.reserve(chunk.len).map_err(failed)?;
    reserved.push(extent);
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        shared.extents.write_at(&extent, (number * PIECE) as u32, piece).map_err(failed)?;
    }
    shared.extents.sync(&[extent.file].into()).map_err(|error| {
        let error = log_error(error);
        shared.health.fail(&error);
        error
    })?;
    (place.file, place.offset) = (extent.file, extent.offset);
    let record = PlacesRecord { places: vec![place], ..PlacesRecord::default() };
    Ok((Change::Repaired { record, tail: Bytes::new() }, Some(reserved)))
}
