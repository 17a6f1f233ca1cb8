//! A storage server alone: `cargo run -p ss -- --name ss1 --data DIR --nm ADDR`.

use clap::Parser;
use std::process::ExitCode;

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

fn main() -> ExitCode {
    let line = Line::parse();
    let verbosity = i8::try_from(line.verbose).unwrap_or(i8::MAX).saturating_add(1);
    match net::telemetry::init(verbosity, None).and_then(|()| ss::run(line.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.code.exit_status())
        }
    }
}
