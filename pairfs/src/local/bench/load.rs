//! The work of the lines about small files, through the client library.
//!
//! A line about writing stops its clock at the last acknowledgement; then the other member must have
//! everything within a tenth of that time, or the clock runs until it has: a lag is no speed.

use super::{Bench, SMALL, noise};
use bytes::Bytes;
use client::{Client, Content, ReadOptions, WriteOptions};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use types::{Error, Result};

/// Warm files that are read in turn.
const WARM: usize = 64;

/// Files of 4 KiB created and written, `at_once` at a time: per second, and how long each took.
pub(super) async fn write_small(bench: &Bench, name: &str, at_once: usize) -> Result<(f64, Vec<Duration>)> {
    let folder = format!("/{name}");
    bench.client.mkdir(&folder, true, None).await?;
    let content = Bytes::from(noise(4, SMALL));
    let begin = Instant::now();
    let latencies = at_once_for(at_once, bench.span, |task| {
        let (client, content, folder) = (bench.client.clone(), content.clone(), folder.clone());
        let mut number = 0u64;
        move || {
            number += 1;
            let (client, content) = (client.clone(), content.clone());
            let path = format!("{folder}/{task}-{number}");
            async move {
                let options = WriteOptions { create_only: true, ..WriteOptions::default() };
                client.write(&path, Content::Bytes(content), &options).await.map(|_| ())
            }
        }
    })
    .await?;
    let took = clock_with_lag(bench, begin).await?;
    Ok((latencies.len() as f64 / took.as_secs_f64(), latencies))
}

/// Files of 4 KiB read that were read before, `at_once` at a time: per second, and how long each took.
pub(super) async fn read_small(bench: &Bench, at_once: usize) -> Result<(f64, Vec<Duration>)> {
    bench.client.mkdir("/warm", true, None).await?;
    let paths: Vec<String> = (0..WARM).map(|number| format!("/warm/{number}")).collect();
    for path in &paths {
        let content = Content::from(noise(5, SMALL));
        bench.client.write(path, content, &WriteOptions::default()).await?;
        read_whole(&bench.client, path).await?;
    }
    let begin = Instant::now();
    let latencies = at_once_for(at_once, bench.span, |task| {
        let (client, paths) = (bench.client.clone(), paths.clone());
        let mut number = task;
        move || {
            number += 1;
            let (client, path) = (client.clone(), paths[number % WARM].clone());
            async move { read_whole(&client, &path).await.map(|_| ()) }
        }
    })
    .await?;
    Ok((latencies.len() as f64 / begin.elapsed().as_secs_f64(), latencies))
}

/// Reads a file to its end; its length.
pub(super) async fn read_whole(client: &Client, path: &str) -> Result<usize> {
    let mut reader = client.read(path, &ReadOptions::default()).await?;
    let mut length = 0;
    while let Some(bytes) = reader.next().await? {
        length += bytes.len();
    }
    Ok(length)
}

/// What the clock of a line about writing shows.
pub(super) async fn clock_with_lag(bench: &Bench, begin: Instant) -> Result<Duration> {
    let acknowledged = begin.elapsed();
    bench.wait_copied().await?;
    let copied = begin.elapsed();
    Ok(if copied <= acknowledged.mul_f64(1.1) { acknowledged } else { copied })
}

/// Lets `at_once` tasks do for `span` what `prepare` gives each of them; how long each time took.
async fn at_once_for<Step, Done>(
    at_once: usize,
    span: Duration,
    prepare: impl Fn(usize) -> Step,
) -> Result<Vec<Duration>>
where
    Step: FnMut() -> Done + 'static,
    Done: Future<Output = Result<()>>,
{
    let end = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for task in 0..at_once {
        let mut step = prepare(task);
        tasks.spawn_local(async move {
            let mut latencies = Vec::new();
            loop {
                let begin = Instant::now();
                if begin >= end {
                    return Ok(latencies);
                }
                step().await?;
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
