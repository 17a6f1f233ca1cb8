//! The shell of a storage server: sockets, threads, disk. What decides is in `ss_core`.
//!
//! A request passes four stops: [`service`] → its operation in [`ops`] → the core → [`store`], [`partner`] or
//! the name manager.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod completions;
mod config;
#[cfg(test)]
mod decision_tests;
mod durability;
mod fetch;
pub mod formats;
mod heartbeat;
mod identity;
mod import;
mod janitor;
mod keyring;
mod manager;
mod node;
mod ops;
mod partner;
mod passer;
mod pool;
mod registration;
mod relay;
mod repair;
mod resolution;
mod run;
mod scrub;
mod service;
mod serving;
mod sessions;
mod sources;
pub mod store;
mod summed;
#[cfg(test)]
mod test_bench;
mod tidier;
mod upload;
#[cfg(test)]
mod upload_tests;
mod watch;
mod wire;

pub use config::Config;
pub use run::{run, run_until};
pub use watch::Watch;
