//! `pairfs bench`: how fast a cluster of its own is, beside what this disk and machine can do at best (the
//! *floors*, measured in the same run).
//!
//! | room | job |
//! |---|---|
//! | [`floor`] | local disk and loopback, without PairFS |
//! | [`small`] | the same work with small files through the client library |
//! | [`large`] | the same with large files; the servers' memory |
//! | [`million`] | a name manager with a million files |
//! | [`load`] | what the lines about reading and writing share |
//! | [`cost`] | processor time of each process |
//! | [`resync`] | how long a member needs that comes back after an outage |
//! | [`scrub`] | what a reader feels of a scrub |
//! | [`stall`] | the longest gap that a client sees when its server is killed or frozen |
//! | [`tree`] | `put -r` and `get -r` of a tree |
//! | [`report`] | the table and the JSON |

mod cost;
mod floor;
mod large;
mod load;
mod million;
mod report;
mod resync;
mod scrub;
mod small;
mod stall;
mod tree;

use super::cluster::Cluster;
use super::narrate::Narrator;
use super::patience::Patience;
use super::supervise::Supervisor;
use super::up::{blocking, wait_served};
use clap::Args;
use client::Client;
use report::{Line, Unit};
use small::Small;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;
use types::limits::MIB;
use types::{Code, Error, Result};

/// Bytes of a small file.
const SMALL: usize = 4 << 10;
/// Bytes of a large file.
const LARGE: usize = 1024 * MIB;
/// A line about a large file is the median of so many.
const LARGE_RUNS: usize = 3;
/// The cluster may take this long until it is as a line needs it.
const READY_MAX: Duration = Duration::from_secs(60);

/// `pairfs bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Only the lines whose name begins so.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Seconds for each line about small files, and for its floor.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// How often a server is killed, or frozen, for a stall, of which the median counts.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub kills: u64,
    /// Files of the lines nm-1m-…
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub files: u64,
    /// Fill the name manager of this cluster, made if there is none, with files and wait to be killed: a part of
    /// nm-1m-…
    #[arg(long, value_name = "DIR", hide = true)]
    pub fill: Option<PathBuf>,
    /// Files of one folder of these
    #[arg(long, value_name = "N", default_value_t = 1_000, hide = true)]
    pub in_folder: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Small(Small),
    Put,
    Get,
    Memory,
    Stall(stall::Fault),
    Resync(resync::Shape),
    ResyncFelt,
    ScrubFelt(scrub::Rate),
    Tree(tree::Way),
    Million,
}

const WORK: [Work; 22] = [
    Work::Small(Small::Write(1)),
    Work::Small(Small::Write(8)),
    Work::Small(Small::Write(64)),
    Work::Small(Small::Read(1)),
    Work::Small(Small::Read(8)),
    Work::Small(Small::ReadFirst(1)),
    Work::Small(Small::ReadFirst(8)),
    Work::Small(Small::Info(1)),
    Work::Small(Small::Info(8)),
    Work::Put,
    Work::Get,
    Work::Memory,
    Work::Tree(tree::Way::Put),
    Work::Tree(tree::Way::Get),
    Work::Resync(resync::LARGE),
    Work::Resync(resync::SMALL),
    Work::ResyncFelt,
    Work::ScrubFelt(scrub::Rate::Background),
    Work::ScrubFelt(scrub::Rate::Unbounded),
    Work::Stall(stall::Fault::Kill),
    Work::Stall(stall::Fault::Freeze),
    Work::Million,
];

impl Work {
    /// A line about a silent server is one about the pace.
    fn is_at_fast_pace(self) -> bool {
        self == Work::Stall(stall::Fault::Freeze)
    }

    fn name(self) -> String {
        match self {
            Work::Small(small) => small.name(),
            Work::Put => "put-1g".to_owned(),
            Work::Get => "get-1g".to_owned(),
            Work::Memory => "ss-memory".to_owned(),
            Work::Stall(fault) => format!("stall-{}", fault.name()),
            Work::Resync(shape) => format!("resync-{}", shape.name),
            Work::ResyncFelt => "resync-felt".to_owned(),
            Work::ScrubFelt(rate) => format!("scrub-felt-{}", rate.name()),
            Work::Tree(way) => format!("tree-{}", way.name()),
            Work::Million => "nm-1m".to_owned(),
        }
    }
}

