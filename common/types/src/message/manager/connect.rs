//! A client's connections: what it is told first, who acts in a pair, tickets.

use prost::Message;

/// Answer to [`Attach`](super::Attach).
#[derive(Clone, PartialEq, Message)]
pub struct Attached {
    /// Client id: log time of its issue.
    #[prost(uint64, tag = "1")]
    pub client_issued: u64,
    /// Client id: random part.
    #[prost(uint64, tag = "2")]
    pub client_random: u64,
    /// The name manager's clock, ms since 1970.
    #[prost(uint64, tag = "3")]
    pub now_ms: u64,
    /// The cluster, 16 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub cluster_id: Vec<u8>,
    /// The user the connection is signed in as.
    #[prost(string, tag = "5")]
    pub user: String,
    /// Name of the name manager.
    #[prost(string, tag = "6")]
    pub name: String,
}

/// A member of a pair and where it listens.
#[derive(Clone, PartialEq, Message)]
pub struct MemberAddr {
    /// Server name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `host:port`; empty while unknown.
    #[prost(string, tag = "2")]
    pub addr: String,
    /// Registration the address belongs to.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
}

/// Who acts in a pair.
#[derive(Clone, PartialEq, Message)]
pub struct Placement {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Its epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Name of the member that serves now; empty: nobody may.
    #[prost(string, tag = "3")]
    pub acting: String,
    /// Both members.
    #[prost(message, repeated, tag = "4")]
    pub members: Vec<MemberAddr>,
    /// Name of the pair.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Why nobody serves, for people; else empty.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// Whether the log knows the other member to be away or stale (R19).
    #[prost(bool, tag = "7")]
    pub degraded: bool,
}

/// Request of [`Whereabouts`](super::Whereabouts).
#[derive(Clone, PartialEq, Message)]
pub struct WhereaboutsRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Answer at once if the pair is served in a later epoch than this, or by another registration.
    #[prost(uint64, tag = "2")]
    pub known_epoch: u64,
    /// Registration of the acting member that the client found silent.
    #[prost(uint64, tag = "3")]
    pub known_incarnation: u64,
    /// Else wait so long for that, ms.
    #[prost(uint32, tag = "4")]
    pub wait_ms: u32,
}

/// Request of [`GetTicket`](super::GetTicket).
#[derive(Clone, PartialEq, Message)]
pub struct TicketRequest {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
}

/// Answer to [`GetTicket`](super::GetTicket).
#[derive(Clone, PartialEq, Message)]
pub struct TicketReply {
    /// The encoded [`crate::capability::Ticket`].
    #[prost(bytes = "bytes", tag = "1")]
    pub ticket: bytes::Bytes,
    /// The key it stands for, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// Where the server listens.
    #[prost(string, tag = "3")]
    pub addr: String,
}
