//! Reading: by manifest, with the CRC-64 of every block that is touched, and against SHA-256 for the scrubber.

use std::sync::PoisonError;

use bytes::Bytes;
use log::{Extent, Extents, LogError};
use net::buffers::{BUFFER, Buffer};
use types::content::{crc64, crc64_concat};
use types::ids::{DigestKind, SessionId};
use types::limits::{BLOCK, CHUNK};
use types::mutation::{self, Mutation};
use types::record::{ChunkRef, Manifest};
use types::{Code, Error, Result};

use super::entry::Location;
use super::scrub::check_manifest;
use super::shared::Shared;
use super::tables::digest_of;
use super::trouble::{damaged, log_error};

/// Compares blocks with their CRC-64s; `bytes` begin at a block.
///
/// # Errors
/// `Damaged`, naming what `place` says.
pub(crate) fn check_blocks(bytes: &[u8], crcs: &[u64], place: impl Fn() -> String) -> Result<()> {
    if mutation::is(Mutation::UncheckedRead) {
        return Ok(());
    }
    let mut blocks = bytes.chunks(BLOCK).zip(crcs).enumerate();
    match blocks.find(|(_, (block, crc))| crc64(block) != **crc) {
        Some((block, _)) => {
            Err(damaged(format_args!("block {block} of what was read in {} does not check", place())))
        }
        None if bytes.len().div_ceil(BLOCK) > crcs.len() => {
            Err(damaged(format_args!("{} has fewer checksums than blocks", place())))
        }
        None => Ok(()),
    }
}

/// `len` bytes of an extent from its byte `start` on, not checked yet.
pub(crate) fn read_extent(
    extents: &Extents,
    extent: &Extent,
    start: usize,
    len: usize,
) -> std::result::Result<Bytes, LogError> {
    if len > BUFFER {
        let mut bytes = vec![0; len];
        extents.read_at(extent, start as u32, &mut bytes)?;
        return Ok(bytes.into());
    }
    let mut bytes = Buffer::take();
    extents.read_at(extent, start as u32, bytes.room(len))?;
    bytes.fill(len);
    Ok(bytes.freeze())
}

/// The CRC-64 of `len` bytes from those of their blocks.
pub(crate) fn crc_of_blocks(crcs: &[u64], len: usize) -> u64 {
    let blocks = (0..len).step_by(BLOCK).zip(crcs);
    blocks.fold(0, |sum, (at, crc)| crc64_concat(sum, *crc, BLOCK.min(len - at) as u64))
}

impl Shared {
    /// Bytes of a content: at most `len` from `offset` on, and their CRC-64.
    pub(crate) fn read(&self, manifest: &Manifest, offset: u64, len: u32) -> Result<(Bytes, u64)> {
        let end = manifest.size.min(offset.saturating_add(len.into()));
        if offset >= end {
            return Ok((Bytes::new(), crc64(&[])));
        }
        if manifest.is_inline() {
            let short = || damaged("an inline content is shorter than its manifest says");
            let range = offset as usize..end as usize;
            let bytes = if range.end <= manifest.inline.len() {
                manifest.inline.slice(range)
            } else {
                return Err(short());
            };
            let crc = crc64(&bytes);
            if bytes.len() as u64 == manifest.size && crc != manifest.crc64 {
                return Err(damaged("an inline content does not have its CRC-64"));
            }
            return Ok((bytes, crc));
        }
        let (mut index, mut start) = first_chunk(manifest, offset);
        let (mut at, mut out) = (offset, Vec::new());
        while at < end {
            let chunk = manifest
                .chunks
                .get(index)
                .ok_or_else(|| damaged("a manifest is shorter than its content"))?;
            let (from, to) = ((at - start) as usize, (end - start).min(chunk.len.into()) as usize);
            let (part, crc) = self.read_chunk(chunk, from, to)?;
            at = start + to as u64;
            if at == end && out.is_empty() {
                let crc = crc.unwrap_or_else(|| crc64(&part));
                return Ok((part, crc));
            }
            out.extend_from_slice(&part);
            start += u64::from(chunk.len);
            index += 1;
        }
        let crc = crc64(&out);
        Ok((Bytes::from(out), crc))
    }

