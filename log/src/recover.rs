//! Recovery: finds out what a crash left, tells damage from an unsynced tail (R31), and replays.
//!
//! Nothing on the disk is changed here, so a crash during recovery leaves what recovery found, and a damaged
//! log is left as it was for whoever repairs it. Files that are no part of the log are listed for the
//! caller, which removes them once the replay has succeeded.

use std::sync::Arc;

use crate::bytes::u64_at;
use crate::disk::{Disk, DiskFile, Open};
use crate::format::{
    ALIGN, HEADER_BYTES, Header, KIND_LIVE, KIND_MARK, LiveRange, MAX_OWNER_KIND, Parsed, RECORD_HEADER,
    RecordHeader, USE_AT, VERSION, check_record, decode_live, record_bytes,
};
use crate::shared::{Segment, segment_name};
use crate::spares::SPARE_PREFIX;
use crate::{Entry, LogError, Position};

/// The owner's part of the replay.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Entry<'_>) -> Result<(), LogError>;

/// A range of the log that was durable and does not check any more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hole {
    /// Where it begins: the first record that does not check. With offset 0: nothing of that segment can be read.
    pub from: Position,
    /// Where the next good record stands, or its segment ends.
    pub to: Position,
}

/// What recovery does about damage.
pub(crate) enum Damage<'a> {
    /// It ends with an error.
    Refuse,
    /// It goes on behind it, and lists it here.
    PassOver(&'a mut Vec<Hole>),
}

/// What recovery found.
#[derive(Default)]
pub(crate) struct Recovered {
    /// Number of the log, and use number of its last segment; `None`: there is no log yet.
    pub identity: Option<(u64, u64)>,
    /// The segments of the log, ascending, with their ends. The log ends in the last one.
    pub segments: Vec<Arc<Segment>>,
    /// Where the log ends. Everything before it is durable.
    pub end: Position,
    /// Nothing of an unsynced tail stands behind the end: the last segment can be written on.
    pub clean: bool,
    /// The last record is a mark, or belongs to the head of its segment.
    pub marked: bool,
    /// Files that are no part of the log: spares, and segments whose release a crash interrupted.
    pub leftovers: Vec<String>,
}

/// Reads the log in `folder`; calls `replay` for each of the owner's records from `from` on. Only damage to the head
/// of the last segment cannot be passed over: nothing else says which segments there are.
pub(crate) fn recover(
    disk: &dyn Disk,
    folder: &str,
    from: Position,
    replay: Replay<'_>,
    mut damage: Damage<'_>,
) -> Result<Recovered, LogError> {
    let place = Place { disk, folder };
    let (numbers, mut leftovers) = place.list()?;
    let Some(&last) = numbers.last() else {
        return match from == Position::default() {
            true => Ok(Recovered { marked: true, leftovers, ..Recovered::default() }),
            false => Err(place.damaged(from, "the log is gone")),
        };
    };
    let (last, bytes) = place.settle(last)?;
    let tail = place.find_end(&last, &bytes, &mut damage)?;
    let end = Position::new(last.number, tail.end);
    if from > end {
        return Err(place.damaged(end, "the log ends before a position that was durable"));
    }
    let mut live = place.check_live(&numbers, &tail.live, last.clone(), tail.end, &mut damage)?;
    for (header, end) in live.iter_mut().filter(|(h, _)| h.number >= from.segment()) {
        if header.number == last.number {
            // Its holes are known.
            *end =
                place.replay(header, *end, &bytes, from, replay, &mut Damage::PassOver(&mut Vec::new()))?;
        } else {
            let bytes = read_up_to(place.open(header.number)?.as_ref(), *end)
                .map_err(|e| place.io("read", header.number, e))?;
            *end = place.replay(header, *end, &bytes, from, replay, &mut damage)?;
        }
    }
    let dead = numbers.iter().filter(|n| live.binary_search_by_key(n, |(h, _)| &h.number).is_err());
    leftovers.extend(dead.map(|&n| segment_name(folder, n)));
    let segments = live
        .into_iter()
        .map(|(h, end)| Arc::new(Segment::new(h.number, h.use_number, h.segment_bytes, end, None)))
        .collect();
    let identity = Some((last.log, last.use_number));
    Ok(Recovered { identity, segments, end, clean: tail.clean, marked: tail.marked, leftovers })
}

