//! The work of the lines about small files, through the client library.
//!
//! The client has a thread of its own and does everything on it, as a program that waits for one file at a time does
//! best: no answer is handed from thread to thread. Its caches begin empty.

use super::cost::{Cost, Meter};
use super::load::{clock_with_lag, read_whole};
use super::{Bench, SMALL, noise};
use crate::local::up::{blocking, connect};
use bytes::Bytes;
use client::{Client, Content, WriteOptions};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};
use types::{Error, Result};

/// Warm files that are read in turn.
const WARM: usize = 64;
/// Files of which each is read once.
const FIRST: usize = 20_000;
/// Of them in one folder.
const FIRST_IN_FOLDER: usize = 1_000;
/// They are written so many at a time.
const FILLING: usize = 64;

/// What is done to small files, so many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Small {
    /// Create and write.
    Write(usize),
    /// Read what was read within the second before.
    Read(usize),
    /// Read each file once: nothing is known of it.
    ReadFirst(usize),
    /// Ask what is known of it.
    Info(usize),
}

impl Small {
    pub(super) fn name(self) -> String {
        match self {
            Small::Write(at_once) => format!("write-4k-{at_once}"),
            Small::Read(at_once) => format!("read-4k-{at_once}"),
            Small::ReadFirst(at_once) => format!("read-first-{at_once}"),
            Small::Info(at_once) => format!("info-{at_once}"),
        }
    }
}

/// What came of it.
pub(super) struct Measured {
    /// Operations per second.
    pub(super) rate: f64,
    /// How long each took.
    pub(super) latencies: Vec<Duration>,
    /// What one cost each process.
    pub(super) cost: Vec<Cost>,
}

/// Does `work` for the time of a line.
pub(super) async fn measure(bench: &Bench, work: Small) -> Result<Measured> {
    let (cluster, meter, span) = (bench.cluster.clone(), Meter::new(&bench.cluster), bench.span);
    blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::from)?;
        LocalSet::new().block_on(&runtime, async move {
            let load = Load { client: connect(&cluster).await?, meter, span };
            match work {
                Small::Write(at_once) => load.write(at_once).await,
                Small::Read(at_once) => load.read(at_once).await,
                Small::ReadFirst(at_once) => load.read_first(at_once).await,
                Small::Info(at_once) => load.info(at_once).await,
            }
        })
    })
    .await
}

struct Load {
    client: Client,
    meter: Meter,
    span: Duration,
}

impl Load {
    async fn write(self, at_once: usize) -> Result<Measured> {
        let folder = format!("/write-{at_once}");
        self.client.mkdir(&folder, true, None).await?;
        let content = Bytes::from(noise(4, SMALL));
        let before = self.meter.read();
        let begin = Instant::now();
        let latencies = at_once_for(at_once, self.span, |task| {
            let (client, content, folder) = (self.client.clone(), content.clone(), folder.clone());
            let mut number = 0u64;
            move || {
                number += 1;
                let (client, content) = (client.clone(), content.clone());
                let path = format!("{folder}/{task}-{number}");
                Some(async move { create(&client, &path, content).await })
            }
        })
        .await?;
        let took = clock_with_lag(&self.client, begin).await?;
        Ok(self.measured(latencies, took, &before))
    }

    /// Does `work` with the warm files in turn.
    async fn with_warm<Done>(
        self,
        at_once: usize,
        work: impl Fn(Client, String) -> Done + Copy + 'static,
    ) -> Result<Measured>
    where
        Done: Future<Output = Result<()>>,
    {
        let paths = self.warm_files().await?;
        let before = self.meter.read();
        let begin = Instant::now();
        let latencies = at_once_for(at_once, self.span, |task| {
            let (client, paths) = (self.client.clone(), paths.clone());
            let mut number = task;
            move || {
                number += 1;
                Some(work(client.clone(), paths[number % WARM].clone()))
            }
        })
        .await?;
        let took = begin.elapsed();
        Ok(self.measured(latencies, took, &before))
    }

