//! How failures of the engine and of the index read to the rest of the server, and what the store says
//! about its own health.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log::LogError;
use rustix::io::Errno;
use types::{Code, Error};

/// Locks; every change made under a lock of this module is complete at once, so a panic elsewhere while it
/// was held changes nothing for us.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The code a failure of the log engine has for everybody else.
pub(crate) fn log_error(error: LogError) -> Error {
    let code = match &error {
        LogError::Full { .. } => Code::DiskFull,
        LogError::Damaged { .. } => Code::Damaged,
        LogError::UnknownFormat { .. } => Code::UnknownFormat,
        LogError::Io { .. } | LogError::Failed => Code::Io,
        LogError::TooLarge { .. } => Code::BadRequest,
        LogError::NotFound(_) => Code::NoSuchVersion,
        LogError::InUse(_) | LogError::Invalid(_) => Code::Internal,
        LogError::Owner(_) => Code::UnknownFormat,
    };
    let next = match code {
        Code::DiskFull => "nothing was changed; free some room on the server's disk, then try again",
        Code::Damaged => "repair it from the partner with `pairfs scrub`",
        Code::UnknownFormat => "use the version of PairFS that wrote it",
        Code::Io => "check the server's disk, then restart the server",
        Code::BadRequest => "send less at once",
        _ => "see the server's log",
    };
    Error::new(code, error, next)
}

/// A failure of the index, which is only a copy of what the journal says.
pub(crate) fn index_error(error: impl Display) -> Error {
    Error::new(
        Code::Io,
        format_args!("the index: {error}"),
        "restart the server; it is rebuilt from the journal",
    )
}

/// Bytes that do not check.
pub(crate) fn damaged(what: impl Display) -> Error {
    Error::new(Code::Damaged, what, "repair it from the partner with `pairfs scrub`")
}

/// Whether it is this process or machine that has too little of something just now, not the disk that fails.
fn is_shortage(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::AGAIN))
}

/// The store's own view of its health, and the clock of its disk operations.
#[derive(Default)]
pub(crate) struct Health {
    /// Why the store takes no writes any more, ever, in this process.
    broken: Mutex<Option<String>>,
    is_broken: AtomicBool,
    /// The last thing that needed room found none.
    full: AtomicBool,
    running: Mutex<Running>,
    /// When a sync of the disk ended well last.
    synced: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Running {
    next: u64,
    /// Disk operations in progress. Ids grow, so the first is the oldest.
    since: BTreeMap<u64, Instant>,
}

/// One disk operation in progress, from when it was asked for.
pub(crate) struct Operation {
    health: Arc<Health>,
    id: u64,
}

impl Drop for Operation {
    fn drop(&mut self) {
        lock(&self.health.running).since.remove(&self.id);
    }
}

impl Health {
    /// Takes the store out of service for writes. The first reason stays.
    pub fn fail(&self, why: &Error) {
        let mut broken = lock(&self.broken);
        if broken.is_none() {
            tracing::error!(error = %why, "the store takes no more writes");
            *broken = Some(why.message.clone());
            self.is_broken.store(true, Ordering::Release);
        }
    }

    /// Notes what an operation that needs room met.
    pub fn saw(&self, error: &LogError) {
        match error {
            LogError::Full { .. } => self.full.store(true, Ordering::Release),
            LogError::Failed => self.fail(&log_error(error.clone())),
            _ => {}
        }
    }

    /// Notes what a write met. A disk that refuses one is no better than one that makes none durable (R31): whoever acts in
    /// this one's place can take it.
    pub fn saw_in_write(&self, error: &LogError) {
        match error {
            LogError::Io { source, .. } if !is_shortage(source) => self.fail(&log_error(error.clone())),
            other => self.saw(other),
        }
    }

    /// There was room.
    pub fn has_room(&self) {
        if self.full.load(Ordering::Acquire) {
            self.full.store(false, Ordering::Release);
        }
    }

    /// Whether writes are taken.
    pub fn check(&self) -> Result<(), Error> {
        if !self.is_broken.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = lock(&self.broken).clone().unwrap_or_default();
        Err(Error::new(
            Code::Io,
            format_args!("the store is out of service ({why})"),
            "check the disk, then restart the server",
        ))
    }

    /// Why no more writes are taken; `None` when they are.
    pub fn trouble(&self) -> Option<String> {
        if self.is_broken.load(Ordering::Acquire) {
            return lock(&self.broken).clone();
        }
        self.full.load(Ordering::Acquire).then(|| "the disk is full".to_owned())
    }

    /// A sync of the disk has ended well.
    pub fn synced(&self) {
        *lock(&self.synced) = Some(Instant::now());
    }

    /// Age of the last sync that ended well, in ms; none if there was none.
    pub fn synced_ms(&self) -> Option<u64> {
        lock(&self.synced).map(|at| at.elapsed().as_millis() as u64)
    }

    /// Starts the clock of a disk operation.
    pub fn operation(self: &Arc<Self>) -> Operation {
        let mut running = lock(&self.running);
        let id = running.next;
        running.next += 1;
        running.since.insert(id, Instant::now());
        Operation { health: self.clone(), id }
    }

    /// Age of the oldest disk operation in progress, in ms; 0 when there is none.
    pub fn oldest_ms(&self) -> u64 {
        let oldest = lock(&self.running).since.first_key_value().map(|(_, since)| *since);
        oldest.map_or(0, |since| since.elapsed().as_millis() as u64)
    }
}