/// The records of a segment from its first one on, up to the first that does not check.
struct Records<'a> {
    header: &'a Header,
    /// The segment from its byte 0 on.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    fn new(header: &'a Header, bytes: &'a [u8]) -> Records<'a> {
        Records { header, bytes, at: HEADER_BYTES as usize }
    }

    fn check(&self, at: usize) -> Option<RecordHeader> {
        let position = Position::new(self.header.number, at as u32);
        check_record(self.bytes.get(at..)?, position, self.header.use_number)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (RecordHeader, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.check(self.at)?;
        let start = self.at + RECORD_HEADER;
        let entry = Entry {
            position: Position::new(self.header.number, self.at as u32),
            kind: header.kind,
            payload: &self.bytes[start..start + header.len as usize],
        };
        self.at += record_bytes(header.len as usize);
        Some((header, entry))
    }
}

/// How the last segment ends.
struct Tail {
    /// Offset behind the last record that counts.
    end: u32,
    clean: bool,
    marked: bool,
    /// The last statement of the segments that are part of the log.
    live: Vec<LiveRange>,
}

struct Place<'a> {
    disk: &'a dyn Disk,
    folder: &'a str,
}

impl Place<'_> {
    fn damaged(&self, at: Position, why: &'static str) -> LogError {
        LogError::Damaged { folder: self.folder.into(), segment: at.segment(), offset: at.offset(), why }
    }

    fn io(&self, verb: &str, number: u32, e: std::io::Error) -> LogError {
        LogError::io(format!("{verb} {}", segment_name(self.folder, number)), e)
    }

    /// Numbers of the segment files, ascending, and the names of the spares.
    fn list(&self) -> Result<(Vec<u32>, Vec<String>), LogError> {
        let names =
            self.disk.list(self.folder).map_err(|e| LogError::io(format!("list {}", self.folder), e))?;
        let mut numbers: Vec<u32> =
            names.iter().filter_map(|n| n.strip_suffix(".seg")?.parse().ok()).collect();
        numbers.sort_unstable();
        let spares = names.iter().filter(|n| n.starts_with(SPARE_PREFIX));
        let spares = spares.map(|n| format!("{}/{n}", self.folder)).collect();
        Ok((numbers, spares))
    }

    fn open(&self, number: u32) -> Result<Arc<dyn DiskFile>, LogError> {
        self.disk
            .open(&segment_name(self.folder, number), Open::Existing)
            .map_err(|e| self.io("open", number, e))
    }

    /// Makes what can be read of the last segment durable, and reads all of it.
    ///
    /// After the crash of a process alone, the records of its last batch may stand in the page cache only.
    /// What is replayed is believed, so it must be durable first. And after a failed sync the cache may hold
    /// what the disk does not: it must be forgotten, lest it be believed.
    fn settle(&self, number: u32) -> Result<(Header, Vec<u8>), LogError> {
        self.disk.sync_folder(self.folder).map_err(|e| LogError::io(format!("sync {}", self.folder), e))?;
        let file = self.open(number)?;
        file.sync_data().map_err(|e| self.io("sync", number, e))?;
        file.drop_cache().map_err(|e| self.io("drop the cache of", number, e))?;
        let header = self.header(number, file.as_ref())?;
        let bytes =
            read_up_to(file.as_ref(), header.segment_bytes).map_err(|e| self.io("read", number, e))?;
        Ok((header, bytes))
    }

    /// A segment's header. A segment gets its name after its head is durable, so a bad one is damage.
    fn header(&self, number: u32, file: &dyn DiskFile) -> Result<Header, LogError> {
        let page = read_up_to(file, HEADER_BYTES).map_err(|e| self.io("read", number, e))?;
        let bad = |why| Err(self.damaged(Position::new(number, 0), why));
        match Header::decode(&page) {
            Parsed::Header(h) if h.number != number => bad("the segment bears another's name"),
            Parsed::Header(h) if h.head_end < HEADER_BYTES || h.head_end > h.segment_bytes => {
                bad("the segment's head has an impossible length")
            }
            Parsed::Header(h) => Ok(h),
            Parsed::Bad(why) => bad(why),
            Parsed::UnknownVersion(version) => Err(LogError::UnknownFormat {
                name: segment_name(self.folder, number),
                version,
                known: VERSION,
            }),
        }
    }

    /// Finds where the last segment's records end: at the first that does not check. That is damage when
    /// anything says that what stood there was durable: the head, or a valid record, be it behind the hole.
    fn find_end(&self, header: &Header, bytes: &[u8], damage: &mut Damage<'_>) -> Result<Tail, LogError> {
        let mut records = Records::new(header, bytes);
        let (mut durable, mut last_kind, mut live) =
            (Position::new(header.number, header.head_end), None, None);
        let clean = loop {
            for (record, entry) in records.by_ref() {
                durable = durable.max(record.synced);
                last_kind = Some(entry.kind);
                if entry.kind == KIND_LIVE {
                    live = Some(decode_live(entry.payload).ok_or_else(|| {
                        self.damaged(entry.position, "the list of the log's segments makes no sense")
                    })?);
                }
            }
            let end = Position::new(header.number, records.at as u32);
            let behind = Behind::look(header, bytes, records.at);
            durable = durable.max(behind.durable);
            if durable <= end {
                break behind.clean;
            }
            let next = behind.next.unwrap_or(durable.offset() as usize);
            self.hole(end, next as u32, damage)?;
            records.at = next;
            if behind.next.is_none() {
                break false;
            }
        };
        let end = records.at;
        let holed = matches!(damage, Damage::PassOver(holes) if !holes.is_empty());
        let marked = last_kind == Some(KIND_MARK) || end == header.head_end as usize;
        let live = live.unwrap_or_default();
        if live.last().is_none_or(|r| r.last != header.number) {
            return Err(self.damaged(
                Position::new(header.number, HEADER_BYTES),
                "the segment's head does not list the log's segments",
            ));
        }
        // What is written from now on vouches for a segment without holes.
        Ok(Tail { end: end as u32, clean: clean && !holed, marked: marked && !holed, live })
    }

    /// Damage from `from` to the offset `to` of its segment.
    fn hole(&self, from: Position, to: u32, damage: &mut Damage<'_>) -> Result<(), LogError> {
        match damage {
            Damage::Refuse => Err(self.damaged(from, "a record that was durable does not check")),
            Damage::PassOver(holes) => {
                holes.push(Hole { from, to: Position::new(from.segment(), to) });
                Ok(())
            }
        }
    }

    /// The headers and ends of the segments that `ranges` name; each must be there and fit to its neighbours. The
    /// end of one whose successor cannot be read is that of its file.
    fn check_live(
        &self,
        numbers: &[u32],
        ranges: &[LiveRange],
        last: Header,
        end: u32,
        damage: &mut Damage<'_>,
    ) -> Result<Vec<(Header, u32)>, LogError> {
        let mut live: Vec<(Header, u32)> = Vec::new();
        for range in ranges {
            for number in range.first..=range.last {
                let at = Position::new(number, 0);
                let header = match number == last.number {
                    true => Ok(last.clone()),
                    false => self.member(number, numbers, &last),
                };
                let header = match (header, &mut *damage) {
                    (Ok(header), _) => header,
                    (Err(LogError::Damaged { .. }), Damage::PassOver(holes)) => {
                        holes.push(Hole { from: at, to: Position::new(number, u32::MAX) });
                        continue;
                    }
                    (Err(error), _) => return Err(error),
                };
                if number > range.first
                    && let Some((before, end)) = live.last_mut()
                    && before.number == number - 1
                {
                    *end = header.previous_end.offset();
                    if header.previous_end.segment() != number - 1 {
                        return Err(self.damaged(at, "the segment does not follow the one before"));
                    }
                }
                let end = if number == range.last { range.end } else { header.segment_bytes };
                live.push((header, end));
            }
        }
        if let Some(last) = live.last_mut() {
            last.1 = end;
        }
        if matches!(damage, Damage::Refuse) {
            self.check_lengths(&live)?;
        }
        match live.iter().find(|(h, end)| *end < h.head_end || *end > h.segment_bytes) {
            Some((h, _)) => Err(self.damaged(Position::new(h.number, 0), "the segment's end makes no sense")),
            None => Ok(live),
        }
    }

    /// A segment that others follow has kept its length: what was replayed of it long ago is still read from it, and is not
    /// looked at again here.
    fn check_lengths(&self, live: &[(Header, u32)]) -> Result<(), LogError> {
        let Some((_, before)) = live.split_last() else { return Ok(()) };
        for (header, end) in before {
            let length = self.open(header.number)?.len().map_err(|e| self.io("look at", header.number, e))?;
            if length < u64::from(*end) {
                let cut = Position::new(header.number, u32::try_from(length).unwrap_or(u32::MAX));
                return Err(self.damaged(cut, "the segment is cut short"));
            }
        }
        Ok(())
    }

    /// The header of a segment that is part of the log which `last` ends.
    fn member(&self, number: u32, numbers: &[u32], last: &Header) -> Result<Header, LogError> {
        let at = Position::new(number, 0);
        if numbers.binary_search(&number).is_err() {
            return Err(self.damaged(at, "the segment is missing"));
        }
        let header = self.header(number, self.open(number)?.as_ref())?;
        match header.log == last.log {
            true => Ok(header),
            false => Err(self.damaged(at, "the segment belongs to another log")),
        }
    }

    /// Checks a whole segment, which ends at `end`, and replays its records from `from` on. Gives where it ends: if its
    /// end is not known for sure (that of its file), behind its last good record.
    fn replay(
        &self,
        header: &Header,
        end: u32,
        bytes: &[u8],
        from: Position,
        replay: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
        damage: &mut Damage<'_>,
    ) -> Result<u32, LogError> {
        let mut records = Records::new(header, &bytes[..bytes.len().min(end as usize)]);
        loop {
            for (_, entry) in records.by_ref() {
                if entry.kind <= MAX_OWNER_KIND && entry.position >= from {
                    replay(entry)?;
                }
            }
            let at = records.at as u32;
            if at == end {
                return Ok(end);
            }
            let next = Behind::look(header, records.bytes, records.at).next;
            if next.is_none() && end == header.segment_bytes && matches!(damage, Damage::PassOver(_)) {
                return Ok(at);
            }
            let next = next.map_or(end, |next| next as u32);
            self.hole(Position::new(header.number, at), next, damage)?;
            records.at = next as usize;
        }
    }
}

/// What stands in a segment behind a record that does not check.
struct Behind {
    /// The highest position that a valid record there names as durable.
    durable: Position,
    /// There is no trace of this use at all.
    clean: bool,
    /// Where the first valid record stands.
    next: Option<usize>,
}

impl Behind {
    fn look(header: &Header, bytes: &[u8], end: usize) -> Behind {
        let records = Records::new(header, bytes);
        let mut behind = Behind { durable: Position::default(), clean: true, next: None };
        let mut at = end;
        while at + RECORD_HEADER <= bytes.len() {
            if u64_at(bytes, at + USE_AT) == header.use_number {
                behind.clean = false;
                if let Some(record) = records.check(at) {
                    behind.next.get_or_insert(at);
                    behind.durable = behind.durable.max(record.synced);
                    at += record_bytes(record.len as usize);
                    continue;
                }
            }
            at += ALIGN;
        }
        behind
    }
}

/// The file's first `len` bytes, or fewer when it is shorter.
fn read_up_to(file: &dyn DiskFile, len: u32) -> std::io::Result<Vec<u8>> {
    let len = u64::from(len).min(file.len()?) as usize;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
