//! A redb database in a file of a [`Disk`].

use crate::disk::{Disk, DiskFile, Open};
use redb::{Database, DatabaseError, StorageBackend};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Opens the database `name`, or makes it; its cache takes `cache_bytes`. A file of the system is locked against a second
/// process meanwhile.
///
/// # Errors
/// What redb says of the file.
pub fn open_database(disk: &dyn Disk, name: &str, cache_bytes: usize) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    let file = disk.open(name, Open::Create).map_err(redb::StorageError::Io)?;
    if file.is_empty().map_err(redb::StorageError::Io)? {
        // What is durable in it later must not be lost with its name.
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        disk.sync_folder(folder).map_err(redb::StorageError::Io)?;
    }
    match file.as_std() {
        Some(file) => builder.create_file(file.try_clone().map_err(redb::StorageError::Io)?),
        None => builder.create_with_backend(OnDisk(file)),
    }
}

/// For disks that are no files of the system.
struct OnDisk(Arc<dyn DiskFile>);

impl fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDisk")
    }
}

impl StorageBackend for OnDisk {
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
