//! The shell of the name manager: sockets, clocks, tasks and files around the deciding code of `nm_core`.
//!
//! A request passes four stops: [`service`], its operation in [`ops`], the proposer (a change) or a view of
//! the state (a question), and the answer. Beside them run the tasks that keep the pairs going:
//!
//! | room | job |
//! |---|---|
//! | [`watch`], [`port`] | notice silence, and who is heard but does no work |
//! | [`evidence`] | notices death |
//! | [`duties`], [`reign`] | do for each pair what `nm_core::duty` says |
//! | [`members`], [`feeders`] | connections to storage servers and the feeds over them |
//! | [`grants`], [`placement`], [`pushes`] | who may serve, and who is told |
//! | [`live`] | what this leader knows beside the log |
//! | [`hook`] | runs an operator's command for each event |
//! | [`rebuild`] | makes the log anew from what the storage servers hold |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![allow(rustdoc::private_intra_doc_links)]

mod bootstrap;
mod collector;
mod compare;
mod config;
mod duties;
mod evidence;
mod feeders;
mod feeds;
mod fill;
mod grants;
mod hook;
mod janitor;
mod keyring;
mod live;
mod machine;
mod manager;
mod members;
mod ops;
mod placement;
mod port;
mod proposer;
mod pushes;
mod rebuild;
mod reign;
mod relay;
mod run;
mod seen;
mod service;
mod signals;
#[cfg(test)]
mod tests;
mod unseen;
mod watch;

pub use config::{Config, Failback, Switch};
pub use fill::{Filled, Shape, fill};
pub use hook::event_json;
pub use run::{run, run_until};
