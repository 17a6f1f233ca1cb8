//! What storage servers tell the name manager, and what it tells them.

use super::{Empty, methods};
use crate::command::{Answer, Answers, EndImport, Import, Recovered, Register, VersionRef, WriteComplete};
use crate::message::manager::Placement;
use crate::message::partner::{GetBytesReply, GetBytesRequest, GetManifestReply, GetManifestRequest};
use crate::record::{Row, Server};
use prost::Message;

methods! {
    /// ss → nm: a start registers itself (R6, R7).
    RegisterServer = 200: Register => Registered;
    /// ss → nm: it has recovered its store.
    ReportRecovered = 201: Recovered => Server;
    /// ss → nm, on a connection of its own: alive.
    Heartbeat = 202: HeartbeatRequest => GrantMessage;
    /// ss → nm: writes that are prepared, many at once.
    Complete = 203: CompleteRequest => Answers;
    /// ss → nm: what became of prepared sessions (R10)?
    Resolve = 204: ResolveRequest => ResolveReply;
    /// ss → nm: it wants to stop: hand over first. Answers when it need not wait any longer.
    Leave = 205: LeaveRequest => Empty;
    /// ss → nm: the lease is given up; sent last before the listener closes (R6).
    ReleaseLease = 206: LeaveRequest => Empty;
    /// ss → nm: entries of a folder that it brings along (R24); one answer each. No record: passed over, and why.
    TakeIn = 220: TakeInRequest => Answers;
    /// ss → nm: all of that folder is in.
    TakenIn = 221: EndImport => Answer;
    /// ss → nm: a manifest or bytes of its partner, which it cannot reach. Bytes are the frame's body.
    Relay = 222: RelayRequest => RelayReply;
    /// ss → nm: it has found bad bytes, for `pairfs events`.
    ReportDamage = 225: DamageReport => Empty;

    /// nm → ss: rows beyond its cursor.
    Apply = 300: ApplyRequest => ApplyReply;
    /// nm → ss: which of these versions does it hold (R11)?
    Survey = 302: SurveyRequest => SurveyReply;
    /// nm → ss: stop serving for a handover (R27).
    LetGo = 303: LetGoRequest => Empty;
    /// nm → ss: are you there?
    Probe = 304: Empty => ProbeReply;
    /// nm → ss: copy these owed versions from your partner (R12).
    Bring = 305: BringRequest => BringReply;
    /// nm → ss: does your partner's port refuse you, too (R5)?
    LookAt = 306: LookAtRequest => LookAtReply;
    /// nm → ss, for its partner: as [`crate::message::partner::GetManifest`].
    RelayManifest = 320: GetManifestRequest => GetManifestReply;
    /// nm → ss, for its partner: as [`crate::message::partner::GetBytes`].
    RelayBytes = 321: GetBytesRequest => GetBytesReply;
    /// nm → ss: set aside what you hold in this range and I do not list (R24).
    Compare = 335: CompareRequest => CompareReply;
}

/// Push to storage servers on their heartbeat connection: a grant for the newest heartbeat
/// ([`GrantMessage`]), sent when something changed (R39).
pub const PUSH_GRANT: u16 = 290;

/// Answer to [`RegisterServer`].
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

/// Request of [`Heartbeat`].
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

/// Request of [`Relay`]: one of the two.
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
}

/// Answer to [`Relay`]: what the partner says.
#[derive(Clone, PartialEq, Message)]
pub struct RelayReply {
    /// To a request for a manifest.
    #[prost(message, optional, tag = "1")]
    pub manifest: Option<GetManifestReply>,
    /// To a request for bytes, which are the frame's body.
    #[prost(message, optional, tag = "2")]
    pub bytes: Option<GetBytesReply>,
}

/// Request of [`Complete`].
#[derive(Clone, PartialEq, Message)]
pub struct CompleteRequest {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub writes: Vec<WriteComplete>,
}

/// Request of [`TakeIn`].
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

/// Request of [`Resolve`].
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
    /// It is a kept version in the log; else it is open again.
    #[prost(bool, tag = "2")]
    pub committed: bool,
    /// The file whose version it is.
    #[prost(uint64, tag = "3")]
    pub file: u64,
}

/// Answer to [`Resolve`].
#[derive(Clone, PartialEq, Message)]
pub struct ResolveReply {
    /// One for each session asked.
    #[prost(message, repeated, tag = "1")]
    pub resolutions: Vec<Resolution>,
    /// End of the feed of the server's pair as of the answer: what rows up to there name was decided before.
    #[prost(uint64, tag = "2")]
    pub pair_end: u64,
}

