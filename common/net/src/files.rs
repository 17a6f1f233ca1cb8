//! How many files and sockets this process may have open, and how many of them may be connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use types::limits::CONN_MAX;
use types::{Code, Error, Result};

/// What a server has open besides connections and stored contents: segments of its log, its index, its runtime.
const OWN: u64 = 64;
/// The fewest connections with which a server is of use: the other servers, and some clients.
const CONNECTIONS_MIN: u64 = 16;
/// The fewest files that a server can do with.
pub const OPEN_FILES_MIN: u64 = OWN + 2 * CONNECTIONS_MIN;

/// Raises the bound on open files to what the system allows this process at the most (its soft limit to its hard
/// one). Gives how many connections there is room for: a half of what is left for contents and connections, at most
/// [`CONN_MAX`].
///
/// # Errors
/// `FAILED` when the system allows fewer than [`OPEN_FILES_MIN`].
pub fn prepare() -> Result<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut allowed = current;
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        allowed = maximum;
    }
    // No limit is told as none.
    connections(allowed.unwrap_or(u64::MAX))
}

fn connections(allowed: u64) -> Result<usize> {
    if allowed < OPEN_FILES_MIN {
        return Err(Error::new(
            Code::Failed,
            format_args!("this server may have {allowed} files open, and needs at least {OPEN_FILES_MIN}"),
            "raise the hard limit (`ulimit -Hn`, or LimitNOFILE= of a systemd unit)",
        ));
    }
    let places = usize::try_from((allowed - OWN) / 2).unwrap_or(usize::MAX).min(CONN_MAX);
    if places < CONN_MAX {
        tracing::warn!(open_files = allowed, connections = places, "the limit on open files is low");
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_mean_few_connections_and_too_few_mean_an_error_that_says_what_to_raise() {
        assert_eq!(connections(OPEN_FILES_MIN).unwrap() as u64, CONNECTIONS_MIN);
        assert_eq!(connections(1024).unwrap(), 480);
        assert_eq!(connections(u64::MAX).unwrap(), CONN_MAX);
        let error = connections(OPEN_FILES_MIN - 1).unwrap_err();
        assert_eq!(error.code.exit_status(), 1);
        assert!(error.message.contains("ulimit -Hn"), "{}", error.message);
    }
}
