//! The longest gap that a client sees when the server it uses is killed: one loop reads, one writes, and a
//! gap is the time between two answers.

use super::load::read_whole;
use super::{Bench, median};
use crate::local::process::Running;
use crate::local::supervise;
use crate::local::up::blocking;
use client::{Client, Content, WriteOptions};
use rustix::process::Signal;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use types::{Code, Error, Result};

/// The loops run so long before the kill, and so long after it beyond what it takes.
const AROUND: Duration = Duration::from_millis(700);

/// The median over several kills, in ms.
pub(super) async fn longest_gap(bench: &Bench) -> Result<f64> {
    bench.client.mkdir("/stall", true, None).await?;
    let mut gaps = Vec::new();
    for run in 0..bench.kills {
        bench.wait_settled().await?;
        gaps.push(one_kill(bench, run).await?.as_secs_f64() * 1e3);
        let (cluster, supervisor) = (bench.cluster.clone(), bench.supervisor.clone());
        blocking(move || {
            supervisor.start_member("ss1")?;
            supervise::wait_listening(&cluster, "ss1")
        })
        .await?;
    }
    bench.wait_settled().await?;
    Ok(median(&mut gaps))
}

async fn one_kill(bench: &Bench, run: u64) -> Result<Duration> {
    let path = format!("/stall/{run}");
    bench.client.write(&path, Content::from("warm"), &WriteOptions::default()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let reads = gaps(stop.clone(), {
        let (client, path) = (bench.client.clone(), path.clone());
        move || {
            let (client, path) = (client.clone(), path.clone());
            async move { read_whole(&client, &path).await.map(|_| ()) }
        }
    });
    let writes = gaps(stop.clone(), {
        let (client, path) = (bench.client.clone(), format!("{path}-written"));
        move || {
            let (client, path) = (client.clone(), path.clone());
            async move { write(&client, &path).await }
        }
    });
    tokio::time::sleep(AROUND).await;
    let victim = Running::find(&bench.cluster, "ss1")
        .ok_or_else(|| Error::new(Code::Failed, "ss1 does not run", "see its log"))?;
    victim.signal(Signal::KILL)?;
    tokio::time::sleep(AROUND).await;
    stop.store(true, Ordering::SeqCst);
    // Each loop ends with an answer: however long the gap is, it is seen.
    Ok(ended(reads).await?.max(ended(writes).await?))
}

async fn write(client: &Client, path: &str) -> Result<()> {
    client.write(path, Content::from("again"), &WriteOptions::default()).await.map(|_| ())
}

fn gaps<Done>(stop: Arc<AtomicBool>, step: impl Fn() -> Done + 'static) -> JoinHandle<Result<Duration>>
where
    Done: Future<Output = Result<()>> + 'static,
{
    tokio::task::spawn_local(async move {
        let mut longest = Duration::ZERO;
        while !stop.load(Ordering::SeqCst) {
            let begin = Instant::now();
            step().await?;
            longest = longest.max(begin.elapsed());
        }
        Ok(longest)
    })
}

async fn ended(rounds: JoinHandle<Result<Duration>>) -> Result<Duration> {
    rounds
        .await
        .map_err(|error| Error::internal(format_args!("a loop of the benchmark ended early ({error})")))?
}
