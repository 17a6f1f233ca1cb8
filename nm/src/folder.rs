//! The data folder: one process at a time, for its owner's eyes only (R35).

use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use types::{Code, Error, Result};

/// The lock of a data folder; it ends with the process.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Makes the folder if need be and locks it. [`Code::AlreadyRunning`] if another process has it.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(FolderLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(
            Code::AlreadyRunning,
            format_args!("{} is in use by another process", folder.display()),
            "stop that one first, or use another --data",
        )),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_name_manager_on_the_same_data_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("nm");
        let held = lock(&folder).unwrap();
        let error = lock(&folder).unwrap_err();
        assert_eq!((error.code, error.code.exit_status()), (Code::AlreadyRunning, 4));
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(held);
        lock(&folder).unwrap();
    }
}