    async fn read(self, at_once: usize) -> Result<Measured> {
        let read = |client, path: String| async move { read_whole(&client, &path).await.map(|_| ()) };
        self.with_warm(at_once, read).await
    }

    async fn read_first(self, at_once: usize) -> Result<Measured> {
        self.fill().await?;
        let before = self.meter.read();
        let begin = Instant::now();
        let next = Rc::new(Cell::new(0));
        let latencies = at_once_for(at_once, self.span, |_| {
            let (client, next) = (self.client.clone(), next.clone());
            move || {
                let number = next.replace(next.get() + 1);
                let (client, path) = (client.clone(), first_path(number));
                (number < FIRST).then_some(async move { read_whole(&client, &path).await.map(|_| ()) })
            }
        })
        .await?;
        let took = begin.elapsed();
        Ok(self.measured(latencies, took, &before))
    }

    async fn info(self, at_once: usize) -> Result<Measured> {
        let info = |client: Client, path: String| async move { client.info(&path).await.map(|_| ()) };
        self.with_warm(at_once, info).await
    }

    fn measured(&self, latencies: Vec<Duration>, took: Duration, before: &[Cost]) -> Measured {
        let cost = self.meter.since(before, latencies.len());
        Measured { rate: latencies.len() as f64 / took.as_secs_f64(), latencies, cost }
    }

    async fn warm_files(&self) -> Result<Vec<String>> {
        self.client.mkdir("/warm", true, None).await?;
        let paths: Vec<String> = (0..WARM).map(|number| format!("/warm/{number}")).collect();
        for path in &paths {
            let content = Content::from(noise(5, SMALL));
            self.client.write(path, content, &WriteOptions::default()).await?;
            read_whole(&self.client, path).await?;
        }
        Ok(paths)
    }

    /// The files of which each is read once, if they are not there yet.
    async fn fill(&self) -> Result<()> {
        if self.client.entry(&first_path(FIRST - 1)).await?.is_some() {
            return Ok(());
        }
        for folder in 0..FIRST / FIRST_IN_FOLDER {
            self.client.mkdir(&format!("/first/{folder}"), true, None).await?;
        }
        let content = Bytes::from(noise(8, SMALL));
        // The last one last: it says that all are there.
        let next = Rc::new(Cell::new(0));
        at_once_for(FILLING, Duration::MAX, |_| {
            let (client, content, next) = (self.client.clone(), content.clone(), next.clone());
            move || {
                let number = next.replace(next.get() + 1);
                let (client, content) = (client.clone(), content.clone());
                (number < FIRST - 1)
                    .then_some(async move { create(&client, &first_path(number), content).await })
            }
        })
        .await?;
        create(&self.client, &first_path(FIRST - 1), content).await?;
        super::copied(&self.client).await
    }
}

fn first_path(number: usize) -> String {
    format!("/first/{}/{}", number / FIRST_IN_FOLDER, number % FIRST_IN_FOLDER)
}

async fn create(client: &Client, path: &str, content: Bytes) -> Result<()> {
    let options = WriteOptions { create_only: true, ..WriteOptions::default() };
    client.write(path, Content::Bytes(content), &options).await.map(|_| ())
}

/// Lets `at_once` tasks do for `span` what `prepare` gives each of them, or until it gives nothing more; how long each
/// time took.
pub(super) async fn at_once_for<Step, Done>(
    at_once: usize,
    span: Duration,
    prepare: impl Fn(usize) -> Step,
) -> Result<Vec<Duration>>
where
    Step: FnMut() -> Option<Done> + 'static,
    Done: Future<Output = Result<()>>,
{
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..at_once {
        let mut step = prepare(task);
        tasks.spawn_local(async move {
            let mut latencies = Vec::new();
            loop {
                let begin = Instant::now();
                let step = if begin - start < span { step() } else { None };
                let Some(step) = step else { return Ok(latencies) };
                step.await?;
                latencies.push(begin.elapsed());
            }
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let latencies: Result<Vec<Duration>> = ended.map_err(|error| {
            Error::internal(format_args!("a task of the benchmark ended early ({error})"))
        })?;
        all.extend(latencies?);
    }
    Ok(all)
}
