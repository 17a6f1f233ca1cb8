//! Options that every server has: its log, and the file with more of them. With the feature `options`, for the programs.

use crate::settings::{Known, Values};
use crate::telemetry;
use clap::{Arg, Args, Command};
use std::path::PathBuf;
use types::Result;

/// What a server logs, where to, and the file with more options.
#[derive(Args, Clone, Debug)]
pub struct LogOptions {
    /// What to log: a level (error, warn, info, debug, trace) or module=level pairs with commas
    #[arg(long, value_name = "FILTER", env = "PAIRFS_LOG")]
    pub log_level: Option<String>,
    /// Log into this file, which is rotated, instead of to stderr
    #[arg(long, value_name = "FILE", env = "PAIRFS_LOG_FILE")]
    pub log_file: Option<PathBuf>,
    /// Begin a new log file at this size; three old ones are kept
    #[arg(long, value_name = "KIB", env = "PAIRFS_LOG_FILE_KIB", default_value_t = telemetry::FILE_KIB)]
    pub log_file_kib: u64,
    /// File in TOML with options that are given neither here nor by the environment; read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "PAIRFS_CONFIG")]
    pub config: Option<PathBuf>,
}

impl LogOptions {
    /// Starts the log as the options say; `verbosity` 0 is what a server logs unless asked.
    ///
    /// # Errors
    /// As [`telemetry::init_server`].
    pub fn start(&self, verbosity: i8) -> Result<()> {
        telemetry::init_server(
            verbosity,
            self.log_level.as_deref(),
            self.log_file.as_deref(),
            self.log_file_kib,
        )
    }

    /// Every option with its value.
    pub fn values(&self) -> Values {
        let LogOptions { log_level, log_file, log_file_kib, config } = self;
        let path = |path: &PathBuf| path.display().to_string();
        vec![
            ("log-level", log_level.clone()),
            ("log-file", log_file.as_ref().map(path)),
            ("log-file-kib", Some(log_file_kib.to_string())),
            ("config", config.as_ref().map(path)),
        ]
    }
}

/// The options of a server that parses its command line into `C`, for a file that sets some of them.
pub fn known<C: Args>() -> Vec<Known> {
    let known = |arg: &Arg| {
        Some(Known {
            long: arg.get_long()?.to_owned(),
            env: arg.get_env().and_then(|name| name.to_str()).map(str::to_owned),
            switch: !arg.get_action().takes_values(),
        })
    };
    C::augment_args(Command::new("server")).get_arguments().filter_map(known).collect()
}
