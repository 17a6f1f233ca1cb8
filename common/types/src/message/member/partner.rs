//! A member's partner through the name manager: its contents, and whether its port answers.

use crate::message::partner::{
    GetBytesReply, GetBytesRequest, GetManifestReply, GetManifestRequest, PassAbortRequest, PassPieceRequest,
    PassPrepareReply, PassPrepareRequest,
};
use crate::message::store::SessionState;
use prost::Message;

/// When a member takes its partner's manifests and chunks through the name manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RelayMode {
    /// When it cannot reach its partner.
    Auto = 0,
    /// Always; nothing passes between the members.
    Always = 1,
    /// Not at all.
    Never = 2,
}

/// Request of [`Relay`](super::Relay): one of those behind the registration. What is passed on the name manager asks the
/// partner for by the same methods as the member would.
#[derive(Clone, PartialEq, Message)]
pub struct RelayRequest {
    /// Who asks.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// A manifest.
    #[prost(message, optional, tag = "3")]
    pub manifest: Option<GetManifestRequest>,
    /// Bytes.
    #[prost(message, optional, tag = "4")]
    pub bytes: Option<GetBytesRequest>,
    /// A piece, which is the frame's body.
    #[prost(message, optional, tag = "5")]
    pub piece: Option<PassPieceRequest>,
    /// Sessions to prepare.
    #[prost(message, optional, tag = "6")]
    pub prepare: Option<PassPrepareRequest>,
    /// A session that is dropped.
    #[prost(message, optional, tag = "7")]
    pub abort: Option<PassAbortRequest>,
}

/// Answer to [`Relay`](super::Relay): what the partner says.
#[derive(Clone, PartialEq, Message)]
pub struct RelayReply {
    /// To a request for a manifest.
    #[prost(message, optional, tag = "1")]
    pub manifest: Option<GetManifestReply>,
    /// To a request for bytes, which are the frame's body.
    #[prost(message, optional, tag = "2")]
    pub bytes: Option<GetBytesReply>,
    /// To a piece.
    #[prost(message, optional, tag = "3")]
    pub piece: Option<SessionState>,
    /// To sessions to prepare.
    #[prost(message, optional, tag = "4")]
    pub prepare: Option<PassPrepareReply>,
}

/// Request of [`LookAt`](super::LookAt).
#[derive(Clone, PartialEq, Message)]
pub struct LookAtRequest {
    /// `ip:port` to connect to.
    #[prost(string, tag = "1")]
    pub addr: String,
}

/// Answer to [`LookAt`](super::LookAt).
#[derive(Clone, PartialEq, Message)]
pub struct LookAtReply {
    /// The connection was refused: nobody listens there.
    #[prost(bool, tag = "1")]
    pub refused: bool,
}
