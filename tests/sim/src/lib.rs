//! Deterministic simulation of a cluster: the real name manager, storage servers and client, each on a simulated host;
//! only clock, network and disk are replaced, and all that happens follows from one seed.
//!
//! | room | job |
//! |---|---|
//! | [`tape`] | randomness and time instead of the system's |
//! | [`network`] | streams between hosts: late, cut, broken |
//! | [`host`] | a host: disk, clock, process; killed, paused, without power |
//! | [`cluster`] | the hosts of a cluster, and time |
//! | [`faults`] | what befalls them |
//! | [`damage`] | what of a disk the other one makes good |
//! | [`sky`] | when it may |
//! | [`load`] | what clients ask for, and what they are answered |
//! | [`observer`] | what the name manager says meanwhile |
//! | [`trees`] | folders, moves and copies |
//! | [`repeat`] | what users repeat with its key |
//! | [`oracle`] | whether that may be, a file for each invariant |
//! | [`judge`] | the end: rest, copies, files, strangers, a rebuild |
//! | [`run`] | all of it for one seed |
//! | [`scenarios`] | scripts, by the rules that they are about |
//! | `mutations` | rules that are broken on purpose (builds with `--cfg mutation`) |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod cluster;
pub mod damage;
pub mod faults;
pub mod host;
pub mod judge;
pub mod load;
#[cfg(mutation)]
pub mod mutations;
pub mod network;
pub mod observer;
pub mod oracle;
pub mod repeat;
pub mod run;
pub mod scenarios;
pub mod sky;
pub mod stranger;
pub mod tape;
pub mod timeline;
pub mod trees;
