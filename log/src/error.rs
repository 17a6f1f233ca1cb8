//! The one error type of the crate.

use std::io;
use std::sync::Arc;

/// Why the log, an extent or the committer could not do what was asked.
///
/// Cheap to clone, because one failed sync has to be told to every job of its batch.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused an operation; `what` says which, on which file.
    #[error("{what}: {source}")]
    Io {
        /// The operation and the file, for a person.
        what: String,
        /// What the system answered.
        source: Arc<io::Error>,
    },
    /// The disk is full. Nothing was appended or reserved; free space and try again.
    #[error("the disk is full ({what}): free some space, then try again")]
    Full {
        /// The operation that found no room.
        what: String,
    },
    /// Bytes that were once durable do not check any more, or are gone: repair from the partner.
    #[error(
        "{folder} {segment} is damaged at byte {offset}: {why}; repair it from its partner or rebuild it"
    )]
    Damaged {
        /// The folder of the log or of the extents.
        folder: String,
        /// Number of the segment (or of the extent file).
        segment: u32,
        /// Offset in that file, in bytes.
        offset: u32,
        /// What was found there.
        why: &'static str,
    },
    /// The file was written in a format this build does not know (R35).
    #[error(
        "{name} is in format version {version}, this build reads version {known}: use a PairFS that reads version {version}"
    )]
    UnknownFormat {
        /// The file.
        name: String,
        /// The version it names.
        version: u32,
        /// The version this build reads and writes.
        known: u32,
    },
    /// A sync failed earlier: what is durable is unknown, so the log is out of service until a restart.
    #[error("a sync failed earlier, so the log is out of service: check the disk, then restart")]
    Failed,
    /// The record, the preamble or the extent is larger than a segment (or an extent file) takes.
    #[error("{bytes} bytes do not fit, at most {limit} do")]
    TooLarge {
        /// What was asked for, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        limit: u64,
    },
    /// Nothing stands at this position: never written, cut, or given back meanwhile.
    #[error("nothing stands at position {0}")]
    NotFound(crate::Position),
    /// The segment being written cannot be given back.
    #[error("segment {0} is being written and cannot be given back")]
    InUse(u32),
    /// The caller broke a rule of the interface; the text says which.
    #[error("invalid use of the log: {0}")]
    Invalid(&'static str),
    /// The owner's replay refused a record.
    #[error("replay: {0}")]
    Owner(String),
}

impl LogError {
    /// A stable name for metrics, tables and messages.
    pub fn code(&self) -> &'static str {
        match self {
            LogError::Io { .. } => "log-io",
            LogError::Full { .. } => "log-full",
            LogError::Damaged { .. } => "log-damaged",
            LogError::UnknownFormat { .. } => "log-unknown-format",
            LogError::Failed => "log-failed",
            LogError::TooLarge { .. } => "log-too-large",
            LogError::NotFound(_) => "log-not-found",
            LogError::InUse(_) => "log-in-use",
            LogError::Invalid(_) => "log-invalid-use",
            LogError::Owner(_) => "log-replay",
        }
    }

    /// Wraps what the system answered; an exhausted disk or quota becomes [`LogError::Full`].
    pub fn io(what: impl Into<String>, source: io::Error) -> LogError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::Full { what: what.into() },
            _ => LogError::Io { what: what.into(), source: Arc::new(source) },
        }
    }
}
