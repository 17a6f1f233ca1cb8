//! Where a file from the cluster goes on this machine: it replaces a regular file, and is written to what is none.

use super::transfer::local::trouble;
use client::Reader;
use rustix::fs::fstat;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;
use types::{Code, Error, Result};

/// What a local path stands for, symbolic links followed as `cp` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A regular file, or nothing yet: what is written beside it takes its place.
    Replace(PathBuf),
    /// A device, pipe or socket: it stays, and is written to.
    Pour,
}

impl Target {
    /// Looks at what stands at `path`.
    ///
    /// # Errors
    /// [`Code::IsAFolder`]; [`Code::NotFound`] for a link to nothing, which `cp` does not write through either;
    /// that it cannot be looked at.
    pub fn of(path: &Path) -> Result<Target> {
        let failed = |error: std::io::Error| trouble(path, &error);
        match path.metadata() {
            Ok(meta) if meta.is_dir() => {
                let what = format_args!("{} is a folder", path.display());
                Err(Error::new(Code::IsAFolder, what, "give the name of a file in it"))
            }
            Ok(meta) if !meta.is_file() => Ok(Target::Pour),
            Ok(_) if path.is_symlink() => path.canonicalize().map(Target::Replace).map_err(failed),
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
                let what = format_args!("{} is a link to what does not exist", path.display());
                Err(Error::new(Code::NotFound, what, "remove the link first, or make what it leads to"))
            }
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(Target::Replace(path.to_owned())),
        }
    }
}

/// Whether `path` is standard output: `-`, or a name of what standard output is, such as `/dev/stdout`.
pub fn is_output(path: &Path) -> bool {
    let same = || {
        let (here, out) = (path.metadata().ok()?, fstat(std::io::stdout()).ok()?);
        Some(here.dev() == out.st_dev && here.ino() == out.st_ino)
    };
    path == Path::new("-") || same().unwrap_or(false)
}

/// Writes what `reader` gives to the device or pipe at `path`; the bytes written, counted in `progress` too.
///
/// # Errors
/// As [`Reader::next`]; those of the device.
pub async fn pour(reader: &mut Reader, path: &Path, progress: &AtomicU64) -> Result<u64> {
    let failed = |error: std::io::Error| trouble(path, &error);
    // On a thread of its own: a pipe that nobody reads must not keep Ctrl-C from being heard.
    let mut file = tokio::fs::OpenOptions::new().write(true).open(path).await.map_err(failed)?;
    let mut written = 0;
    while let Some(bytes) = reader.next().await? {
        file.write_all(&bytes).await.map_err(failed)?;
        written += bytes.len() as u64;
        progress.store(written, Ordering::Relaxed);
    }
    // What failed late is told here.
    file.flush().await.map_err(failed)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_stands_for_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap();
        let (file, link, lost) = (place.join("file"), place.join("link"), place.join("lost"));
        assert_eq!(Target::of(&file).unwrap(), Target::Replace(file.clone()));
        std::fs::write(&file, "x").unwrap();
        symlink("file", &link).unwrap();
        symlink("nothing", &lost).unwrap();
        symlink("/dev/null", place.join("null")).unwrap();
        assert_eq!(Target::of(&file).unwrap(), Target::Replace(file.clone()));
        assert_eq!(Target::of(&link).unwrap(), Target::Replace(file));
        assert_eq!(Target::of(&place.join("null")).unwrap(), Target::Pour);
        assert_eq!(Target::of(&lost).unwrap_err().code, Code::NotFound);
        assert_eq!(Target::of(&place).unwrap_err().code, Code::IsAFolder);
        assert!(is_output(Path::new("-")) && is_output(Path::new("/dev/stdout")) && !is_output(&link));
    }
}
