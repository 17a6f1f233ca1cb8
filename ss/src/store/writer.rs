//! [`ContentWriter`]: takes the pieces of one upload as they come.

use std::sync::Arc;

use bytes::Bytes;
use log::{Extent, Extents, LogError};
use types::content::{Digester, crc64, crc64_concat, of_chunks};
use types::ids::DigestKind;
use types::limits::{BLOCK, CHUNK, INLINE_MAX};
use types::record::{ChunkRef, Manifest};
use types::{Code, Error, Result};

use super::change::ChunkPlace;
use super::content::{Content, Reserved, bad_crc};
use super::read::{check_blocks, crc_of_blocks, read_extent};
use super::trouble::{Health, log_error};

/// One upload. Blocking; for one thread at a time. What it holds is in memory and in extents that nothing
/// names: dropped without [`finish`](Self::finish), its room is free again.
pub struct ContentWriter {
    health: Arc<Health>,
    reserved: Reserved,
    /// Bytes that are to come, as announced.
    size_hint: Option<u64>,
    /// Room on the disk that uploads leave free.
    keep_free: u64,
    free: Box<dyn Fn() -> u64 + Send>,
    held: u64,
    done: Vec<DoneChunk>,
    current: Current,
    /// None: the digests come from elsewhere.
    digester: Option<Digester>,
}

struct DoneChunk {
    crc64: u64,
    crcs: Vec<u64>,
    extent: Extent,
}

/// The chunk that is being filled.
#[derive(Default)]
struct Current {
    len: usize,
    /// CRC-64 of each block; the last may still grow.
    crcs: Vec<u64>,
    /// The bytes, as long as there is no extent: the first block of the content.
    buffer: Vec<u8>,
    extent: Option<Extent>,
}

impl ContentWriter {
    pub(crate) fn new(
        extents: Arc<Extents>,
        health: Arc<Health>,
        size_hint: Option<u64>,
        keep_free: u64,
        free: Box<dyn Fn() -> u64 + Send>,
    ) -> ContentWriter {
        let reserved = Reserved::new(extents);
        ContentWriter {
            health,
            reserved,
            size_hint,
            keep_free,
            free,
            held: 0,
            done: Vec::new(),
            current: Current::default(),
            digester: Some(Digester::default()),
        }
    }

    /// The same without computing digests: [`finish_as`](Self::finish_as) is told them.
    pub fn without_digests(mut self) -> ContentWriter {
        self.digester = None;
        self
    }

    /// Bytes held, from the start.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Takes a piece that begins at `offset`, with the CRC-64 of each of its blocks. What is held already is
    /// passed over, so a piece may be sent again. Returns how many bytes are held now.
    ///
    /// # Errors
    /// `BadRange` when there would be a gap; `BadRequest` when a CRC is wrong; `DiskFull`; `Io`. After an error
    /// of the disk the writer can be used on: it holds what it says.
    pub fn push(&mut self, offset: u64, bytes: &Bytes, crcs: &[u64]) -> Result<u64> {
        if offset > self.held {
            return Err(gap(offset, self.held));
        }
        let blocks = bytes.chunks(BLOCK);
        if blocks.len() != crcs.len() || blocks.zip(crcs).any(|(block, crc)| crc64(block) != *crc) {
            return Err(bad_crc());
        }
        self.push_checked(offset, bytes, crcs)
    }

    /// As [`push`](Self::push), for bytes whose checksums the caller has just computed.
    ///
    /// # Errors
    /// Those of [`push`](Self::push), but for a wrong CRC.
    pub(crate) fn push_checked(&mut self, offset: u64, bytes: &Bytes, crcs: &[u64]) -> Result<u64> {
        if offset > self.held {
            return Err(gap(offset, self.held));
        }
        let skip = (self.held - offset) as usize;
        let mut at = skip.min(bytes.len());
        while at < bytes.len() {
            let len = (bytes.len() - at).min(CHUNK - self.current.len);
            // The CRCs that came along can be used where the blocks are those of the chunk.
            let aligned = at.is_multiple_of(BLOCK) && self.current.len.is_multiple_of(BLOCK);
            let known = if aligned { &crcs[at / BLOCK..] } else { &[] };
            self.take(&bytes[at..at + len], known)?;
            at += len;
        }
        Ok(self.held)
    }

    /// Adds bytes of the current chunk.
    fn take(&mut self, bytes: &[u8], known: &[u64]) -> Result<()> {
        self.store(bytes)?;
        if let Some(digester) = &mut self.digester {
            digester.update(bytes);
        }
        let chunk = &mut self.current;
        let mut rest = bytes;
        let mut known = known.iter();
        while !rest.is_empty() {
            let filled = chunk.len % BLOCK;
            let (now, later) = rest.split_at(rest.len().min(BLOCK - filled));
            let crc = known.next().copied().unwrap_or_else(|| crc64(now));
            match chunk.crcs.last_mut() {
                Some(last) if filled > 0 => *last = crc64_concat(*last, crc, now.len() as u64),
                _ => chunk.crcs.push(crc),
            }
            chunk.len += now.len();
            rest = later;
        }
        self.held += bytes.len() as u64;
        if self.current.len == CHUNK {
            self.close_chunk()?;
        }
        Ok(())
    }

