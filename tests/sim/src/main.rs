//! `cargo run --release -p sim -- --seeds N [--steps M]`: simulates clusters and tells what may not be.

mod programs;

use clap::Parser;
use programs::{Job, Sum};
use sim::run::{Outcome, Settings, run};
use sim::scenarios;
use sim::sky::{Happened, Weather};
use std::process::ExitCode;

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
    /// Leave these faults of a seed out, by their numbers
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Leave out of each seed that fails every fault without which it fails as well
    #[arg(long)]
    shrink: bool,
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
    /// Play this script instead of drawing faults and load, or `all`; `list` names them
    #[arg(long)]
    scenario: Option<String>,
    /// Break this rule (builds with `--cfg mutation`)
    #[arg(long)]
    mutation: Option<String>,
    /// Break each rule, or those of --mutation (several, with commas), and tell what notices it, and after how many seeds
    #[arg(long)]
    mutations: bool,
    /// Simulate one seed here, and say what came of it for the program that asked
    #[arg(long, hide = true)]
    alone: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.mutations {
        return prove(&args);
    }
    if let Some(name) = &args.mutation
        && let Err(why) = break_rule(name)
    {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let names: Vec<&'static str> = match args.scenario.as_deref() {
        Some("list") => {
            scenarios::all().iter().for_each(|scenario| println!("{}", scenario.name));
            return ExitCode::SUCCESS;
        }
        Some("all") => scenarios::all().iter().map(|scenario| scenario.name).collect(),
        Some(name) => match scenarios::all().iter().find(|scenario| scenario.name == name) {
            Some(scenario) => vec![scenario.name],
            None => {
                eprintln!("there is no scenario {name}: see --scenario list");
                return ExitCode::FAILURE;
            }
        },
        None => Vec::new(),
    };
    if args.alone || (args.seeds == 1 && !args.twice && names.len() < 2) {
        return simulate(&args, names.first().copied());
    }
    let seeds = args.seed..args.seed + args.seeds;
    let jobs = seeds.flat_map(|seed| {
        let scripts: Vec<_> =
            if names.is_empty() { vec![None] } else { names.iter().copied().map(Some).collect() };
        let mutation = args.mutation.clone();
        let without = args.without.clone();
        scripts.into_iter().map(move |scenario| Job {
            seed,
            scenario,
            mutation: mutation.clone(),
            without: without.clone(),
        })
    });
    programs::run_all(&args, jobs.collect())
}

fn simulate(args: &Args, scenario: Option<&str>) -> ExitCode {
    // What panics within a host is part of the simulation, and told there.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let script = scenario.and_then(|name| scenarios::all().into_iter().find(|it| it.name == name));
    let outcome = match script {
        Some(script) => scenarios::play(script, args.seed, &args.log),
        None => {
            let mut settings = Settings::new(args.seed, args.steps);
            settings.log.clone_from(&args.log);
            settings.without = args.without.iter().copied().collect();
            settings.weather.calm = args.calm;
            run(settings)
        }
    };
    tell(args, scenario, &outcome);
    let sum = Sum::of(&outcome);
    if args.alone {
        println!("{}", sum.line());
    } else {
        println!("{} faults, {} requests, {} of them done", sum.faults, sum.asked, sum.done);
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(args: &Args, scenario: Option<&str>, outcome: &Outcome) {
    if args.timeline {
        outcome.timeline.iter().for_each(|line| println!("{line}"));
    }
    if outcome.violations.is_empty() {
        return;
    }
    println!("seed {}{}:", args.seed, scenario.map(|name| format!(" of {name}")).unwrap_or_default());
    for Happened { number, begin, end, fault } in &outcome.faults {
        println!("  #{number:<3} {begin:>7} – {end:<7} {fault}");
    }
    for violation in &outcome.violations {
        println!("  {}: {}", violation.invariant, violation.what);
    }
    let what = match scenario {
        Some(name) => format!("--scenario {name} --seed {}", args.seed),
        None => format!("--seed {} --steps {} --calm {}", args.seed, args.steps, args.calm),
    };
    let without: Vec<String> = args.without.iter().map(usize::to_string).collect();
    let what = if without.is_empty() { what } else { format!("{what} --without {}", without.join(",")) };
    let mutation = args.mutation.as_ref().map(|name| format!(" --mutation {name}")).unwrap_or_default();
    println!(
        "  again, with what happened: cargo run --release -p sim -- {what}{mutation} --timeline --log info"
    );
}

#[cfg(not(mutation))]
const NO_MUTATIONS: &str = "this build has no mutations: build it with RUSTFLAGS=\"--cfg mutation\"";

#[cfg(not(mutation))]
fn break_rule(_: &str) -> Result<(), String> {
    Err(NO_MUTATIONS.to_owned())
}

#[cfg(not(mutation))]
fn prove(_: &Args) -> ExitCode {
    eprintln!("{NO_MUTATIONS}");
    ExitCode::FAILURE
}

#[cfg(mutation)]
fn break_rule(name: &str) -> Result<(), String> {
    let mutation = sim::mutations::find(name).ok_or_else(|| format!("there is no mutation {name}"))?;
    types::mutation::set(mutation);
    Ok(())
}

/// Breaks each rule and prints a table: which scenario of the rule notices, and which seed, by which invariant.
#[cfg(mutation)]
fn prove(args: &Args) -> ExitCode {
    let wanted: Option<Vec<&str>> = args.mutation.as_deref().map(|names| names.split(',').collect());
    let mut missed = 0;
    println!("| mutation | of | noticed by the scenario | by random seeds |");
    println!("|---|---|---|---|");
    for (mutation, rule) in sim::mutations::ALL {
        let name = format!("{mutation:?}");
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&name.as_str())) {
            continue;
        }
        let script = programs::first_script(args, &name, rule);
        let seed = programs::first_seed(args, &name);
        missed += u32::from(script.is_none() && seed.is_none());
        let seed = seed.unwrap_or_else(|| format!("not by {}", args.seeds));
        println!("| `{name}` | {rule} | {} | {seed} |", script.unwrap_or_else(|| "–".to_owned()));
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
