//! The pairfs program: one command line for everything.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod cli;
mod commands;
mod local;
mod options;
mod output;
mod servers;
mod signals;

use clap::Parser;
use clap::error::ErrorKind;
use cli::{Cli, Command};
use commands::{
    Context, aside, config, content, copy, df, doctor, durability, entries, env, events, find, fsck, listing,
    pair, scrub, status, transfer,
};
use local::Narrator;
use output::Printer;
use signals::Signals;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use types::{Code, Error, Result};

/// How long a command may take to hear that it is to end: it may be blocked by its output.
const HEAR_MAX: Duration = Duration::from_secs(1);
/// How long tasks may take to end when their command has.
const TIDY_UP: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let words = match servers::words() {
        Ok(words) => words,
        Err(error) => {
            output::error(&error, std::env::args_os().any(|word| word == "--json"));
            return ExitCode::from(error.code.exit_status());
        }
    };
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.global.json;
    match run(cli) {
        Ok(status) => status,
        Err(error) => {
            output::error(&error, json);
            ExitCode::from(error.code.exit_status())
        }
    }
}

/// Help and version go out as they are; what is wrong with the words becomes one line like any error.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::args_os().any(|word| word == "--json");
    let explained = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if asked || (explained && !json) {
        return match error.print() {
            // A closed pipe is no reason to complain.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                output::error(&output::unwritable(&error), json);
                ExitCode::from(Code::Io.exit_status())
            }
            _ => ExitCode::from(if asked { 0 } else { Code::Usage.exit_status() }),
        };
    }
    if explained {
        output::error(&Error::new(Code::Usage, "a command is missing", "see --help"), json);
        return ExitCode::from(Code::Usage.exit_status());
    }
    output::error(&Error::new(Code::Usage, complaint(&error.to_string()), "see --help"), json);
    ExitCode::from(Code::Usage.exit_status())
}

/// What clap complains about, without the usage that follows it.
fn complaint(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or_default();
    let words = first.trim_start_matches("error: ").split_whitespace();
    // What is wrong with a value has a code of its own, of which the first is enough.
    let words: Vec<&str> =
        words.filter(|word| !(word.starts_with("error[") && word.ends_with("]:"))).collect();
    words.join(" ").trim_end_matches(['.', ':']).to_owned()
}

fn run(cli: Cli) -> Result<ExitCode> {
    let Cli { global, command } = cli;
    let talk = i8::try_from(global.verbose).unwrap_or(i8::MAX);
    // Servers tell what they do; commands say it by their result.
    match &command {
        Command::Nm(config) => config.start_log(if global.quiet { -2 } else { talk })?,
        Command::Ss(config) => config.start_log(if global.quiet { -2 } else { talk })?,
        _ => net::telemetry::init(if global.quiet { -1 } else { talk - 1 })?,
    }
    if matches!(command, Command::Nm(_) | Command::Ss(_)) {
        local::process::tie_to_parent()?;
    }
    let narrator = Narrator::new(global.quiet, global.json);
    let (json, out) = (global.json, Printer::new(global.json, global.quiet, global.verbose));
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    let context = Context { global, out };
    match command {
        Command::Up(args) => {
            let (dir, timeout) = (context.global.folder()?, context.global.start_timeout()?);
            done(runtime()?.block_on(local::up(&dir, &args, timeout, narrator)))
        }
        Command::Down => done(local::down(&context.global.folder()?, narrator)),
        Command::Node(args) => {
            let (dir, timeout) = (context.global.folder()?, context.global.start_timeout()?);
            done(local::node(&dir, &args, timeout, narrator))
        }
        Command::Demo => done(runtime()?.block_on(local::demo(narrator))),
        Command::Bench(args) => {
            let place = context.global.dir.as_deref();
            done(runtime()?.block_on(local::bench(place, &args, json, narrator)))
        }
        Command::Nm(config) => done(runtime()?.block_on(nm::run(config, Box::new(servers::nm)))),
        Command::Ss(config) => done(ss::run(config, Box::new(servers::ss))),
        Command::Digest(args) => done(content::digest(&context, &args)),
        Command::Env => done(env::env(&context)),
        command => until_interrupted(client_command(&context, command)),
    }
}

/// A command that asks a cluster.
async fn client_command(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::Create(args) => entries::create(context, &args).await,
        Command::Write(args) => content::write(context, &args).await,
        Command::Read(args) => content::read(context, &args).await,
        Command::Stream(args) => content::stream(context, &args).await,
        Command::Put(args) => transfer::put(context, &args).await,
        Command::Get(args) => transfer::get(context, &args).await,
        Command::Ls(args) => listing::ls(context, &args).await,
        Command::Info(args) => listing::info(context, &args).await,
        Command::Find(args) => find::find(context, &args).await,
        Command::Cp(args) => copy::cp(context, &args).await,
        Command::Df => df::df(context).await,
        Command::Durability(args) => durability::durability(context, &args).await,
        Command::Config(args) => config::config(context, &args).await,
        Command::Doctor => doctor::doctor(context).await,
        Command::Mkdir(args) => entries::mkdir(context, &args).await,
        Command::Mv(args) => entries::mv(context, &args).await,
        Command::Rm(args) => entries::rm(context, &args).await,
        Command::Status(args) => status::status(context, &args).await,
        Command::Events(args) => events::events(context, &args).await,
        Command::Pair(args) => pair::pair(context, &args).await,
        Command::Fsck(args) => fsck::fsck(context, &args).await,
        Command::Scrub(args) => scrub::scrub(context, &args).await,
        Command::Aside(args) => aside::aside(context, &args).await,
        _ => Err(Error::internal("a command that nobody runs")),
    }
}

fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().map_err(Error::from)
}

/// Runs `command` to its end or to a signal such as that of Ctrl-C.
fn until_interrupted(command: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    let runtime = runtime()?;
    let entered = runtime.enter();
    let mut signals = Signals::listen()?;
    drop(entered);
    let (tell, told) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        let status = signals.any().await;
        let _ = tell.send(status);
        tokio::time::sleep(HEAR_MAX).await;
        std::process::exit(i32::from(status));
    });
    let ended = runtime.block_on(async {
        tokio::select! {
            result = command => result.map(|()| ExitCode::SUCCESS),
            Ok(status) = told => Ok(ExitCode::from(status)),
        }
    });
    // What is half done locally is tidied up; a read of the terminal cannot be called off.
    runtime.shutdown_timeout(TIDY_UP);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_usage_is_one_line() {
        for words in [vec!["pairfs", "read"], vec!["pairfs", "ls", "--limit", "x"], vec!["pairfs", "lss"]] {
            let error = Cli::try_parse_from(words).unwrap_err();
            let line = complaint(&error.to_string());
            assert!(!line.is_empty() && !line.contains('\n') && !line.contains("Usage"), "{line}");
        }
    }
}
