//! What operators see and do: the state of servers and pairs, events, switchover and promotion by force.

use super::Placement;
use crate::message::member::ScrubState;
use crate::record::Event;
use prost::Message;

/// A storage server in [`StatusReply`].
#[derive(Clone, PartialEq, Message)]
pub struct ServerStatus {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `primary` or `backup`.
    #[prost(string, tag = "2")]
    pub role: String,
    /// `alive`, `suspect`, `failed` or `unknown`.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Where it listens.
    #[prost(string, tag = "4")]
    pub addr: String,
    /// Age of its last heartbeat in ms; none if this leader has heard none.
    #[prost(uint64, optional, tag = "5")]
    pub last_heartbeat_ms: Option<u64>,
    /// Bytes its data takes.
    #[prost(uint64, tag = "6")]
    pub used_bytes: u64,
    /// Room left on its disk, bytes.
    #[prost(uint64, tag = "7")]
    pub free_bytes: u64,
    /// May be promoted.
    #[prost(bool, tag = "8")]
    pub fresh: bool,
    /// Registration.
    #[prost(uint64, tag = "9")]
    pub incarnation: u64,
    /// Records that it has set aside, because the index did not list them (R24).
    #[prost(uint64, tag = "20")]
    pub set_aside: u64,
    /// What is wrong with its data or its disk, for people; empty: nothing.
    #[prost(string, tag = "21")]
    pub trouble: String,
    /// Age of its oldest unfinished disk operation as of its last heartbeat, ms.
    #[prost(uint64, tag = "22")]
    pub oldest_io_ms: u64,
    /// Age of the last sync of its disk as of its last heartbeat, ms; none: there was none since it started.
    #[prost(uint64, optional, tag = "23")]
    pub last_sync_ms: Option<u64>,
    /// How far its background scrubber is.
    #[prost(message, optional, tag = "24")]
    pub scrub: Option<ScrubState>,
}

/// A pair in [`StatusReply`].
#[derive(Clone, PartialEq, Message)]
pub struct PairStatus {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Primary.
    #[prost(string, tag = "2")]
    pub primary: String,
    /// Backup.
    #[prost(string, tag = "3")]
    pub backup: String,
    /// Who serves now; empty: nobody.
    #[prost(string, tag = "4")]
    pub acting: String,
    /// Who should.
    #[prost(string, tag = "5")]
    pub preferred: String,
    /// Epoch.
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    /// `forming`, `active`, `degraded`, `failed_over`, `recovering` or `down`.
    #[prost(string, tag = "7")]
    pub state: String,
    /// Rows the other member has not applied.
    #[prost(uint64, tag = "8")]
    pub lag_rows: u64,
    /// Bytes of their heads.
    #[prost(uint64, tag = "9")]
    pub lag_bytes: u64,
    /// Files with one copy only.
    #[prost(uint64, tag = "10")]
    pub at_risk_files: u64,
    /// Versions owed.
    #[prost(uint64, tag = "11")]
    pub owed_versions: u64,
    /// Versions lost.
    #[prost(uint64, tag = "12")]
    pub lost_versions: u64,
    /// Files.
    #[prost(uint64, tag = "13")]
    pub files: u64,
    /// Number of the pair.
    #[prost(uint32, tag = "14")]
    pub id: u32,
    /// Rows applied by the other member in the last second.
    #[prost(uint64, tag = "15")]
    pub rows_per_second: u64,
    /// Contents come to a member through the name manager now.
    #[prost(bool, tag = "16")]
    pub relaying: bool,
    /// Bytes that have come so since this leader began.
    #[prost(uint64, tag = "17")]
    pub relayed_bytes: u64,
    /// Bytes that the other member copied in the last second.
    #[prost(uint64, tag = "40")]
    pub bytes_per_second: u64,
    /// How long the other member still needs at its pace, ms; none: nothing lags but what always does under writes, nothing
    /// moves, or it moves for too short a time to say so.
    #[prost(uint64, optional, tag = "41")]
    pub left_ms: Option<u64>,
    /// The preferred member failed again and again, and does not take its role back for so long yet, ms.
    #[prost(uint64, optional, tag = "42")]
    pub damped_ms: Option<u64>,
    /// Both copies of everything that is replicated have been compared with their digests at this time or since, ms since
    /// 1970; none: not yet, or a member is away or stale.
    #[prost(uint64, optional, tag = "43")]
    pub verified_ms: Option<u64>,
    /// Files with a bad copy that could not be repaired, summed over the members.
    #[prost(uint64, tag = "44")]
    pub bad_files: u64,
}

