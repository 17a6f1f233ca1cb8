//! [`Log`]: appending, syncing, rolling to the next segment, and giving segments back.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::format::{
    HEADER_BYTES, Header, KIND_LIVE, KIND_MARK, LiveRange, MAX_OWNER_KIND, RecordHeader, encode_live,
    encode_record, live_bytes, record_bytes,
};
use crate::recover::{Damage, Hole, recover};
use crate::shared::{Segment, Shared, segment_name};
use crate::spares::Spares;
use crate::{LogError, LogReader, Position};

/// One record, as replay hands it to the owner.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Where it stands.
    pub position: Position,
    /// The owner's kind, at most [`MAX_OWNER_KIND`].
    pub kind: u8,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A segment of the log and how much of it is used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u32,
    /// Offset at which its records end, in bytes; its header takes the first 4096.
    pub bytes: u32,
}

/// The writer of a log. There is one; it belongs to one thread at a time.
///
/// After a failed write or sync every method that writes answers [`LogError::Failed`]: what is durable is
/// not known then, and asking again would be told a lie by the operating system (R31).
pub struct Log {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    shared: Arc<Shared>,
    spares: Spares,
    /// Number of the log, and the last use number given.
    identity: Option<(u64, u64)>,
    /// Where the segments that are not written any more end.
    closed: BTreeMap<u32, u32>,
    /// The segment being written. `None`: the next record begins a new one.
    current: Option<Arc<Segment>>,
    end: Position,
    synced: Position,
    preamble: Vec<(u8, Vec<u8>)>,
    /// Bytes of the preamble's records.
    preamble_bytes: usize,
    /// Ranges in the list of live segments; kept because every append asks for its length.
    ranges: usize,
    /// A mark, or a segment's head, is the last thing in the log.
    marked: bool,
    failed: bool,
}

