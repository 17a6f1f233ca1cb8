//! One seed: a cluster, clients, faults, rest, judgement.

use crate::cluster::{BACKUP, CLIENTS, Cluster, NM, SS1};
use crate::judge::judge;
use crate::load::{self, Came, History, Plan};
use crate::network::Tick;
use crate::observer::Observer;
use crate::oracle::Violation;
use crate::sky::{Happened, Sky, Weather};
use crate::tape;
use crate::timeline::Timeline;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use types::Result;

/// Clients that ask.
const ASKING: usize = 2;
/// How long requests may take to end once nothing fails any more, ms.
const REST: Tick = 120_000;
/// Of one in so many seeds the name manager is made anew in the end.
const REBUILT: u64 = 4;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What everything is drawn from.
    pub seed: u64,
    /// How long clients ask while faults happen, ms.
    pub steps: Tick,
    /// How often what fails.
    pub weather: Weather,
    /// What of the servers' logs goes into the timeline.
    pub log: String,
    /// Faults that do not happen, by their numbers: for finding out which of them matter.
    pub without: BTreeSet<usize>,
}

impl Settings {
    /// The usual.
    pub fn new(seed: u64, steps: Tick) -> Settings {
        Settings {
            seed,
            steps,
            weather: Weather::default(),
            log: "warn".to_owned(),
            without: BTreeSet::new(),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What may not be.
    pub violations: Vec<Violation>,
    /// Differs between two runs that were not the same.
    pub print: (u64, u64),
    /// Requests, and those of them that were done.
    pub requests: (usize, usize),
    /// Faults, and when.
    pub faults: Vec<Happened>,
    /// What happened, for people.
    pub timeline: Vec<String>,
}

/// Simulates, on a thread of its own.
///
/// # Panics
/// When the system has no thread.
pub fn run(settings: Settings) -> Outcome {
    let (seed, log) = (settings.seed, settings.log.clone());
    on_tape(seed, log, move |timeline, outcome| play(&settings, timeline, outcome))
}

/// Simulates what `play` says, on a thread of its own whose time and randomness are simulated.
///
/// # Panics
/// When the system has no thread.
pub fn on_tape(
    seed: u64,
    log: String,
    play: impl FnOnce(&Timeline, &mut Outcome) -> Result<()> + Send + 'static,
) -> Outcome {
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(16 << 20);
    let simulated = thread.spawn(move || {
        tape::play(seed);
        let outcome = simulate(&log, play);
        tape::stop();
        outcome
    });
    match simulated.map(std::thread::JoinHandle::join) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => panic!("the simulation of a seed panicked outside of its hosts"),
        Err(error) => panic!("no thread for a simulation: {error}"),
    }
}

fn simulate(log: &str, play: impl FnOnce(&Timeline, &mut Outcome) -> Result<()>) -> Outcome {
    let timeline = Timeline::begin(log);
    let mut outcome = Outcome::default();
    let found = catch_unwind(AssertUnwindSafe(|| play(&timeline, &mut outcome)));
    let trouble = match found {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{} ({})", error.message, error.code.name())),
        Err(panic) => Some(format!("panic: {}", words(&*panic))),
    };
    outcome.violations.extend(trouble.map(|what| Violation { invariant: "the simulation goes on", what }));
    outcome.timeline = timeline.last(usize::MAX);
    timeline.end();
    outcome
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "without words",
    }
}

fn play(settings: &Settings, timeline: &Timeline, outcome: &mut Outcome) -> Result<()> {
    let mut random = Rng::with_seed(settings.seed);
    let mut cluster = Cluster::new(random.u64(..), ASKING + 1, timeline.clone())?;
    for host in [NM, SS1, BACKUP] {
        cluster.start(host);
        cluster.pass(random.u64(0..50));
    }
    cluster.pass(1000);
    let (history, stop) = (History::default(), Arc::new(AtomicBool::new(false)));
    history.set_repeats();
    for number in 0..ASKING {
        let timeout = Duration::from_millis(random.u64(3000..30_000));
        let plan = Plan { workers: 2, pause: 1 << random.u64(0..9), timeout };
        let client = cluster.client(timeout);
        let asking = load::run(client, number, plan, random.fork(), history.clone(), stop.clone());
        cluster.hosts[CLIENTS + number].start(asking);
    }
    let observer = Observer::begin(&mut cluster);
    // They connect before anything fails.
    cluster.pass(100);
    let (weather, without, now) = (settings.weather.clone(), settings.without.clone(), cluster.now());
    let mut sky = Sky::new(weather, without, random.fork(), observer, history.clone(), now);
    sky.set_clocks(&mut cluster);
    let end = cluster.now() + settings.steps;
    while cluster.now() < end {
        sky.look(&mut cluster);
        cluster.tick();
    }
    sky.clear(&mut cluster);
    stop.store(true, Ordering::Relaxed);
    let asked = |cluster: &mut Cluster| {
        (CLIENTS..CLIENTS + ASKING)
            .all(|host| cluster.hosts[host].condition() == crate::host::Condition::Down)
    };
    if !cluster.wait(REST, asked) {
        let what = "a request has not ended although nothing fails any more".to_owned();
        outcome.violations.push(Violation { invariant: "every request ends", what });
    }
    cluster.hosts[CLIENTS + ASKING].kill();
    // A rebuild takes a while: of some seeds only.
    let rebuild = settings.seed.is_multiple_of(REBUILT);
    outcome.violations.extend(judge(&mut cluster, &history, rebuild));
    outcome.faults = sky.happened;
    outcome.print = (cluster.network.trace(), history.print());
    let requests = history.requests();
    let done = |came: &Came| !matches!(came, Came::Nothing(_) | Came::Unknown(_));
    let done = requests.iter().filter(|request| request.ended.as_ref().is_some_and(|(_, came)| done(came)));
    outcome.requests = (requests.len(), done.count());
    Ok(())
}
