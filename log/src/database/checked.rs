//! A file of redb in which every block has a checksum that is looked at whenever the block is read.
//!
//! redb has checksums of its pages, and looks at them only when it checks a whole file. A flipped bit in a page is else met by whoever
//! follows it: as a wrong value, or as an entry that is not found. Below redb nothing can be met unseen: every page goes by here, whatever it holds,
//! on its way into redb's cache.
//!
//! **Crashes.** A block's checksum may get to the disk without the block, or the other way round: both wait for a sync. redb never
//! writes a page in place that a durable commit names, and reads none that was not synced with its commit (all durable
//! commits are of the kind that is written in two phases), so such a block is one that nobody asks for until it is written anew.
//! Checksums of other blocks that are in the same sector stay as they are.

use std::fmt;
use std::fs::TryLockError;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use redb::{BackendError, StorageBackend};

use super::OnDamage;
use super::header::{self, Kind, REDB_HEADER, SECTOR, Sector};
use super::layout::{BLOCK, GROUP, SUM, block_at, database_len, file_len, group_of, groups, sums_at};
use crate::bytes::u64_at;
use crate::disk::DiskFile;
use crate::format::checksum;
use crate::shared::lock;

/// What the checksum of a block is called that was never written.
const NEVER: u64 = 0;

/// The checksum of a block, which also says where it belongs.
fn sum_of(block: u64, bytes: &[u8]) -> u64 {
    match checksum(&[&block.to_le_bytes(), bytes]) {
        NEVER => !NEVER,
        sum => sum,
    }
}

/// Checksums of the blocks of one group.
struct Group {
    sums: Box<[u64; GROUP as usize]>,
    /// Not all of them are in the file yet.
    changed: bool,
}

impl Group {
    fn read(file: &dyn DiskFile, group: usize) -> io::Result<Group> {
        let mut bytes = [0; BLOCK as usize];
        file.read_exact_at(&mut bytes, sums_at(group))?;
        let mut sums = Box::new([NEVER; GROUP as usize]);
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum = u64_at(&bytes, place * SUM);
        }
        Ok(Group { sums, changed: false })
    }

    fn write(&self, file: &dyn DiskFile, group: usize) -> io::Result<()> {
        let bytes: Vec<u8> = self.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        file.write_all_at(&bytes, sums_at(group))
    }
}

/// Blocks that follow each other in the file.
struct Run {
    first: u64,
    count: usize,
}

impl Run {
    /// The runs of the blocks that redb reads or writes at once.
    fn of(offset: u64, len: usize) -> io::Result<impl Iterator<Item = Run>> {
        let whole = offset.is_multiple_of(BLOCK) && (len as u64).is_multiple_of(BLOCK);
        if !whole || offset == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not whole pages of a database"));
        }
        let (mut next, end) = (offset / BLOCK, (offset + len as u64) / BLOCK);
        Ok(std::iter::from_fn(move || {
            let first = next;
            let left = GROUP - group_of(first).1 as u64;
            next = end.min(first + left);
            (first < end).then(|| Run { first, count: (next - first) as usize })
        }))
    }

    fn bytes(&self) -> usize {
        self.count * BLOCK as usize
    }
}

/// See the module's description.
pub(super) struct Checked {
    file: Arc<dyn DiskFile>,
    name: String,
    /// By number; those that were asked for. 8 bytes for each 4 KiB of the database.
    groups: Mutex<Vec<Option<Group>>>,
    /// Whether headers are written as good ones.
    trusted: Arc<AtomicBool>,
    told: AtomicBool,
    on_damage: OnDamage,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checked")
    }
}

impl Checked {
    /// On `file`, which bears `name`. As long as `trusted` is not set, the header that is read may be a damaged one, and each
    /// that is written is as well.
    pub fn new(
        file: Arc<dyn DiskFile>,
        name: &str,
        trusted: Arc<AtomicBool>,
        on_damage: OnDamage,
    ) -> Checked {
        let (name, groups, told) = (name.to_owned(), Mutex::default(), AtomicBool::new(false));
        Checked { file, name, groups, trusted, told, on_damage }
    }