/// A name manager in [`StatusReply`].
#[derive(Clone, PartialEq, Message)]
pub struct ManagerStatus {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Address.
    #[prost(string, tag = "2")]
    pub addr: String,
    /// `leader`, `follower`, `candidate`, `learner`.
    #[prost(string, tag = "3")]
    pub role: String,
    /// Term.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// Last applied log index.
    #[prost(uint64, tag = "5")]
    pub applied: u64,
}

/// Answer to [`Status`](super::Status).
#[derive(Clone, PartialEq, Message)]
pub struct StatusReply {
    /// Name of the leader; empty: none.
    #[prost(string, tag = "1")]
    pub leader: String,
    /// The name managers.
    #[prost(message, repeated, tag = "2")]
    pub nms: Vec<ManagerStatus>,
    /// The storage servers.
    #[prost(message, repeated, tag = "3")]
    pub servers: Vec<ServerStatus>,
    /// The pairs.
    #[prost(message, repeated, tag = "4")]
    pub pairs: Vec<PairStatus>,
    /// The cluster, 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub cluster_id: Vec<u8>,
    /// The name manager is being rebuilt and serves nobody: for whom it waits, or what it does. Else empty.
    #[prost(string, tag = "6")]
    pub rebuilding: String,
    /// If asked for: the settings of the name manager and of every storage server.
    #[prost(message, repeated, tag = "7")]
    pub settings: Vec<ServerSettings>,
}

/// Request of [`Status`](super::Status).
#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {
    /// The servers' settings too; only for an administrator.
    #[prost(bool, tag = "1")]
    pub settings: bool,
}

/// The settings of one server.
#[derive(Clone, PartialEq, Message)]
pub struct ServerSettings {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// By name.
    #[prost(message, repeated, tag = "2")]
    pub settings: Vec<Setting>,
    /// Why there are none, for people; else empty.
    #[prost(string, tag = "3")]
    pub trouble: String,
}

/// A setting as it holds now. Secrets are in files; only where those are is told.
#[derive(Clone, PartialEq, Message)]
pub struct Setting {
    /// The option's name, without dashes.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value; none if nothing was said and there is no default.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
    /// Where that came from: `--name`, the name of a variable, `file PATH`, or `default`.
    #[prost(string, tag = "3")]
    pub origin: String,
}

/// Request of [`Events`](super::Events).
#[derive(Clone, PartialEq, Message)]
pub struct EventsRequest {
    /// Only events with a higher number.
    #[prost(uint64, tag = "1")]
    pub after: u64,
    /// At most so many; 0: a page.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
    /// Wait so long for one if there is none, ms.
    #[prost(uint32, tag = "3")]
    pub wait_ms: u32,
}

/// Answer to [`Events`](super::Events).
#[derive(Clone, PartialEq, Message)]
pub struct EventsReply {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
}

/// Request of [`Switchover`](super::Switchover).
#[derive(Clone, PartialEq, Message)]
pub struct SwitchoverRequest {
    /// Pair name.
    #[prost(string, tag = "1")]
    pub pair: String,
    /// How long to try, ms.
    #[prost(uint32, tag = "2")]
    pub wait_ms: u32,
    /// Which member shall act; empty: the one that does not.
    #[prost(string, tag = "3")]
    pub to: String,
}

/// Request of [`ForcePromote`](super::ForcePromote).
#[derive(Clone, PartialEq, Message)]
pub struct ForcePromoteRequest {
    /// Pair name.
    #[prost(string, tag = "1")]
    pub pair: String,
    /// Do it; else only say what would be lost.
    #[prost(bool, tag = "2")]
    pub accept_loss: bool,
    /// How long to try, ms.
    #[prost(uint32, tag = "3")]
    pub wait_ms: u32,
}

/// Answer to [`ForcePromote`](super::ForcePromote).
#[derive(Clone, PartialEq, Message)]
pub struct ForcePromoteReply {
    /// Who is, or would be, promoted.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Paths of files of which it lacks a version, at most a page of them.
    #[prost(string, repeated, tag = "2")]
    pub lacking: Vec<String>,
    /// Versions that it lacks.
    #[prost(uint64, tag = "3")]
    pub versions: u64,
    /// The pair afterwards, if it was done.
    #[prost(message, optional, tag = "4")]
    pub placement: Option<Placement>,
}
