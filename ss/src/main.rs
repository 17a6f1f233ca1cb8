//! A storage server alone: `cargo run -p ss -- --name ss1 --data DIR --nm ADDR`.

use clap::Parser;
use std::process::ExitCode;
use types::{Code, Error, Result};

/// A storage server of PairFS
#[derive(Parser)]
#[command(name = "ss", version)]
struct Line {
    #[command(flatten)]
    config: ss::Config,
    /// Say more; twice: still more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn read() -> Result<std::result::Result<Line, clap::Error>> {
    let words = net::settings::with_file(std::env::args_os().collect(), &ss::Config::known())?;
    Ok(Line::try_parse_from(words))
}

fn reread() -> Result<ss::Config> {
    let line = read()?.map_err(|error| Error::new(Code::Usage, error, "correct the file"))?;
    Ok(line.config)
}

fn main() -> ExitCode {
    let run = || -> Result<()> {
        let line = read()?.unwrap_or_else(|error| error.exit());
        line.config.start_log(i8::try_from(line.verbose).unwrap_or(i8::MAX))?;
        ss::run(line.config, Box::new(reread))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.code.exit_status())
        }
    }
}
