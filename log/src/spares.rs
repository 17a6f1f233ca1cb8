//! Files that wait to become segments: filled with zeros ahead, or recycled.
//!
//! A file whose blocks are written already needs no metadata when it is written again: its `fdatasync` costs
//! half of that on a growing file (R30). Spares do not outlive a process: recovery removes what it finds, so
//! no spare ever holds a use number that recovery does not know of.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::LogError;
use crate::disk::{Disk, DiskFile, Open};

/// Zeros written at once while filling, in bytes.
const FILL_BYTES: usize = 256 * 1024;

/// Prefix of spare files' names.
pub(crate) const SPARE_PREFIX: &str = "spare-";

/// A file of a segment's length, not part of the log.
pub(crate) struct Spare {
    pub name: String,
    pub file: Arc<dyn DiskFile>,
}

struct Filler {
    requests: Option<Sender<String>>,
    filled: Receiver<Result<Spare, LogError>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Requests without an answer yet; each gets exactly one.
    outstanding: usize,
}

/// The spares of one log.
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    folder: String,
    bytes: u32,
    want: usize,
    named: u64,
    ready: VecDeque<Spare>,
    filler: Option<Filler>,
}

impl Spares {
    /// Keeps `want` spares of `bytes` bytes each; with `background`, a thread fills them ahead.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: String,
        bytes: u32,
        want: usize,
        background: bool,
    ) -> Result<Spares, LogError> {
        // A thread beside the steps of a simulation would not do the same twice.
        let background = background && want > 0 && !threads::is_simulated();
        let filler = if background { Some(Filler::start(disk.clone(), bytes)?) } else { None };
        Ok(Spares { disk, folder, bytes, want, named: 0, ready: VecDeque::new(), filler })
    }

    fn new_name(&mut self) -> String {
        self.named += 1;
        format!("{}/{SPARE_PREFIX}{:010}", self.folder, self.named)
    }

    /// Asks the filler, where there is one, for what is missing.
    pub fn top_up(&mut self) {
        loop {
            let Some(filler) = self.filler.as_mut() else { return };
            while let Ok(answer) = filler.filled.try_recv() {
                filler.outstanding -= 1;
                // A failure shows again, and is told to somebody, when the spare is needed.
                self.ready.extend(answer.ok());
            }
            // The last room of the disk is not for files that nobody needs yet.
            let roomy = self.disk.free_bytes().is_ok_and(|free| free > 4 * u64::from(self.bytes));
            if self.ready.len() + filler.outstanding >= self.want || !roomy {
                return;
            }
            let name = self.new_name();
            let Some(filler) = self.filler.as_mut() else { return };
            match filler.requests.as_ref().map(|r| r.send(name)) {
                Some(Ok(())) => filler.outstanding += 1,
                _ => return,
            }
        }
    }

    /// A spare: a ready one, one that is being filled, or one made now.
    ///
    /// # Errors
    /// `Full`, `Io`: no file was left behind.
    pub fn take(&mut self) -> Result<Spare, LogError> {
        if let Some(spare) = self.ready.pop_front() {
            return Ok(spare);
        }
        if let Some(filler) = self.filler.as_mut()
            && filler.outstanding > 0
            && let Ok(answer) = filler.filled.recv()
        {
            filler.outstanding -= 1;
            if let Ok(spare) = answer {
                return Ok(spare);
            }
        }
        let name = self.new_name();
        fill(self.disk.as_ref(), &name, self.bytes, &AtomicBool::new(false))
            .map(|file| Spare { name: name.clone(), file })
            .map_err(|e| LogError::io(format!("create {name}"), e))
    }

    /// Drops a spare for good, because what it holds now is not known.
    pub fn discard(&self, spare: Spare) {
        if let Err(e) = self.disk.remove(&spare.name) {
            tracing::warn!(file = spare.name, error = %e, "cannot remove a spare log segment; the next start will");
        }
    }

    /// Takes over the file `name`, `bytes` long, that is no segment any more: as a spare when one is wanted
    /// (one always is: the roll after a release on a full disk needs it), else it is removed.
    ///
    /// # Errors
    /// `Io`: the file may still bear its name; the next recovery removes it.
    pub fn give(&mut self, name: &str, bytes: u32) -> Result<(), LogError> {
        let coming = self.filler.as_ref().map_or(0, |f| f.outstanding);
        if bytes != self.bytes || self.ready.len() + coming >= self.want.max(1) {
            return self.disk.remove(name).map_err(|e| LogError::io(format!("remove {name}"), e));
        }
        let spare = self.new_name();
        self.disk.rename(name, &spare).map_err(|e| LogError::io(format!("rename {name}"), e))?;
        let file =
            self.disk.open(&spare, Open::Existing).map_err(|e| LogError::io(format!("open {spare}"), e))?;
        self.ready.push_back(Spare { name: spare, file });
        Ok(())
    }
}

impl Filler {
    fn start(disk: Arc<dyn Disk>, bytes: u32) -> Result<Filler, LogError> {
        let (requests, todo) = unbounded::<String>(); // bounded by `want`: see top_up
        let (done, filled) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = move || {
            for name in todo {
                let answer = fill(disk.as_ref(), &name, bytes, &stopped)
                    .map(|file| Spare { name: name.clone(), file })
                    .map_err(|e| LogError::io(format!("create {name}"), e));
                if done.send(answer).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("log-fill".into())
            .spawn(work)
            .map_err(|e| LogError::io("start the log's filler thread", e))?;
        Ok(Filler { requests: Some(requests), filled, stop, thread: Some(thread), outstanding: 0 })
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's filler thread panicked");
        }
    }
}

/// Creates a file of zeros; removes it again when that fails or `stop` is set.
fn fill(disk: &dyn Disk, name: &str, bytes: u32, stop: &AtomicBool) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(name, Open::CreateNew)?;
    let zeros = vec![0; FILL_BYTES.min(bytes as usize)];
    let write = || {
        file.allocate(0, u64::from(bytes))?;
        let mut at = 0;
        while at < bytes as usize {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = zeros.len().min(bytes as usize - at);
            file.write_all_at(&zeros[..len], at as u64)?;
            at += len;
        }
        file.sync_data()
    };
    match write() {
        Ok(()) => Ok(file),
        Err(e) => {
            // The failure that is told is the first one; a file left behind goes at the next start.
            let _ = disk.remove(name);
            Err(e)
        }
    }
}