/// Request of [`Leave`] and [`ReleaseLease`].
#[derive(Clone, PartialEq, Message)]
pub struct LeaveRequest {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

/// Request of [`Apply`].
#[derive(Clone, PartialEq, Message)]
pub struct ApplyRequest {
    /// Generation of the feeds; another one is refused (R26).
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Registration the rows are meant for.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Feed: 0 or the pair's number.
    #[prost(uint32, tag = "3")]
    pub feed: u32,
    /// Rows, in order of their numbers.
    #[prost(message, repeated, tag = "4")]
    pub rows: Vec<Row>,
    /// Everything up to here has been acknowledged or merged away: the cursor (R21); 0: no news.
    #[prost(uint64, tag = "5")]
    pub advance: u64,
    /// In the state that the rows were read from, tombstones up to here had been collected (R24): they may be
    /// forgotten.
    #[prost(uint64, tag = "6")]
    pub collected: u64,
}

/// Request of [`Compare`]: what the name manager has in a range of ids.
#[derive(Clone, PartialEq, Message)]
pub struct CompareRequest {
    /// Generation of the feeds.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Registration it is meant for.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Only records of this feed: 0 or the pair's number.
    #[prost(uint32, tag = "3")]
    pub feed: u32,
    /// Only ids above this one.
    #[prost(uint64, tag = "4")]
    pub after: u64,
    /// Only ids up to this one.
    #[prost(uint64, tag = "5")]
    pub upto: u64,
    /// All that there are, ascending.
    #[prost(uint64, repeated, tag = "6")]
    pub ids: Vec<u64>,
    /// The feed's end as of the list: a record with a higher number is newer than the list.
    #[prost(uint64, tag = "7")]
    pub end: u64,
}

/// Answer to [`Compare`].
#[derive(Clone, PartialEq, Message)]
pub struct CompareReply {
    /// Records that were set aside.
    #[prost(uint64, tag = "1")]
    pub set_aside: u64,
    /// Names of some of them.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}

/// A row that could not be applied now.
#[derive(Clone, PartialEq, Message)]
pub struct RowFailure {
    /// Row.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// [`crate::error::Code`].
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// Why.
    #[prost(string, tag = "3")]
    pub message: String,
    /// Nothing is wrong: its bytes are on their way, and whoever sends it again soon waits on.
    #[prost(bool, tag = "40")]
    pub under_way: bool,
}

/// Answer to [`Apply`].
#[derive(Clone, PartialEq, Message)]
pub struct ApplyReply {
    /// Rows that are durably applied (or were not newer than what is there).
    #[prost(uint64, repeated, tag = "1")]
    pub applied: Vec<u64>,
    /// Rows that are not.
    #[prost(message, repeated, tag = "2")]
    pub failed: Vec<RowFailure>,
    /// End of the server's journal.
    #[prost(uint64, tag = "3")]
    pub journal: u64,
    /// Its durable cursor in the feed.
    #[prost(uint64, tag = "4")]
    pub cursor: u64,
    /// Bytes it has copied from its partner since it was started.
    #[prost(uint64, tag = "40")]
    pub copied_bytes: u64,
    /// Bytes that are here of contents whose copy goes on.
    #[prost(uint64, tag = "41")]
    pub partial_bytes: u64,
}

/// Request of [`Survey`].
#[derive(Clone, PartialEq, Message)]
pub struct SurveyRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Epoch since the promotion.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Rows beyond its cursor.
    #[prost(message, repeated, tag = "3")]
    pub rows: Vec<Row>,
}

/// Answer to [`Survey`].
#[derive(Clone, PartialEq, Message)]
pub struct SurveyReply {
    /// Kept versions whose bytes it does not hold.
    #[prost(message, repeated, tag = "1")]
    pub lacks: Vec<VersionRef>,
    /// Versions marked owed whose bytes it holds.
    #[prost(message, repeated, tag = "2")]
    pub holds: Vec<VersionRef>,
}

/// Request of [`LetGo`].
#[derive(Clone, PartialEq, Message)]
pub struct LetGoRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Epoch that ends.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// Answer to [`Probe`].
#[derive(Clone, PartialEq, Message)]
pub struct ProbeReply {
    /// Registration it believes in.
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
}

/// Request of [`Bring`].
#[derive(Clone, PartialEq, Message)]
pub struct BringRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Versions to copy from the partner.
    #[prost(message, repeated, tag = "2")]
    pub versions: Vec<VersionRef>,
}

/// Answer to [`Bring`].
#[derive(Clone, PartialEq, Message)]
pub struct BringReply {
    /// Sessions whose versions are durable here now, 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub brought: Vec<Vec<u8>>,
    /// Why the others are not.
    #[prost(string, tag = "2")]
    pub trouble: String,
}

/// Request of [`LookAt`].
#[derive(Clone, PartialEq, Message)]
pub struct LookAtRequest {
    /// `ip:port` to connect to.
    #[prost(string, tag = "1")]
    pub addr: String,
}

/// Answer to [`LookAt`].
#[derive(Clone, PartialEq, Message)]
pub struct LookAtReply {
    /// The connection was refused: nobody listens there.
    #[prost(bool, tag = "1")]
    pub refused: bool,
}

/// Request of [`ReportDamage`]: what a read or a page of a scrub met.
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
