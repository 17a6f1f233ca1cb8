//! The options of `pairfs nm` and `pairfs ss`, which may come from a file too, and be read again.

use crate::cli::{Cli, Command};
use crate::complaint;
use clap::Parser;
use std::ffi::OsString;
use types::{Code, Error, Result};

/// The words of the command line, with those of a server's file behind them if it names one.
///
/// # Errors
/// As [`net::settings::with_file`].
pub fn words() -> Result<Vec<OsString>> {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Only these two have a `--config`; elsewhere the word is an argument like any other.
    match words.iter().skip(1).find_map(|word| word.to_str().filter(|word| matches!(*word, "nm" | "ss"))) {
        Some("nm") => net::settings::with_file(words, &nm::Config::known()),
        Some(_) => net::settings::with_file(words, &ss::Config::known()),
        None => Ok(words),
    }
}

fn read() -> Result<Command> {
    let cli = Cli::try_parse_from(words()?).map_err(|error| {
        Error::new(Code::Usage, complaint(&error.to_string()), "correct the file of the server's options")
    })?;
    Ok(cli.command)
}

/// The options of `pairfs nm` as they are now.
///
/// # Errors
/// `USAGE`.
pub fn nm() -> Result<nm::Config> {
    match read()? {
        Command::Nm(config) => Ok(config),
        _ => Err(Error::internal("the command line changed")),
    }
}

/// The options of `pairfs ss` as they are now.
///
/// # Errors
/// `USAGE`.
pub fn ss() -> Result<ss::Config> {
    match read()? {
        Command::Ss(config) => Ok(config),
        _ => Err(Error::internal("the command line changed")),
    }
}
