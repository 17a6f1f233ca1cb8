//! Large files: how fast they go in and out, and how much memory the servers take meanwhile.

use super::load::{clock_with_lag, read_whole};
use super::{Bench, LARGE, LARGE_RUNS, median, megabytes_per_second, noise};
use crate::local::patience::Patience;
use crate::local::process::Running;
use crate::local::up::wait_served;
use bytes::Bytes;
use client::{Content, WriteOptions};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use types::limits::MIB;
use types::{Code, Error, Result};

/// Clients that write at once while the servers' memory is looked at.
const WRITERS: u64 = 64;
/// Bytes that each of them writes.
const EACH: usize = 64 * MIB;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// 1 GiB written from a local file, in MB/s.
pub(super) async fn put(bench: &Bench) -> Result<f64> {
    let local = bench.folder.join("large");
    write_noise(&local).map_err(Error::from)?;
    let mut rates = Vec::new();
    for run in 0..LARGE_RUNS {
        let path = format!("/large-{run}");
        let begin = Instant::now();
        let options = WriteOptions { create_only: true, ..WriteOptions::default() };
        bench.client.write(&path, Content::open(&local)?, &options).await?;
        rates.push(megabytes_per_second(LARGE, clock_with_lag(&bench.client, begin).await?));
    }
    std::fs::remove_file(&local).map_err(Error::from)?;
    Ok(median(&mut rates))
}

/// 1 GiB read that was just written, in MB/s.
pub(super) async fn get(bench: &Bench) -> Result<f64> {
    let local = bench.folder.join("large");
    write_noise(&local).map_err(Error::from)?;
    bench.client.write("/large", Content::open(&local)?, &WriteOptions::default()).await?;
    std::fs::remove_file(&local).map_err(Error::from)?;
    bench.wait_copied().await?;
    // Warm: from memory, if there is enough of it.
    read_whole(&bench.client, "/large").await?;
    let mut rates = Vec::new();
    for _ in 0..LARGE_RUNS {
        let begin = Instant::now();
        let bytes = read_whole(&bench.client, "/large").await?;
        rates.push(megabytes_per_second(bytes, begin.elapsed()));
    }
    Ok(median(&mut rates))
}

fn write_noise(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for block in 0..LARGE / MIB {
        file.write_all(&noise(6 + block as u64, MIB))?;
    }
    file.sync_all()
}

/// The most resident memory of a storage server, in MB, while 64 clients write 64 MiB each.
pub(super) async fn memory(bench: &Bench) -> Result<f64> {
    let content = Bytes::from(noise(9, EACH));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        // A client of its own: a clone would share the connection and its bounds.
        let (client, content) = (wait_served(&bench.cluster, Patience::default()).await?, content.clone());
        writers.spawn_local(async move {
            let path = format!("/many-{writer}");
            client.write(&path, Content::Bytes(content), &WriteOptions::default()).await.map(|_| ())
        });
    }
    let mut most = 0;
    loop {
        for server in ["ss1", "ss1_backup"] {
            most = most.max(resident(bench, server)?);
        }
        match tokio::time::timeout(LOOK, writers.join_next()).await {
            Ok(None) => return Ok(most as f64 / 1e6),
            Ok(Some(written)) => written.map_err(Error::internal)??,
            Err(_) => {}
        }
    }
}

/// Resident memory of a server, in bytes.
fn resident(bench: &Bench, server: &str) -> Result<u64> {
    let unknown =
        || Error::new(Code::Failed, format_args!("the memory of {server} is not known"), "see its log");
    let pid = Running::find(&bench.cluster, server).ok_or_else(unknown)?.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(Error::from)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(unknown)?;
    let kibibytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    Ok(kibibytes.ok_or_else(unknown)? * 1024)
}