    /// Puts bytes behind those of the current chunk, into memory or into its extent.
    fn store(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.current.len + bytes.len();
        if self.done.is_empty() && self.current.extent.is_none() && len <= BLOCK {
            self.current.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let extent = match self.current.extent {
            Some(extent) if extent.len as usize >= len => extent,
            _ => self.make_room(len)?,
        };
        let _clock = self.health.operation();
        let at = self.current.len as u32;
        self.write(&extent, at, bytes)
    }

    fn write(&self, extent: &Extent, at: u32, bytes: &[u8]) -> Result<()> {
        self.reserved.extents().write_at(extent, at, bytes).map_err(|e| self.unwritten(e))
    }

    /// An extent of at least `len` bytes that holds what the current chunk has so far.
    fn make_room(&mut self, len: usize) -> Result<Extent> {
        let _clock = self.health.operation();
        let start = (self.done.len() * CHUNK) as u64;
        let announced = self.size_hint.and_then(|size| size.checked_sub(start));
        let room = match announced {
            // More comes than was announced: no guess any more.
            Some(left) if (left as usize) < len && self.current.extent.is_some() => CHUNK,
            Some(left) => left.clamp(len as u64, CHUNK as u64) as usize,
            None => CHUNK,
        };
        if (self.free)() < self.keep_free.saturating_add(room as u64) {
            let full = LogError::Full { what: "an upload would use the room that is kept free".into() };
            return Err(self.failed(full));
        }
        let extent = self.reserved.extents().reserve(room as u32).map_err(|e| self.unwritten(e))?;
        self.health.has_room();
        let moved = match self.current.extent {
            Some(old) => self.read_extent(&old, &self.current.crcs, self.current.len, 0, self.current.len),
            None => Ok(Bytes::from(std::mem::take(&mut self.current.buffer))),
        };
        let moved = moved.and_then(|bytes| {
            if bytes.is_empty() { Ok(bytes) } else { self.write(&extent, 0, &bytes).map(|()| bytes) }
        });
        match (moved, self.current.extent) {
            (Ok(_), None) => self.reserved.push(extent),
            (Ok(_), Some(old)) => {
                self.reserved.replace_last(extent);
                self.free_extent(old);
            }
            (Err(error), _) => {
                self.free_extent(extent);
                return Err(error);
            }
        }
        self.current.extent = Some(extent);
        Ok(extent)
    }

    fn free_extent(&self, extent: Extent) {
        if let Err(error) = self.reserved.extents().free(extent) {
            tracing::warn!(%error, "cannot free the room of an upload");
        }
    }

    fn close_chunk(&mut self) -> Result<()> {
        let chunk = std::mem::take(&mut self.current);
        let mut extent = chunk.extent.ok_or_else(|| Error::internal("a chunk without an extent"))?;
        if chunk.len < extent.len as usize {
            extent = self.reserved.extents().shrink(extent, chunk.len as u32).map_err(log_error)?;
            self.reserved.replace_last(extent);
        }
        // A hint, a whole chunk at a time: what is wrong with the disk the sync will say.
        if let Err(error) = self.reserved.extents().writeback(&extent, 0, extent.len) {
            tracing::debug!(%error, "a chunk's writing back was not begun");
        }
        self.done.push(DoneChunk { crc64: crc_of_blocks(&chunk.crcs, chunk.len), crcs: chunk.crcs, extent });
        Ok(())
    }

    /// What is held of a range: at most `len` bytes from `offset` on, to be sent on to the partner (R28).
    ///
    /// # Errors
    /// `Damaged` when the disk gives other bytes than it was given; `Io`.
    pub fn read(&self, offset: u64, len: u32) -> Result<Bytes> {
        let end = self.held.min(offset.saturating_add(len.into()));
        let (mut at, mut out) = (offset, Vec::new());
        while at < end {
            let (index, from) = ((at / CHUNK as u64) as usize, (at % CHUNK as u64) as usize);
            let to = CHUNK.min((end - at) as usize + from);
            let part = match self.done.get(index) {
                Some(chunk) => {
                    self.read_extent(&chunk.extent, &chunk.crcs, chunk.extent.len as usize, from, to)?
                }
                None => match &self.current.extent {
                    Some(extent) => {
                        self.read_extent(extent, &self.current.crcs, self.current.len, from, to)?
                    }
                    None => Bytes::copy_from_slice(&self.current.buffer[from..to]),
                },
            };
            at += part.len() as u64;
            if at == end && out.is_empty() {
                return Ok(part);
            }
            out.extend_from_slice(&part);
        }
        Ok(Bytes::from(out))
    }

    /// Bytes `from..to` of an extent of which `len` bytes are written.
    fn read_extent(
        &self,
        extent: &Extent,
        crcs: &[u64],
        len: usize,
        from: usize,
        to: usize,
    ) -> Result<Bytes> {
        let start = from / BLOCK * BLOCK;
        let len = to.next_multiple_of(BLOCK).min(len) - start;
        let bytes = read_extent(self.reserved.extents(), extent, start, len).map_err(|e| self.failed(e))?;
        check_blocks(&bytes, &crcs[start / BLOCK..], || format!("extent {}:{}", extent.file, extent.offset))?;
        Ok(bytes.slice(from - start..to - start))
    }

    fn unwritten(&self, error: LogError) -> Error {
        self.health.saw_in_write(&error);
        log_error(error)
    }

    fn failed(&self, error: LogError) -> Error {
        self.health.saw(&error);
        log_error(error)
    }

    /// Ends the upload and compares it with what the client says of it. Nothing is durable yet.
    ///
    /// # Errors
    /// `BadRequest` when size, CRC-64 or digest (SHA-256, as the content's digest has it) are not as expected.
    pub fn finish(mut self, size: u64, crc: Option<u64>, sha256: Option<&[u8]>) -> Result<Content> {
        let digests = self.digester.take().unwrap_or_default().chunks();
        self.finish_as(size, crc, sha256, &digests)
    }

    /// [`finish`](Self::finish) with the SHA-256 of each chunk as computed elsewhere.
    ///
    /// # Errors
    /// As [`finish`](Self::finish); also `BadRequest` when there is not one digest for each chunk.
    pub fn finish_as(
        mut self,
        size: u64,
        crc: Option<u64>,
        sha256: Option<&[u8]>,
        digests: &[[u8; 32]],
    ) -> Result<Content> {
        let differs = |what: &str| {
            Error::new(
                Code::BadRequest,
                format_args!("the content's {what} is not as announced"),
                "send it again",
            )
        };
        if self.held != size {
            return Err(differs("size"));
        }
        if digests.len() as u64 != size.div_ceil(CHUNK as u64).max(1) {
            return Err(differs("number of chunks"));
        }
        let content = if self.done.is_empty() && self.current.extent.is_none() {
            self.into_tail(&digests[0])
        } else {
            if self.current.len > 0 {
                self.close_chunk()?;
            }
            self.into_chunks(digests)
        };
        if crc.is_some_and(|crc| crc != content.manifest.crc64) {
            return Err(differs("CRC-64"));
        }
        if sha256.is_some_and(|sha256| !sha256.is_empty() && sha256 != &content.manifest.sha256[..]) {
            return Err(differs("digest"));
        }
        Ok(content)
    }

    /// A content of at most one block: inline, or one chunk, but in the journal either way.
    fn into_tail(self, sha256: &[u8; 32]) -> Content {
        let chunk = self.current;
        let (bytes, crc) = (Bytes::from(chunk.buffer), crc_of_blocks(&chunk.crcs, chunk.len));
        if bytes.len() <= INLINE_MAX {
            return Content::inline(bytes, crc);
        }
        let sha256 = Bytes::copy_from_slice(sha256);
        let len = bytes.len() as u32;
        let manifest = Manifest {
            size: len.into(),
            crc64: crc,
            digest_kind: DigestKind::Plain as u32,
            sha256: sha256.clone(),
            inline: Bytes::new(),
            chunks: vec![ChunkRef { sha256: sha256.clone(), len, crc64: crc }],
        };
        let places = vec![ChunkPlace { sha256, len, crcs: chunk.crcs, ..ChunkPlace::default() }];
        Content { manifest, tail: bytes, places, reserved: None }
    }

    fn into_chunks(self, digests: &[[u8; 32]]) -> Content {
        let digest = of_chunks(digests);
        let mut manifest = Manifest {
            size: self.held,
            digest_kind: digest.kind as u32,
            sha256: Bytes::copy_from_slice(&digest.sha256),
            ..Manifest::default()
        };
        let mut places = Vec::with_capacity(self.done.len());
        for (chunk, sha256) in self.done.into_iter().zip(digests) {
            let (sha256, len) = (Bytes::copy_from_slice(sha256), chunk.extent.len);
            manifest.crc64 = crc64_concat(manifest.crc64, chunk.crc64, len.into());
            manifest.chunks.push(ChunkRef { sha256: sha256.clone(), len, crc64: chunk.crc64 });
            let (file, offset) = (chunk.extent.file, chunk.extent.offset);
            places.push(ChunkPlace { sha256, len, crcs: chunk.crcs, file, offset, ..ChunkPlace::default() });
        }
        Content { manifest, tail: Bytes::new(), places, reserved: Some(self.reserved) }
    }
}

fn gap(offset: u64, held: u64) -> Error {
    let what = format_args!("the piece begins at {offset}, but only {held} bytes are here");
    Error::new(Code::BadRange, what, "go on from there")
}
