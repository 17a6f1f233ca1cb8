//! The longest gap that a client sees when the server it uses is killed, or frozen: one loop reads, one writes, and
//! a gap is the time between two answers.

use super::load::read_whole;
use super::{Bench, median};
use crate::local::patience::Patience;
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

/// The loops run so long before the fault, and so long after it beyond what it takes.
const AROUND: Duration = Duration::from_millis(700);

/// What happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL: its connections break and its port refuses.
    Kill,
    /// SIGSTOP: it is there and silent.
    Freeze,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Freeze => "freeze",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Fault::Kill => Signal::KILL,
            Fault::Freeze => Signal::STOP,
        }
    }
}

/// The median over several times, in ms.
pub(super) async fn longest_gap(bench: &Bench, fault: Fault) -> Result<f64> {
    bench.client.mkdir("/stall", true, None).await?;
    let mut gaps = Vec::new();
    for run in 0..bench.kills {
        bench.wait_settled().await?;
        let victim = Running::find(&bench.cluster, "ss1")
            .ok_or_else(|| Error::new(Code::Failed, "ss1 does not run", "see its log"))?;
        let gap = one_gap(bench, fault, &victim, &format!("/stall/{}-{run}", fault.name())).await;
        mend(bench, fault, victim).await?;
        gaps.push(gap?.as_secs_f64() * 1e3);
    }
    bench.wait_settled().await?;
    Ok(median(&mut gaps))
}

/// Brings the server back.
async fn mend(bench: &Bench, fault: Fault, victim: Running) -> Result<()> {
    let (cluster, supervisor) = (bench.cluster.clone(), bench.supervisor.clone());
    blocking(move || match fault {
        Fault::Freeze => victim.signal(Signal::CONT).map(drop),
        Fault::Kill => {
            supervisor.start_member("ss1")?;
            supervise::wait_listening(&cluster, "ss1", Patience::default())
        }
    })
    .await
}

async fn one_gap(bench: &Bench, fault: Fault, victim: &Running, path: &str) -> Result<Duration> {
    let path = path.to_owned();
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
    victim.signal(fault.signal())?;
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
