//! One seed: a cluster, clients, faults, rest, judgement.

use crate::cluster::{BACKUP, CLIENTS, Cluster, NM, SS1};
use crate::faults::{Fault, Sky, Weather};
use crate::load::{self, Came, History, Plan};
use crate::network::Tick;
use crate::oracle::i2_nothing_acknowledged_is_lost::{Final, own_files, shared_files};
use crate::oracle::i4_deletes_stay_deleted::removed_files;
use crate::oracle::{Violation, i5_convergence};
use crate::tape;
use crate::timeline::Timeline;
use client::fsck::{FsckOptions, Report};
use client::{Client, ReadOptions};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use types::message::manager::StatusReply;
use types::record::mark;
use types::{Code, Error, Result};

/// Clients that ask.
const ASKING: usize = 2;
/// How long a cluster in which nothing fails may take to come to rest, ms.
const REST: Tick = 120_000;

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
    /// Only the first faults happen; none: all that are drawn. For finding out which of them matter.
    pub faults: Option<usize>,
}

impl Settings {
    /// The usual.
    pub fn new(seed: u64, steps: Tick) -> Settings {
        Settings { seed, steps, weather: Weather::default(), log: "warn".to_owned(), faults: None }
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
    pub faults: Vec<(Tick, Tick, Fault)>,
    /// What happened, for people.
    pub timeline: Vec<String>,
}

/// Simulates, on a thread of its own.
///
/// # Panics
/// When the system has no thread.
pub fn run(settings: Settings) -> Outcome {
    let thread = std::thread::Builder::new().name(format!("seed-{}", settings.seed)).stack_size(16 << 20);
    let simulated = thread.spawn(move || {
        tape::play(settings.seed);
        let outcome = simulate(&settings);
        tape::stop();
        outcome
    });
    match simulated.map(std::thread::JoinHandle::join) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => panic!("the simulation of a seed panicked outside of its hosts"),
        Err(error) => panic!("no thread for a simulation: {error}"),
    }
}

fn simulate(settings: &Settings) -> Outcome {
    let timeline = Timeline::begin(&settings.log);
    let mut outcome = Outcome::default();
    let found = catch_unwind(AssertUnwindSafe(|| play(settings, &timeline, &mut outcome)));
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
    for number in 0..ASKING {
        let timeout = Duration::from_millis(random.u64(2000..20_000));
        let plan = Plan { workers: 2, pause: 1 << random.u64(0..9), timeout };
        let client = cluster.client(Duration::from_secs(60));
        let asking = load::run(client, number, plan, random.fork(), history.clone(), stop.clone());
        cluster.hosts[CLIENTS + number].start(asking);
    }
    let mut sky = Sky::new(settings.weather.clone(), random.fork(), cluster.now());
    sky.set_clocks(&mut cluster);
    let end = cluster.now() + settings.steps;
    while cluster.now() < end {
        if settings.faults.is_none_or(|most| sky.happened.len() < most) {
            sky.look(&mut cluster);
        }
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
    judge(&mut cluster, &history, outcome);
    let ended = cluster.ended.drain(..).map(|what| Violation { invariant: "no server ends by itself", what });
    outcome.violations.extend(ended);
    outcome.faults = sky.happened;
    outcome.print = (cluster.network.trace(), history.print());
    let requests = history.requests();
    let done = |came: &Came| !matches!(came, Came::Nothing(_) | Came::Unknown(_));
    let done = requests.iter().filter(|request| request.ended.as_ref().is_some_and(|(_, came)| done(came)));
    outcome.requests = (requests.len(), done.count());
    Ok(())
}

/// What the one who looks in the end found.
#[derive(Default)]
struct Seen {
    status: Option<StatusReply>,
    settled: bool,
    report: Option<Report>,
    there: BTreeSet<String>,
    finals: BTreeMap<String, Final>,
    trouble: Option<String>,
    done: bool,
}

fn judge(cluster: &mut Cluster, history: &History, outcome: &mut Outcome) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (client, theirs, noted) = (cluster.client(Duration::from_secs(60)), history.clone(), seen.clone());
    cluster.hosts[CLIENTS + ASKING].start(async move {
        let looked = async {
            let client = client.await?;
            look(&client, &theirs, &noted).await
        };
        let looked = looked.await;
        let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
        seen.done = true;
        seen.trouble = looked.err().map(|error| format!("{} ({})", error.message, error.code.name()));
        Ok(())
    });
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let has_looked = cluster.wait(2 * REST, |_| lock().done);
    let seen = lock();
    let mut found: Vec<Violation> = Vec::new();
    if !seen.settled {
        found.push(i5_convergence::unsettled(seen.status.as_ref()));
    }
    if let Some(what) = seen.trouble.clone().or((!has_looked).then(|| "it does not end".to_owned())) {
        found.push(Violation { invariant: "the end can be looked at", what });
    }
    let requests = history.requests();
    let wrongs = history.wrongs().into_iter();
    found.extend(wrongs.map(|what| Violation { invariant: "no client sees an error", what }));
    found.extend(seen.report.iter().flat_map(i5_convergence::copies));
    found.extend(shared_files(&requests));
    if seen.trouble.is_none() && has_looked {
        found.extend(own_files(&requests, &seen.finals));
        found.extend(removed_files(&requests, |path| seen.there.contains(path)));
    }
    outcome.violations.extend(found);
}

async fn look(client: &Client, history: &History, seen: &Mutex<Seen>) -> Result<()> {
    let note = |note: &dyn Fn(&mut Seen)| note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    let mut settled = false;
    for _ in 0..REST / 200 {
        let status = client.status().await?;
        settled = i5_convergence::is_settled(&status);
        note(&|seen| (seen.status, seen.settled) = (Some(status.clone()), settled));
        if settled {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let report = client.fsck(&FsckOptions { verify: settled }).await?;
    note(&|seen| seen.report = Some(report.clone()));
    let paths: BTreeSet<String> = history.requests().into_iter().map(|request| request.path).collect();
    for path in paths {
        let there = match client.entry(&path).await {
            Ok(entry) => entry,
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => return Err(error),
        };
        load::read(client, usize::MAX, &path, history).await;
        let Some(record) = there else { continue };
        let mut end = Final::default();
        for version in &record.versions {
            if version.marks & (mark::OWED | mark::LOST) == 0 {
                let options = ReadOptions { version: Some(version.version()), ..ReadOptions::default() };
                let mut reader = client.read(&path, &options).await?;
                let bytes = reader.to_end(1 << 20).await?;
                let value = load::value_of(&bytes).ok_or_else(|| {
                    let what =
                        format_args!("{path} has a version of {} bytes that nobody wrote", bytes.len());
                    Error::new(Code::Damaged, what, "")
                })?;
                end.versions.insert(version.version(), value);
            }
        }
        end.head = Some(types::ids::VersionNumber { epoch: record.head_epoch, number: record.head_number });
        note(&|seen| {
            seen.there.insert(path.clone());
            seen.finals.insert(path.clone(), end.clone());
        });
    }
    Ok(())
}
