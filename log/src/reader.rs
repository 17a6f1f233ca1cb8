//! Random reads by position while the writer goes on.

use std::sync::Arc;

use bytes::Bytes;

use crate::format::{ALIGN, HEADER_BYTES, RECORD_HEADER, RecordHeader, check_record, record_bytes};
use crate::shared::{Segment, Shared};
use crate::{LogError, Position};

/// What the first read of a record of unknown length takes, in bytes: small records come with one read.
const FIRST_READ: usize = 4096;

/// Reads records, also those that are only buffered. Cheap to clone, and usable from any thread while the
/// [`Log`](crate::Log) writes.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>) -> LogReader {
        LogReader { shared }
    }

    /// Where a segment's first record stands. Those of the engine come first: kinds above
    /// [`MAX_OWNER_KIND`](crate::MAX_OWNER_KIND).
    pub fn first(segment: u32) -> Position {
        Position::new(segment, HEADER_BYTES)
    }

    /// Where the next record of the segment stands, behind one at `position` with so many bytes of payload; the
    /// segment's end ([`SegmentInfo`](crate::SegmentInfo)) if it is the last.
    pub fn behind(position: Position, payload: usize) -> Position {
        Position(position.0 + record_bytes(payload) as u64)
    }

    /// The record at `position`: its kind and its payload, checked against its checksum.
    ///
    /// # Errors
    /// `NotFound` when no record stands there or its segment was given back meanwhile; `Damaged` when what
    /// stands there does not check; `Io`.
    pub fn read(&self, position: Position) -> Result<(u8, Bytes), LogError> {
        self.read_hinted(position, FIRST_READ - RECORD_HEADER)
    }

    /// Like [`read`](Self::read) for a caller that knows the payload's length (in bytes): one read of the
    /// disk instead of two for large records. A wrong hint costs time only.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_hinted(&self, position: Position, payload: usize) -> Result<(u8, Bytes), LogError> {
        if let Some(found) = self.buffered(position, |kind, payload| (kind, Bytes::copy_from_slice(payload)))
        {
            return Ok(found);
        }
        let (segment, room) = self.place(position)?;
        let file = self.shared.file(&segment).map_err(|e| self.explain(&segment, position, Some(e)))?;
        let at = u64::from(position.offset());
        let mut bytes = vec![0; room.min(RECORD_HEADER.saturating_add(payload))];
        let failed = |e| LogError::io(format!("read the log at {position}"), e);
        file.read_exact_at(&mut bytes, at).map_err(failed)?;
        let header = RecordHeader::decode(&bytes);
        let whole = RECORD_HEADER + header.len as usize;
        if header.use_number != segment.use_number || whole > room {
            return Err(self.explain(&segment, position, None));
        }
        let have = bytes.len();
        if whole > have {
            bytes.resize(whole, 0);
            file.read_exact_at(&mut bytes[have..], at + have as u64).map_err(failed)?;
        }
        match check_record(&bytes, position, segment.use_number) {
            Some(header) => {
                let payload = Bytes::from(bytes).slice(RECORD_HEADER..whole);
                Ok((header.kind, payload))
            }
            None => Err(self.explain(&segment, position, None)),
        }
    }

    /// `len` bytes of the payload at `position`, from its byte `skip` on. The record's checksum covers the
    /// whole payload, so it is *not* checked here: for owners whose payload carries checksums of its own.
    ///
    /// # Errors
    /// `Invalid` when the payload is shorter than `skip + len`; else those of [`read`](Self::read).
    pub fn read_range(&self, position: Position, skip: usize, len: usize) -> Result<Bytes, LogError> {
        const SHORT: LogError = LogError::Invalid("the range is outside of the record");
        let range = skip..skip.checked_add(len).ok_or(SHORT)?;
        let found = self.buffered(position, |_, p| p.get(range.clone()).map(Bytes::copy_from_slice));
        if let Some(found) = found {
            return found.ok_or(SHORT);
        }
        let (segment, room) = self.place(position)?;
        let file = self.shared.file(&segment).map_err(|e| self.explain(&segment, position, Some(e)))?;
        let at = u64::from(position.offset());
        let failed = |e| LogError::io(format!("read the log at {position}"), e);
        let mut head = [0; RECORD_HEADER];
        file.read_exact_at(&mut head, at).map_err(failed)?;
        let header = RecordHeader::decode(&head);
        if header.use_number != segment.use_number || RECORD_HEADER + header.len as usize > room {
            return Err(self.explain(&segment, position, None));
        }
        if range.end > header.len as usize {
            return Err(SHORT);
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at + (RECORD_HEADER + skip) as u64).map_err(failed)?;
        // A segment leaves the log before its file is used again: still there means that these were its bytes.
        match self.is_live(&segment) {
            true => Ok(Bytes::from(bytes)),
            false => Err(LogError::NotFound(position)),
        }
    }

    /// Where the first good record behind the bad one at `position` stands, or where its segment ends. Reads the rest
    /// of the segment.
    ///
    /// # Errors
    /// `NotFound` when its segment was given back meanwhile; `Io`.
    pub fn behind_damage(&self, position: Position) -> Result<Position, LogError> {
        let (segment, room) = self.place(position)?;
        let file = self.shared.file(&segment).map_err(|e| self.explain(&segment, position, Some(e)))?;
        let mut bytes = vec![0; room];
        file.read_exact_at(&mut bytes, u64::from(position.offset()))
            .map_err(|e| LogError::io(format!("read the log at {position}"), e))?;
        let found = (ALIGN..room).step_by(ALIGN).find(|at| {
            let at_position = Position(position.0 + *at as u64);
            check_record(&bytes[*at..], at_position, segment.use_number).is_some()
        });
        match self.is_live(&segment) {
            true => Ok(Position(position.0 + found.unwrap_or(room) as u64)),
            false => Err(LogError::NotFound(position)),
        }
    }

    /// Looks in the buffered tail. `None`: not there.
    fn buffered<T>(&self, position: Position, take: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
        if !self.shared.may_be_buffered(position) {
            return None;
        }
        let tail = self.shared.tail();
        if position.segment() != tail.start.segment() {
            return None;
        }
        let at = position.offset().checked_sub(tail.start.offset())? as usize;
        let bytes = tail.bytes.get(at..)?;
        let header = check_record(bytes, position, tail.use_number)?;
        Some(take(header.kind, &bytes[RECORD_HEADER..RECORD_HEADER + header.len as usize]))
    }

    /// The segment of a position in a file, and the bytes from there to where its records end.
    fn place(&self, position: Position) -> Result<(Arc<Segment>, usize), LogError> {
        let segment = self.shared.segment(position.segment()).ok_or(LogError::NotFound(position))?;
        let room = segment.end().saturating_sub(position.offset()) as usize;
        let aligned = (position.offset() as usize).is_multiple_of(ALIGN) && position.offset() >= HEADER_BYTES;
        if aligned && room >= RECORD_HEADER { Ok((segment, room)) } else { Err(LogError::NotFound(position)) }
    }

    fn is_live(&self, segment: &Arc<Segment>) -> bool {
        self.shared.segment(segment.number).is_some_and(|now| Arc::ptr_eq(&now, segment))
    }

    /// Why a read failed: the segment was given back meanwhile, or it is damaged.
    fn explain(&self, segment: &Arc<Segment>, position: Position, error: Option<LogError>) -> LogError {
        if !self.is_live(segment) {
            return LogError::NotFound(position);
        }
        error.unwrap_or_else(|| LogError::Damaged {
            folder: self.shared.folder.clone(),
            segment: segment.number,
            offset: position.offset(),
            why: "the record does not check",
        })
    }
}
