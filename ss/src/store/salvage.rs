//! Opening a journal that is damaged where it was durable (R31): where it is, whether that has been dealt with, and
//! what has gone with it. What stood there comes from the partner: the cursors begin at zero again (R24).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use log::{Disk, Extent, Hole, Log, LogConfig, LogError, Open, Position};
use types::Result;
use types::ids::SessionId;

use super::apply::{Staged, apply};
use super::change::{Change, HoleRecord, RangeRecord, kind, session_bytes};
use super::config::StoreConfig;
use super::entry::{ChunkEntry, Location};
use super::index::Index;
use super::read::check_blocks;
use super::trouble::log_error;

/// Contents that one record names as lost.
const LOST_PER_RECORD: usize = 1024;

/// What a look at a damaged journal has found.
#[derive(Default)]
pub(crate) struct Look {
    /// What cannot be read.
    pub holes: Vec<Hole>,
    /// What of it no record of the journal names as dealt with.
    pub unknown: Vec<Hole>,
    /// Where the last such record stands.
    pub told: Position,
}

/// Reads the whole journal and changes nothing.
pub(crate) fn look(disk: &dyn Disk, settings: &LogConfig) -> Result<Look, LogError> {
    let (mut ranges, mut told) = (Vec::new(), Position::default());
    let mut take = |entry: log::Entry<'_>| {
        if entry.kind == kind::HOLE {
            let payload = Bytes::copy_from_slice(entry.payload);
            let change =
                Change::decode(entry.kind, payload).map_err(|error| LogError::Owner(error.to_string()))?;
            if let Change::Hole(record) = change {
                ranges.extend(record.ranges);
                told = entry.position;
            }
        }
        Ok(())
    };
    let holes = Log::look(disk, settings, &mut take)?;
    ranges.sort_unstable_by_key(|range| range.from);
    let unknown = holes.iter().copied().filter(|hole| !is_covered(hole, &ranges)).collect();
    Ok(Look { holes, unknown, told })
}

/// Whether the ranges, which are in order, cover a hole.
fn is_covered(hole: &Hole, ranges: &[RangeRecord]) -> bool {
    let mut at = hole.from.0;
    for range in ranges {
        if range.from <= at {
            at = at.max(range.to);
        }
    }
    at >= hole.to.0
}

/// Notes in the journal that its holes are known, and what has gone with them; then the index is what a replay of it
/// makes, and durable.
pub(crate) fn settle(
    disk: &dyn Disk,
    index: &Index,
    log: &mut Log,
    config: &StoreConfig,
    look: &Look,
    generation: u64,
) -> Result<()> {
    let lost: Vec<Bytes> = lost(disk, index, log, config, look)?.into_iter().map(session_bytes).collect();
    tracing::warn!(
        holes = look.unknown.len(),
        contents = lost.len(),
        "the journal goes on behind its damage"
    );
    let mut records: Vec<HoleRecord> = lost
        .chunks(LOST_PER_RECORD)
        .map(|lost| HoleRecord { lost: lost.to_vec(), ..HoleRecord::default() })
        .collect();
    // Last, so that it does not count before all of it is said.
    let range = |hole: &Hole| RangeRecord { from: hole.from.0, to: hole.to.0 };
    let ranges = look.holes.iter().map(range).collect();
    records.push(HoleRecord { ranges, generation: Some(generation), lost: Vec::new() });
    let (mut batch, mut head) = (Vec::new(), Vec::new());
    for record in records {
        let change = Change::Hole(record);
        change.head(&mut head);
        let position = log.append(change.kind(), &[&head]).map_err(log_error)?;
        batch.push(Staged { position, payload: head.len() as u32, change });
    }
    log.sync().map_err(log_error)?;
    index.write(true, |tables| apply(tables, &batch, log.end())).map(|_| ())
}

/// Contents of which a chunk is not where the index believes it to be: its record is gone, or its room was given to
/// another meanwhile, which only the damaged range told.
fn lost(
    disk: &dyn Disk,
    index: &Index,
    log: &Log,
    config: &StoreConfig,
    look: &Look,
) -> Result<Vec<SessionId>> {
    let segments: HashSet<u32> = log.segments().iter().map(|segment| segment.number).collect();
    let is_gone = |at: Position| {
        !segments.contains(&at.segment()) || look.holes.iter().any(|hole| hole.from <= at && at < hole.to)
    };
    let (mut gone, mut extents) = (HashSet::new(), BTreeMap::<(u32, u32), Vec<([u8; 32], u32)>>::new());
    index.each_chunk(|sha256, chunk| {
        match chunk.location {
            Location::Journal { position, .. } if is_gone(position) => drop(gone.insert(sha256)),
            Location::Journal { .. } => {}
            Location::Extent(extent) => {
                extents.entry((extent.file, extent.offset)).or_default().push((sha256, extent.len));
            }
        }
        Ok(())
    })?;
    let holds = |sha256: &[u8; 32]| -> Result<bool> {
        let chunk = index.chunk(sha256)?;
        Ok(chunk.is_some_and(|chunk| is_there(disk, config, &chunk)))
    };
    // Where two chunks claim the same room, at most one is there.
    let mut before: Option<(Extent, [u8; 32])> = None;
    for ((file, offset), claims) in extents {
        for (sha256, len) in claims {
            let extent = Extent { file, offset, len };
            let Some((other, theirs)) = before.filter(|(other, _)| overlap(other, &extent)) else {
                before = further(before, extent, sha256);
                continue;
            };
            match (holds(&theirs)?, holds(&sha256)?) {
                (true, false) => drop(gone.insert(sha256)),
                (false, true) => {
                    gone.insert(theirs);
                    before = Some((extent, sha256));
                }
                (there, _) => {
                    // Both are only where the one is a part of the other.
                    let keeps_other = there && other.len >= extent.len;
                    gone.insert(if keeps_other { sha256 } else { theirs });
                    if !keeps_other {
                        before = Some((extent, sha256));
                    }
                    if !there {
                        gone.insert(sha256);
                    }
                }
            }
        }
    }
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let mut lost = Vec::new();
    index.each_chunk_list(|session, digests| {
        if digests.chunks_exact(32).any(|digest| gone.contains(digest)) {
            lost.push(session);
        }
        Ok(())
    })?;
    Ok(lost)
}

fn overlap(a: &Extent, b: &Extent) -> bool {
    let end = |extent: &Extent| u64::from(extent.offset) + u64::from(extent.len);
    a.file == b.file && u64::from(a.offset) < end(b) && u64::from(b.offset) < end(a)
}

/// The one of two extents, in order, that reaches further.
fn further(
    before: Option<(Extent, [u8; 32])>,
    extent: Extent,
    sha256: [u8; 32],
) -> Option<(Extent, [u8; 32])> {
    let end = |extent: &Extent| u64::from(extent.offset) + u64::from(extent.len);
    match before {
        Some((other, theirs)) if other.file == extent.file && end(&other) > end(&extent) => {
            Some((other, theirs))
        }
        _ => Some((extent, sha256)),
    }
}

/// Whether the bytes of a chunk check where they are said to be.
fn is_there(disk: &dyn Disk, config: &StoreConfig, chunk: &ChunkEntry) -> bool {
    let Some(extent) = chunk.extent() else { return true };
    let name = format!("{}/{:08}", config.extents_folder, extent.file);
    let mut bytes = vec![0; extent.len as usize];
    let read = disk
        .open(&name, Open::Existing)
        .and_then(|file| file.read_exact_at(&mut bytes, u64::from(extent.offset)));
    read.is_ok() && check_blocks(&bytes, &chunk.crcs, String::new).is_ok()
}
