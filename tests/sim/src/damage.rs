//! Where a storage server's disk can be damaged so that two copies can repair it, and what such damage costs.
//!
//! The limit is proved on copies of the disks before anything is done to them: the copy is damaged, read as a server reads
//! a damaged disk, and every content that it lacks then must be whole on the other member's disk, in what that one has
//! synced. What else stands in a journal (rows, cursors) the name manager has.

use crate::cluster::store;
use fastrand::Rng;
use log::Disk;
use log::sim::SimDisk;
use log::{Log, LogConfig, Open, Position};
use ss::store::{Store, StoreConfig};
use std::collections::BTreeSet;
use std::sync::Arc;
use types::ids::SessionId;

/// Bytes of a record before its content, and where in them stands which position was synced when it was written.
const RECORD_HEADER: u64 = 32;
const SYNCED_AT: u64 = 16;
/// Bytes of a segment's header that its checksum covers, and the checksum.
const SEGMENT_HEADER: u64 = 64;
/// Where segments and extents say which format they have: another one is told as another version, not as damage (R35).
const VERSION: std::ops::Range<u64> = 8..12;
/// The index of a storage server, and how many bytes of it its header has.
pub const INDEX: &str = "index.redb";
const INDEX_HEADER: u64 = 344;
/// Bytes that are overwritten as one.
pub const PAGE: u64 = 4096;

fn config() -> StoreConfig {
    StoreConfig { salvage: Some(0), ..store() }
}

fn journal() -> LogConfig {
    let folder = store().journal_folder;
    LogConfig {
        folder,
        segment_bytes: store().segment_bytes,
        spare_segments: 0,
        background_fill: false,
        ..LogConfig::default()
    }
}

/// The name of a segment on a disk.
fn segment(number: u32) -> String {
    format!("{}/{number:010}.seg", store().journal_folder)
}

/// Contents that a server which starts on this disk has, behind damage if need be; those of `which`, or all of them, whose
/// bytes check. None: it does not start at all.
fn contents(disk: SimDisk, which: Option<&BTreeSet<SessionId>>) -> Option<BTreeSet<SessionId>> {
    let store = Store::open_read_only(Arc::new(disk), config()).ok()?;
    let is_whole = |session: &SessionId| matches!(store.verify(*session), Ok(Ok(())));
    if let Some(which) = which {
        let held = |session: &&SessionId| matches!(store.lookup(**session), Ok(Some(_)));
        return Some(which.iter().filter(held).filter(|session| is_whole(session)).copied().collect());
    }
    let (mut all, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.contents_after(after, 1000).ok()?;
        let Some(last) = page.last() else { return Some(all) };
        after = Some(last.session);
        all.extend(page.iter().map(|held| held.session).filter(is_whole));
    }
}

/// Whether everything that `damage` takes from `disk` is durable on `other`.
pub fn is_covered(disk: &SimDisk, other: &SimDisk, damage: impl FnOnce(&SimDisk)) -> bool {
    let Some(before) = contents(disk.restart(), None) else { return false };
    let damaged = disk.restart();
    damage(&damaged);
    let Some(after) = contents(damaged, None) else { return false };
    let lost: BTreeSet<SessionId> = before.difference(&after).copied().collect();
    lost.is_empty() || contents(other.durable(), Some(&lost)).is_some_and(|there| there == lost)
}

/// Whether a server that starts on this disk has this content, whole.
pub fn holds(disk: SimDisk, content: &[u8]) -> bool {
    let sha256 = types::content::sha256(content);
    let Ok(opened) = Store::open_read_only(Arc::new(disk), config()) else { return false };
    let mut after = None;
    loop {
        let Ok(page) = opened.contents_after(after, 1000) else { return false };
        let Some(last) = page.last() else { return false };
        after = Some(last.session);
        let mut same = page.iter().filter(|held| held.manifest.sha256[..] == sha256[..]);
        if same.any(|held| matches!(opened.verify(held.session), Ok(Ok(())))) {
            return true;
        }
    }
}

/// Whether everything that stands on a disk can be read as it was written.
pub fn is_sound(disk: &SimDisk) -> bool {
    if !matches!(Store::has_holes(&disk.restart(), &store()), Ok(false)) {
        return false;
    }
    let Ok(opened) = Store::open_read_only(Arc::new(disk.restart()), store()) else { return false };
    let mut after = None;
    loop {
        let Ok(page) = opened.contents_after(after, 1000) else { return false };
        let Some(last) = page.last() else { return true };
        after = Some(last.session);
        if !page.iter().all(|held| matches!(opened.verify(held.session), Ok(Ok(())))) {
            return false;
        }
    }
}

