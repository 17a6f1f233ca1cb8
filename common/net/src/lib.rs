//! How the programs of a cluster talk: frames, transport, the mutual proof, calls and pushes, and the few
//! things of the operating system (clocks, secret files, logs) that every server needs.
//!
//! | room | job |
//! |---|---|
//! | [`frame`] | one message on the wire: header, head, bulk body, checksum |
//! | [`buffers`] | large buffers that are used again |
//! | [`transport`] | byte streams; TCP today, others behind the same two traits |
//! | [`handshake`] | both sides prove who they are before anything else is said |
//! | [`rpc`] | calls, casts and pushes over one proven connection |
//! | [`redial`] | keeps one connection open |
//! | [`host`] | the machine: clocks, boot, network; or what a simulation puts in its place |
//! | [`probe`] | is a process surely gone? |
//! | [`secret`], [`clock`] | files with secrets, clocks |
//! | [`folder`], [`files`], [`signals`] | the data folder, the bound on open files, stopping at once |
//! | [`telemetry`], [`logfile`], [`settings`] | logs; options from a file |
//! | `options` | the options that every server has, for its command line (feature `options`) |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod bounds;
pub mod buffers;
pub mod clock;
pub mod files;
pub mod folder;
pub mod frame;
pub mod handshake;
pub mod host;
pub mod logfile;
#[cfg(feature = "options")]
pub mod options;
pub mod probe;
mod reader;
pub mod redial;
pub mod rpc;
pub mod secret;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod transport;

pub use futures_util::future::BoxFuture;
pub use handshake::{Credential, Keyring, Peer, Principal};
pub use redial::Reconnecting;
pub use rpc::{Connection, Incoming, Method, Outgoing, Push, Pushes, Server, Service, Session};
pub use transport::listen;
