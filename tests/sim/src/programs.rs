//! Each simulation in a program of its own: what a library counts for its whole process begins anew there, and a run is
//! the same as the run before.

use crate::Args;
use sim::run::Outcome;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What a program that simulated one seed says in its last line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Faults that happened.
    pub faults: u64,
    /// Requests.
    pub asked: u64,
    /// Those of them that were done.
    pub done: u64,
    /// What may not be.
    pub violations: u64,
    /// Differs between two runs that were not the same.
    pub print: u64,
    /// The first invariant that does not hold.
    pub first: String,
}

impl Sum {
    /// Of what came of a simulation.
    pub fn of(outcome: &Outcome) -> Sum {
        let (trace, history) = outcome.print;
        Sum {
            faults: outcome.faults.len() as u64,
            asked: outcome.requests.0 as u64,
            done: outcome.requests.1 as u64,
            violations: outcome.violations.len() as u64,
            print: trace ^ history.rotate_left(32),
            first: outcome.violations.first().map_or("", |violation| violation.invariant).to_owned(),
        }
    }

    /// For the program that asked.
    pub fn line(&self) -> String {
        let Sum { faults, asked, done, violations, print, first } = self;
        format!("sum {faults} {asked} {done} {violations} {print} {first}")
    }

    fn parse(line: &str) -> Option<Sum> {
        let words: Vec<&str> = line.strip_prefix("sum ")?.splitn(6, ' ').collect();
        let [faults, asked, done, violations, print, first] = words[..] else { return None };
        let number = |word: &str| word.parse().ok();
        Some(Sum {
            faults: number(faults)?,
            asked: number(asked)?,
            done: number(done)?,
            violations: number(violations)?,
            print: number(print)?,
            first: first.to_owned(),
        })
    }
}

/// One simulation.
#[derive(Clone)]
pub struct Job {
    /// What everything is drawn from.
    pub seed: u64,
    /// A script, instead of load and faults from the seed.
    pub scenario: Option<&'static str>,
    /// The rule that is broken.
    pub mutation: Option<String>,
    /// Faults that are left out.
    pub without: Vec<usize>,
}

impl Job {
    /// Simulates it; what was told, and the sum.
    fn run(&self, args: &Args) -> Option<(String, Sum)> {
        let mut command = Command::new(std::env::current_exe().ok()?);
        command.args(["--alone", "--seed", &self.seed.to_string(), "--steps", &args.steps.to_string()]);
        command.args(["--calm", &args.calm.to_string(), "--log", &args.log]);
        command.args(self.without.iter().flat_map(|number| ["--without".to_owned(), number.to_string()]));
        command.args(args.timeline.then_some("--timeline"));
        command.args(self.scenario.iter().flat_map(|name| ["--scenario", name]));
        command.args(self.mutation.iter().flat_map(|name| ["--mutation", name]));
        let output = command.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (told, last) =
            text.trim_end_matches('\n').rsplit_once('\n').unwrap_or(("", text.trim_end_matches('\n')));
        let told = if told.is_empty() { String::new() } else { format!("{told}\n") };
        Some((told, Sum::parse(last)?))
    }

    /// What is told of it without each fault that it fails without as well, by the same invariant.
    fn shrunk(&self, args: &Args, told: &str, sum: &Sum) -> Option<String> {
        let number = |line: &str| line.trim_start().strip_prefix('#')?.split(' ').next()?.parse().ok();
        let numbers: Vec<usize> = told.lines().filter_map(number).collect();
        let (mut job, mut last) = (self.clone(), None);
        for number in numbers {
            let mut less = job.clone();
            less.without.push(number);
            if let Some((told, again)) = less.run(args)
                && again.violations > 0
                && again.first == sum.first
            {
                (job, last) = (less, Some(told));
            }
        }
        last
    }

