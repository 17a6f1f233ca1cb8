//! A disk that lies: syncs that say they are done and do nothing, and writes that land somewhere else.
//!
//! Whoever asks for it says about which files, by the beginnings of their names: folders with a `/` at their end.

use super::inode::{Inode, PAGE};
use super::{SimDisk, State};

/// What the disk lies about.
#[derive(Clone, Default)]
pub(super) struct Lies {
    /// Files whose syncs are lost.
    unsynced: Vec<String>,
    /// Syncs that will be lost.
    syncs: u64,
    /// Syncs that were.
    lost: u64,
    detour: Option<Detour>,
    gone_astray: Option<Astray>,
}

/// A write that is to land somewhere else.
#[derive(Clone)]
struct Detour {
    of: Vec<String>,
    most: usize,
    to: String,
    offset: u64,
}

/// A write that landed somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    /// Where it was to be: a file, and an offset in it.
    pub meant: (String, u64),
    /// Where it is.
    pub is: (String, u64),
    /// Bytes.
    pub len: usize,
}

fn concerns(of: &[String], name: &str) -> bool {
    of.iter().any(|start| name.starts_with(&start[..]))
}

impl SimDisk {
    /// The next `n` syncs of files (and of folders) whose names begin with one of `of` say that they are done and do nothing;
    /// the next one after them makes everything durable that they should have. It shows in a [`crash`](Self::crash) only.
    pub fn lose_syncs(&self, of: &[&str], n: u64) {
        let mut state = self.state();
        state.lies.unsynced = of.iter().map(|start| (*start).to_owned()).collect();
        state.lies.syncs = n;
    }

    /// How many syncs were lost so far.
    pub fn lost_syncs(&self) -> u64 {
        self.state().lies.lost
    }

    /// The next write of at most `most` bytes to a file whose name begins with one of `of`, beyond its first page, lands
    /// in the file `to`, as many bytes behind `offset` (a multiple of 4096) as it should begin behind a page's begin; its own place
    /// keeps what it had.
    pub fn misdirect(&self, of: &[&str], most: usize, to: &str, offset: u64) {
        let of = of.iter().map(|start| (*start).to_owned()).collect();
        let offset = offset - offset % PAGE as u64;
        self.state().lies.detour = Some(Detour { of, most, to: to.to_owned(), offset });
    }

    /// The write that landed somewhere else, once.
    pub fn gone_astray(&self) -> Option<Astray> {
        self.state().lies.gone_astray.take()
    }

    /// It lies no more, and everything on it is durable.
    pub fn tell_the_truth(&self) {
        let mut state = self.state();
        state.lies.syncs = 0;
        state.lies.detour = None;
        state.inodes.iter_mut().for_each(Inode::sync);
        state.durable = state.live.clone();
        state.changes.clear();
    }

    /// The disk as a power cut leaves it at the worst: nothing is there that was not synced.
    pub fn durable(&self) -> SimDisk {
        let state = self.state();
        let inodes = state.inodes.iter().map(Inode::synced).collect();
        SimDisk::with(inodes, state.durable.clone(), state.room, state.salts)
    }
}

impl State {
    /// Whether the sync of this file that was just counted is lost.
    pub(super) fn loses_sync_of(&mut self, inode: usize) -> bool {
        let name = self.live.iter().find(|(_, there)| **there == inode).map(|(name, _)| name.clone());
        self.lies.syncs > 0 && name.is_some_and(|name| self.loses_sync_at(&name))
    }

    /// The same of a folder.
    pub(super) fn loses_sync_in(&mut self, folder: &str) -> bool {
        self.lies.syncs > 0 && self.loses_sync_at(&format!("{folder}/"))
    }

    fn loses_sync_at(&mut self, name: &str) -> bool {
        let is_lost = concerns(&self.lies.unsynced, name);
        self.lies.syncs -= u64::from(is_lost);
        self.lies.lost += u64::from(is_lost);
        is_lost
    }

    /// Where this write lands instead, if it does; noted once.
    pub(super) fn astray(&mut self, inode: usize, offset: u64, len: usize) -> Option<(usize, u64)> {
        let Detour { of, most, to, offset: page } = self.lies.detour.clone()?;
        let name = self.live.iter().find(|(_, there)| **there == inode).map(|(name, _)| name.clone())?;
        let place = page + offset % PAGE as u64;
        let other = *self.live.get(&to)?;
        let fits = place + len as u64 <= self.inodes[other].live().len() as u64;
        let is_elsewhere = other != inode || place + len as u64 <= offset || offset + len as u64 <= place;
        let is_meant = concerns(&of, &name) && len <= most && offset >= PAGE as u64;
        if !(fits && is_elsewhere && is_meant) {
            return None;
        }
        self.lies.detour = None;
        self.lies.gone_astray = Some(Astray { meant: (name, offset), is: (to, place), len });
        Some((other, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Open};
    use std::io;

    fn read(disk: &SimDisk, name: &str) -> Vec<u8> {
        disk.bytes(name).unwrap()
    }

    #[test]
    fn a_lost_sync_shows_after_a_power_cut_and_the_next_one_makes_up_for_it() -> io::Result<()> {
        let disk = SimDisk::new();
        let file = disk.open("a/x", Open::Create)?;
        disk.sync_folder("a")?;
        disk.lose_syncs(&["a/"], 1);
        file.write_all_at(b"some", 0)?;
        file.sync_data()?;
        assert_eq!((disk.lost_syncs(), read(&disk, "a/x").len()), (1, 4));
        assert!(read(&disk.durable(), "a/x").is_empty());
        file.sync_data()?;
        assert_eq!(read(&disk.durable(), "a/x"), b"some");
        Ok(())
    }

    #[test]
    fn other_files_are_not_lied_about() -> io::Result<()> {
        let disk = SimDisk::new();
        let file = disk.open("b/x", Open::Create)?;
        disk.lose_syncs(&["a/"], 10);
        file.write_all_at(b"some", 0)?;
        file.sync_data()?;
        disk.sync_folder("b")?;
        assert_eq!(read(&disk.durable(), "b/x"), b"some");
        assert_eq!(disk.lost_syncs(), 0);
        Ok(())
    }

    #[test]
    fn a_misdirected_write_lands_where_it_is_told_and_its_place_keeps_what_it_had() -> io::Result<()> {
        let disk = SimDisk::new();
        let (from, to) = (disk.open("a/x", Open::Create)?, disk.open("a/y", Open::Create)?);
        from.write_all_at(&[1; 3 * PAGE], 0)?;
        to.write_all_at(&[2; 3 * PAGE], 0)?;
        disk.misdirect(&["a/"], 100, "a/y", PAGE as u64);
        from.write_all_at(&[3; 200], 4200)?;
        from.write_all_at(&[4; 50], 5)?;
        assert_eq!(disk.gone_astray(), None, "too long, or in the first page");
        from.write_all_at(&[5; 50], 2 * PAGE as u64 + 7)?;
        let astray = disk.gone_astray().unwrap();
        assert_eq!((astray.meant.1, astray.is.1, astray.len), (2 * PAGE as u64 + 7, PAGE as u64 + 7, 50));
        assert_eq!(read(&disk, "a/x")[2 * PAGE..][..60], [1; 60]);
        assert_eq!(read(&disk, "a/y")[PAGE + 7..][..50], [5; 50]);
        from.write_all_at(&[6; 50], 2 * PAGE as u64)?;
        assert_eq!(read(&disk, "a/x")[2 * PAGE..][..50], [6; 50], "only one");
        Ok(())
    }
}
