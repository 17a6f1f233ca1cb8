//! The one error that crosses a wire or reaches a person, and the one table from its code to an
//! exit status, an HTTP status and an errno.
//!
//! The idea of one code that maps to every transport is quickwit's; that "failed" and "outcome
//! unknown" must not be confused is materialize's `Determinate`/`Indeterminate`.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, exit $exit:literal, http $http:literal, errno $errno:literal, $retry:ident;)*) => {
        /// What went wrong, as a stable code. Numbers are for the wire, names for people and scripts;
        /// neither is ever given to another meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $variant = $number,)* }

        impl Code {
            /// Every code, for tests and documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The name that `error[NAME]` shows; stable.
            pub const fn name(self) -> &'static str { match self { $(Code::$variant => $name,)* } }

            /// Exit status of a command that ends with this error.
            pub const fn exit_status(self) -> u8 { match self { $(Code::$variant => $exit,)* } }

            /// HTTP status of a door that answers with this error.
            pub const fn http_status(self) -> u16 { match self { $(Code::$variant => $http,)* } }

            /// POSIX errno (Linux numbers) of a mount that answers with this error.
            pub const fn errno(self) -> i32 { match self { $(Code::$variant => $errno,)* } }

            /// Whether the client library may try again by itself, with the same request key.
            pub const fn is_retryable(self) -> bool { match self { $(Code::$variant => Retry::$retry.allowed(),)* } }

            /// The code with this wire number; unknown numbers (a newer peer) read as [`Code::Failed`].
            pub const fn from_number(number: u32) -> Code {
                match number { $($number => Code::$variant,)* _ => Code::Failed }
            }
        }
    };
}

#[derive(Clone, Copy)]
enum Retry {
    Yes,
    No,
}

impl Retry {
    const fn allowed(self) -> bool {
        matches!(self, Retry::Yes)
    }
}

impl Code {
    /// The wire number.
    pub const fn number(self) -> u32 {
        self as u16 as u32
    }
}

codes! {
    /// Anything that has no code of its own.
    Failed = 1, "FAILED", exit 1, http 500, errno 5, No;
    /// A broken assumption inside a server; a bug.
    Internal = 2, "INTERNAL", exit 1, http 500, errno 5, No;
    /// No room left on a server's disk.
    DiskFull = 3, "DISK_FULL", exit 1, http 507, errno 28, No;
    /// The owner's quota is used up.
    QuotaReached = 4, "QUOTA_REACHED", exit 1, http 507, errno 122, No;
    /// A disk or a local file failed.
    Io = 5, "IO", exit 1, http 500, errno 5, No;
    /// The caller gave up.
    Cancelled = 6, "CANCELLED", exit 1, http 499, errno 4, No;
    /// Options or arguments that make no sense.
    Usage = 20, "USAGE", exit 2, http 400, errno 22, No;
    /// A path that cannot exist (NUL, `..`, too long, not UTF-8).
    BadPath = 21, "BAD_PATH", exit 2, http 400, errno 22, No;
    /// A file stands where the path needs a folder.
    NotAFolder = 22, "NOT_A_FOLDER", exit 2, http 409, errno 20, No;
    /// A folder stands where a file is needed.
    IsAFolder = 23, "IS_A_FOLDER", exit 2, http 409, errno 21, No;
    /// A byte range outside the content.
    BadRange = 24, "BAD_RANGE", exit 2, http 416, errno 22, No;
    /// A message that does not decode or breaks a bound.
    BadRequest = 25, "BAD_REQUEST", exit 2, http 400, errno 22, No;
    /// Asked for something this version does not do.
    Unsupported = 26, "UNSUPPORTED", exit 2, http 501, errno 95, No;
    /// No such file, folder, server or pair.
    NotFound = 40, "NOT_FOUND", exit 3, http 404, errno 2, No;
    /// The file has no such kept version.
    NoSuchVersion = 41, "NO_SUCH_VERSION", exit 3, http 404, errno 2, No;
    /// The name is taken.
    Exists = 50, "EXISTS", exit 4, http 409, errno 17, No;
    /// Somebody else holds it.
    Locked = 51, "LOCKED", exit 4, http 423, errno 11, No;
    /// It is not the version the caller asked for any more.
    Changed = 52, "CHANGED", exit 4, http 412, errno 11, No;
    /// The folder is not empty.
    NotEmpty = 53, "NOT_EMPTY", exit 4, http 409, errno 39, No;
    /// A request key was used for another request.
    KeyReused = 54, "KEY_REUSED", exit 4, http 409, errno 22, No;
    /// The cluster or the data directory is in use.
    AlreadyRunning = 55, "ALREADY_RUNNING", exit 4, http 409, errno 11, No;
    /// No key, or a key that is not known.
    NotSignedIn = 70, "NOT_SIGNED_IN", exit 5, http 401, errno 13, No;
    /// Known, but not permitted.
    Denied = 71, "DENIED", exit 5, http 403, errno 13, No;
    /// The peer belongs to another cluster.
    WrongCluster = 72, "WRONG_CLUSTER", exit 5, http 403, errno 13, No;
    /// The peer does not hold the secret it must hold.
    BadProof = 73, "BAD_PROOF", exit 5, http 401, errno 13, No;
    /// A capability that is expired, forged or for something else; the library asks for a new one.
    BadCapability = 74, "BAD_CAPABILITY", exit 5, http 403, errno 13, Yes;
    /// A server could not be reached.
    Unavailable = 90, "UNAVAILABLE", exit 6, http 503, errno 11, Yes;
    /// Nobody in the pair may serve now.
    NoActingMember = 91, "NO_ACTING_MEMBER", exit 6, http 503, errno 11, Yes;
    /// The only copy of the content is on a server that is away.
    OnlyCopyAway = 92, "ONLY_COPY_AWAY", exit 6, http 503, errno 11, No;
    /// The time the caller allowed is over.
    Timeout = 93, "TIMEOUT", exit 6, http 504, errno 110, No;
    /// It may or may not have happened; the request key tells.
    OutcomeUnknown = 94, "OUTCOME_UNKNOWN", exit 6, http 504, errno 110, No;
    /// A bound is reached; later there will be room.
    Busy = 95, "BUSY", exit 6, http 503, errno 11, Yes;
    /// This name manager does not lead.
    NotLeader = 96, "NOT_LEADER", exit 6, http 503, errno 11, Yes;
    /// Stored bytes fail their checksum and no good copy answered.
    Damaged = 110, "DAMAGED", exit 7, http 500, errno 74, No;
    /// Stored by another version of the program.
    UnknownFormat = 111, "UNKNOWN_FORMAT", exit 7, http 500, errno 74, No;
    /// The member asked does not act (any more).
    NotActing = 130, "NOT_ACTING", exit 6, http 503, errno 11, Yes;
    /// The request carries an epoch that is over.
    PastEpoch = 131, "PAST_EPOCH", exit 6, http 503, errno 11, Yes;
    /// The folder moved or its access changed since the capability was given.
    StaleCapability = 132, "STALE_CAPABILITY", exit 6, http 503, errno 11, Yes;
    /// The name lives on another pair.
    WrongPair = 133, "WRONG_PAIR", exit 6, http 503, errno 11, Yes;
    /// The pair is handing over; ask again at once.
    Handover = 134, "HANDOVER", exit 6, http 503, errno 11, Yes;
    /// The server was declared failed, or a newer registration exists.
    RegisterAgain = 135, "REGISTER_AGAIN", exit 6, http 503, errno 11, No;
    /// The write session is not known here.
    NoSuchSession = 136, "NO_SUCH_SESSION", exit 6, http 503, errno 11, Yes;
    /// The file has another name by now; look it up again.
    Moved = 137, "MOVED", exit 6, http 503, errno 11, Yes;
}

