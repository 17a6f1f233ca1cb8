//! The local side: what a folder holds, and files that appear whole or not at all.

use client::Attributes;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;
use types::{Code, Error, Result};

/// What something is, as far as it is transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(Stat),
    /// A folder.
    Folder,
    /// A symbolic link and its target.
    Link(String),
    /// Something that is left out.
    Special(&'static str),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Modification time, ms since 1970.
    pub mtime_ms: i64,
    /// Permissions.
    pub mode: u32,
}

impl Stat {
    /// From what the system says.
    pub fn of(meta: &Metadata) -> Stat {
        let mtime_ms = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
        // Zero means "not told" on the wire.
        let mtime_ms = if mtime_ms == 0 { 1 } else { mtime_ms };
        // With the bits of the type, so that mode 0000 is not taken for none.
        Stat { size: meta.len(), mtime_ms, mode: meta.mode() }
    }
}

/// One name of a folder.
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it is, or why that cannot be told.
    pub kind: Result<Kind>,
}

/// An error of a local file.
pub fn trouble(path: &Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::StorageFull => Code::DiskFull,
        ErrorKind::NotADirectory => Code::NotAFolder,
        ErrorKind::IsADirectory => Code::IsAFolder,
        _ => Code::Io,
    };
    Error::new(code, format_args!("{}: {error}", path.display()), "check the local file")
}

/// What is kept of a folder or of a link itself.
pub fn attributes(path: &Path) -> Result<Attributes> {
    let meta = path.symlink_metadata().map_err(|error| trouble(path, &error))?;
    let Stat { mode, mtime_ms, .. } = Stat::of(&meta);
    Ok(Attributes { mode, mtime_ms })
}

/// Gives a folder its mode, or a folder or a link its modification time; what is 0 stays as it is.
pub fn set_attributes(path: &Path, kept: Attributes, folder: bool) -> Result<()> {
    let failed = |error: std::io::Error| trouble(path, &error);
    if kept.mtime_ms != 0 {
        let time = Timespec {
            tv_sec: kept.mtime_ms.div_euclid(1000),
            tv_nsec: kept.mtime_ms.rem_euclid(1000) * 1_000_000,
        };
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| failed(error.into()))?;
    }
    if folder && kept.mode != 0 {
        std::fs::set_permissions(path, safe(kept.mode)).map_err(failed)?;
    }
    Ok(())
}

/// Makes a folder that nobody else sees into until it has the mode it is to have, if that is known.
pub fn make_folder(path: &Path, mode: u32) -> Result<()> {
    let mode = if mode == 0 { 0o777 } else { 0o700 };
    DirBuilder::new().mode(mode).create(path).map_err(|error| trouble(path, &error))
}

/// What stands at a path, a link at its end not followed; none if nothing does.
pub fn look(path: &Path) -> Result<Option<Kind>> {
    match path.symlink_metadata() {
        Ok(meta) => kind(path, &meta).map(Some),
        // Below a file there is nothing.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(trouble(path, &error)),
    }
}

fn kind(path: &Path, meta: &Metadata) -> Result<Kind> {
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(Kind::File(Stat::of(meta)));
    }
    if kind.is_dir() {
        return Ok(Kind::Folder);
    }
    if kind.is_symlink() {
        let target = std::fs::read_link(path).map_err(|error| trouble(path, &error))?;
        return match target.into_os_string().into_string() {
            Ok(target) => Ok(Kind::Link(target)),
            Err(_) => Err(not_utf8(path)),
        };
    }
    Ok(Kind::Special(match () {
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "a special file",
    }))
}

/// A name that cannot be stored.
pub fn not_utf8(path: &Path) -> Error {
    Error::new(Code::BadPath, format_args!("{} is not UTF-8", path.display()), "rename it")
}

/// All names of a folder, in no order. Names that are not UTF-8 are errors of their own.
pub fn read_folder(path: &Path) -> Result<Vec<Entry>> {
    let failed = |error: std::io::Error| trouble(path, &error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let place = entry.path();
        let (name, kind) = match entry.file_name().into_string() {
            Ok(name) => {
                let meta = entry.metadata().map_err(|error| trouble(&place, &error));
                (name, meta.and_then(|meta| kind(&place, &meta)))
            }
            Err(name) => (name.to_string_lossy().into_owned(), Err(not_utf8(&place))),
        };
        entries.push(Entry { name, kind });
    }
    Ok(entries)
}

/// Reads a small file as it is now.
pub fn read_small(path: &Path) -> Result<(Vec<u8>, Stat)> {
    let failed = |error: std::io::Error| trouble(path, &error);
    let file = File::open(path).map_err(failed)?;
    // Before the bytes: if it changes after, its time is another than the one that is kept.
    let stat = Stat::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or_default());
    std::io::Read::read_to_end(&mut &file, &mut bytes).map_err(failed)?;
    Ok((bytes, stat))
}

/// What the names of drafts begin with.
const DRAFT: &str = ".pairfs-";

/// Whether a name is that of a draft: it may be under way.
pub fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT)
}

/// A file beside `target` that takes its place when it is whole; it is gone if that never happens.
pub struct Draft {
    file: NamedTempFile,
    /// What stands in its place is deleted first, also a folder with all that is in it.
    clear: bool,
}

impl Draft {
    /// A new one. With `clear` a folder in its place goes when it is whole; else that is an error.
    pub fn new(target: &Path, clear: bool) -> Result<Draft> {
        let folder =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As open(2) does it: less what the umask takes.
        builder.prefix(DRAFT).permissions(Permissions::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(|error| trouble(target, &error))?;
        Ok(Draft { file, clear })
    }

    /// More bytes.
    pub fn write(&mut self, target: &Path, bytes: &[u8]) -> Result<()> {
        self.file.as_file_mut().write_all(bytes).map_err(|error| trouble(target, &error))
    }

    /// Whole: takes its place, with this time and mode (0: what is usual here).
    pub fn finish(self, target: &Path, mtime_ms: i64, mode: u32) -> Result<()> {
        let failed = |error: std::io::Error| trouble(target, &error);
        if mode != 0 {
            self.file.as_file().set_permissions(safe(mode)).map_err(failed)?;
        }
        if let Some(time) = time_of(mtime_ms) {
            self.file.as_file().set_modified(time).map_err(failed)?;
        }
        if self.clear && target.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            delete(target)?;
        }
        self.file.persist(target).map_err(|error| failed(error.error)).map(drop)
    }
}

/// Without setuid and setgid: whoever put it may be somebody else.
fn safe(mode: u32) -> Permissions {
    Permissions::from_mode(mode & 0o777)
}

/// Gives a file that is there already the mode it has remotely.
pub fn set_mode(path: &Path, stat: &Stat, mode: u32) -> Result<()> {
    if mode == 0 || stat.mode & 0o777 == mode & 0o777 {
        return Ok(());
    }
    std::fs::set_permissions(path, safe(mode)).map_err(|error| trouble(path, &error))
}

fn time_of(mtime_ms: i64) -> Option<SystemTime> {
    let span = Duration::from_millis(mtime_ms.unsigned_abs());
    if mtime_ms < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    }
}

/// Deletes whatever stands at a path; links are not followed.
pub fn delete(path: &Path) -> Result<()> {
    let folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let deleted = if folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    deleted.map_err(|error| trouble(path, &error))
}
