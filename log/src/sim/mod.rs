//! [`SimDisk`]: a disk in memory that loses what was not synced, and fails on request.
//!
//! It keeps two images, the *live* one that reads see and the *durable* one that a power cut leaves (after
//! redb's `tests/crash_consistency.rs`), and between the two every state that a page went through. A
//! [`crash`](SimDisk::crash) draws, for each page, file length and folder entry that was not synced,
//! whether it made it, all from one seed: the same seed gives the same disk.

mod inode;
mod lies;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use inode::{Inode, PAGE};
pub use lies::Astray;
use lies::Lies;

use crate::disk::{Disk, DiskFile, Open};
use crate::shared::lock;

/// Room of a disk on which nobody called [`SimDisk::set_full`], in bytes.
const ROOMY: u64 = 1 << 40;

/// What [`SimDisk::freeze_at`] counts.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Count {
    /// Every operation that changes the disk or makes changes durable.
    Ops,
    /// Writes of file content.
    Writes,
    /// Syncs, of files and of folders.
    Syncs,
}

/// A disk in memory. A clone is another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What happened to folder entries since the folder was synced.
#[derive(Clone, Debug)]
enum Change {
    Bind { name: String, inode: usize },
    Unbind { name: String },
    Rename { from: String, to: String, inode: usize },
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Change::Bind { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Change::Unbind { name } => {
                names.remove(name);
            }
            Change::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn folder(&self) -> &str {
        match self {
            Change::Bind { name, .. } | Change::Unbind { name } | Change::Rename { to: name, .. } => {
                folder_of(name)
            }
        }
    }
}

struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    changes: Vec<Change>,
    room: u64,
    ops: u64,
    writes: u64,
    syncs: u64,
    freeze_at: Option<(Count, u64)>,
    frozen: bool,
    fail_sync_at: Option<u64>,
    /// Writes that still succeed.
    writes_left: Option<u64>,
    salts: u64,
    lies: Lies,
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk with much room.
    pub fn new() -> SimDisk {
        SimDisk::with(Vec::new(), BTreeMap::new(), ROOMY, 0)
    }

    fn with(inodes: Vec<Inode>, names: BTreeMap<String, usize>, room: u64, salts: u64) -> SimDisk {
        let state = State {
            inodes,
            live: names.clone(),
            durable: names,
            changes: Vec::new(),
            room,
            ops: 0,
            writes: 0,
            syncs: 0,
            freeze_at: None,
            frozen: false,
            fail_sync_at: None,
            writes_left: None,
            salts,
            lies: Lies::default(),
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The disk as a power cut now may leave it. Each page (4 KiB) with unsynced writes is
    /// independently as it was, as it became after any of the writes, or a mix of these by sectors (512 B);
    /// unsynced lengths and folder entries are kept or lost independently. This disk is not changed,
    /// and failures asked for do not carry over.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let mut random = Random(seed);
        let state = self.state();
        let inodes: Vec<Inode> = state.inodes.iter().map(|inode| inode.crash(&mut random)).collect();
        let mut names = state.durable.clone();
        for change in &state.changes {
            if random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        SimDisk::with(inodes, names, state.room, state.salts)
    }

    /// The disk as the end of the process alone leaves it: nothing is lost, but nothing more is durable than
    /// before either. Frozen or failing operations work again.
    pub fn restart(&self) -> SimDisk {
        let state = self.state();
        let disk = SimDisk::with(state.inodes.clone(), state.live.clone(), state.room, state.salts);
        {
            let mut new = disk.state();
            new.durable = state.durable.clone();
            new.changes = state.changes.clone();
        }
        disk
    }

    /// Operations so far.
    pub fn count(&self, what: Count) -> u64 {
        let state = self.state();
        match what {
            Count::Ops => state.ops,
            Count::Writes => state.writes,
            Count::Syncs => state.syncs,
        }
    }

    /// Freezes the disk when its `n`-th operation of this kind (counted from 1, over its whole life) is
    /// asked for: it and all later ones fail. A write or a change of names that was frozen may have reached the
    /// disk or not; a sync that was frozen made nothing durable for sure.
    pub fn freeze_at(&self, what: Count, n: u64) {
        self.state().freeze_at = Some((what, n));
    }

    /// Whether the disk is frozen.
    pub fn frozen(&self) -> bool {
        self.state().frozen
    }

    /// Makes the next sync fail as Linux does: its pages count as clean from then on although they never
    /// reached the disk, so that a later sync reports success and makes nothing of them durable.
    pub fn fail_next_sync(&self) {
        let next = self.count(Count::Syncs) + 1;
        self.fail_sync_at(next);
    }

    /// Makes the `n`-th sync (counted from 1, over the disk's whole life) fail like
    /// [`fail_next_sync`](Self::fail_next_sync).
    pub fn fail_sync_at(&self, n: u64) {
        self.state().fail_sync_at = Some(n);
    }

    /// Makes every write fail after `n` more have succeeded.
    pub fn fail_writes(&self, n: u64) {
        self.state().writes_left = Some(n);
    }

    /// Leaves room for `bytes` more; what is given back adds to it. Overwriting needs no room.
    pub fn set_full(&self, bytes: u64) {
        self.state().room = bytes;
    }

    /// Flips the bits of `mask` in one byte of a file, for good. `false`: there is no such byte.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) -> bool {
        let mut state = self.state();
        let Some(&inode) = state.live.get(name) else { return false };
        state.inodes[inode].flip(offset as usize, mask)
    }

    /// A copy of a file's live bytes.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.inodes[*state.live.get(name)?].live().to_vec())
    }

