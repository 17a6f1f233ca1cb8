//! Compaction (R32): the oldest segment of the journal is read in slices, what is still needed of it is restated at
//! the journal's end, and the segment is given back.
//!
//! Always the oldest: then what ends something (Dropped, Collected, a newer row) can go with its segment, because
//! nothing that it ended stands before it. Were a later segment taken first, what it had ended would come back.
//!
//! What is restated says how things *stand*, not what happened: a content with its state and the places of all its
//! chunks, a row, the cursors. A replay may meet records that refer to something whose restatement comes later; the
//! restatement has the last word, so a rebuilt index is the one that was.

use std::collections::HashSet;
use std::sync::PoisonError;

use bytes::Bytes;
use log::{Log, LogError, LogReader, MAX_OWNER_KIND, Position, crash_point};
use types::record::{Manifest, Row, Subject};
use types::{Error, Result};

use super::PLACES_PER_RECORD;
use super::change::{
    AsideRecord, Change, ChunkPlace, ContentRecord, CursorsRecord, PlacesRecord, RowRecord, session_of,
};
use super::commit::Committing;
use super::entry::{ChunkEntry, ContentEntry, Location, extent_of};
use super::restate::Restating;
use super::tables::digest_of;
use super::trouble::log_error;

/// Bytes of a segment read in one slice, about.
const SLICE_BYTES: u64 = 256 << 10;
/// Records of a segment read in one slice.
const SLICE_RECORDS: usize = 512;

/// What is under way, and what it was worth.
#[derive(Default)]
pub(super) struct Compaction {
    pass: Option<Pass>,
    /// Segments in a row that held almost nothing else than what is needed.
    fruitless: usize,
    /// Not before this segment is written.
    rest_until: u32,
}

/// One segment on its way out.
#[derive(Clone, Copy)]
struct Pass {
    next: Position,
    end: Position,
    /// Bytes restated.
    moved: u64,
    /// A part of it could not be read: what the index has is restated, all of it, from here on.
    whole: Option<Restating>,
}

/// Changes to restate, in order, and the bytes of those that are in the journal already.
#[derive(Default)]
struct Restated {
    changes: Vec<Change>,
    bytes: u64,
}

impl Committing {
    /// Does one slice, if it is time; says whether there is more to do.
    pub(super) fn compact(&mut self, log: &mut Log) -> Result<bool> {
        let pass = match self.compaction.pass {
            Some(pass) => pass,
            None => match self.begin(log)? {
                Some(pass) => pass,
                None => return Ok(false),
            },
        };
        let outcome = self.slice(log, pass);
        // After a failure this segment begins anew: what was restated already is found elsewhere then.
        self.compaction.pass = *outcome.as_ref().unwrap_or(&None);
        outcome?;
        Ok(self.compaction.pass.is_some() || self.begin(log)?.is_some())
    }

    /// The oldest segment, if compacting is worth it now.
    fn begin(&self, log: &Log) -> Result<Option<Pass>> {
        let segments = log.segments();
        let (Some(oldest), Some(newest)) = (segments.first(), segments.last()) else { return Ok(None) };
        let few = segments.len() < self.shared.config.compact_segments;
        if few || newest.number < self.compaction.rest_until || !self.has_room_for_index() {
            return Ok(None);
        }
        let total: u64 = segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        let waste = total.saturating_sub(self.shared.index.live_bytes()?);
        let keep = self.shared.config.keep_free_bytes;
        let short = keep > 0 && self.shared.free_bytes() < keep.saturating_mul(2);
        let idle = self.asked.elapsed() >= self.shared.config.compact_idle;
        let worth = match (short, idle) {
            (true, _) => waste > total / 8,
            (false, true) => waste > total / 2,
            (false, false) => waste > total / 4 * 3,
        };
        let end = Position::new(oldest.number, oldest.bytes);
        Ok(worth.then(|| Pass { next: LogReader::first(oldest.number), end, moved: 0, whole: None }))
    }

