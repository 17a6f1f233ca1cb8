//! The data folder of a server: one process at a time, one kind of server, for its owner's eyes only (R35).

use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use types::{Code, Error, Result};

/// A kind of server, and what stands in its data folder and in no other's.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    name: &'static str,
    marks: &'static [&'static str],
}

/// A name manager's data.
pub const NAME_MANAGER: Kind = Kind { name: "a name manager", marks: &["state.redb", "raft"] };
/// A storage server's data.
pub const STORAGE_SERVER: Kind = Kind { name: "a storage server", marks: &["identity", "store"] };

/// The lock of a data folder; it ends with the process.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Not left to the closing of the file: a child that is just being made holds that open for a moment, too.
        let _ = flock(&self.file, FlockOperation::NonBlockingUnlock);
    }
}

/// Makes the folder (mode 0700) if need be and takes it for a server of `kind`. A folder that others can read is
/// refused, not corrected: who opened it should know.
///
/// # Errors
/// `ALREADY_RUNNING` while another process has it; `DENIED` when other users can read it, when it belongs to one, or
/// when it cannot be written; `USAGE` when it is no folder or holds the data of another kind; `DISK_FULL`, `IO`.
pub fn take(folder: &Path, kind: Kind) -> Result<FolderLock> {
    make(folder)?;
    let meta = std::fs::metadata(folder).map_err(|error| failed(folder, &error))?;
    let mode = meta.mode() & 0o777;
    let name = folder.display();
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::new(
            Code::Denied,
            format_args!("{name} belongs to another user (number {})", meta.uid()),
            "run the server as that user, or choose another --data",
        ));
    }
    if mode & 0o077 != 0 {
        return Err(Error::new(
            Code::Denied,
            format_args!("{name} is open to other users (mode {mode:04o})"),
            format_args!("run `chmod 700 {name}`"),
        ));
    }
    for other in [NAME_MANAGER, STORAGE_SERVER] {
        if other.name != kind.name && other.marks.iter().any(|mark| folder.join(mark).exists()) {
            return Err(Error::new(
                Code::Usage,
                format_args!("{name} is the data of {}, not of {}", other.name, kind.name),
                "give each server its own --data",
            ));
        }
    }
    lock(folder)
}

fn make(folder: &Path) -> Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
            Err(Error::new(
                Code::Usage,
                format_args!("{} is a file, or lies below one, and no folder", folder.display()),
                "choose another --data",
            ))
        }
        Err(error) => Err(failed(folder, &error)),
        Ok(()) => Ok(()),
    }
}

fn lock(folder: &Path) -> Result<FolderLock> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(folder.join("lock")).map_err(|error| failed(folder, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(FolderLock { file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(
            Code::AlreadyRunning,
            format_args!("{} is in use by another process", folder.display()),
            "stop that one first, or choose another --data",
        )),
        Err(error) => Err(failed(folder, &error.into())),
    }
}

/// What a failure in a data folder means.
pub fn failed(folder: &Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::StorageFull => Code::DiskFull,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::Denied,
        _ => Code::Io,
    };
    Error::new(
        code,
        format_args!("the data directory {}: {error}", folder.display()),
        "check that it is writable for the user who runs the server",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_server_on_the_same_data_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("nm");
        let held = take(&folder, NAME_MANAGER).unwrap();
        let error = take(&folder, NAME_MANAGER).unwrap_err();
        assert_eq!((error.code, error.code.exit_status()), (Code::AlreadyRunning, 4));
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(held);
        take(&folder, NAME_MANAGER).unwrap();
    }

    #[test]
    fn a_file_an_open_folder_and_the_data_of_another_kind_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for folder in [file.clone(), file.join("below")] {
            assert_eq!(take(&folder, STORAGE_SERVER).unwrap_err().code, Code::Usage);
        }
        let folder = dir.path().join("nm");
        std::fs::create_dir_all(folder.join("raft")).unwrap();
        for mode in [0o755, 0o750, 0o701] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = take(&folder, NAME_MANAGER).unwrap_err();
            assert_eq!(error.code, Code::Denied);
            assert!(error.message.contains("chmod 700"), "{}", error.message);
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(take(&folder, STORAGE_SERVER).unwrap_err().code, Code::Usage);
        take(&folder, NAME_MANAGER).unwrap();
    }
}
