//! The life of a storage server: registration, heartbeats and leases, its leave, damage it has met.

use super::RelayMode;
use crate::message::manager::{Placement, Setting};
use crate::record::Server;
use prost::Message;

/// Answer to [`RegisterServer`](super::RegisterServer).
#[derive(Clone, PartialEq, Message)]
pub struct Registered {
    /// The server as registered.
    #[prost(message, optional, tag = "1")]
    pub server: Option<Server>,
    /// Its key for capabilities and tickets, 32 bytes (R15).
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// The cluster, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub cluster_id: Vec<u8>,
    /// Generation of the feeds.
    #[prost(uint64, tag = "4")]
    pub generation: u64,
    /// Heartbeat interval, ms.
    #[prost(uint64, tag = "5")]
    pub heartbeat_ms: u64,
    /// Lease from the sending of a heartbeat, ms.
    #[prost(uint64, tag = "6")]
    pub lease_ms: u64,
    /// The name manager's clock, ms since 1970.
    #[prost(uint64, tag = "7")]
    pub now_ms: u64,
    /// The pair as it stands.
    #[prost(message, optional, tag = "8")]
    pub placement: Option<Placement>,
    /// When the partner's contents come through the name manager; grants tell it again.
    #[prost(enumeration = "RelayMode", tag = "9")]
    pub relay: i32,
    /// Nothing of it holds: the name manager is being rebuilt, and the server is asked to stand for that (R26).
    #[prost(bool, tag = "10")]
    pub rebuilding: bool,
}

/// Request of [`Heartbeat`](super::Heartbeat).
#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatRequest {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Number of this heartbeat; a grant names it, and the lease counts from its sending (R2).
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// Bytes its data takes.
    #[prost(uint64, tag = "4")]
    pub used_bytes: u64,
    /// Room left on its disk, bytes.
    #[prost(uint64, tag = "5")]
    pub free_bytes: u64,
    /// Age of its oldest unfinished disk operation, ms.
    #[prost(uint64, tag = "6")]
    pub oldest_io_ms: u64,
    /// Its store can take no more writes (failed fsync, full disk): why; else empty.
    #[prost(string, tag = "7")]
    pub trouble: String,
    /// The reserve of its disk is touched, or nearly: room is to be made.
    #[prost(bool, tag = "8")]
    pub short: bool,
    /// Its store takes no more writes, ever, until it is started again (R31).
    #[prost(bool, tag = "9")]
    pub broken: bool,
    /// Records that are set aside, because the index did not list them (R24).
    #[prost(uint64, tag = "20")]
    pub set_aside: u64,
    /// Age of the last sync of its disk that ended well, ms; none: there was none since it started.
    #[prost(uint64, optional, tag = "21")]
    pub last_sync_ms: Option<u64>,
    /// How far its background scrubber is; none: it has not begun.
    #[prost(message, optional, tag = "22")]
    pub scrub: Option<ScrubState>,
    /// How far it is; none: a server of an earlier version, which does not say it.
    #[prost(message, optional, tag = "23")]
    pub reach: Option<Reach>,
}

/// How far a server is and what it knows of: a name manager that was restarted sees from it that its log has lost nothing.
#[derive(Clone, PartialEq, Message)]
pub struct Reach {
    /// Generation in which the numbers count.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Up to where it has applied the control feed, durably.
    #[prost(uint64, tag = "2")]
    pub control_cursor: u64,
    /// The same of its pair's feed.
    #[prost(uint64, tag = "3")]
    pub pair_cursor: u64,
    /// Number of the newest row that this registration was told to be decided, of its pair's feed.
    #[prost(uint64, tag = "4")]
    pub newest_row: u64,
    /// Highest epoch of its pair that this registration has heard of.
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    /// The report of its store was accepted in this registration; before that the rest says nothing.
    #[prost(bool, tag = "6")]
    pub reported: bool,
}