/// Runs the benchmark in a temporary folder in `place` (none: where temporary files go) and prints a table,
/// or with `json` one object a line.
///
/// # Errors
/// `USAGE` when no line has that name; what keeps the cluster from serving.
pub async fn bench(place: Option<&Path>, args: &BenchArgs, json: bool, narrator: Narrator) -> Result<()> {
    if let Some(cluster) = &args.fill {
        return million::fill(cluster, args.files, args.in_folder.max(1)).await;
    }
    let wanted = chosen(args.only.as_deref())?;
    let mut builder = tempfile::Builder::new();
    let folder = builder.prefix("pairfs-bench-").tempdir_in(place.unwrap_or(&std::env::temp_dir()));
    let folder = folder.map_err(Error::from)?;
    let (fast, normal): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|work| work.is_at_fast_pace());
    let mut lines = Vec::new();
    for (wanted, fast) in [(normal, false), (fast, true)] {
        if !wanted.is_empty() {
            measure_all(folder.path(), fast, wanted, args, json, narrator, &mut lines).await?;
        }
    }
    if !json {
        narrator.line(report::table(&lines).trim_fmt());
    }
    Ok(())
}

/// Measures lines on a cluster of their own, at the normal or the fast pace.
async fn measure_all(
    folder: &Path,
    fast: bool,
    wanted: Vec<Work>,
    args: &BenchArgs,
    json: bool,
    narrator: Narrator,
    lines: &mut Vec<Line>,
) -> Result<()> {
    let cluster = Cluster::open(&folder.join(if fast { "fast" } else { "data" }), None, fast)?;
    // Servers are killed again and again, and shall take their roles back.
    let cluster = cluster.with_nm_words(&["--flap-failures", "0"]);
    let started = cluster.clone();
    let supervisor = Arc::new(blocking(move || Supervisor::start(started, Patience::default())).await?);
    let bench = Bench::new(&cluster, supervisor, folder.to_owned(), args).await?;
    for work in wanted {
        narrator.progress(format_args!("measuring {} …", work.name()));
        // All tasks of the client take turns on this thread, as in most programs that use the library.
        let measured = LocalSet::new().run_until(bench.measure(work)).await?;
        if json {
            measured.iter().try_for_each(|line| narrator.result(&line.json(), ""))?;
        }
        lines.extend(measured);
    }
    let Bench { supervisor, client, .. } = bench;
    drop(client);
    blocking(move || supervisor.stop_all(&AtomicBool::new(false))).await
}

fn chosen(only: Option<&str>) -> Result<Vec<Work>> {
    let only = only.unwrap_or_default();
    let mut wanted: Vec<Work> = WORK.into_iter().filter(|work| work.name().starts_with(only)).collect();
    if only.is_empty() {
        // A minute or more, and half a gigabyte of disk: on demand.
        wanted.retain(|work| *work != Work::Million);
    }
    if wanted.is_empty() {
        let names: Vec<String> = WORK.into_iter().map(Work::name).collect();
        let what = format_args!("no line is called {}", types::path::Quoted(only));
        return Err(Error::new(Code::Usage, what, format_args!("name one of {}", names.join(", "))));
    }
    Ok(wanted)
}

/// A cluster, a client of it, and a folder on the same disk.
struct Bench {
    cluster: Cluster,
    supervisor: Arc<Supervisor>,
    client: Client,
    folder: PathBuf,
    span: Duration,
    kills: u64,
    files: u64,
}

impl Bench {
    async fn new(
        cluster: &Cluster,
        supervisor: Arc<Supervisor>,
        folder: PathBuf,
        args: &BenchArgs,
    ) -> Result<Bench> {
        let client = wait_served(cluster, Patience::default()).await?;
        let span = Duration::from_secs(args.seconds);
        let (cluster, kills, files) = (cluster.clone(), args.kills, args.files);
        let bench = Bench { cluster, supervisor, client, folder, span, kills, files };
        bench.wait_settled().await?;
        Ok(bench)
    }

