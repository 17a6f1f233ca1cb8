//! The log of a program: one line an event on stderr or in a file.

use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;
use types::{Code, Error, Result};

/// The environment variable whose filter (`debug`, `net=trace,nm=info`, …) beats the verbosity.
pub const FILTER_VARIABLE: &str = "PAIRFS_LOG";

/// Starts the log of this process, once.
///
/// `verbosity`: below 0 errors only, 0 warnings, 1 information (what servers use), 2 debug, 3 and above
/// everything; `PAIRFS_LOG` beats it. With `file` the lines are appended there (made with mode 0600)
/// without colours, else they go to stderr, with colours on a terminal unless `NO_COLOR` is set.
///
/// # Errors
/// `USAGE` for a filter that does not parse, `IO` for a file that does not open, `INTERNAL` when the log
/// was started before.
pub fn init(verbosity: i8, file: Option<&Path>) -> Result<()> {
    let asked = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let filter = filter(verbosity, asked.as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let started = match file {
        Some(path) => {
            let open = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            let log = open.map_err(|error| {
                Error::new(
                    Code::Io,
                    format_args!("the log {} does not open ({error})", path.display()),
                    "check that its folder is there and writable",
                )
            })?;
            builder.with_ansi(false).with_writer(Mutex::new(log)).try_init()
        }
        None => builder.with_ansi(colours()).with_writer(std::io::stderr).try_init(),
    };
    started.map_err(|error| Error::internal(format_args!("the log cannot start ({error})")))
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

fn filter(verbosity: i8, asked: Option<&str>) -> Result<EnvFilter> {
    let directives = asked.unwrap_or(match verbosity {
        i8::MIN..=-1 => "error",
        0 => "warn",
        1 => "info,openraft=warn",
        2 => "debug,openraft=info",
        3.. => "trace",
    });
    EnvFilter::try_new(directives).map_err(|error| {
        Error::new(
            Code::Usage,
            format_args!("{FILTER_VARIABLE}={directives} is no filter ({error})"),
            "write a level (error, warn, info, debug, trace) or module=level pairs with commas",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_filter_is_an_error_of_usage_not_a_silent_log() {
        assert_eq!(filter(0, Some("net=loud")).unwrap_err().code, Code::Usage);
        for verbosity in [-1, 0, 1, 2, 3, 100] {
            filter(verbosity, None).unwrap();
        }
        assert_eq!(filter(0, Some("debug")).unwrap().to_string(), "debug");
    }
}