    fn slice(&mut self, log: &mut Log, mut pass: Pass) -> Result<Option<Pass>> {
        let (start, mut records) = (pass.next.0, 0);
        let mut out = Restated::default();
        while pass.next < pass.end && pass.next.0 - start < SLICE_BYTES && records < SLICE_RECORDS {
            let (kind, payload) = match self.shared.reader.read(pass.next) {
                Ok(record) => record,
                Err(error @ LogError::Damaged { .. }) => {
                    pass.next = self.behind_damage(pass.next, pass.end, error)?;
                    pass.whole.get_or_insert_default();
                    continue;
                }
                Err(error) => return Err(log_error(error)),
            };
            let (position, len) = (pass.next, payload.len());
            pass.next = LogReader::behind(position, len);
            records += 1;
            if kind <= MAX_OWNER_KIND {
                self.restate(log, position, Change::decode(kind, payload)?, &mut out)?;
            }
        }
        pass.moved += out.bytes + self.record(log, out.changes)?;
        if pass.next < pass.end {
            return Ok(Some(pass));
        }
        if let Some(whole) = pass.whole {
            let (changes, more) = self.restate_all(whole)?;
            self.record(log, changes)?;
            if more.is_some() {
                return Ok(Some(Pass { whole: more, ..pass }));
            }
        }
        self.give_segment_back(log, pass)?;
        Ok(None)
    }

    /// Adds what is still needed of a record.
    fn restate(&mut self, log: &mut Log, at: Position, change: Change, out: &mut Restated) -> Result<()> {
        match change {
            Change::Content { record, tail, .. } | Change::Moved { record, tail } => {
                let session = session_of(&record.session)?;
                match self.shared.index.content(session)? {
                    Some(entry) if entry.position == at => {
                        let manifest = record.manifest.as_ref();
                        if !out.changes.is_empty() && manifest.is_some_and(|m| self.is_in_journal(m, at)) {
                            // Where that chunk is now may have been restated in this slice.
                            out.bytes += self.record(log, std::mem::take(&mut out.changes))?;
                        }
                        self.restate_content(at, entry, record, tail, out)
                    }
                    _ => self.restate_chunks(at, record.places, tail, out),
                }
            }
            Change::Places(record) => {
                let session = session_of(&record.session)?;
                let content = self.shared.index.content(session)?;
                // The content comes behind it in the same segment, with all places.
                let moves = content.is_some_and(|c| c.position > at && c.position.segment() == at.segment());
                if moves { Ok(()) } else { self.restate_chunks(at, record.places, Bytes::new(), out) }
            }
            Change::Chunks { record, tail } | Change::Repaired { record, tail } => {
                self.restate_chunks(at, record.places, tail, out)
            }
            Change::Row(RowRecord { feed, row: Some(row), .. }) => {
                if self.is_newest(&row)? {
                    // What it ended has ended.
                    let collected = u64::MAX; // it is in the index
                    out.changes.push(Change::Row(RowRecord {
                        feed,
                        row: Some(row),
                        collected,
                        ..RowRecord::default()
                    }));
                }
                Ok(())
            }
            Change::Aside(AsideRecord { record: Some(record) }) => {
                if self.shared.index.aside(record.id)?.is_some_and(|aside| aside.seq == record.seq) {
                    out.changes.push(Change::Aside(AsideRecord { record: Some(record) }));
                }
                Ok(())
            }
            // They ended or changed what stood before them, and nothing stands before them any more.
            Change::Row(_)
            | Change::Unprepared(_)
            | Change::Dropped(_)
            | Change::Collected(_)
            | Change::Advance(_)
            | Change::FeedReset(_)
            | Change::Cursors(_)
            | Change::Forgotten(_)
            | Change::Hole(_)
            | Change::GivenUp(_)
            | Change::Aside(_) => Ok(()),
        }
    }

    /// Whether a chunk stands in another record of the journal than the one at `at`.
    fn is_in_journal(&self, manifest: &Manifest, at: Position) -> bool {
        manifest.chunks.iter().any(|chunk| {
            let chunk = digest_of(&chunk.sha256).and_then(|sha256| self.shared.index.chunk(&sha256));
            // What cannot be read is told by whoever needs it.
            let chunk = chunk.ok().flatten();
            chunk.is_none_or(|chunk| chunk.extent().is_none() && !is_tail_of(&chunk, at))
        })
    }

    fn is_newest(&self, row: &Row) -> Result<bool> {
        let index = &self.shared.index;
        Ok(match &row.subject {
            Some(Subject::Record(record)) => {
                index.record(record.id)?.is_some_and(|known| known.seq == row.seq)
            }
            Some(Subject::User(user)) => index.user(&user.name)?.is_some_and(|(seq, _)| seq == row.seq),
            Some(Subject::Pair(pair)) => index.pair(pair.id)?.is_some_and(|(seq, _)| seq == row.seq),
            None => false,
        })
    }

