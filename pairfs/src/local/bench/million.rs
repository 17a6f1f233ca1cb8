//! A name manager with a million files of two versions: how long it takes to serve again after `kill -9`, what memory
//! it then has, and how long a look-up takes over the wire with eight clients.
//!
//! It is filled by a process of its own that sends the commands of clients and storage servers through the name
//! manager's own log and state machine ([`nm::fill`]) and is killed with `kill -9` when the last one is answered.

use super::report::{Line, Unit};
use super::{Bench, READY_MAX, small};
use crate::local::cluster::Cluster;
use crate::local::process::{self, How, Tie};
use crate::local::up::{blocking, connect};
use clap::Parser;
use nm::Shape;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use types::{Code, Error, Result};

/// Files of one folder.
const IN_FOLDER: u64 = 1_000;
/// How often the name manager is killed and started. The first start has the most to repeat; the longest counts.
const STARTS: usize = 3;
/// Clients that look paths up.
const CLIENTS: usize = 8;
/// What the filling process says when it is done.
const FILLED: &str = "filled";

/// The options of a name manager.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    config: nm::Config,
}

/// Fills the name manager of the cluster in `dir` and waits to be killed.
pub(super) async fn fill(dir: &Path, files: u64, in_folder: u64) -> Result<()> {
    process::tie_to_parent()?;
    let cluster = Cluster::open(dir, None, false)?;
    let nm = &cluster.file().nm;
    let mut words: Vec<OsString> = ["nm", "--listen", &nm.addr.to_string(), "--data"].map(Into::into).into();
    words.push(cluster.path(&nm.name).into());
    for (option, file) in [("--cluster-secret", "cluster.secret"), ("--admin-key", "admin.key")] {
        words.extend([option.into(), cluster.path(file).into()]);
    }
    let Options { config } = Options::try_parse_from(words).map_err(Error::internal)?;
    let filled =
        nm::fill(&config, Shape { folders: files / in_folder, files: in_folder, versions: 2 }).await?;
    let metrics = filled.metrics();
    println!("{FILLED} {} {} {}", metrics.applied, metrics.durable, metrics.purged.unwrap_or(0));
    std::future::pending::<()>().await;
    drop(filled);
    Ok(())
}

/// The lines.
pub(super) async fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let (folder, files, span) = (bench.folder.join("million"), bench.files, bench.span);
    blocking(move || {
        let cluster = Cluster::open(&folder, None, false)?;
        let begin = Instant::now();
        let (applied, durable) = fill_and_kill(&cluster, files)?;
        tracing::info!(applied, durable, took = ?begin.elapsed(), "filled");
        let mut longest = Duration::ZERO;
        let mut server = None;
        for _ in 0..STARTS {
            drop(server.take());
            let begin = Instant::now();
            server = Some(Server::start(&cluster)?);
            on_one_thread(async { served(&cluster).await })?;
            longest = longest.max(begin.elapsed());
        }
        let latencies = on_one_thread(async { look_up(&cluster, files, span).await })?;
        let memory = server.as_ref().and_then(Server::memory).unwrap_or(0.0);
        drop(server);
        let disk = size_of(&cluster.path(&cluster.file().nm.name))? as f64 / 1e6;
        let rate = latencies.len() as f64 / span.as_secs_f64();
        let first = Line::new("nm-1m-lookup-8".to_owned(), Unit::PerSecond, rate).latencies(latencies);
        let p99 = first.p99().map_or(0.0, |p99| p99.as_secs_f64() * 1e6);
        Ok(vec![
            Line::new("nm-1m-start".to_owned(), Unit::Milliseconds, longest.as_secs_f64() * 1e3),
            Line::new("nm-1m-replayed".to_owned(), Unit::Entries, applied.saturating_sub(durable) as f64),
            first,
            Line::new("nm-1m-p99".to_owned(), Unit::Microseconds, p99),
            Line::new("nm-1m-memory".to_owned(), Unit::Megabytes, memory),
            Line::new("nm-1m-disk".to_owned(), Unit::Megabytes, disk),
        ])
    })
    .await
}

/// Log entries that were applied and that were durably applied when the filling process was killed.
fn fill_and_kill(cluster: &Cluster, files: u64) -> Result<(u64, u64)> {
    let mut command = Command::new(std::env::current_exe().map_err(Error::from)?);
    command.args(["bench", "--files", &files.to_string(), "--in-folder", &IN_FOLDER.to_string()]);
    command.arg("--fill").arg(cluster.dir());
    process::tie(&mut command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(Error::from)?;
    let mut server = Server(child);
    let output = server.0.stdout.take().ok_or_else(|| Error::internal("a process without output"))?;
    let mut said = String::new();
    BufReader::new(output).read_line(&mut said).map_err(Error::from)?;
    let mut words = said.split_whitespace();
    if words.next() != Some(FILLED) {
        return Err(Error::new(Code::Failed, "the name manager could not be filled", "see what it said"));
    }
    let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok((number(), number()))
}

/// A process; killed with `kill -9` when it goes.
struct Server(Child);

impl Server {
    fn start(cluster: &Cluster) -> Result<Server> {
        let child = process::command(cluster, &cluster.file().nm, Tie::Tied, How::Plain)?
            .spawn()
            .map_err(Error::from)?;
        Ok(Server(child))
    }

    /// The most memory it had, MB.
    fn memory(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()? * 1024.0 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::from)?;
    LocalSet::new().block_on(&runtime, work)
}

/// Waits until a path is found.
async fn served(cluster: &Cluster) -> Result<()> {
    let end = Instant::now() + READY_MAX;
    loop {
        let found = async { connect(cluster).await?.entry("/0/0").await }.await;
        match found {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => return Err(Error::new(Code::NotFound, "the files are not there", "fill it again")),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Looks paths up, all over the folders, with eight clients that each have a connection.
async fn look_up(cluster: &Cluster, files: u64, span: Duration) -> Result<Vec<Duration>> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(cluster).await?);
    }
    let next = std::rc::Rc::new(AtomicU64::new(0));
    small::at_once_for(CLIENTS, span, |task| {
        let (client, next) = (clients[task].clone(), next.clone());
        move || {
            // Far apart: neighbours lie on the same page of the index.
            let number = next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) % files;
            let (client, path) = (client.clone(), format!("/{}/{}", number / IN_FOLDER, number % IN_FOLDER));
            Some(async move {
                match client.entry(&path).await? {
                    Some(_) => Ok(()),
                    None => Err(Error::new(Code::NotFound, path, "fill it again")),
                }
            })
        }
    })
    .await
}

/// Bytes on disk below a folder.
fn size_of(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(Error::from)? {
        let entry = entry.map_err(Error::from)?;
        let metadata = entry.metadata().map_err(Error::from)?;
        bytes += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
