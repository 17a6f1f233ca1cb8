//! `nm`: a name manager alone. `pairfs nm` is the same.

use clap::Parser;
use std::process::ExitCode;
use types::{Code, Error, Result};

/// Runs a name manager of PairFS.
#[derive(Parser)]
#[command(name = "nm", version)]
struct Options {
    #[command(flatten)]
    config: nm::Config,
    /// Say more (twice: much more)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn read() -> Result<std::result::Result<Options, clap::Error>> {
    let words = net::settings::with_file(std::env::args_os().collect(), &nm::Config::known())?;
    Ok(Options::try_parse_from(words))
}

fn reread() -> Result<nm::Config> {
    let options = read()?.map_err(|error| Error::new(Code::Usage, error, "correct the file"))?;
    Ok(options.config)
}

fn main() -> ExitCode {
    let run = || -> Result<()> {
        let options = read()?.unwrap_or_else(|error| error.exit());
        options.config.start_log(i8::try_from(options.verbose).unwrap_or(i8::MAX))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(nm::run(options.config, Box::new(reread)))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.code.exit_status())
        }
    }
}
