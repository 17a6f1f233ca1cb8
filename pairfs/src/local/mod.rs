//! A whole cluster on this machine: `up`, `down`, `node`, and what stands on it, `demo` and `bench`.
//!
//! | room | job |
//! |---|---|
//! | [`cluster`] | the folder of a cluster: `cluster.toml`, secrets, names of files |
//! | [`process`] | a member's process: how it is started, found again, signalled, waited for |
//! | [`supervise`] | keeps the members as children and reaps them; answers `node start` |
//! | [`up`], [`node`] | the commands |
//! | [`patience`] | how long a start may take |
//! | [`program`] | runs this program's own commands, as a person would |
//! | [`narrate`] | what these commands print |
//! | [`demo`] | the whole story in under a minute |
//! | [`bench`] | the benchmark and its floors |
//!
//! `main` calls [`process::tie_to_parent`] first thing in `nm` and `ss`.

pub mod bench;
pub mod cluster;
pub mod demo;
pub mod narrate;
pub mod node;
pub mod patience;
pub mod process;
pub mod program;
pub mod supervise;
pub mod up;

pub use bench::{BenchArgs, bench};
pub use demo::demo;
pub use narrate::Narrator;
pub use node::{NodeArgs, down, node};
pub use up::{UpArgs, up};
