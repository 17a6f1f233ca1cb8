//! The deciding code of the name manager: a pure, deterministic state machine, and the pure rules of the
//! leader beside it.
//!
//! No clock, no socket, no file, no randomness: values in, values out. The state lives behind
//! [`store::Store`]; time is an argument.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod access;
pub mod apply;
pub mod collect;
pub mod duty;
pub mod feeder;
pub mod flap;
pub mod gathering;
pub mod gray;
pub mod keys;
pub mod lease;
pub mod memory;
pub mod merge;
pub mod monitor;
pub mod pair_state;
pub mod query;
pub mod reach;
pub mod state;
pub mod store;
