//! Tests of the log engine from outside: what an owner of a log is promised, on a disk that loses, tears,
//! fails and fills up.

#![allow(clippy::unwrap_used, clippy::expect_used)]

// Everybody else imports the crate by this name.
extern crate pairfs_log as log;

mod committer;
mod crash;
mod damage;
mod extents;
mod failures;
mod golden;
mod model;
mod race;
mod real;
mod release;
mod sim;
