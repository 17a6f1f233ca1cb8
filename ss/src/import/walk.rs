//! The entries of a local folder, in an order that is the same each time: depth first, a folder before what is in it,
//! names by their bytes.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use types::limits::NAME_MAX;
use types::record::Kind;

/// Something in the folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Path from the root of the cluster.
    pub path: String,
    /// Where it lies here.
    pub local: PathBuf,
    /// File, folder or link; `Unknown` for what cannot be stored.
    pub kind: Kind,
    /// POSIX mode; 0 for a link.
    pub mode: u32,
    /// Modification time, ms since 1970.
    pub mtime_ms: i64,
    /// Bytes, as the folder says.
    pub size: u64,
    /// Target of a link, or why it cannot be stored.
    pub target: String,
}

/// Walks; an iterator.
pub struct Walk {
    levels: Vec<Level>,
    /// What has no path in the cluster, because its name is not UTF-8, too long, or its folder cannot be read.
    pub passed_over: u64,
}

struct Level {
    path: String,
    local: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

impl Walk {
    /// Of everything in `folder`.
    pub fn new(folder: &Path) -> Walk {
        let mut walk = Walk { levels: Vec::new(), passed_over: 0 };
        walk.enter(String::new(), folder.to_owned());
        walk
    }

    fn enter(&mut self, path: String, local: PathBuf) {
        let read = || -> std::io::Result<Vec<OsString>> {
            std::fs::read_dir(&local)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
        };
        match read() {
            Ok(mut names) => {
                names.sort_unstable();
                self.levels.push(Level { path, local, names: names.into_iter() });
            }
            Err(error) => self.pass_over(&local, &error.to_string()),
        }
    }

    fn pass_over(&mut self, local: &Path, why: &str) {
        tracing::warn!(path = %local.display(), why, "not imported");
        self.passed_over += 1;
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let local = level.local.join(&name);
            let path = name.to_str().map(|name| format!("{}/{name}", level.path));
            match path {
                Some(path) if name.len() <= NAME_MAX => {
                    let entry = look(path, local);
                    if entry.kind == Kind::Folder {
                        self.enter(entry.path.clone(), entry.local.clone());
                    }
                    return Some(entry);
                }
                Some(_) => self.pass_over(&local, "its name is too long"),
                None => self.pass_over(&local, "its name is not UTF-8"),
            }
        }
    }
}

fn look(path: String, local: PathBuf) -> Entry {
    let unknown = |why: String| (Kind::Unknown, why);
    let meta = std::fs::symlink_metadata(&local);
    let (kind, target) = match &meta {
        Err(error) => unknown(format!("cannot be looked at ({error})")),
        Ok(meta) if meta.is_file() => (Kind::File, String::new()),
        Ok(meta) if meta.is_dir() => (Kind::Folder, String::new()),
        Ok(meta) if meta.is_symlink() => {
            match std::fs::read_link(&local).map(|to| to.into_os_string().into_string()) {
                Ok(Ok(target)) => (Kind::Symlink, target),
                Ok(Err(_)) => unknown("leads to a name that is not UTF-8".to_owned()),
                Err(error) => unknown(format!("cannot be read ({error})")),
            }
        }
        Ok(_) => unknown("is neither a file nor a folder nor a link".to_owned()),
    };
    let mtime_ms = |meta: &Metadata| meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000;
    let mode = meta.as_ref().map_or(0, |meta| if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 });
    let size = meta.as_ref().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
    let mtime_ms = meta.as_ref().map_or(0, mtime_ms);
    Entry { path, local, kind, mode, mtime_ms, size, target }
}

/// Whether `path` comes behind `after` in the order of a walk.
pub fn is_behind(path: &str, after: &str) -> bool {
    after.is_empty() || path.split('/').gt(after.split('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_walk_meets_everything_once_in_an_order_it_can_be_taken_up_in() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a", "a b", "a/deep/er", "z"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["a/1", "a/deep/er/2", "a b/3", "a-4", "z/5"] {
            std::fs::write(dir.path().join(file), b"x").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join(OsString::from_vec(vec![0xff])), b"x").unwrap();
        let mut walk = Walk::new(dir.path());
        let paths: Vec<String> = walk.by_ref().map(|entry| entry.path).collect();
        assert_eq!(walk.passed_over, 1);
        assert_eq!(
            paths,
            [
                "/a",
                "/a/1",
                "/a/deep",
                "/a/deep/er",
                "/a/deep/er/2",
                "/a b",
                "/a b/3",
                "/a-4",
                "/link",
                "/z",
                "/z/5"
            ]
        );
        for (at, after) in paths.iter().enumerate() {
            let rest: Vec<_> = paths.iter().filter(|path| is_behind(path, after)).collect();
            assert_eq!(rest, paths[at + 1..].iter().collect::<Vec<_>>(), "behind {after}");
        }
        assert!(paths.iter().all(|path| is_behind(path, "")));
    }
}
