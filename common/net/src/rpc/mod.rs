//! Calls, casts and pushes over one proven connection.
//!
//! A *call* is answered, in any order; a *cast* is not, and casts are taken in the order they came; a
//! *push* goes from the server to the client. One socket carries them all, and each direction is bounded:
//! who sends faster than the other side takes, waits (calls, casts) or loses the connection (pushes).

pub(crate) mod client;
mod connection;
pub(crate) mod failure;
mod lane;
mod outbox;
mod pushes;
mod server;
mod service;
mod session;

pub use client::Connection;
pub use pushes::{Push, Pushes};
pub use server::Server;
pub use service::{Incoming, Method, Outgoing, Service};
pub use session::Session;

#[cfg(test)]
pub(crate) mod tests;
