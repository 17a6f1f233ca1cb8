//! What the members of a pair ask each other.

use super::{Empty, methods};
use crate::message::store::{SessionState, Target};
use crate::record::Manifest;
use bytes::Bytes;
use prost::Message;

methods! {
    /// A piece of a session, passed on as it came; the bytes are the frame's body (R18).
    PassPiece = 500: PassPieceRequest => SessionState;
    /// Make what was passed on durable as prepared; many sessions at once. Small contents travel in it.
    PassPrepare = 501: PassPrepareRequest => PassPrepareReply;
    /// The manifest of a version, a page of chunks at a time.
    GetManifest = 502: GetManifestRequest => GetManifestReply;
    /// A range of a version or of a session; the bytes are the reply's body.
    GetBytes = 503: GetBytesRequest => GetBytesReply;
    /// The sender has dropped a session.
    PassAbort = 504: PassAbortRequest => Empty;
    /// Small contents, many at once; their bytes stand one after the other in the reply's body.
    GetMany = 545: GetManyRequest => GetManyReply;
}

/// Request of [`PassPiece`].
#[derive(Clone, PartialEq, Message)]
pub struct PassPieceRequest {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Where it begins.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// CRC-64/NVME of each block.
    #[prost(fixed64, repeated, tag = "3")]
    pub crcs: Vec<u64>,
    /// Epoch of the sender; another one is refused.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// What is written to; with the first piece.
    #[prost(message, optional, tag = "5")]
    pub target: Option<Target>,
    /// User who writes; with the first piece.
    #[prost(string, tag = "6")]
    pub user: String,
    /// Bytes to come, if known; with the first piece.
    #[prost(uint64, optional, tag = "7")]
    pub size: Option<u64>,
    /// The client's timeout, ms; with the first piece.
    #[prost(uint64, tag = "8")]
    pub timeout_ms: u64,
    /// The first chunk whose digest stands in `digests`.
    #[prost(uint32, tag = "9")]
    pub digests_from: u32,
    /// SHA-256 of chunks that the sender has hashed, one behind the other (decision 0017).
    #[prost(bytes = "bytes", tag = "10")]
    pub digests: Bytes,
}

/// One session in [`PassPrepare`].
#[derive(Clone, PartialEq, Message)]
pub struct PassedSession {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// What is written to.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Target>,
    /// The whole manifest of a small content (inline); else only size and digest, and the chunks are
    /// those of the pieces that were passed on.
    #[prost(message, optional, tag = "3")]
    pub manifest: Option<Manifest>,
    /// Who asked: with the request key the log knows what became of it.
    #[prost(message, optional, tag = "4")]
    pub asker: Option<crate::command::Asker>,
    /// Set if it is a copy: the session whose content it is. Who holds that shares its chunks, no bytes travel.
    #[prost(bytes = "vec", tag = "5")]
    pub cites: Vec<u8>,
    /// The first chunk whose digest stands in `digests`.
    #[prost(uint32, tag = "6")]
    pub digests_from: u32,
    /// SHA-256 of the chunks that were not told with the pieces, one behind the other.
    #[prost(bytes = "bytes", tag = "7")]
    pub digests: Bytes,
    /// [`crate::ids::Seq`] of the newest row that the acting member knew when it was prepared (R26).
    #[prost(uint64, tag = "8")]
    pub seen: u64,
}

/// Request of [`PassPrepare`].
#[derive(Clone, PartialEq, Message)]
pub struct PassPrepareRequest {
    /// Epoch of the sender; another one is refused.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The sessions.
    #[prost(message, repeated, tag = "2")]
    pub sessions: Vec<PassedSession>,
    /// Answer only when they are durable; else as soon as they are taken.
    #[prost(bool, tag = "3")]
    pub durable: bool,
}

/// Answer to [`PassPrepare`].
#[derive(Clone, PartialEq, Message)]
pub struct PassPrepareReply {
    /// One for each session: whether it is prepared.
    #[prost(bool, repeated, tag = "1")]
    pub prepared: Vec<bool>,
}

/// Request of [`GetManifest`].
#[derive(Clone, PartialEq, Message)]
pub struct GetManifestRequest {
    /// Write session the version came from, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Chunks from this one on.
    #[prost(uint32, tag = "2")]
    pub from_chunk: u32,
    /// Wait so long if it is not there yet, ms.
    #[prost(uint32, tag = "3")]
    pub wait_ms: u32,
}

/// Answer to [`GetManifest`].
#[derive(Clone, PartialEq, Message)]
pub struct GetManifestReply {
    /// The manifest; its chunks are those of the page.
    #[prost(message, optional, tag = "1")]
    pub manifest: Option<Manifest>,
    /// Chunks of the whole version.
    #[prost(uint32, tag = "2")]
    pub chunks: u32,
}

/// Request of [`GetBytes`].
#[derive(Clone, PartialEq, Message)]
pub struct GetBytesRequest {
    /// Write session the version came from, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Where to begin.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// At most so many bytes.
    #[prost(uint32, tag = "3")]
    pub len: u32,
}

/// Answer to [`GetBytes`].
#[derive(Clone, PartialEq, Message)]
pub struct GetBytesReply {
    /// CRC-64/NVME of the body.
    #[prost(fixed64, tag = "1")]
    pub crc64: u64,
}

/// Request of [`GetMany`].
#[derive(Clone, PartialEq, Message)]
pub struct GetManyRequest {
    /// Write sessions the versions came from, 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub sessions: Vec<Vec<u8>>,
}

/// One content in [`GetManyReply`].
#[derive(Clone, PartialEq, Message)]
pub struct SmallContent {
    /// Write session the version came from, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its manifest; what stands inline is in the body.
    #[prost(message, optional, tag = "2")]
    pub manifest: Option<Manifest>,
}

/// Answer to [`GetMany`].
#[derive(Clone, PartialEq, Message)]
pub struct GetManyReply {
    /// Those of the contents that are here and found room, in the order of the body.
    #[prost(message, repeated, tag = "1")]
    pub contents: Vec<SmallContent>,
}

/// Request of [`PassAbort`].
#[derive(Clone, PartialEq, Message)]
pub struct PassAbortRequest {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
}
