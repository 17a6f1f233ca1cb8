//! `cargo run --release -p sim -- --seeds N [--steps M]`: simulates clusters and tells what may not be.

use clap::Parser;
use sim::faults::Weather;
use sim::run::{Outcome, Settings, run};
use std::process::ExitCode;
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
    /// Show the timeline also when nothing is wrong
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
}

impl Args {
    fn settings(&self, seed: u64) -> Settings {
        let mut settings = Settings::new(seed, self.steps);
        settings.log.clone_from(&self.log);
        settings.faults = self.faults;
        settings.weather.calm = self.calm;
        settings
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // What panics within a host is part of the simulation, and told there.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let begin = Instant::now();
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, failed) = (AtomicU64::new(args.seed), AtomicU64::new(0));
    let (asked, done, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seed + args.seeds {
                        return;
                    }
                    let outcome = run(args.settings(seed));
                    asked.fetch_add(outcome.requests.0 as u64, Ordering::Relaxed);
                    done.fetch_add(outcome.requests.1 as u64, Ordering::Relaxed);
                    faults.fetch_add(outcome.faults.len() as u64, Ordering::Relaxed);
                    if args.twice && run(args.settings(seed)).print != outcome.print {
                        println!("seed {seed}: two runs differ");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    if !outcome.violations.is_empty() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tell(&args, seed, &outcome);
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!(
        "{} seeds of {} ms, {} faults, {} requests, {} of them done: {failed} seeds failed ({:.0} s)",
        args.seeds,
        args.steps,
        faults.into_inner(),
        asked.into_inner(),
        done.into_inner(),
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(args: &Args, seed: u64, outcome: &Outcome) {
    if args.timeline {
        outcome.timeline.iter().for_each(|line| println!("{line}"));
    }
    if outcome.violations.is_empty() {
        return;
    }
    println!("seed {seed}:");
    for (begin, end, fault) in &outcome.faults {
        println!("  {begin:>7} – {end:<7} {fault}");
    }
    for violation in &outcome.violations {
        println!("  {}: {}", violation.invariant, violation.what);
    }
    println!(
        "  again, with what happened: cargo run --release -p sim -- --seed {seed} --steps {} --timeline --log info",
        args.steps
    );
}
