//! [`RealDisk`]: the disk interface on a folder of the operating system.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::disk::{Disk, DiskFile, Open};

/// Slices handed to one `pwritev`; below IOV_MAX (1024) everywhere.
const SLICES_PER_WRITE: usize = 64;

/// Files below a root folder. Folders are created 0700, files 0600 (R35).
///
/// It takes no lock: whoever owns the data directory sees to it that two processes never open it.
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// Takes `root` as the root folder, creating it (and its parents) when absent.
    ///
    /// # Errors
    /// What the system answers when the folder cannot be created or is not a folder.
    pub fn new(root: PathBuf) -> io::Result<RealDisk> {
        create_folder(&root)?;
        Ok(RealDisk { root })
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if name.split('/').all(plain) {
            Ok(self.root.join(name))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name below the disk's root"))
        }
    }

    fn folder_path(&self, folder: &str) -> io::Result<PathBuf> {
        if folder.is_empty() { Ok(self.root.clone()) } else { self.path(folder) }
    }
}

/// Creates a folder and its parents, and makes each new one's name durable in its parent: a file that was
/// synced in a folder whose own name was lost would be lost with it.
fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    create_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

impl Disk for RealDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name)?;
        if how != Open::Existing
            && let Some(parent) = path.parent()
        {
            create_folder(parent)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(how == Open::Create)
            .create_new(how == Open::CreateNew)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.folder_path(folder)?) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.folder_path(folder)?)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let fs = rustix::fs::statvfs(&self.root)?;
        Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    fn salt(&self) -> u64 {
        // std seeds its hash maps from the system's randomness: enough for a number that only has to differ.
        RandomState::new().build_hasher().finish()
    }
}

struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> bool {
        let len = buf.len();
        let read = preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
        read == Ok(len)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn write_all_vectored_at(&self, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        for group in parts.chunks(SLICES_PER_WRITE) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|p| IoSlice::new(p)).collect();
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0); // drops empty slices in front
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        offset += n as u64;
                        IoSlice::advance_slices(&mut rest, n);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        // rustix wraps no sync_file_range. On Linux DONTNEED starts the writing of the range's dirty pages
        // without waiting, and drops only clean ones: for a range just written that is the same hint.
        let Some(len) = NonZeroU64::new(len) else { return Ok(()) };
        Ok(rustix::fs::fadvise(&self.file, offset, Some(len), Advice::DontNeed)?)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // A file system without fallocate: the writes themselves will find the room, or not.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    let end = offset + len;
                    return if self.len()? < end { self.set_len(end) } else { Ok(()) };
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, how, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn as_std(&self) -> Option<&File> {
        Some(&self.file)
    }
}
