//! Folders of files on the machine's own disk: making them, and telling whether two are the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What stands at a path: kind with content or target, POSIX mode (0 for a link), modification time in ms.
pub type Shape = (String, u32, i64);

/// A path as a word of a command line.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// All that is below `root`, by relative path.
pub fn shape(root: &Path) -> BTreeMap<OsString, Shape> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().to_owned();
            let what = match &meta {
                meta if meta.is_dir() => "folder".to_owned(),
                meta if meta.is_symlink() => format!("link to {}", fs::read_link(&path).unwrap().display()),
                meta if meta.is_file() => format!("{:?}", fs::read(&path).unwrap()),
                _ => "something else".to_owned(),
            };
            if meta.is_dir() {
                folders.push(path);
            }
            let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o777 };
            all.insert(name, (what, mode, meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000));
        }
    }
    all
}

/// The same, but of folders and links neither mode nor time.
pub fn shape_of_files(root: &Path) -> BTreeMap<OsString, Shape> {
    let mut all = shape(root);
    for (name, (_, mode, mtime_ms)) in &mut all {
        if !root.join(name).symlink_metadata().unwrap().is_file() {
            (*mode, *mtime_ms) = (0, 0);
        }
    }
    all
}

/// Writes a file with this mode, and the folders above it; `age`: its modification time, s after a fixed moment.
pub fn write(path: &Path, content: &[u8], mode: u32, age: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_123 + age * 1000);
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}
