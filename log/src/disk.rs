//! The disk as the engine sees it: few operations, so that a simulation can stand in for it.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// How [`Disk::open`] treats a file that is there or is not.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Open {
    /// It must exist (`NotFound` otherwise).
    Existing,
    /// Created empty when absent.
    Create,
    /// It must not exist (`AlreadyExists` otherwise).
    CreateNew,
}

/// A folder tree for data files. Names are relative to its root: `"name"` or `"folder/name"`; the root
/// itself is the folder `""`. Folders come into being when a file in them is created.
///
/// Nothing is durable before a sync says so: content by [`DiskFile::sync_data`], names by
/// [`Disk::sync_folder`].
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Names of the files in a folder, sorted; empty when the folder does not exist.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Removes a name. Open handles stay usable.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames, replacing what bears the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and renames in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Room left, in bytes, for a process without privileges.
    fn free_bytes(&self) -> io::Result<u64>;

    /// A number that differs from one log to the next, drawn once when a log is created. It only keeps
    /// copies of another log's bytes from being taken for records of this one; it is no secret.
    fn salt(&self) -> u64;
}

/// An open file. All methods take offsets, so that threads share a handle.
pub trait DiskFile: Send + Sync {
    /// Reads at most `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf`; `UnexpectedEof` when the file is shorter.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Fills `buf` if that needs no wait for the disk; `false` if it does, or something is wrong, and `buf` may then
    /// hold anything.
    fn read_now(&self, _buf: &mut [u8], _offset: u64) -> bool {
        false
    }

    /// Writes all of `data`, growing the file when needed.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Writes the parts one behind the other.
    fn write_all_vectored_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for part in parts {
            self.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Makes content and length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Hints that this range should go to the disk soon. Promises nothing.
    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Forgets cached clean content, so that the next read comes from the disk. Called behind a sync at
    /// recovery: after a failed `fsync` the page cache may hold bytes that the disk does not. Best effort.
    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reserves room for a range; the file grows to its end. A full disk is `StorageFull`.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Gives the room of a range back; it reads as zeros then. The length stays. Best effort: where the
    /// file system cannot, nothing happens.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;

    /// The operating system's file, for sendfile; `None` in a simulation.
    fn as_std(&self) -> Option<&File> {
        None
    }
}