    /// Puts a file there, durably, as it was before this disk was looked at.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Inode::durable(bytes));
        state.live.insert(name.into(), inode);
        state.durable.insert(name.into(), inode);
    }

    /// Removes a file for good, as a careless hand would.
    pub fn lose(&self, name: &str) -> bool {
        let mut state = self.state();
        state.durable.remove(name);
        state.live.remove(name).is_some()
    }

    /// Every file's name and live bytes: equal images have equal lists.
    pub fn image(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        state.live.iter().map(|(name, &i)| (name.clone(), state.inodes[i].live().to_vec())).collect()
    }
}

/// What an operation does, for the counters.
#[derive(Copy, Clone, PartialEq)]
enum Kind {
    Write,
    Sync,
    Other,
}

impl State {
    /// Counts an operation. `Err`: it fails before anything happens. `Ok(true)`: the power is cut in the
    /// middle of it, so that it still joins what may or may not survive.
    fn begin(&mut self, kind: Kind) -> io::Result<bool> {
        if self.frozen {
            return Err(power_cut());
        }
        self.ops += 1;
        self.writes += u64::from(kind == Kind::Write);
        self.syncs += u64::from(kind == Kind::Sync);
        let at = |count| match count {
            Count::Ops => self.ops,
            Count::Writes if kind == Kind::Write => self.writes,
            Count::Syncs if kind == Kind::Sync => self.syncs,
            _ => 0,
        };
        self.frozen = self.freeze_at.is_some_and(|(count, n)| at(count) == n);
        if kind == Kind::Write
            && let Some(left) = &mut self.writes_left
        {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("simulated write failure"))?;
        }
        Ok(self.frozen)
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        let cut = self.begin(Kind::Other)?;
        change.apply(&mut self.live);
        self.changes.push(change);
        if cut { Err(power_cut()) } else { Ok(()) }
    }

    /// Whether the sync that was just counted fails as asked for.
    fn failing(&self) -> bool {
        self.fail_sync_at == Some(self.syncs)
    }

    /// Takes room for the pages of a range that have none; gives room for those that the change freed.
    fn with_room<T>(
        &mut self,
        inode: usize,
        change: impl FnOnce(&mut Inode) -> T,
        needs: (u64, u64),
    ) -> io::Result<T> {
        let pages = self.inodes[inode].missing_pages(needs.0, needs.1);
        let bytes = pages * PAGE as u64;
        if bytes > self.room {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let before = self.inodes[inode].pages() as u64;
        let out = change(&mut self.inodes[inode]);
        let after = self.inodes[inode].pages() as u64;
        self.room = self.room + before * PAGE as u64 - after * PAGE as u64;
        Ok(out)
    }
}

