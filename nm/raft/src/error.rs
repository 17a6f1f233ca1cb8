//! What can go wrong, and with which exit status the process then stops.

use std::io;

use nm_core::store::StoreError;
use thiserror::Error;
use tokio::sync::watch;

/// Exit status of a process whose own data is damaged: a person has to decide.
pub const EXIT_DAMAGED: i32 = 7;
/// Exit status of any other failure that ends the process.
pub const EXIT_FAILED: i32 = 1;

/// The group could not be started.
#[derive(Clone, Debug, Error)]
pub enum RaftError {
    /// A setting makes no sense.
    #[error("the Raft group cannot be started: {0}")]
    Config(String),
    /// Another process has the data folder open.
    #[error("the data folder {0} is in use by another process; stop that one first")]
    Busy(String),
    /// Something durable cannot be read back.
    #[error(
        "the name manager's data is damaged: {0}; start it with --rebuild to restore its index from the storage servers"
    )]
    Damaged(String),
    /// A file was written in a format this version does not know.
    #[error("{0}")]
    Format(String),
    /// The disk refused.
    #[error("the name manager's data could not be read or written: {0}")]
    Io(String),
    /// The disk or the state failed during the start.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// openraft refused.
    #[error("Raft: {0}")]
    Raft(String),
}

impl RaftError {
    /// The exit status of a process that stops for this reason.
    pub fn exit_code(&self) -> i32 {
        match self {
            // Another version reads it, but no later start of this one does.
            RaftError::Damaged(_) | RaftError::Format(_) => EXIT_DAMAGED,
            RaftError::Failed(failure) => failure.exit_code,
            _ => EXIT_FAILED,
        }
    }
}

impl From<StoreError> for RaftError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged(what) => RaftError::Damaged(what),
            StoreError::Format(what) => RaftError::Format(what),
            StoreError::Failed(what) => RaftError::Io(what),
        }
    }
}

impl From<io::Error> for RaftError {
    fn from(error: io::Error) -> Self {
        RaftError::Io(error.to_string())
    }
}

/// Where the leader is, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its node id.
    pub id: u64,
    /// The address it was configured with.
    pub addr: String,
}

/// This node does not lead (any more); ask `leader`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("this name manager does not lead the group")]
pub struct NotLeader {
    /// The leader this node knows of, if any.
    pub leader: Option<Leader>,
}

/// A proposal was not answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    /// Refused before it got into the log.
    #[error("this name manager does not lead the group")]
    NotLeader {
        /// The leader this node knows of, if any.
        leader: Option<Leader>,
    },
    /// It may or may not be in the log; only a repetition under the same idempotency key can tell.
    #[error("the outcome of the proposal is unknown; repeat it under the same key")]
    Unknown,
    /// Refused: an entry has to fit in a segment of the log.
    #[error("a proposal of {bytes} bytes is too large, at most {limit} fit in the log")]
    TooLarge {
        /// The size of the payload, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The group has stopped and the proposal is not in the log.
    #[error("the Raft group has stopped: {0}")]
    Stopped(String),
}

/// The group has failed for good: the process must stop with [`Failure::exit_code`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the person who reads the log.
    pub message: String,
    /// 7 when data is damaged, else 1.
    pub exit_code: i32,
}

/// Where the threads of this crate report the first failure; later ones are its consequences.
#[derive(Clone, Debug)]
pub(crate) struct Failures(watch::Sender<Option<Failure>>);

impl Failures {
    pub(crate) fn new() -> Self {
        Failures(watch::Sender::new(None))
    }

    pub(crate) fn report(&self, error: &RaftError) {
        self.report_as(error.to_string(), error.exit_code());
    }

    pub(crate) fn report_as(&self, message: String, exit_code: i32) {
        self.0.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(exit_code, "{message}");
                *failure = Some(Failure { message, exit_code });
            }
            first
        });
    }

    /// Reports `error` if it is damage; what may pass is for whoever asked.
    pub(crate) fn report_damage(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged(_)) {
            self.report(&error.clone().into());
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Failure>> {
        self.0.subscribe()
    }

    pub(crate) fn get(&self) -> Option<Failure> {
        self.0.borrow().clone()
    }
}