/// Records of a journal: where they stand, and how long they are.
fn records(disk: &SimDisk) -> Vec<(Position, u64)> {
    let mut records = Vec::new();
    let mut take = |entry: log::Entry<'_>| {
        records.push((entry.position, RECORD_HEADER + entry.payload.len() as u64));
        Ok(())
    };
    // Whatever cannot be read is damaged already.
    let _ = Log::look(&disk.restart(), &journal(), &mut take);
    records
}

fn number_at(disk: &SimDisk, name: &str, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    disk.open(name, Open::Existing).ok()?.read_exact_at(&mut bytes, at).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Up to where a journal is proved to have been synced, by its last record.
fn proved(disk: &SimDisk, records: &[(Position, u64)]) -> Option<Position> {
    let (last, _) = records.last()?;
    let at = u64::from(last.offset()) + SYNCED_AT;
    number_at(disk, &segment(last.segment()), at).map(Position)
}

/// A byte of the journal whose loss is damage, not a torn tail (R31): of a record before the last position that is proved to
/// have been synced, or of the header of a segment that others follow.
pub fn in_journal(disk: &SimDisk, random: &mut Rng) -> Option<(String, u64)> {
    let records = records(disk);
    let proved = proved(disk, &records)?;
    let (first, last) = (records.first()?.0.segment(), records.last()?.0.segment());
    if first < last && random.u8(0..8) == 0 {
        let at = random.u64(0..SEGMENT_HEADER);
        let at = if VERSION.contains(&at) { 0 } else { at };
        return Some((segment(random.u32(first..last)), at));
    }
    let durable: Vec<_> = records.into_iter().filter(|(at, _)| *at < proved).collect();
    // The newest segment is read at each start, others only when somebody needs them.
    let newest =
        durable.iter().position(|(at, _)| at.segment() == last).filter(|_| random.bool()).unwrap_or(0);
    let (at, len) = *durable.get(random.usize(newest..durable.len().max(newest + 1)))?;
    Some((segment(at.segment()), u64::from(at.offset()) + random.u64(0..len)))
}

/// A byte of the header of the journal's last segment: nothing else says which segments there are.
pub fn in_last_head(disk: &SimDisk, random: &mut Rng) -> Option<(String, u64)> {
    let last =
        disk.list(&store().journal_folder).ok()?.into_iter().filter(|name| name.ends_with(".seg")).max()?;
    let at = random.u64(0..SEGMENT_HEADER);
    Some((format!("{}/{last}", store().journal_folder), if VERSION.contains(&at) { 0 } else { at }))
}

/// A byte of an index, in a page that was written; its header is hit more often than its length says.
pub fn in_index(disk: &SimDisk, random: &mut Rng) -> Option<u64> {
    let bytes = disk.bytes(INDEX)?;
    let written: Vec<usize> = bytes
        .chunks_exact(PAGE as usize)
        .enumerate()
        .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
        .map(|(page, _)| page)
        .collect();
    if random.u8(0..8) == 0 {
        return (!written.is_empty()).then(|| random.u64(0..INDEX_HEADER));
    }
    let page = written.get(random.usize(0..written.len().max(1)))?;
    Some(*page as u64 * PAGE + random.u64(0..PAGE))
}

/// Pages that a write may be led to: in journal and extents, not in the first page of a file, of which those in extents say what
/// stands in them, and those in the last segment which segments there are.
pub fn page(disk: &SimDisk, random: &mut Rng) -> Option<(String, u64)> {
    let folders = [store().journal_folder, store().extents_folder];
    let folder = &folders[random.usize(0..folders.len())];
    let names = disk.list(folder).ok()?;
    let name = format!("{folder}/{}", names.get(random.usize(0..names.len().max(1)))?);
    let bytes = disk.bytes(&name)?;
    // Most of a file may never have been written: what is hit should matter.
    let used: Vec<u64> = (1..bytes.len() as u64 / PAGE)
        .filter(|page| bytes[(page * PAGE) as usize..][..PAGE as usize].iter().any(|byte| *byte != 0))
        .collect();
    let page = used.get(random.usize(0..used.len().max(1)))?;
    Some((name, page * PAGE))
}
