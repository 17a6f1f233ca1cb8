//! Prepared writes: decided, taken in, resolved.

use crate::command::{Import, WriteComplete};
use prost::Message;

/// Request of [`Complete`](super::Complete).
#[derive(Clone, PartialEq, Message)]
pub struct CompleteRequest {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub writes: Vec<WriteComplete>,
}

/// Request of [`TakeIn`](super::TakeIn).
#[derive(Clone, PartialEq, Message)]
pub struct TakeInRequest {
    /// In order, at most `IMPORT_BATCH`.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Import>,
}

/// A prepared session whose outcome is unknown to its holder.
#[derive(Clone, PartialEq, Message)]
pub struct Prepared {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Folder of the target.
    #[prost(uint64, tag = "2")]
    pub folder: u64,
    /// Name of the target.
    #[prost(string, tag = "3")]
    pub name: String,
    /// File meant, 0 if by name.
    #[prost(uint64, tag = "4")]
    pub file: u64,
    /// Who asked: with the request key the log knows what became of it.
    #[prost(message, optional, tag = "5")]
    pub asker: Option<crate::command::Asker>,
}

/// Request of [`Resolve`](super::Resolve).
#[derive(Clone, PartialEq, Message)]
pub struct ResolveRequest {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration: the log has fenced those before.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The sessions.
    #[prost(message, repeated, tag = "3")]
    pub sessions: Vec<Prepared>,
    /// Its cursor in its pair's feed, read before it asked: what no row beyond it names is not in the log.
    #[prost(uint64, tag = "4")]
    pub cursor: u64,
}

/// What became of one session.
#[derive(Clone, PartialEq, Message)]
pub struct Resolution {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// It is a kept version in the log; else it is open again. A version that was removed or overwritten since is none.
    #[prost(bool, tag = "2")]
    pub committed: bool,
    /// The file whose version it is, or was.
    #[prost(uint64, tag = "3")]
    pub file: u64,
}

/// Answer to [`Resolve`](super::Resolve).
#[derive(Clone, PartialEq, Message)]
pub struct ResolveReply {
    /// One for each session asked.
    #[prost(message, repeated, tag = "1")]
    pub resolutions: Vec<Resolution>,
    /// End of the feed of the server's pair as of the answer: what rows up to there name was decided before.
    #[prost(uint64, tag = "2")]
    pub pair_end: u64,
}
