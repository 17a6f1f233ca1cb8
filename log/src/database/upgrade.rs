//! A database of the first days gets checksums.

use super::checked::Checked;
use super::header::REDB_HEADER;
use super::layout::BLOCK;
use super::{look_at_all, sync_name};
use crate::disk::{Disk, DiskFile, Open};
use redb::{Builder, DatabaseError, StorageBackend, StorageError};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Copied at once.
const PIECE: usize = 64 * BLOCK as usize;

/// Makes a checked file of `file`, which bears `name` and is one that redb wrote as it is, and puts it in its place.
///
/// # Errors
/// What redb finds of it when it looks at every page, for the last time that nobody else does; `Io`.
pub(super) fn upgrade(
    disk: &dyn Disk,
    name: &str,
    file: Arc<dyn DiskFile>,
    builder: &Builder,
) -> Result<Arc<dyn DiskFile>, DatabaseError> {
    tracing::info!(file = name, "the file gets checksums");
    drop(look_at_all(builder, name, Plain(file.clone()))?);
    Ok(copy(disk, name, &*file).map_err(StorageError::Io)?)
}

fn copy(disk: &dyn Disk, name: &str, from: &dyn DiskFile) -> io::Result<Arc<dyn DiskFile>> {
    let new = format!("{name}.new");
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&new, Open::CreateNew)?;
    let to = Checked::new(file.clone(), name, Arc::new(AtomicBool::new(true)), Box::new(|_| ()));
    let len = from.len()?;
    to.set_len(len)?;
    let mut piece = vec![0; PIECE];
    from.read_exact_at(&mut piece[..REDB_HEADER], 0)?;
    to.write(0, &piece[..REDB_HEADER])?;
    let mut at = BLOCK;
    while at < len {
        let some = PIECE.min((len - at) as usize);
        from.read_exact_at(&mut piece[..some], at)?;
        to.write(at, &piece[..some])?;
        at += some as u64;
    }
    to.sync_data()?;
    disk.rename(&new, name)?;
    sync_name(disk, name)?;
    Ok(file)
}

/// A file as redb writes it.
struct Plain(Arc<dyn DiskFile>);

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

impl StorageBackend for Plain {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
