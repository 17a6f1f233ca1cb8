//! The log of a program: one line an event on stderr or in a file that is rotated. What is logged, and into which file,
//! can change while the program runs.

use crate::logfile::LogFile;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use types::{Code, Error, Result};

/// The environment variable whose filter (`debug`, `net=trace,nm=info`, …) beats the verbosity.
pub const FILTER_VARIABLE: &str = "PAIRFS_LOG";
/// A log file is rotated at this many KiB, unless told otherwise.
pub const FILE_KIB: u64 = 8 * 1024;

/// Changes what is logged.
type Reload = Box<dyn Fn(EnvFilter) -> Result<()> + Send + Sync>;

/// What was started, for [`set_level`] and [`reopen`].
struct Started {
    /// The filter when nothing else is asked for.
    usual: String,
    reload: Reload,
    file: Option<&'static LogFile>,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// Starts the log of this process, once, on stderr, with colours on a terminal unless `NO_COLOR` is set.
///
/// `verbosity`: below 0 errors only, 0 warnings, 1 information (what servers use), 2 debug, 3 and above
/// everything; `PAIRFS_LOG` beats it.
///
/// # Errors
/// `USAGE` for a filter that does not parse, `INTERNAL` when the log was started before.
pub fn init(verbosity: i8) -> Result<()> {
    let asked = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    start(verbosity, asked.as_deref(), None)
}

/// [`init`] for a server, one step more talkative: `level`, a filter as in `PAIRFS_LOG`, beats `verbosity`. With
/// `file` the lines go there, without colours; it is rotated at `file_kib` KiB.
///
/// # Errors
/// As [`init`]; `IO` for a file that does not open.
pub fn init_server(verbosity: i8, level: Option<&str>, file: Option<&Path>, file_kib: u64) -> Result<()> {
    let file = file.map(|path| LogFile::open(path, file_kib.max(1) << 10)).transpose()?;
    start(verbosity.saturating_add(1), level, file)
}

fn start(verbosity: i8, level: Option<&str>, file: Option<LogFile>) -> Result<()> {
    let usual = filter(verbosity, None)?.to_string();
    let filter = filter(verbosity, level)?;
    // It is written to until the process ends.
    let file: Option<&'static LogFile> = file.map(|file| &*Box::leak(Box::new(file)));
    // A line that cannot be written is lost. To say so would be to write, too, and standard error that refuses it (it may
    // be the same file on the same full disk) would end the request that wanted to say something.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let cannot =
        |error: &dyn std::fmt::Display| Error::internal(format_args!("the log cannot start ({error})"));
    let changed = |error| Error::internal(format_args!("the log's level does not change ({error})"));
    let reload: Reload = match file {
        Some(file) => {
            let builder = builder.with_ansi(false).with_writer(move || file).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|error| cannot(&error))?;
            Box::new(move |filter| handle.reload(filter).map_err(changed))
        }
        None => {
            let builder = builder.with_ansi(colours()).with_writer(std::io::stderr).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(|error| cannot(&error))?;
            Box::new(move |filter| handle.reload(filter).map_err(changed))
        }
    };
    STARTED.set(Started { usual, reload, file }).map_err(|_| cannot(&"it was started before"))
}

/// Changes what is logged from now on to `level`, or to what it was at the start without one.
///
/// # Errors
/// `USAGE` for a filter that does not parse: nothing changes then.
pub fn set_level(level: Option<&str>) -> Result<()> {
    let Some(started) = STARTED.get() else { return Ok(()) };
    (started.reload)(filter(0, Some(level.unwrap_or(&started.usual)))?)
}

/// Opens the log file anew, if there is one: somebody may have moved it away.
///
/// # Errors
/// `IO`.
pub fn reopen() -> Result<()> {
    STARTED.get().and_then(|started| started.file).map_or(Ok(()), LogFile::reopen)
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