    /// A content as it stands, with the places of all its chunks.
    fn restate_content(
        &self,
        at: Position,
        entry: ContentEntry,
        mut record: ContentRecord,
        tail: Bytes,
        out: &mut Restated,
    ) -> Result<()> {
        let manifest =
            record.manifest.as_ref().ok_or_else(|| Error::internal("a content without manifest"))?;
        let inline = manifest.chunks.is_empty();
        let (mut places, mut carries): (Vec<ChunkPlace>, bool) = (Vec::new(), inline);
        let mut seen = HashSet::new();
        for chunk in &manifest.chunks {
            let sha256 = digest_of(&chunk.sha256)?;
            if !seen.insert(sha256) {
                continue;
            }
            let lost = || Error::internal("a chunk of a content has no place");
            let chunk = self.shared.index.chunk(&sha256)?.ok_or_else(lost)?;
            let carried = is_tail_of(&chunk, at);
            carries |= carried;
            places.push(chunk.place(&sha256, carried));
        }
        let mut parts = 0;
        while places.len() > PLACES_PER_RECORD {
            let rest = places.split_off(PLACES_PER_RECORD);
            let places = std::mem::replace(&mut places, rest);
            out.changes.push(Change::Places(PlacesRecord {
                session: record.session.clone(),
                part: parts,
                places,
            }));
            parts += 1;
        }
        (record.parts, record.places, record.state) = (parts, places, entry.state as u32);
        out.changes.push(Change::Moved { record, tail: if carries { tail } else { Bytes::new() } });
        Ok(())
    }

    /// Chunks that are where a record says whose content has gone: others have them.
    fn restate_chunks(
        &self,
        at: Position,
        places: Vec<ChunkPlace>,
        tail: Bytes,
        out: &mut Restated,
    ) -> Result<()> {
        let (mut still, mut carries) = (Vec::new(), false);
        for place in places {
            let sha256 = digest_of(&place.sha256)?;
            let Some(chunk) = self.shared.index.chunk(&sha256)? else { continue };
            let carried = extent_of(&place).is_none() && place.position == 0 && is_tail_of(&chunk, at);
            // One in another record of the journal is that record's to restate.
            if carried || chunk.extent().is_some_and(|extent| extent_of(&place) == Some(extent)) {
                carries |= carried;
                still.push(chunk.place(&sha256, carried));
            }
        }
        if !still.is_empty() {
            let record = PlacesRecord { places: still, ..PlacesRecord::default() };
            out.changes.push(Change::Chunks { record, tail: if carries { tail } else { Bytes::new() } });
        }
        Ok(())
    }

    /// Ends a pass: what was restated becomes durable, in the journal and in the index, then the segment goes.
    fn give_segment_back(&mut self, log: &mut Log, pass: Pass) -> Result<()> {
        let cursors = self.shared.index.cursors()?;
        let record = CursorsRecord {
            generation: cursors.generation,
            control: cursors.control,
            pair: cursors.pair,
            forgotten_control: self.shared.index.forgotten(0)?,
            forgotten_pair: self.shared.index.forgotten(1)?,
        };
        self.record(log, vec![Change::Cursors(record)])?;
        crash_point("compact.copied");
        self.settle(log)?;
        crash_point("compact.settled");
        // An index that has seen only a part of the segment could not be brought up to date without the rest.
        let durable = self.commit_index(log).inspect_err(|error| self.shared.health.fail(error))?;
        self.shared.check()?;
        if !durable {
            return Ok(()); // it begins anew when there is room
        }
        crash_point("compact.switched");
        // Whoever found a place of the segment in the index has read it then.
        drop(self.shared.reading.write().unwrap_or_else(PoisonError::into_inner));
        let released = log.release_segment(pass.end.segment());
        crash_point("compact.released");
        self.note_end(log);
        released.map_err(|error| self.trouble(log, error))?;
        self.judge(log, pass);
        Ok(())
    }

    /// Learns whether it was worth it: the estimate of what is needed may be too low.
    fn judge(&mut self, log: &Log, pass: Pass) {
        let bytes = u64::from(pass.end.offset());
        let count = log.segments().len();
        self.compaction.fruitless =
            if pass.moved > bytes / 8 * 7 { self.compaction.fruitless + 1 } else { 0 };
        if self.compaction.fruitless >= count {
            self.compaction.fruitless = 0;
            let rest = u32::try_from(count / 4).unwrap_or(u32::MAX).max(2);
            self.compaction.rest_until = log.end().segment().saturating_add(rest);
        }
        tracing::debug!(segment = pass.end.segment(), bytes, moved = pass.moved, "a segment was compacted");
    }
}

/// Whether the record at `at` carries the chunk.
fn is_tail_of(chunk: &ChunkEntry, at: Position) -> bool {
    matches!(chunk.location, Location::Journal { position, .. } if position == at)
}
