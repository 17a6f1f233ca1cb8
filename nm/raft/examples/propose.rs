//! Proposals per second with 1 and 64 in flight, next to a bare `fdatasync` loop on the same disk.
//!
//! `cargo run --release -p pairfs-nm-raft --example propose [FOLDER [SECONDS]]`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::RealDisk;
use nm_core::store::{StoreError, StoreMut, Table};
use pairfs_nm_raft::{Applied, Machine, Raft, RaftConfig};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Writes two rows a proposal, as a small command would.
struct Rows;

impl Machine for Rows {
    fn apply(&self, index: u64, payload: &[u8], store: &mut dyn StoreMut) -> Result<Applied, StoreError> {
        store.put(Table::Inodes, &index.to_be_bytes(), payload)?;
        store.put(Table::Meta, b"last", &index.to_be_bytes())?;
        Ok(Applied { reply: Bytes::from_static(b"ok") })
    }
}

/// Bytes of a proposal: about one small command.
const PAYLOAD: usize = 200;

fn report(what: &str, mut took: Vec<Duration>, elapsed: Duration) {
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "{what:<28} {:>9.0}/s   p50 {:>7.0} us   p99 {:>7.0} us   max {:>8.0} us",
        took.len() as f64 / elapsed.as_secs_f64(),
        at(0.5).as_secs_f64() * 1e6,
        at(0.99).as_secs_f64() * 1e6,
        took.last().copied().unwrap_or_default().as_secs_f64() * 1e6,
    );
}

/// Overwrites a file that has its length already, as the log does, and syncs after each block.
fn bare(folder: &Path, time: Duration) -> Result<(), Failed> {
    let path = folder.join("bare");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    file.write_all(&vec![0; 16 << 20])?;
    file.sync_all()?;
    let file = OpenOptions::new().write(true).open(&path)?;
    let (start, mut took, block) = (Instant::now(), Vec::new(), [7; 512]);
    while start.elapsed() < time {
        let at = (took.len() * block.len()) % (16 << 20);
        let began = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &block, at as u64)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    report("bare write + fdatasync", took, start.elapsed());
    Ok(std::fs::remove_file(path)?)
}

async fn proposals(raft: &Raft<Rows>, in_flight: usize, time: Duration) -> Result<(), Failed> {
    let start = Instant::now();
    let mut proposers = Vec::new();
    for _ in 0..in_flight {
        let raft = raft.clone();
        proposers.push(tokio::spawn(async move {
            let mut took = Vec::new();
            while start.elapsed() < time {
                let began = Instant::now();
                raft.propose(Bytes::from(vec![7; PAYLOAD])).await?;
                took.push(began.elapsed());
            }
            Ok::<_, pairfs_nm_raft::ProposeError>(took)
        }));
    }
    let mut took = Vec::new();
    for proposer in proposers {
        took.extend(proposer.await??);
    }
    report(&format!("propose, {in_flight} in flight"), took, start.elapsed());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| ".".to_string());
    let time = Duration::from_secs(arguments.next().map_or(Ok(5), |seconds| seconds.parse())?);
    let folder = tempfile::tempdir_in(base)?;
    bare(folder.path(), time)?;
    let disk = Arc::new(RealDisk::new(folder.path().to_path_buf())?);
    let raft = Raft::start(RaftConfig::new(1, "127.0.0.1:0"), disk, Arc::new(Rows)).await?;
    for in_flight in [1, 4, 64, 256] {
        proposals(&raft, in_flight, time).await?;
    }
    println!("{:?}", raft.metrics());
    raft.shutdown().await;
    bare(folder.path(), time)
}