fn power_cut() -> io::Error {
    io::Error::other("simulated power cut")
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for SimDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let inode = match (state.live.get(name), how) {
            (Some(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(&inode), _) => inode,
            (None, Open::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.change(Change::Bind { name: name.into(), inode })?;
                inode
            }
        };
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let within = state.live.keys().filter(|name| folder_of(name) == folder);
        Ok(within.map(|name| name.rsplit('/').next().unwrap_or(name).to_string()).collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = *state.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.change(Change::Unbind { name: name.into() })?;
        // Its room is free although an open handle may still use it: closer than never.
        let pages = state.inodes[inode].pages() as u64;
        state.room += pages * PAGE as u64;
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = *state.live.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(Change::Rename { from: from.into(), to: to.into(), inode })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.begin(Kind::Sync)? {
            return Err(power_cut());
        }
        if state.loses_sync_in(folder) {
            return Ok(());
        }
        let failing = state.failing();
        let State { changes, durable, .. } = &mut *state;
        changes.retain(|change| {
            let here = change.folder() == folder;
            if here && !failing {
                change.apply(durable);
            }
            !here
        });
        if failing { Err(io::Error::other("simulated sync failure")) } else { Ok(()) }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state().room)
    }

    fn salt(&self) -> u64 {
        let mut state = self.state();
        state.salts += 1;
        Random(state.salts).next()
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl SimFile {
    /// An operation that changes the file: counted, and lost, kept or torn if the power is cut in it.
    fn change(&self, kind: Kind, needs: (u64, u64), change: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let mut state = self.disk.state();
        let cut = state.begin(kind)?;
        state.with_room(self.inode, change, needs)?;
        if cut { Err(power_cut()) } else { Ok(()) }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        if state.frozen {
            return Err(power_cut());
        }
        let live = state.inodes[self.inode].live();
        let from = (offset as usize).min(live.len());
        let n = buf.len().min(live.len() - from);
        buf[..n].copy_from_slice(&live[from..from + n]);
        Ok(n)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let place = self.disk.state().astray(self.inode, offset, data.len());
        let (inode, offset) = place.unwrap_or((self.inode, offset));
        let file = SimFile { disk: self.disk.clone(), inode };
        file.change(Kind::Write, (offset, data.len() as u64), |inode| inode.write(data, offset as usize))
    }

    fn write_all_vectored_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.write_all_at(&parts.concat(), offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.begin(Kind::Sync)? {
            return Err(power_cut());
        }
        if state.loses_sync_of(self.inode) {
            return Ok(());
        }
        let failing = state.failing();
        match failing {
            true => {
                state.inodes[self.inode].forget();
                Err(io::Error::other("simulated sync failure"))
            }
            false => {
                state.inodes[self.inode].sync();
                Ok(())
            }
        }
    }

    fn start_writeback(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(()) // pages may reach the disk at any time here anyway
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.disk.state().inodes[self.inode].drop_cache();
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Kind::Other, (offset, len), |inode| inode.allocate(offset as usize, len as usize))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Kind::Other, (0, 0), |inode| inode.set_len(len as usize))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].live().len() as u64)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Kind::Other, (0, 0), |inode| inode.punch(offset as usize, len as usize))
    }
}

/// splitmix64 (Steele, Lea, Flood 2014): small, seeded, and the same everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; `n` is small, so the bias does not matter.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}
