//! A redb database in a file of a [`Disk`], with a checksum of each block.

mod checked;
mod header;
mod layout;
#[cfg(test)]
mod tests;
mod upgrade;

use crate::disk::{Disk, DiskFile, Open};
use checked::{Checked, try_lock};
use header::{Kind, SECTOR};
use layout::BLOCK;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Is told what was found when a database is read that is damaged: at most once, in the thread that reads, before its reader has
/// the error. That is an IO error of the kind `InvalidData`; after it redb answers nothing any more.
pub type OnDamage = Box<dyn Fn(&str) + Send + Sync>;

/// Opens the database `name`, or makes it; its cache takes `cache_bytes`. A file of the system is locked against a second
/// process meanwhile. A database without checksums, as they were made in the first days, gets them: its bytes are checked with
/// redb's own and copied.
///
/// # Errors
/// What redb says of the file, and `InvalidData` for one that does not fit its checksums; `UpgradeRequired` for one of a version
/// that is not known here.
pub fn open_database(
    disk: &dyn Disk,
    name: &str,
    cache_bytes: usize,
    on_damage: OnDamage,
) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    let mut file = disk.open(name, Open::Create).map_err(StorageError::Io)?;
    if !try_lock(&*file).map_err(StorageError::Io)? {
        return Err(DatabaseError::DatabaseAlreadyOpen);
    }
    let mut trusted = true;
    match kind(&*file).map_err(StorageError::Io)? {
        None => sync_name(disk, name).map_err(StorageError::Io)?,
        Some(Kind::Checked) => {}
        Some(Kind::BadHeader) => trusted = false,
        Some(Kind::Unfinished) => file.set_len(0).map_err(StorageError::Io)?,
        Some(Kind::Plain) => file = upgrade::upgrade(disk, name, file, &builder)?,
        Some(Kind::OtherVersion(version)) => {
            return Err(DatabaseError::UpgradeRequired(u8::try_from(version).unwrap_or(u8::MAX)));
        }
        Some(Kind::Foreign) => {
            let what = format!("{name}: its first bytes are not those of a database");
            return Err(StorageError::Io(io::Error::new(io::ErrorKind::InvalidData, what)).into());
        }
    }
    open(&builder, file, name, trusted, on_damage)
}

/// What the first sector of a file says; none: it is empty.
fn kind(file: &dyn DiskFile) -> io::Result<Option<Kind>> {
    let mut sector = [0; SECTOR];
    match file.len()? {
        0 => return Ok(None),
        // Else redb would take it for an empty one.
        len if len < BLOCK => return Err(io::ErrorKind::UnexpectedEof.into()),
        _ => file.read_exact_at(&mut sector, 0)?,
    }
    Ok(Some(header::kind(&sector)))
}

/// With a header that is not to be trusted, all pages are looked at: they name each other with checksums, from the header on. What passes is
/// a state that was durable, though perhaps not the last one, which is for the log behind it to bring back.
fn open(
    builder: &Builder,
    file: Arc<dyn DiskFile>,
    name: &str,
    trusted: bool,
    on_damage: OnDamage,
) -> Result<Database, DatabaseError> {
    let trust = Arc::new(AtomicBool::new(trusted));
    let checked = Checked::new(file, name, trust.clone(), on_damage);
    if trusted {
        return survive(name, || builder.create_with_backend(checked));
    }
    tracing::warn!(file = name, "the header does not fit its checksum: all of the file is looked at");
    let db = look_at_all(builder, name, checked)?;
    trust.store(true, Ordering::Release);
    write_header(&db).map_err(|error| StorageError::Io(io::Error::other(error)))?;
    Ok(db)
}

/// Opens a database and has redb check every page of it.
fn look_at_all(
    builder: &Builder,
    name: &str,
    backend: impl StorageBackend,
) -> Result<Database, DatabaseError> {
    let looked = survive(name, || {
        let mut db = builder.create_with_backend(backend)?;
        db.check_integrity()?;
        Ok(db)
    });
    match looked {
        // Its own header says so, which is the one in doubt.
        Err(error @ DatabaseError::UpgradeRequired(_)) => Err(damaged(name, &error)),
        looked => looked,
    }
}

/// redb panics at some files that make no sense, as one that is cut short; that is damage as well.
fn survive(
    name: &str,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, DatabaseError> {
    let opened = panic::catch_unwind(AssertUnwindSafe(open));
    opened.unwrap_or_else(|_| Err(damaged(name, &"reading it panicked")))
}

fn damaged(name: &str, what: &dyn fmt::Display) -> DatabaseError {
    StorageError::Corrupted(format!("{name}: {what}")).into()
}

/// A durable commit of nothing writes the header.
fn write_header(db: &Database) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn.commit()?)
}

/// What is durable in a file later must not be lost with its name.
fn sync_name(disk: &dyn Disk, name: &str) -> io::Result<()> {
    disk.sync_folder(name.rsplit_once('/').map_or("", |(folder, _)| folder))
}