impl Log {
    /// Opens the log in `config.folder`, or starts one; calls `replay` for each of the owner's records at
    /// or after `from`, in order. All that is replayed is durable. Segments wholly before `from` are only
    /// looked at, not read.
    ///
    /// An unsynced tail is cut. Nothing is written until the first append, so the owner can call
    /// [`set_preamble`](Self::set_preamble) first.
    ///
    /// # Errors
    /// `Damaged`, `UnknownFormat`: nothing was changed on the disk, but some records may have been
    /// replayed: drop what they made. An error of `replay` is passed on. `Invalid` for a bad `config`. `Io`.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        from: Position,
        replay: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
    ) -> Result<Log, LogError> {
        Self::open_with(disk, config, from, replay, Damage::Refuse)
    }

    /// As [`open`](Self::open), but goes on behind damage and lists it in `holes`: for an owner who has a partner to
    /// tell what stood there (R31). What is appended then begins a new segment if the last one has a hole. A segment
    /// that cannot be read at all is no part of the log any more.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); `Damaged` only if the last segment does not say which segments there are.
    pub fn open_over_damage(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        from: Position,
        replay: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
        holes: &mut Vec<Hole>,
    ) -> Result<Log, LogError> {
        Self::open_with(disk, config, from, replay, Damage::PassOver(holes))
    }

    /// Reads the log and changes nothing; gives where it is damaged.
    ///
    /// # Errors
    /// Those of [`open_over_damage`](Self::open_over_damage).
    pub fn look(
        disk: &dyn Disk,
        config: &LogConfig,
        replay: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
    ) -> Result<Vec<Hole>, LogError> {
        let mut holes = Vec::new();
        recover(disk, &config.folder, Position::default(), replay, Damage::PassOver(&mut holes))?;
        holes.sort_unstable_by_key(|hole| hole.from);
        Ok(holes)
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        from: Position,
        replay: &mut dyn FnMut(Entry<'_>) -> Result<(), LogError>,
        damage: Damage<'_>,
    ) -> Result<Log, LogError> {
        config.check()?;
        let found = recover(disk.as_ref(), &config.folder, from, replay, damage)?;
        for name in &found.leftovers {
            disk.remove(name).map_err(|e| LogError::io(format!("remove {name}"), e))?;
        }
        let shared = Arc::new(Shared::new(disk.clone(), config.folder.clone(), config.open_segments));
        let mut closed = BTreeMap::new();
        let mut current = None;
        for segment in found.segments {
            let number = segment.number;
            shared.insert(segment.clone());
            if number == found.end.segment() && found.clean {
                shared.tail_moves(found.end, segment.use_number);
                current = Some(segment);
            } else {
                closed.insert(number, segment.end());
            }
        }
        let mut spares = Spares::new(
            disk.clone(),
            config.folder.clone(),
            config.segment_bytes,
            config.spare_segments,
            config.background_fill,
        )?;
        spares.top_up();
        let mut log = Log {
            disk,
            config,
            shared,
            spares,
            identity: found.identity,
            closed,
            current,
            end: found.end,
            synced: found.end,
            preamble: Vec::new(),
            preamble_bytes: 0,
            ranges: 0,
            marked: found.marked,
            failed: false,
        };
        log.ranges = log.live().len();
        Ok(log)
    }

    /// Appends one record made of `parts`. It is buffered: readers see it, but it is durable only after the
    /// next [`sync`](Self::sync). When the segment is full, what it holds is synced and a new one begun.
    ///
    /// # Errors
    /// `Full`: nothing was appended, the log stays usable. `TooLarge`: more than
    /// [`max_payload`](Self::max_payload). `Invalid`: `kind` is above [`MAX_OWNER_KIND`]. `Failed`, `Io`.
    pub fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<Position, LogError> {
        if kind > MAX_OWNER_KIND {
            return Err(LogError::Invalid("this kind of record is the engine's"));
        }
        let payload = parts.iter().map(|p| p.len()).sum::<usize>();
        if payload > self.max_payload() {
            return Err(LogError::TooLarge { bytes: payload as u64, limit: self.max_payload() as u64 });
        }
        self.make_room(record_bytes(payload) + self.reserve())?;
        self.marked = false;
        Ok(self.push(kind, parts))
    }

    /// The largest payload that [`append`](Self::append) takes now, in bytes. It shrinks a little as the preamble or
    /// the number of gaps between segments grows.
    pub fn max_payload(&self) -> usize {
        let taken = self.head_bytes() + self.reserve() + record_bytes(0);
        (self.config.segment_bytes as usize).saturating_sub(taken)
    }

    /// Writes what is buffered, with one write, and makes it durable. Does nothing when all is durable.
    /// Returns the end: everything before it is durable.
    ///
    /// # Errors
    /// `Io` at the first failure, `Failed` ever after.
    pub fn sync(&mut self) -> Result<Position, LogError> {
        self.check()?;
        if let Some(segment) = self.current.clone()
            && self.end > self.synced
        {
            self.write_and_sync(&segment).inspect_err(|_| self.failed = true)?;
            self.synced = self.end;
        }
        Ok(self.synced)
    }

    /// Where the next record will stand, or before that when it begins a new segment.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Everything before this is durable.
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// Sets the records (kind and payload) that stand at the head of every segment begun from now on. They
    /// are durable before the segment is. Replay hands them to the owner like others, so they
    /// must be harmless when they repeat. After a restart, set them before the first append.
    ///
    /// Kinds above [`MAX_OWNER_KIND`], or more bytes than a segment takes, make the next roll fail.
    pub fn set_preamble(&mut self, records: Vec<(u8, Vec<u8>)>) {
        self.preamble_bytes = records.iter().map(|(_, payload)| record_bytes(payload.len())).sum();
        self.preamble = records;
    }

    /// Makes all that was appended durable and provably so: a mark behind it names it, so that damage to it
    /// is not taken for an unsynced tail. Does nothing when nothing came since the last mark.
    ///
    /// # Errors
    /// Those of [`sync`](Self::sync); `Full` when the mark needs a new segment (all is durable still).
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.sync()?;
        match &self.current {
            None if self.closed.is_empty() => return Ok(()), // an empty log has nothing to vouch for
            None => return self.roll(), // the head of a segment names the end of the one before
            Some(_) if self.marked => return Ok(()),
            Some(_) => self.make_room(record_bytes(0))?,
        }
        if !self.marked {
            self.push(KIND_MARK, &[]);
            self.sync()?;
            self.marked = true;
        }
        Ok(())
    }

    /// Gives back the segments that end at or before `position`, except the one being written: they become
    /// spares or are removed. Syncs the log first. Reads of what was given back answer `NotFound`.
    ///
    /// # Errors
    /// `Full` when this needs a new segment: nothing was given back. `Io` when a file could not be renamed
    /// or removed: it is no part of the log any more, and goes at the next start. `Failed`.
    pub fn release_before(&mut self, position: Position) -> Result<(), LogError> {
        self.check()?;
        let goes =
            |(number, end): (&u32, &u32)| (Position::new(*number, *end) <= position).then_some(*number);
        let gone: Vec<u32> = self.closed.iter().filter_map(goes).collect();
        self.release(&gone)
    }

    /// Gives one segment back, wherever it stands (compaction). The owner has copied what it still needs
    /// and synced the copies.
    ///
    /// # Errors
    /// `InUse` for the segment being written, `NotFound` for one that is no part of the log; `TooLarge` when
    /// the list of gaps would take more than an eighth of a segment: give back older segments first. Else
    /// those of [`release_before`](Self::release_before).
    pub fn release_segment(&mut self, segment: u32) -> Result<(), LogError> {
        self.check()?;
        if self.current.as_ref().is_some_and(|c| c.number == segment) {
            return Err(LogError::InUse(segment));
        }
        if !self.closed.contains_key(&segment) {
            return Err(LogError::NotFound(Position::new(segment, 0)));
        }
        // Gaps are listed at each segment's head, and must leave most of it to the owner.
        let (bytes, limit) = (live_bytes(self.ranges + 1) as u64, u64::from(self.config.segment_bytes) / 8);
        if bytes > limit {
            return Err(LogError::TooLarge { bytes, limit });
        }
        self.release(&[segment])
    }

    /// The segments of the log, ascending; the last one is being written.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let current = self.current.iter().map(|c| (c.number, self.end.offset()));
        let closed = self.closed.iter().map(|(n, end)| (*n, *end));
        closed.chain(current).map(|(number, bytes)| SegmentInfo { number, bytes }).collect()
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// Whether the log is out of service.
    pub fn failed(&self) -> bool {
        self.failed
    }

    fn check(&self) -> Result<(), LogError> {
        if self.failed { Err(LogError::Failed) } else { Ok(()) }
    }

    /// Buffers a record for which there is room.
    fn push(&mut self, kind: u8, parts: &[&[u8]]) -> Position {
        let position = self.end;
        let len = parts.iter().map(|p| p.len()).sum::<usize>() as u32;
        let mut tail = self.shared.tail_mut();
        let header = RecordHeader { len, kind, use_number: tail.use_number, synced: self.synced };
        encode_record(&mut tail.bytes, position, header, parts);
        drop(tail);
        self.end = Position(position.0 + record_bytes(len as usize) as u64);
        position
    }

    fn write_and_sync(&self, segment: &Segment) -> Result<(), LogError> {
        let file = self.shared.file(segment)?;
        let name = || segment_name(&self.config.folder, segment.number);
        {
            // Readers go on meanwhile: nobody but this thread ever asks for the lock to change the tail.
            let tail = self.shared.tail();
            if !tail.bytes.is_empty() {
                file.write_all_at(&tail.bytes, u64::from(tail.start.offset()))
                    .map_err(|e| out_of_service(name(), e))?;
            }
        }
        self.shared.tail_written(segment, self.end);
        file.sync_data().map_err(|e| out_of_service(name(), e))
    }

    /// Bytes at a segment's end that owners' records leave free, so that a full disk never keeps the log
    /// from naming what it gives back, nor from marking.
    fn reserve(&self) -> usize {
        record_bytes(live_bytes(self.ranges + 1)) + record_bytes(0)
    }

    /// Length of the head of a segment begun now.
    fn head_bytes(&self) -> usize {
        HEADER_BYTES as usize + record_bytes(live_bytes(self.ranges + 1)) + self.preamble_bytes
    }

    /// The segments of the log as ranges, the one being written (or to be begun) included.
    fn live(&self) -> Vec<LiveRange> {
        let current = self.current.as_ref().map_or(self.end.segment() + 1, |c| c.number);
        let mut ranges: Vec<LiveRange> = Vec::new();
        for (number, end) in self.closed.iter().map(|(n, e)| (*n, *e)).chain([(current, 0)]) {
            match ranges.last_mut() {
                Some(range) if range.last + 1 == number => (range.last, range.end) = (number, end),
                _ => ranges.push(LiveRange { first: number, last: number, end }),
            }
        }
        ranges
    }

    /// Sees to it that `bytes` fit behind the end of the current segment, by beginning a new one if need be.
    fn make_room(&mut self, bytes: usize) -> Result<(), LogError> {
        self.check()?;
        match &self.current {
            Some(c) if self.end.offset() as usize + bytes <= c.bytes as usize => Ok(()),
            _ => self.roll(),
        }
    }

    /// Begins a new segment. The order is what recovery relies on: all of the old segment is durable, then
    /// the new one's head, then its name. So only the last segment ever has an unsynced tail, and a
    /// segment whose head is bad is damaged.
    fn roll(&mut self) -> Result<(), LogError> {
        self.check()?;
        let limit = u64::from(self.config.segment_bytes);
        if self.head_bytes() as u64 + self.reserve() as u64 > limit {
            return Err(LogError::TooLarge { bytes: self.head_bytes() as u64, limit });
        }
        let number =
            self.end.segment().checked_add(1).ok_or(LogError::Invalid("segment numbers are used up"))?;
        let spare = self.spares.take()?;
        if let Err(e) = self.sync() {
            self.spares.discard(spare);
            return Err(e);
        }
        let (log, last_use) = match self.identity {
            Some(identity) => identity,
            None => {
                let log = self.disk.salt();
                (log, log)
            }
        };
        // Zero is what unwritten bytes read as, so it is never a use number.
        let use_number = last_use.wrapping_add(1).max(1);
        self.identity = Some((log, use_number));
        let head = self.head(number, log, use_number);
        if let Err(e) = spare.file.write_all_at(&head, 0) {
            let error = LogError::io(format!("write {}", spare.name), e);
            self.spares.discard(spare);
            return Err(error);
        }
        let name = segment_name(&self.config.folder, number);
        let named = spare.file.sync_data().and_then(|()| self.disk.rename(&spare.name, &name));
        if named.as_ref().is_err_and(|e| e.kind() == ErrorKind::StorageFull) {
            self.spares.discard(spare); // a folder needs room, too, and got none: nothing has changed
            return Err(LogError::Full { what: format!("rename to {name}") });
        }
        named.and_then(|()| self.disk.sync_folder(&self.config.folder)).map_err(|e| {
            self.failed = true;
            out_of_service(name, e)
        })?;
        let end = Position::new(number, head.len() as u32);
        let segment =
            Segment::new(number, use_number, self.config.segment_bytes, end.offset(), Some(spare.file));
        let segment = Arc::new(segment);
        if let Some(old) = self.current.replace(segment.clone()) {
            self.closed.insert(old.number, self.end.offset());
            self.shared.note_open(old.number);
        }
        self.shared.insert(segment);
        self.shared.tail_moves(end, use_number);
        (self.end, self.synced, self.marked) = (end, end, true);
        self.ranges = self.live().len();
        self.spares.top_up();
        Ok(())
    }

    /// A segment's first bytes: the header, the list of the log's segments, the preamble.
    fn head(&self, number: u32, log: u64, use_number: u64) -> Vec<u8> {
        let mut head = vec![0; HEADER_BYTES as usize];
        let mut live = self.live();
        if self.current.is_some()
            && let Some(range) = live.last_mut()
        {
            range.last = number; // the next one becomes current; the present one joins the closed before it
        }
        let live = encode_live(&live);
        let preamble = self.preamble.iter().map(|(kind, payload)| (*kind, payload.as_slice()));
        for (kind, payload) in std::iter::once((KIND_LIVE, live.as_slice())).chain(preamble) {
            let at = Position::new(number, head.len() as u32);
            let len = payload.len() as u32;
            encode_record(
                &mut head,
                at,
                RecordHeader { len, kind, use_number, synced: self.synced },
                &[payload],
            );
        }
        let header = Header {
            number,
            log,
            use_number,
            segment_bytes: self.config.segment_bytes,
            head_end: head.len() as u32,
            previous_end: self.end,
        };
        head[..HEADER_BYTES as usize].copy_from_slice(&header.encode());
        head
    }

    /// Takes segments out of the log: first the log says so, durably, then their files go. That they have gone
    /// need not be durable: recovery drops the name of a file that the log does not list, whatever it holds by
    /// then.
    fn release(&mut self, gone: &[u32]) -> Result<(), LogError> {
        if gone.is_empty() {
            return Ok(());
        }
        // One segment more may make one range more; that bound also holds for the head of a roll.
        self.make_room(record_bytes(live_bytes(self.ranges + 1)))?;
        for number in gone {
            self.closed.remove(number);
        }
        let live = self.live();
        self.ranges = live.len();
        let live = encode_live(&live);
        self.push(KIND_LIVE, &[&live]);
        self.marked = false;
        self.sync()?;
        let mut outcome = Ok(());
        for &number in gone {
            let bytes = self.shared.segment(number).map_or(0, |s| s.bytes);
            self.shared.remove(number);
            let given = self.spares.give(&segment_name(&self.config.folder, number), bytes);
            outcome = outcome.and(given);
        }
        outcome
    }
}

/// The failure that ends the log's service is logged here, once, because every later answer is only `Failed`.
fn out_of_service(name: String, e: std::io::Error) -> LogError {
    tracing::error!(file = name, error = %e, "the log is out of service: a write or sync failed");
    // Never `Full`: that would mean that the log is as it was.
    LogError::Io { what: format!("write or sync {name}"), source: Arc::new(e) }
}
