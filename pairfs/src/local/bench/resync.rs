//! How long a member needs that comes back: it is killed, the client writes on, it is started again, and the clock
//! runs from its start until nothing lags and the pair is active.

use super::report::{Line, Unit};
use super::{Bench, median, noise};
use crate::local::process::Running;
use crate::local::up::blocking;
use bytes::Bytes;
use client::{Client, Content, RemoveOptions, WriteOptions};
use rustix::process::Signal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use types::limits::MIB;
use types::{Code, Error, Result};

/// A line is the median of so many outages.
const RUNS: usize = 3;
/// Files that the client writes at once during the outage.
const AT_ONCE: usize = 64;
/// Who is away.
const AWAY: &str = "ss1_backup";

/// What is written during the outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    files: usize,
    bytes: usize,
}

/// 500 MiB.
pub(super) const LARGE: Shape = Shape { name: "large", files: 8, bytes: 500 * MIB / 8 };
/// Many small files.
pub(super) const SMALL: Shape = Shape { name: "small", files: 2000, bytes: super::SMALL };

/// Measures one shape. The floor is the same files written here, each with fsync, one after the other; it is taken
/// beside every outage, as disks have moods.
pub(super) async fn measure(bench: &Bench, name: String, shape: Shape) -> Result<Line> {
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folder = bench.folder.clone();
        floors.push(blocking(move || write_here(&folder, shape)).await?);
        times.push(one_outage(bench, shape).await?);
    }
    let line = Line::new(name, Unit::Milliseconds, median(&mut times));
    Ok(line.floor("write and fsync here", median(&mut floors)))
}

fn write_here(folder: &Path, shape: Shape) -> Result<f64> {
    let folder = tempfile::tempdir_in(folder).map_err(Error::from)?;
    let content = noise(11, shape.bytes);
    let begin = Instant::now();
    for number in 0..shape.files {
        let path = folder.path().join(number.to_string());
        let mut file = std::fs::File::create_new(path).map_err(Error::from)?;
        std::io::Write::write_all(&mut file, &content).map_err(Error::from)?;
        file.sync_all().map_err(Error::from)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// The 99th percentile of what a client that reads and writes small files in turn sees while a member comes back; the
/// floor is the same without a resync, taken right after it.
pub(super) async fn felt(bench: &Bench, name: String) -> Result<Line> {
    let (mut during, mut without, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        begin_outage(bench, LARGE).await?;
        let supervisor = bench.supervisor.clone();
        blocking(move || supervisor.start_member(AWAY)).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let client = tokio::task::spawn_local(small_requests(bench.client.clone(), stop.clone()));
        // The client writes on, so there may always be a row under way.
        let there = async || {
            let status = bench.client.status().await?;
            Ok(status.pairs.iter().all(|pair| pair.state == "active" && pair.lag_rows < 16))
        };
        let settled = super::wait_for("the member to catch up", there).await;
        stop.store(true, Ordering::SeqCst);
        let latencies = ended(Some(client.await))?;
        settled?;
        during.push(p99(&latencies));
        all.extend(latencies);
        clear(bench).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let client = tokio::task::spawn_local(small_requests(bench.client.clone(), stop.clone()));
        tokio::time::sleep(bench.span).await;
        stop.store(true, Ordering::SeqCst);
        without.push(p99(&ended(Some(client.await))?));
    }
    let line = Line::new(name, Unit::Milliseconds, median(&mut during));
    Ok(line.floor("p99 without a resync", median(&mut without)).latencies(all))
}

/// Reads and writes 4 KiB in turn until told to stop; how long each took.
async fn small_requests(client: Client, stop: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let content = Bytes::from(noise(12, super::SMALL));
    while !stop.load(Ordering::SeqCst) {
        let begin = Instant::now();
        client.write("/felt", Content::Bytes(content.clone()), &WriteOptions::default()).await?;
        latencies.push(begin.elapsed());
        let begin = Instant::now();
        super::load::read_whole(&client, "/felt").await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

/// The 99th percentile, ms.
pub(super) fn p99(latencies: &[Duration]) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = sorted.len().saturating_sub(1) * 99 / 100;
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

async fn one_outage(bench: &Bench, shape: Shape) -> Result<f64> {
    begin_outage(bench, shape).await?;
    let begin = Instant::now();
    let supervisor = bench.supervisor.clone();
    blocking(move || supervisor.start_member(AWAY)).await?;
    bench.wait_settled().await?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    clear(bench).await?;
    Ok(took)
}

async fn begin_outage(bench: &Bench, shape: Shape) -> Result<()> {
    bench.wait_settled().await?;
    bench.client.mkdir("/resync", true, None).await?;
    bench.wait_copied().await?;
    kill(bench).await?;
    write_all(bench, shape).await
}

async fn clear(bench: &Bench) -> Result<()> {
    let options = RemoveOptions { recursive: true, now: true, ..RemoveOptions::default() };
    bench.client.remove("/resync", &options).await
}

async fn kill(bench: &Bench) -> Result<()> {
    let cluster = bench.cluster.clone();
    blocking(move || {
        let victim = Running::find(&cluster, AWAY)
            .ok_or_else(|| Error::new(Code::Failed, format_args!("{AWAY} does not run"), "see its log"))?;
        victim.signal(Signal::KILL)?;
        victim.wait_gone(super::READY_MAX);
        Ok(())
    })
    .await?;
    let degraded = async || {
        let status = bench.client.status().await?;
        Ok(status.pairs.iter().all(|pair| pair.state == "degraded"))
    };
    super::wait_for("the pair to be degraded", degraded).await
}

async fn write_all(bench: &Bench, shape: Shape) -> Result<()> {
    let mut tasks = JoinSet::new();
    for number in 0..shape.files {
        if tasks.len() >= AT_ONCE {
            ended(tasks.join_next().await)?;
        }
        let client = bench.client.clone();
        tasks.spawn_local(async move {
            // No two alike: each has to come over.
            let content = Content::Bytes(Bytes::from(noise(100 + number as u64, shape.bytes)));
            let options = WriteOptions { create_only: true, ..WriteOptions::default() };
            client.write(&format!("/resync/{number}"), content, &options).await.map(|_| ())
        });
    }
    while !tasks.is_empty() {
        ended(tasks.join_next().await)?;
    }
    Ok(())
}

fn ended<T: Default>(task: Option<std::result::Result<Result<T>, tokio::task::JoinError>>) -> Result<T> {
    match task {
        Some(ended) => ended.map_err(Error::internal)?,
        None => Ok(T::default()),
    }
}
