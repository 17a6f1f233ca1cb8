//! `cargo run --release -p sim -- --seeds N [--steps M]`: simulates clusters and tells what may not be.

use clap::Parser;
use sim::faults::Weather;
use sim::run::{Outcome, Settings, run};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Simulates a cluster under faults, all drawn from a seed, and checks what its clients were answered.
#[derive(Parser)]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long clients ask under faults, in milliseconds of the simulated time
    #[arg(long, default_value_t = 20_000)]
    steps: u64,
    /// Only the first faults of a seed happen
    #[arg(long)]
    faults: Option<usize>,
    /// What of the servers' logs is shown: error, warn, info, debug, or module=level pairs
    #[arg(long, default_value = "warn")]
    log: String,
    /// Show what happened, also when nothing is wrong
    #[arg(long)]
    timeline: bool,
    /// Simulate each seed twice and compare
    #[arg(long)]
    twice: bool,
    /// Simulations at the same time [default: one for each processor]
    #[arg(long)]
    jobs: Option<usize>,
    /// The most time between two faults, ms
    #[arg(long, default_value_t = Weather::default().calm)]
    calm: u64,
    /// Simulate one seed here, and say what came of it for the program that asked
    #[arg(long, hide = true)]
    alone: bool,
}

/// What a program that simulated one seed says in its last line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    faults: u64,
    asked: u64,
    done: u64,
    violations: u64,
    /// Differs between two runs that were not the same.
    print: u64,
}

impl Sum {
    fn of(outcome: &Outcome) -> Sum {
        let (trace, history) = outcome.print;
        Sum {
            faults: outcome.faults.len() as u64,
            asked: outcome.requests.0 as u64,
            done: outcome.requests.1 as u64,
            violations: outcome.violations.len() as u64,
            print: trace ^ history.rotate_left(32),
        }
    }

    fn line(&self) -> String {
        let Sum { faults, asked, done, violations, print } = self;
        format!("sum {faults} {asked} {done} {violations} {print}")
    }

    fn parse(line: &str) -> Option<Sum> {
        let numbers: Option<Vec<u64>> =
            line.strip_prefix("sum ")?.split(' ').map(|word| word.parse().ok()).collect();
        let [faults, asked, done, violations, print] = numbers?[..] else { return None };
        Some(Sum { faults, asked, done, violations, print })
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.alone || (args.seeds == 1 && !args.twice) {
        return simulate(&args);
    }
    let begin = Instant::now();
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, failed) = (AtomicU64::new(args.seed), AtomicU64::new(0));
    let all = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seed + args.seeds {
                        return;
                    }
                    if !check(&args, seed, &all) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (failed, all) = (failed.into_inner(), all.into_inner().unwrap_or_default());
    println!(
        "{} seeds of {} ms, {} faults, {} requests, {} of them done: {failed} seeds failed ({:.0} s)",
        args.seeds,
        args.steps,
        all.faults,
        all.asked,
        all.done,
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulates a seed in a program of its own: what a library counts for its whole process begins anew there, and a run is
/// the same as the run before. Whether all was well.
fn check(args: &Args, seed: u64, all: &Mutex<Sum>) -> bool {
    let Some((told, sum)) = alone(args, seed) else {
        println!("seed {seed}: the simulation itself has failed");
        return false;
    };
    print!("{told}");
    if let Ok(mut all) = all.lock() {
        all.faults += sum.faults;
        all.asked += sum.asked;
        all.done += sum.done;
    }
    let is_same = !args.twice || alone(args, seed).is_some_and(|(_, again)| again == sum);
    if !is_same {
        println!("seed {seed}: two runs differ");
    }
    is_same && sum.violations == 0
}

fn alone(args: &Args, seed: u64) -> Option<(String, Sum)> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["--alone", "--seed", &seed.to_string(), "--steps", &args.steps.to_string()]);
    command.args(["--calm", &args.calm.to_string(), "--log", &args.log]);
    command.args(args.faults.iter().flat_map(|faults| ["--faults".to_owned(), faults.to_string()]));
    command.args(args.timeline.then_some("--timeline"));
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (told, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    let told = if told.is_empty() { String::new() } else { format!("{told}\n") };
    Some((told, Sum::parse(last)?))
}

fn simulate(args: &Args) -> ExitCode {
    // What panics within a host is part of the simulation, and told there.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let mut settings = Settings::new(args.seed, args.steps);
    settings.log.clone_from(&args.log);
    settings.faults = args.faults;
    settings.weather.calm = args.calm;
    let outcome = run(settings);
    tell(args, &outcome);
    let sum = Sum::of(&outcome);
    if args.alone {
        println!("{}", sum.line());
    } else {
        println!("{} faults, {} requests, {} of them done", sum.faults, sum.asked, sum.done);
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(args: &Args, outcome: &Outcome) {
    if args.timeline {
        outcome.timeline.iter().for_each(|line| println!("{line}"));
    }
    if outcome.violations.is_empty() {
        return;
    }
    println!("seed {}:", args.seed);
    for (begin, end, fault) in &outcome.faults {
        println!("  {begin:>7} – {end:<7} {fault}");
    }
    for violation in &outcome.violations {
        println!("  {}: {}", violation.invariant, violation.what);
    }
    println!(
        "  again, with what happened: cargo run --release -p sim -- --seed {} --steps {} --calm {} --timeline --log info",
        args.seed, args.steps, args.calm
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_program_says_the_other_understands() {
        let sum = Sum { faults: 1, asked: 2, done: 3, violations: 4, print: u64::MAX };
        assert_eq!(Sum::parse(&sum.line()), Some(sum));
        assert_eq!(Sum::parse("sum 1 2 3"), None);
        assert_eq!(Sum::parse("seed 1: wrong"), None);
    }
}
