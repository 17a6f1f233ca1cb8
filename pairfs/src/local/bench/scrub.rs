//! What a reader feels of a scrub: the 99th percentile of its reads while both members compare what they hold with its
//! digests, as they do by themselves in the background.

use super::report::{Line, Unit};
use super::resync::p99;
use super::{Bench, median, noise};
use bytes::Bytes;
use client::scrub::{ScrubOptions, ScrubProgress};
use client::{Client, Content, RemoveOptions, WriteOptions};
use std::time::{Duration, Instant};
use types::Result;
use types::limits::{KIB, MIB, SCRUB_RATE};

/// A line is the median of so many runs.
const RUNS: usize = 3;
/// What there is to scrub: so many files…
const FILES: usize = 8;
/// …of so many bytes.
const BYTES: usize = 64 * MIB;
/// What is read in turn: so many files…
const READ: usize = 64;
/// …of so many bytes.
const READ_BYTES: usize = 256 * KIB;

/// At what rate is scrubbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// As in the background, unless that is set otherwise.
    Background,
    /// As fast as it goes, behind foreground work.
    Unbounded,
}

impl Rate {
    pub(super) fn name(self) -> &'static str {
        match self {
            Rate::Background => "background",
            Rate::Unbounded => "unbounded",
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Rate::Background => SCRUB_RATE,
            Rate::Unbounded => 0,
        }
    }
}

/// The floor is the same reader right after it, without a scrub.
pub(super) async fn felt(bench: &Bench, name: String, rate: Rate) -> Result<Line> {
    fill(&bench.client).await?;
    bench.wait_copied().await?;
    let (mut during, mut without, mut all) = (Vec::new(), Vec::new(), Vec::new());
    // Everything has been read once before.
    read_for(&bench.client, bench.span).await?;
    for _ in 0..RUNS {
        let scrubber = bench.client.clone();
        let scrub = tokio::task::spawn_local(async move {
            let options = ScrubOptions { rate: rate.bytes(), ..ScrubOptions::default() };
            // Again and again, until it is ended.
            while scrubber.scrub(&options, &ScrubProgress::default()).await.is_ok() {}
        });
        let latencies = read_for(&bench.client, bench.span).await;
        scrub.abort();
        let latencies = latencies?;
        during.push(p99(&latencies));
        all.extend(latencies);
        // A page that is under way comes to its end.
        tokio::time::sleep(2 * types::limits::SCRUB_PAGE).await;
        without.push(p99(&read_for(&bench.client, bench.span).await?));
    }
    let options = RemoveOptions { recursive: true, now: true, ..RemoveOptions::default() };
    bench.client.remove("/scrub", &options).await?;
    let line = Line::new(name, Unit::Milliseconds, median(&mut during));
    Ok(line.floor("p99 without a scrub", median(&mut without)).latencies(all))
}

async fn fill(client: &Client) -> Result<()> {
    client.mkdir("/scrub", true, None).await?;
    let sizes = [(FILES, BYTES, "large"), (READ, READ_BYTES, "read")];
    for (files, bytes, what) in sizes {
        for number in 0..files {
            let content = Bytes::from(noise(1000 + number as u64, bytes));
            let path = format!("/scrub/{what}-{number}");
            client.write(&path, Content::Bytes(content), &WriteOptions::default()).await?;
        }
    }
    Ok(())
}

/// Reads for `span`; how long each file took.
async fn read_for(client: &Client, span: Duration) -> Result<Vec<Duration>> {
    let (mut latencies, end) = (Vec::new(), Instant::now() + span);
    for number in (0..READ).cycle() {
        let begin = Instant::now();
        if begin >= end {
            break;
        }
        super::load::read_whole(client, &format!("/scrub/read-{number}")).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}