    async fn measure(&self, work: Work) -> Result<Vec<Line>> {
        let (folder, name) = (self.folder.clone(), work.name());
        let line = match work {
            Work::Small(small) => self.measure_small(small).await?,
            Work::Put => {
                let floor = blocking(move || median_of(LARGE_RUNS, || floor::write_large(&folder))).await?;
                let rate = large::put(self).await?;
                Line::new(name, Unit::MegabytesPerSecond, rate).floor("write and fsync two files here", floor)
            }
            Work::Get => {
                let floor = blocking(|| median_of(LARGE_RUNS, floor::transfer_large)).await?;
                let rate = large::get(self).await?;
                Line::new(name, Unit::MegabytesPerSecond, rate).floor("loopback TCP", floor)
            }
            Work::Memory => Line::new(name, Unit::Megabytes, large::memory(self).await?),
            Work::Stall(fault) => Line::new(name, Unit::Milliseconds, stall::longest_gap(self, fault).await?),
            Work::Resync(shape) => resync::measure(self, name, shape).await?,
            Work::ResyncFelt => resync::felt(self, name).await?,
            Work::ScrubFelt(rate) => scrub::felt(self, name, rate).await?,
            Work::Tree(way) => tree::measure(self, name, way).await?,
            Work::Million => return million::measure(self).await,
        };
        Ok(vec![line])
    }

    async fn measure_small(&self, small: Small) -> Result<Line> {
        let (span, folder) = (self.span, self.folder.clone());
        let (what, floor) = match small {
            Small::Write(at_once) => {
                let floor = blocking(move || floor::create_small(&folder, at_once, span)).await?;
                ("create, write, fsync here", floor)
            }
            Small::Read(at_once) | Small::ReadFirst(at_once) | Small::Info(at_once) => {
                ("4 KiB over loopback TCP", blocking(move || floor::round_trips(at_once, span)).await?)
            }
        };
        let measured = small::measure(self, small).await?;
        Ok(Line::new(small.name(), Unit::PerSecond, measured.rate)
            .floor(what, floor)
            .latencies(measured.latencies)
            .cost(measured.cost))
    }

    /// Waits until the pair is active with its primary acting, and nothing lags.
    async fn wait_settled(&self) -> Result<()> {
        let settled = async || {
            let status = self.client.status().await?;
            let well = |pair: &types::message::manager::PairStatus| {
                pair.state == "active" && pair.acting == pair.primary && pair.lag_rows == 0
            };
            Ok(!status.pairs.is_empty() && status.pairs.iter().all(well))
        };
        wait_for("the pair to be active without lag", settled).await
    }

    /// Waits until the other member has applied everything.
    async fn wait_copied(&self) -> Result<()> {
        copied(&self.client).await
    }
}

/// Waits until the other members have applied everything.
async fn copied(client: &Client) -> Result<()> {
    let copied = async || Ok(client.status().await?.pairs.iter().all(|pair| pair.lag_rows == 0));
    wait_for("the lag to drain", copied).await
}

async fn wait_for<F: Future<Output = Result<bool>>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    const POLL: Duration = Duration::from_millis(5);
    let end = Instant::now() + READY_MAX;
    while !holds().await? {
        if Instant::now() >= end {
            let what = format_args!("waited {} s for {what}", READY_MAX.as_secs());
            return Err(Error::new(Code::Timeout, what, "look at `pairfs status` and the servers' logs"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn median_of(runs: usize, mut one: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut values = (0..runs).map(|_| one()).collect::<Result<Vec<f64>>>()?;
    Ok(median(&mut values))
}

/// The middle one; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// MB/s, of 1,000,000 bytes.
fn megabytes_per_second(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

/// Bytes that nothing compresses; others for each `seed`.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_chosen_by_the_beginning_of_its_name() {
        assert_eq!(chosen(None).unwrap().len(), WORK.len() - 1, "a million files are on demand");
        assert_eq!(chosen(Some("nm-1m")).unwrap(), [Work::Million]);
        assert_eq!(chosen(Some("write-4k")).unwrap().len(), 3);
        assert_eq!(chosen(Some("stall-kill")).unwrap(), [Work::Stall(stall::Fault::Kill)]);
        let error = chosen(Some("nonsense")).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.contains("put-1g"), "{}", error.message);
    }

    #[test]
    fn one_bad_run_does_not_decide_a_line() {
        assert_eq!(median(&mut [9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
