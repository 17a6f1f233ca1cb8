//! A file of the simulated disk: its live and durable bytes, and all states between.

use std::collections::{BTreeMap, BTreeSet};

use super::Random;

/// Bytes that the operating system writes back as one.
pub(super) const PAGE: usize = 4096;
/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// States remembered of one page between two syncs; of more, some in the middle are forgotten.
const STATES: usize = 8;

#[derive(Clone, Default)]
pub(super) struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Of each page with unsynced writes, its content after each.
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Unsynced changes of the length.
    lengths: Vec<usize>,
    /// Pages that occupy room.
    pages: BTreeSet<usize>,
}

impl Inode {
    /// A file whose bytes are durable.
    pub fn durable(bytes: &[u8]) -> Inode {
        let pages = (0..bytes.len().div_ceil(PAGE)).collect();
        Inode { live: bytes.into(), durable: bytes.into(), pages, ..Inode::default() }
    }

    /// A file of which only what was synced is there.
    pub fn synced(&self) -> Inode {
        Inode { pages: self.pages.clone(), ..Inode::durable(&self.durable) }
    }

    pub fn live(&self) -> &[u8] {
        &self.live
    }

    /// Pages that occupy room.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// How many more pages a change of this range would occupy.
    pub fn missing_pages(&self, offset: u64, len: u64) -> u64 {
        range(offset as usize, len as usize).filter(|p| !self.pages.contains(p)).count() as u64
    }

    pub fn write(&mut self, data: &[u8], offset: usize) {
        let end = offset + data.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
            self.lengths.push(end);
        }
        self.live[offset..end].copy_from_slice(data);
        self.pages.extend(range(offset, data.len()));
        self.remember(offset, data.len());
    }

    pub fn allocate(&mut self, offset: usize, len: usize) {
        self.pages.extend(range(offset, len));
        if offset + len > self.live.len() {
            self.live.resize(offset + len, 0);
            self.lengths.push(offset + len);
        }
    }

    pub fn set_len(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.lengths.push(len);
        self.pages.retain(|p| p * PAGE < len);
        self.unsynced.retain(|p, _| p * PAGE < len);
    }

    pub fn punch(&mut self, offset: usize, len: usize) {
        let end = (offset + len).min(self.live.len());
        if offset < end {
            self.live[offset..end].fill(0);
            self.remember(offset, end - offset);
            let whole = offset.div_ceil(PAGE)..end / PAGE;
            self.pages.retain(|p| !whole.contains(p));
        }
    }

    fn remember(&mut self, offset: usize, len: usize) {
        for page in range(offset, len) {
            let content = page_of(&self.live, page);
            let states = self.unsynced.entry(page).or_default();
            if states.len() == STATES {
                states.remove(STATES / 2);
            }
            states.push(content);
        }
    }

    /// All is durable.
    pub fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for page in std::mem::take(&mut self.unsynced).into_keys() {
            put_page(&mut self.durable, page, &page_of(&self.live, page));
        }
        self.lengths.clear();
    }

    /// A sync failed: what was unsynced counts as clean and is not durable.
    pub fn forget(&mut self) {
        self.unsynced.clear();
        self.lengths.clear();
    }

    /// Clean pages are read from the disk again.
    pub fn drop_cache(&mut self) {
        if self.lengths.is_empty() {
            self.live.resize(self.durable.len(), 0);
        }
        for page in 0..self.live.len().div_ceil(PAGE) {
            if !self.unsynced.contains_key(&page) {
                put_page(&mut self.live, page, &page_of(&self.durable, page));
            }
        }
    }

    pub fn flip(&mut self, at: usize, mask: u8) -> bool {
        for image in [&mut self.live, &mut self.durable] {
            match image.get_mut(at) {
                Some(byte) => *byte ^= mask,
                None => return false,
            }
        }
        true
    }

    /// What a power cut leaves of it.
    pub fn crash(&self, random: &mut Random) -> Inode {
        let mut bytes = self.durable.clone();
        if !self.lengths.is_empty() && random.below(2) == 0 {
            bytes.resize(self.lengths[random.below(self.lengths.len())], 0);
        }
        for (&page, states) in &self.unsynced {
            let old = page_of(&self.durable, page);
            let any = |random: &mut Random| match random.below(states.len() + 1) {
                0 => old.clone(),
                n => states[n - 1].clone(),
            };
            let content = match random.below(3) {
                0 => old.clone(),
                1 => any(random),
                _ => {
                    let sectors = (0..PAGE / SECTOR).map(|s| any(random)[s * SECTOR..][..SECTOR].to_vec());
                    sectors.collect::<Vec<_>>().concat()
                }
            };
            put_page(&mut bytes, page, &content);
        }
        let mut inode = Inode::durable(&bytes);
        inode.pages = self.pages.clone();
        inode
    }
}

fn range(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / PAGE..(offset + len).div_ceil(PAGE).max(offset / PAGE)
}

/// A whole page, with zeros beyond the end.
fn page_of(bytes: &[u8], page: usize) -> Vec<u8> {
    let from = (page * PAGE).min(bytes.len());
    let mut out = bytes[from..(from + PAGE).min(bytes.len())].to_vec();
    out.resize(PAGE, 0);
    out
}

/// Writes a page, as far as the file reaches.
fn put_page(bytes: &mut [u8], page: usize, content: &[u8]) {
    let from = (page * PAGE).min(bytes.len());
    let to = (from + PAGE).min(bytes.len());
    bytes[from..to].copy_from_slice(&content[..to - from]);
}
