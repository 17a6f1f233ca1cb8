//! How many files and sockets this process may have open, and how many of them may be connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use types::limits::CONN_MAX;
use types::{Code, Error, Result};

/// What a server has open besides connections and stored contents: its log and index files, its lock, its runtimes, its
/// own connections to the other servers.
const OWN: u64 = 64;
/// Files of stored contents that are of use at once, at most; more are closed and opened again.
const CONTENTS_MAX: usize = 4096;
/// The fewest connections with which a server is of use: the other servers, and some clients.
const CONNECTIONS_MIN: u64 = 16;
/// The fewest files that a server can do with.
pub const OPEN_FILES_MIN: u64 = OWN + 2 * CONNECTIONS_MIN;

/// How the files that this process may have open are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Connections of others.
    pub connections: usize,
    /// Files of stored contents: journal segments and extent files.
    pub contents: usize,
}

impl Places {
    /// As many as are of use.
    pub const MOST: Places = Places { connections: CONN_MAX, contents: CONTENTS_MAX };
}

/// Raises the bound on open files to what the system allows this process at the most (its soft limit to its hard
/// one). Gives how what the process does not need for itself is shared out: a half is for connections, at most
/// [`CONN_MAX`], the rest for contents.
///
/// # Errors
/// `FAILED` when the system allows fewer than [`OPEN_FILES_MIN`].
pub fn prepare() -> Result<Places> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut allowed = current;
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        allowed = maximum;
    }
    // No limit is told as none.
    share(allowed.unwrap_or(u64::MAX))
}

fn share(allowed: u64) -> Result<Places> {
    if allowed < OPEN_FILES_MIN {
        return Err(Error::new(
            Code::Failed,
            format_args!("this server may have {allowed} files open, and needs at least {OPEN_FILES_MIN}"),
            "raise the hard limit (`ulimit -Hn`, or LimitNOFILE= of a systemd unit)",
        ));
    }
    let left = usize::try_from(allowed - OWN).unwrap_or(usize::MAX);
    let connections = (left / 2).min(CONN_MAX);
    if connections < CONN_MAX {
        tracing::warn!(open_files = allowed, connections, "the limit on open files is low");
    }
    Ok(Places { connections, contents: (left - connections).min(CONTENTS_MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_mean_few_connections_and_too_few_mean_an_error_that_says_what_to_raise() {
        for allowed in [OPEN_FILES_MIN, 97, 1024, 5000] {
            let Places { connections, contents } = share(allowed).unwrap();
            let few = CONNECTIONS_MIN as usize;
            assert!(connections >= few && contents >= few, "{allowed}");
            assert!((connections + contents) as u64 + OWN <= allowed, "no more than there are: {allowed}");
        }
        assert_eq!(share(u64::MAX).unwrap(), Places::MOST);
        let error = share(OPEN_FILES_MIN - 1).unwrap_err();
        assert_eq!(error.code.exit_status(), 1);
        assert!(error.message.contains("ulimit -Hn"), "{}", error.message);
    }
}