    /// Simulates it and tells what is wrong; whether all was well.
    fn check(&self, args: &Args, all: &Mutex<Sum>) -> bool {
        let name =
            format!("seed {}{}", self.seed, self.scenario.map(|it| format!(" of {it}")).unwrap_or_default());
        let Some((told, sum)) = self.run(args) else {
            println!("{name}: the simulation itself has failed");
            return false;
        };
        if args.shrink && sum.violations > 0 && self.scenario.is_none() {
            print!("{}", self.shrunk(args, &told, &sum).unwrap_or_else(|| told.clone()));
        } else {
            print!("{told}");
        }
        if let Ok(mut all) = all.lock() {
            all.faults += sum.faults;
            all.asked += sum.asked;
            all.done += sum.done;
        }
        let is_same = !args.twice || self.run(args).is_some_and(|(_, again)| again == sum);
        if !is_same {
            println!("{name}: two runs differ");
        }
        is_same && sum.violations == 0
    }
}

/// How many at the same time.
fn width(args: &Args) -> usize {
    args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Simulates all of them and tells what is wrong.
pub fn run_all(args: &Args, jobs: Vec<Job>) -> ExitCode {
    let begin = Instant::now();
    let (next, failed) = (AtomicUsize::new(0), AtomicU64::new(0));
    let all = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..width(args) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !job.check(args, &all) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (failed, all) = (failed.into_inner(), all.into_inner().unwrap_or_default());
    let what = match args.scenario {
        Some(_) => format!("{} scenarios", jobs.len()),
        None => format!("{} seeds of {} ms", args.seeds, args.steps),
    };
    println!(
        "{what}, {} faults, {} requests, {} of them done: {failed} failed ({:.0} s)",
        all.faults,
        all.asked,
        all.done,
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first scenario of `rule` that notices that it is broken, and the invariant by which.
#[cfg(mutation)]
pub fn first_script(args: &Args, mutation: &str, rule: &str) -> Option<String> {
    let (kind, number) = rule.split_at(1);
    let width = if kind == "R" { 2 } else { 1 };
    let prefix = format!("{}{number:0>width$}_", kind.to_lowercase());
    let scripts = sim::scenarios::all().into_iter().filter(|script| script.name.starts_with(&prefix));
    let mut jobs = scripts.map(|script| Job {
        seed: args.seed,
        scenario: Some(script.name),
        mutation: Some(mutation.into()),
        without: Vec::new(),
    });
    jobs.find_map(|job| {
        let sum = job.run(args).map(|(_, sum)| sum);
        let by = match &sum {
            Some(sum) if sum.violations == 0 => return None,
            Some(sum) => sum.first.clone(),
            None => "the simulation fails".to_owned(),
        };
        let name = job.scenario.unwrap_or_default();
        Some(if by == name { name.to_owned() } else { format!("{name}, {by}") })
    })
}

/// After how many random seeds it is noticed, and by which invariant.
#[cfg(mutation)]
pub fn first_seed(args: &Args, mutation: &str) -> Option<String> {
    let (next, found) = (AtomicU64::new(args.seed), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..width(args) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let done = found.lock().is_ok_and(|found| found.is_some());
                    if done || seed >= args.seed + args.seeds {
                        return;
                    }
                    let job =
                        Job { seed, scenario: None, mutation: Some(mutation.into()), without: Vec::new() };
                    let by = match job.run(args) {
                        Some((_, sum)) if sum.violations == 0 => continue,
                        Some((_, sum)) => sum.first,
                        None => "the simulation fails".to_owned(),
                    };
                    if let Ok(mut found) = found.lock()
                        && found.as_ref().is_none_or(|(first, _)| seed < *first)
                    {
                        *found = Some((seed, by));
                    }
                }
            });
        }
    });
    let (seed, by) = found.into_inner().ok()??;
    Some(format!("{} ({by})", seed + 1 - args.seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_program_says_the_other_understands() {
        let first = "I2 nothing is lost".to_owned();
        let sum = Sum { faults: 1, asked: 2, done: 3, violations: 4, print: u64::MAX, first };
        assert_eq!(Sum::parse(&sum.line()), Some(sum));
        let none = Sum::default();
        assert_eq!(Sum::parse(&none.line()), Some(none));
        assert_eq!(Sum::parse("sum 1 2 3"), None);
        assert_eq!(Sum::parse("seed 1: wrong"), None);
    }
}
