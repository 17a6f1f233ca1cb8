//! A log file that is rotated by the process that writes it: of bounded size, with a few old ones kept, and no line
//! is lost or cut by it.

use rustix::fs::{fstat, stat};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use types::{Code, Error, Result};

/// Old files that are kept: `FILE.1` is the newest of them.
pub const KEPT: u32 = 3;

/// The file, for all threads of the process.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// A line that would make the file longer, in bytes, goes into a new one.
    most: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// A rotation has failed: the next try is worth it only when so many bytes are there.
    again_at: u64,
}

impl LogFile {
    /// Opens (or makes, with mode 0600) the file at `path` to append to.
    ///
    /// # Errors
    /// `IO`.
    pub fn open(path: &Path, most: u64) -> Result<LogFile> {
        let file = append_to(path).map_err(|error| {
            Error::new(
                Code::Io,
                format_args!("the log {} does not open ({error})", path.display()),
                "check that its folder is there and writable",
            )
        })?;
        let length = file.metadata()?.len();
        let open = Mutex::new(Open { file, length, again_at: 0 });
        Ok(LogFile { path: path.to_owned(), most, open })
    }

    /// Opens the file anew, if somebody has moved it away or removed it.
    ///
    /// # Errors
    /// `IO`; the old one is used on then.
    pub fn reopen(&self) -> Result<()> {
        let mut open = self.lock();
        let file = append_to(&self.path)?;
        self.switch(&mut open, file)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, open: &mut Open, file: File) -> io::Result<()> {
        follow(&open.file, &file);
        open.length = file.metadata()?.len();
        open.file = file;
        Ok(())
    }

    /// `FILE.2` becomes `FILE.3`, `FILE.1` becomes `FILE.2`, the file `FILE.1`, and a new one is begun.
    fn rotate(&self, open: &mut Open) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        let file = append_to(&self.path)?;
        self.switch(open, file)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.lock();
        let length = open.length + line.len() as u64;
        if length > self.most && open.length > 0 && length > open.again_at && self.rotate(&mut open).is_err()
        {
            // A line too much in the old file is better than one that is lost; later there may be room.
            open.again_at = length + self.most / 8;
        }
        open.file.write_all(line)?;
        open.length += line.len() as u64;
        Ok(())
    }
}

/// One event is one write, so a line stands in one file whole.
impl Write for &LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Standard output and error go with the log, if they went into its old file: what a panic says is not lost.
fn follow(old: &File, new: &File) {
    let Ok(log) = fstat(old) else { return };
    let is_log = |known: rustix::io::Result<rustix::fs::Stat>| {
        known.is_ok_and(|known| (known.st_dev, known.st_ino) == (log.st_dev, log.st_ino))
    };
    if is_log(stat("/proc/self/fd/1")) {
        let _ = rustix::stdio::dup2_stdout(new);
    }
    if is_log(stat("/proc/self/fd/2")) {
        let _ = rustix::stdio::dup2_stderr(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_lines(log: &LogFile) -> Vec<u64> {
        let mut text = String::new();
        for number in (1..=KEPT).rev() {
            text += &std::fs::read_to_string(log.numbered(number)).unwrap_or_default();
        }
        text += &std::fs::read_to_string(&log.path).unwrap();
        text.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn rotation_keeps_the_newest_lines_whole_and_bounds_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::open(&dir.path().join("ss1.log"), 1000).unwrap();
        for n in 0u64..100 {
            (&log).write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        drop(log);
        let log = LogFile::open(&dir.path().join("ss1.log"), 1000).unwrap();
        for n in 100u64..1000 {
            (&log).write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        let lines = all_lines(&log);
        assert_eq!(lines.last(), Some(&999));
        assert!(lines.windows(2).all(|pair| pair[1] == pair[0] + 1), "a line is missing: {lines:?}");
        assert!(lines.len() > 300);
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 1 + KEPT as usize);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1000));
    }

    #[test]
    fn threads_that_write_while_it_is_rotated_lose_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::open(&dir.path().join("nm.log"), 6000).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..400 {
                        let line = format!("line {}\n", thread * 1000 + n);
                        let mut log = log;
                        log.write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        let mut lines = all_lines(&log);
        lines.sort_unstable();
        let wanted: Vec<u64> = (0..4).flat_map(|thread| (0..400).map(move |n| thread * 1000 + n)).collect();
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_log_that_was_moved_away_is_begun_anew_when_it_is_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ss1.log");
        let log = LogFile::open(&path, 1000).unwrap();
        (&log).write_all(b"line 1\n").unwrap();
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        log.reopen().unwrap();
        (&log).write_all(b"line 2\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"line 2\n");
    }
}