/// Whether the effect of a failed call can have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It surely did not happen.
    None,
    /// It may have happened; only the request key can tell.
    Unknown,
}

/// A failure with its code, a message that says what happened and what to do next, and whether the
/// effect can have happened all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// `what happened: what to do next`.
    pub message: String,
    /// Whether the effect can have happened.
    pub effect: Effect,
}

/// What nearly everything here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error whose effect surely did not happen. `what` says what happened, `next` what to do.
    pub fn new(code: Code, what: impl fmt::Display, next: impl fmt::Display) -> Error {
        Error { code, message: format!("{what}: {next}"), effect: Effect::None }
    }

    /// The same error, but its effect may have happened.
    #[must_use]
    pub fn outcome_unknown(mut self) -> Error {
        self.effect = Effect::Unknown;
        self
    }

    /// A bug of ours that was noticed in time.
    pub fn internal(what: impl fmt::Display) -> Error {
        Error::new(Code::Internal, what, "this is a bug; please report it with the server's log")
    }

    /// Input that does not decode.
    pub fn bad_request(what: impl fmt::Display) -> Error {
        Error::new(Code::BadRequest, what, "check that both sides run compatible versions")
    }

    /// Nothing stands at `path`.
    pub fn not_found(path: impl fmt::Display) -> Error {
        Error::new(Code::NotFound, format_args!("{path} does not exist"), "check the name with `pairfs ls`")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::StorageFull => {
                Error::new(Code::DiskFull, error, "free some room on that disk, then try again")
            }
            _ => Error::new(Code::Io, error, "look at the disk and its permissions, then try again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_code_survives_the_wire_and_its_name_is_unique() {
        let mut names = HashSet::new();
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), *code);
            assert!(names.insert(code.name()), "{} twice", code.name());
            assert!((1..=7).contains(&code.exit_status()));
        }
        assert_eq!(Code::from_number(9999), Code::Failed);
    }

    #[test]
    fn a_full_disk_is_told_apart_from_a_broken_one() {
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(Error::from(full).code, Code::DiskFull);
    }
}
