//! What the writer and the readers of one log share: the segments there are, and the buffered tail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::disk::{Disk, DiskFile, Open};
use crate::{LogError, Position};

/// Name of a segment's file in the log's folder.
pub(crate) fn segment_name(folder: &str, number: u32) -> String {
    format!("{folder}/{number:010}.seg")
}

/// A segment that is part of the log.
pub(crate) struct Segment {
    pub number: u32,
    pub use_number: u64,
    /// Length of the file, in bytes.
    pub bytes: u32,
    /// Where its records end as far as they are in the file. Grows while the segment is written.
    end: AtomicU32,
    file: RwLock<Option<Arc<dyn DiskFile>>>,
}

impl Segment {
    /// A segment; `file` may be opened later.
    pub fn new(
        number: u32,
        use_number: u64,
        bytes: u32,
        end: u32,
        file: Option<Arc<dyn DiskFile>>,
    ) -> Segment {
        Segment { number, use_number, bytes, end: AtomicU32::new(end), file: RwLock::new(file) }
    }

    /// Offset at which its records end, as far as they are in the file.
    pub fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }
}

/// The records that are not in the file yet.
#[derive(Default)]
pub(crate) struct Tail {
    /// Where `bytes` will stand.
    pub start: Position,
    pub use_number: u64,
    pub bytes: Vec<u8>,
}

/// See the module's description.
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    /// Segments opened by readers, oldest first: bounds the descriptors.
    opened: Mutex<VecDeque<u32>>,
    /// So many of them, at most.
    open_segments: usize,
    tail: RwLock<Tail>,
    /// Copy of `tail.start`, so that reads of older records pass by the tail's lock.
    tail_start: AtomicU64,
}

impl Shared {
    pub fn new(disk: Arc<dyn Disk>, folder: String, open_segments: usize) -> Shared {
        Shared {
            disk,
            folder,
            segments: RwLock::default(),
            opened: Mutex::default(),
            open_segments: open_segments.max(1),
            tail: RwLock::default(),
            tail_start: AtomicU64::new(u64::MAX),
        }
    }

    pub fn insert(&self, segment: Arc<Segment>) {
        write(&self.segments).insert(segment.number, segment);
    }

    pub fn remove(&self, number: u32) {
        write(&self.segments).remove(&number);
        lock(&self.opened).retain(|n| *n != number);
    }

    pub fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        read(&self.segments).get(&number).cloned()
    }

    pub fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        read(&self.tail)
    }

    pub fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        write(&self.tail)
    }

    /// Whether a record at `position` may be in the buffered tail.
    pub fn may_be_buffered(&self, position: Position) -> bool {
        position.0 >= self.tail_start.load(Ordering::Acquire)
    }

    /// The buffered bytes are in the file now, up to `end`.
    pub fn tail_written(&self, segment: &Segment, end: Position) {
        segment.end.store(end.offset(), Ordering::Release);
        let mut tail = self.tail_mut();
        tail.bytes.clear();
        tail.start = end;
        self.tail_start.store(end.0, Ordering::Release);
    }

    /// From now on records are buffered for this place.
    pub fn tail_moves(&self, start: Position, use_number: u64) {
        let mut tail = self.tail_mut();
        debug_assert!(tail.bytes.is_empty());
        tail.start = start;
        tail.use_number = use_number;
        self.tail_start.store(start.0, Ordering::Release);
    }

    /// The segment's file, opened when it is not.
    ///
    /// # Errors
    /// `Io`; the caller decides what a missing file means.
    pub fn file(&self, segment: &Segment) -> Result<Arc<dyn DiskFile>, LogError> {
        if let Some(file) = read(&segment.file).as_ref() {
            return Ok(file.clone());
        }
        let name = segment_name(&self.folder, segment.number);
        let file =
            self.disk.open(&name, Open::Existing).map_err(|e| LogError::io(format!("open {name}"), e))?;
        *write(&segment.file) = Some(file.clone());
        self.note_open(segment.number);
        Ok(file)
    }

    /// A segment that is not being written (any more) is open; the one that was opened first is closed at the bound.
    /// What was written to it is durable: a segment is synced before the next begins.
    pub fn note_open(&self, number: u32) {
        let mut opened = lock(&self.opened);
        // Being written it may have been opened by a reader before.
        opened.retain(|known| *known != number);
        opened.push_back(number);
        if opened.len() > self.open_segments
            && let Some(oldest) = opened.pop_front()
            && let Some(oldest) = self.segment(oldest)
        {
            *write(&oldest.file) = None;
        }
    }
}

/// Locks; a panic elsewhere while the lock was held changes nothing for us, because every change made under
/// these locks is complete at once.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
