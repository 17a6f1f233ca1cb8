//! `nm`: a name manager alone. `pairfs nm` is the same.

use clap::Parser;
use std::process::ExitCode;

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

fn main() -> ExitCode {
    let options = Options::parse();
    let verbosity = 1 + i8::try_from(options.verbose).unwrap_or(i8::MAX - 1);
    let run = || -> types::Result<()> {
        net::telemetry::init(verbosity, None)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(nm::run(options.config))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.code.exit_status())
        }
    }
}