/// How far the background scrubber of a server is. A round goes through all files in the order of their ids.
#[derive(Clone, PartialEq, Message)]
pub struct ScrubState {
    /// Everything that was held at this time has been compared with its SHA-256: the start of the last round that came to
    /// its end, ms since 1970; 0: none has.
    #[prost(uint64, tag = "1")]
    pub verified_ms: u64,
    /// Start of the round that is under way, ms since 1970; 0: none is.
    #[prost(uint64, tag = "2")]
    pub started_ms: u64,
    /// Files with lower ids have been looked at in that round.
    #[prost(uint64, tag = "3")]
    pub file: u64,
    /// Bytes that it has looked at.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// About how many there are.
    #[prost(uint64, tag = "5")]
    pub expected: u64,
    /// Bytes a second of late.
    #[prost(uint64, tag = "6")]
    pub bytes_per_second: u64,
    /// Files with a bad copy that could not be repaired.
    #[prost(uint64, tag = "7")]
    pub bad_files: u64,
    /// Ids of those, at most [`SCRUB_BAD_TOLD`](crate::limits::SCRUB_BAD_TOLD).
    #[prost(uint64, repeated, tag = "8")]
    pub bad: Vec<u64>,
    /// In this time everything is to be looked at once, ms; 0: the scrubber is off.
    #[prost(uint64, tag = "9")]
    pub period_ms: u64,
}

impl ScrubState {
    /// When `file` was last compared with its digests, ms since 1970; none: never.
    pub fn verified(&self, file: u64) -> Option<u64> {
        let at = if self.started_ms != 0 && file < self.file { self.started_ms } else { self.verified_ms };
        (at != 0).then_some(at)
    }

    /// How long the round that is under way still takes, ms; none: there is none, or it does not move.
    pub fn left_ms(&self) -> Option<u64> {
        let left = self.expected.saturating_sub(self.bytes).saturating_mul(1000);
        left.checked_div(self.bytes_per_second).filter(|_| self.started_ms != 0)
    }
}

/// A lease, or that there is none, as answer to a heartbeat or as push.
#[derive(Clone, PartialEq, Message)]
pub struct GrantMessage {
    /// The heartbeat it answers.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Registration it is for.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Whether the server may serve its pair.
    #[prost(bool, tag = "3")]
    pub serve: bool,
    /// Epoch it may serve in.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Nothing is served before the control feed is applied up to here (R9).
    #[prost(uint64, tag = "5")]
    pub serve_from_control: u64,
    /// Nothing is served before the pair's feed is applied up to here (R9).
    #[prost(uint64, tag = "6")]
    pub serve_from_pair: u64,
    /// The pair as it stands: the partner's address, who acts.
    #[prost(message, optional, tag = "7")]
    pub placement: Option<Placement>,
    /// The name manager's clock, ms since 1970.
    #[prost(uint64, tag = "8")]
    pub now_ms: u64,
    /// The server was declared failed or replaced: register again.
    #[prost(bool, tag = "9")]
    pub register_again: bool,
    /// Send each commit only once it is prepared on both (R27, after three failed handovers).
    #[prost(bool, tag = "10")]
    pub both_first: bool,
    /// When the partner's contents come through the name manager.
    #[prost(enumeration = "RelayMode", tag = "11")]
    pub relay: i32,
}

/// Request of [`Leave`](super::Leave) and [`ReleaseLease`](super::ReleaseLease).
#[derive(Clone, PartialEq, Message)]
pub struct LeaveRequest {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

/// Request of [`LetGo`](super::LetGo).
#[derive(Clone, PartialEq, Message)]
pub struct LetGoRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Epoch that ends.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// Request of [`Probe`](super::Probe).
#[derive(Clone, PartialEq, Message)]
pub struct ProbeRequest {
    /// Its settings, too.
    #[prost(bool, tag = "1")]
    pub settings: bool,
}

/// Answer to [`Probe`](super::Probe).
#[derive(Clone, PartialEq, Message)]
pub struct ProbeReply {
    /// Registration it believes in.
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    /// Its settings, if asked for.
    #[prost(message, repeated, tag = "2")]
    pub settings: Vec<Setting>,
}

/// Request of [`ReportDamage`](super::ReportDamage): what a read or a page of a scrub met.
#[derive(Clone, PartialEq, Message)]
pub struct DamageReport {
    /// The server whose copies were bad.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Copies that were repaired from the partner.
    #[prost(uint64, tag = "2")]
    pub repaired: u64,
    /// Copies that are bad still.
    #[prost(uint64, tag = "3")]
    pub damaged: u64,
    /// The name of one of them, and what was wrong with it.
    #[prost(string, tag = "4")]
    pub example: String,
}