    fn damaged(&self, what: impl fmt::Display) -> io::Error {
        let text = format!("{}: {what}", self.name);
        if !self.told.swap(true, Ordering::AcqRel) {
            (self.on_damage)(&text);
        }
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    /// Runs `work` on a group's checksums.
    fn with_group<T>(&self, group: usize, work: impl FnOnce(&mut Group) -> T) -> io::Result<T> {
        let mut groups = lock(&self.groups);
        if groups.len() <= group {
            groups.resize_with(group + 1, || None);
        }
        let place = &mut groups[group];
        match place {
            Some(group) => Ok(work(group)),
            None => Ok(work(place.insert(Group::read(&*self.file, group)?))),
        }
    }

    fn read_header(&self, out: &mut [u8]) -> io::Result<()> {
        let mut sector: Sector = [0; SECTOR];
        self.file.read_exact_at(&mut sector, 0)?;
        if self.trusted.load(Ordering::Acquire) && header::kind(&sector) == Kind::BadHeader {
            return Err(self.damaged("its header does not fit its checksum"));
        }
        out.copy_from_slice(&header::redb_header(&sector)[..out.len()]);
        Ok(())
    }

    fn read_run(&self, run: &Run, out: &mut [u8]) -> io::Result<()> {
        let (group, place) = group_of(run.first);
        let sums = self.with_group(group, |group| group.sums[place..place + run.count].to_vec())?;
        self.file.read_exact_at(out, block_at(run.first))?;
        for ((block, bytes), sum) in (run.first..).zip(out.chunks_exact(BLOCK as usize)).zip(sums) {
            let fits =
                if sum == NEVER { bytes.iter().all(|byte| *byte == 0) } else { sum == sum_of(block, bytes) };
            if !fits {
                return Err(self.damaged(format_args!("block {block} does not fit its checksum")));
            }
        }
        Ok(())
    }

    fn write_run(&self, run: &Run, data: &[u8]) -> io::Result<()> {
        let (group, place) = group_of(run.first);
        let sums: Vec<u64> = (run.first..)
            .zip(data.chunks_exact(BLOCK as usize))
            .map(|(block, bytes)| sum_of(block, bytes))
            .collect();
        self.file.write_all_at(data, block_at(run.first))?;
        self.with_group(group, |group| {
            group.sums[place..place + run.count].copy_from_slice(&sums);
            group.changed = true;
        })
    }

    /// Forgets the checksums of the blocks behind a database of `len` bytes: what comes to stand there is zero at first.
    fn forget_behind(&self, len: u64) -> io::Result<()> {
        let first = len.div_ceil(BLOCK).max(1);
        let (group, place) = group_of(first);
        if place > 0 {
            self.with_group(group, |group| {
                group.sums[place..].fill(NEVER);
                group.changed = true;
            })?;
        }
        lock(&self.groups).truncate(groups(len));
        Ok(())
    }
}

impl StorageBackend for Checked {
    fn len(&self) -> io::Result<u64> {
        Ok(database_len(self.file.len()?))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset == 0 && out.len() <= REDB_HEADER {
            return self.read_header(out);
        }
        let mut rest = out;
        for run in Run::of(offset, rest.len())? {
            let (piece, behind) = rest.split_at_mut(run.bytes());
            self.read_run(&run, piece)?;
            rest = behind;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len < StorageBackend::len(self)? {
            self.forget_behind(len)?;
        }
        self.file.set_len(file_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut groups = lock(&self.groups);
        for (number, group) in groups.iter_mut().enumerate() {
            if let Some(group) = group.as_mut().filter(|group| group.changed) {
                group.write(&*self.file, number)?;
                group.changed = false;
            }
        }
        drop(groups);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 && data.len() <= REDB_HEADER {
            return self.file.write_all_at(&header::encode(data, self.trusted.load(Ordering::Acquire)), 0);
        }
        let mut rest = data;
        for run in Run::of(offset, rest.len())? {
            let (piece, behind) = rest.split_at(run.bytes());
            self.write_run(&run, piece)?;
            rest = behind;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.as_std().map_or(Ok(()), std::fs::File::unlock)
    }

    /// redb asks for the whole file, against a second process.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        try_lock(&*self.file).map_err(BackendError::from)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.close().map_err(BackendError::from)
    }
}

/// Whether nobody else has the file open as a database; then nobody gets it until it is closed.
pub(super) fn try_lock(file: &dyn DiskFile) -> io::Result<bool> {
    match file.as_std().map(std::fs::File::try_lock) {
        None | Some(Ok(())) => Ok(true),
        Some(Err(TryLockError::WouldBlock)) => Ok(false),
        Some(Err(TryLockError::Error(error))) => Err(error),
    }
}