    /// Bytes `from..to` of a chunk, and their CRC-64 if it follows from those of the blocks.
    pub(super) fn read_chunk(
        &self,
        chunk: &ChunkRef,
        from: usize,
        to: usize,
    ) -> Result<(Bytes, Option<u64>)> {
        let sha256 = digest_of(&chunk.sha256)?;
        // Room that is given back is not used again before those who found it in the index have read.
        let _pin = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        let entry = self.index.chunk(&sha256)?.ok_or_else(|| {
            Error::new(
                Code::NoSuchVersion,
                "the bytes of this version are not held here any more",
                "list the versions that are kept with `pairfs versions`",
            )
        })?;
        if entry.len != chunk.len {
            return Err(damaged("a chunk does not have the length that the manifest says"));
        }
        let start = from / BLOCK * BLOCK;
        let len = to.next_multiple_of(BLOCK).min(entry.len as usize) - start;
        let _clock = self.health.operation();
        let bytes = match entry.location {
            Location::Extent(extent) => read_extent(&self.extents, &extent, start, len).map_err(log_error)?,
            Location::Journal { position, skip } => {
                let read = self.reader.read_range(position, skip as usize + start, len);
                read.map_err(|error| match error {
                    // The length in the record's head is not what it was.
                    LogError::Invalid(why) => damaged(why),
                    error => log_error(error),
                })?
            }
        };
        let crcs = entry.crcs.get(start / BLOCK..).unwrap_or_default();
        check_blocks(&bytes, crcs, || self.place_name(entry.location))?;
        if from == start && to - start == len {
            return Ok((bytes, Some(crc_of_blocks(crcs, len))));
        }
        Ok((bytes.slice(from - start..to - start), None))
    }

    /// A range if it lies in one chunk and its bytes are in memory (R37): no wait for the disk. Nothing also when
    /// something is wrong: [`Shared::read`] says what.
    pub(crate) fn read_now(&self, manifest: &Manifest, offset: u64, len: u32) -> Option<(Bytes, u64)> {
        let end = manifest.size.min(offset.saturating_add(len.into()));
        let (index, begin) = first_chunk(manifest, offset);
        let chunk = manifest.chunks.get(index)?;
        let (from, to) = (usize::try_from(offset - begin).ok()?, usize::try_from(end - begin).ok()?);
        let sha256 = digest_of(&chunk.sha256).ok()?;
        let _pin = self.reading.try_read().ok()?;
        let entry = self.index.chunk(&sha256).ok()??;
        let Location::Extent(extent) = entry.location else { return None };
        if entry.len != chunk.len || from >= to || to > entry.len as usize {
            return None;
        }
        let start = from / BLOCK * BLOCK;
        let len = to.next_multiple_of(BLOCK).min(entry.len as usize) - start;
        let mut bytes = Buffer::take();
        if len > BUFFER || !self.extents.read_now(&extent, start as u32, bytes.room(len)) {
            return None;
        }
        bytes.fill(len);
        let (bytes, crcs) = (bytes.freeze(), entry.crcs.get(start / BLOCK..)?);
        check_blocks(&bytes, crcs, String::new).ok()?;
        if from == start && to - start == len {
            return Some((bytes, crc_of_blocks(crcs, len)));
        }
        let bytes = bytes.slice(from - start..to - start);
        let crc = crc64(&bytes);
        Some((bytes, crc))
    }

    fn place_name(&self, location: Location) -> String {
        match location {
            Location::Extent(e) => {
                format!("{}/{:08} at byte {}", self.config.extents_folder, e.file, e.offset)
            }
            Location::Journal { position, .. } => format!("{} at {position}", self.config.journal_folder),
        }
    }

    /// Compares every byte of a content with its SHA-256, from the disk. The inner error says what is wrong.
    pub(crate) fn verify(&self, session: SessionId) -> Result<Result<(), String>> {
        let loaded = {
            let _reading = self.reading.read().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = self.index.content(session)? else {
                return Ok(Err("it is not held".into()));
            };
            self.load(session, &entry)
        };
        match loaded.and_then(|held| self.verify_content(&held.manifest)) {
            Ok(()) => Ok(Ok(())),
            Err(e) if matches!(e.code, Code::Damaged | Code::NoSuchVersion) => Ok(Err(e.message)),
            Err(e) => Err(e),
        }
    }

    fn verify_content(&self, manifest: &Manifest) -> Result<()> {
        check_manifest(manifest)?;
        manifest.chunks.iter().try_for_each(|chunk| self.verify_chunk(chunk))
    }
}

/// The chunk that holds a byte, and where that chunk begins.
fn first_chunk(manifest: &Manifest, offset: u64) -> (usize, u64) {
    if manifest.digest_kind != DigestKind::Cuts as u32 {
        let index = offset / CHUNK as u64;
        return (index as usize, index * CHUNK as u64);
    }
    let mut start = 0;
    for (index, chunk) in manifest.chunks.iter().enumerate() {
        if offset < start + u64::from(chunk.len) {
            return (index, start);
        }
        start += u64::from(chunk.len);
    }
    (manifest.chunks.len(), start)
}
