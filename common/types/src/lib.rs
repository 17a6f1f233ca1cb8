//! Ids, paths, versions, records, commands, messages, errors and limits: pure values.
//!
//! This crate depends on no other crate of the project and does nothing but describe: no clock, no
//! socket, no file, no randomness.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod capability;
pub mod command;
pub mod content;
pub mod error;
pub mod ids;
pub mod limits;
pub mod message;
pub mod mutation;
pub mod path;
pub mod pattern;
pub mod placement;
pub mod rebuild;
pub mod record;

pub use error::{Code, Effect, Error, Result};
