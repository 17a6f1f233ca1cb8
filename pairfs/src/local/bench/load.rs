//! What the lines about reading and writing share.
//!
//! A line about writing stops its clock at the last acknowledgement; then the other member must have
//! everything within a tenth of that time, or the clock runs until it has: a lag is no speed.

use super::copied;
use client::{Client, ReadOptions};
use std::time::{Duration, Instant};
use types::Result;

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
pub(super) async fn clock_with_lag(client: &Client, begin: Instant) -> Result<Duration> {
    let acknowledged = begin.elapsed();
    copied(client).await?;
    let both = begin.elapsed();
    Ok(if both <= acknowledged.mul_f64(1.1) { acknowledged } else { both })
}
