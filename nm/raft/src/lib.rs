//! The Raft log and the state behind it: openraft, the log engine and redb.
//!
//! A proposal is an opaque payload. openraft orders it; the log's thread (`writer.rs`) appends it to a log of
//! the log engine and flushes it along with whatever else waits; then the [`Machine`] applies it in a redb
//! transaction that is not flushed (`applier.rs`), and its proposer is answered. The log is the truth: now
//! and then the state is committed durably, and only what is durably applied is purged from the log. After
//! a crash the state is redb's last durable commit plus the log from there.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod applier;
mod config;
mod entries;
mod error;
pub mod formats;
mod logstore;
mod machine;
mod network;
mod raft;
mod record;
mod start;
mod statemachine;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod writer;

pub use config::{
    DEFAULT_CACHE_BYTES, DEFAULT_DIRTY_BYTES, DEFAULT_DIRTY_ENTRIES, DEFAULT_KEEP_ENTRIES,
    DEFAULT_SEGMENT_BYTES, MAX_CACHE_BYTES, MIN_CACHE_BYTES, RaftConfig,
};
pub use error::{EXIT_DAMAGED, EXIT_FAILED, Failure, Leader, NotLeader, ProposeError, RaftError};
pub use machine::{Applied, Machine};
pub use raft::{Leadership, Metrics, Raft};
pub use store::View;
