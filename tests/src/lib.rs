//! Starts real clusters and does to them what the world does: kills, freezes, restarts, talks rubbish.
//!
//! | room | job |
//! |---|---|
//! | [`binary`] | the program under test, built once |
//! | [`command`] | runs it and looks at what it says |
//! | [`cluster`] | a cluster in a temporary folder; kill, freeze, thaw, start again |
//! | [`hosts`] | several hosts: network namespaces with cables that can be pulled, or loopback addresses |
//! | [`by_hand`] | a member under conditions of its own: environment, open files |
//! | [`mounted`] | a member on a file system of its own, which turns read-only or hangs |
//! | [`shim`] | a process whose clock jumps or whose disk fails |
//! | [`wait`] | waits for conditions, never for time alone |
//! | [`tree`] | folders of files on the own disk: made, and compared |
//! | [`turns`] | how many clusters run at once |
//! | [`workload`] | writers and readers that remember every acknowledged byte |
//! | [`wire`] | talks to the servers' ports directly, honestly or not |
//!
//! What fails in here is the test that uses it, so failures are panics that say what was expected.

pub mod binary;
pub mod by_hand;
pub mod cluster;
pub mod command;
pub mod damage;
pub mod hosts;
pub mod mounted;
pub mod shim;
pub mod tree;
pub mod turns;
pub mod wait;
pub mod wire;
pub mod workload;

pub use cluster::{Cluster, Options};
pub use command::Ran;
pub use wait::{until, within};
