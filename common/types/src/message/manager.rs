//! What clients ask the name manager.

use super::{Empty, methods};
use crate::capability::SignedCapability;
use crate::command::{Answer, Make, Move, Remove, SetDurability};
use crate::message::store::Durability;
use crate::record::{Event, Record, Row};
use prost::Message;

methods! {
    /// First on every connection: gives the client its id and the cluster's.
    Attach = 100: Empty => Attached;
    /// Finds a path, for reading or writing.
    Locate = 101: LocateRequest => Located;
    /// Makes an empty file, a folder or a link.
    MakeEntry = 102: Make => Answer;
    /// Removes a file or folder.
    RemoveEntry = 103: Remove => Answer;
    /// Moves a file or folder.
    MoveEntry = 104: Move => Answer;
    /// Lists a folder, a page at a time.
    List = 105: ListRequest => ListReply;
    /// The state of servers and pairs.
    Status = 107: Empty => StatusReply;
    /// What happened.
    Events = 108: EventsRequest => EventsReply;
    /// A ticket to connect to a storage server.
    GetTicket = 109: TicketRequest => TicketReply;
    /// Hands a pair over to its other member.
    Switchover = 110: SwitchoverRequest => Placement;
    /// Pages through the records of a pair, for fsck.
    PairRecords = 111: PairRecordsRequest => PairRecordsReply;
    /// Who acts in a pair; can wait for a change.
    Whereabouts = 112: WhereaboutsRequest => Placement;
    /// Places a name for the life of an upload.
    OpenUpload = 113: OpenUploadRequest => Empty;
    /// The last resort: the stale member of a pair acts, or only what it lacks.
    ForcePromote = 114: ForcePromoteRequest => ForcePromoteReply;
    /// Pages through the files of a pair by id, for fsck.
    PairFiles = 155: PairFilesRequest => PairFilesReply;
    /// Says how durable writes below a folder are.
    SetFolderDurability = 125: SetDurability => Answer;
}

/// Push to clients: who acts in a pair has changed ([`Placement`]).
pub const PUSH_PLACEMENT: u16 = 190;

/// Answer to [`Attach`].
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

/// Request of [`Locate`].
#[derive(Clone, PartialEq, Message)]
pub struct LocateRequest {
    /// Path from the root.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Bits of [`crate::capability::right`] that are wanted; 0: only the record.
    #[prost(uint32, tag = "2")]
    pub rights: u32,
    /// For writing: the file may be missing, its folder must exist.
    #[prost(bool, tag = "3")]
    pub may_be_missing: bool,
    /// For a file that is missing: the pair wanted, as a copy is placed beside its original; 0: none.
    #[prost(uint32, tag = "4")]
    pub beside: u32,
    /// Also say which members hold the head.
    #[prost(bool, tag = "15")]
    pub copies: bool,
}

/// A pair that new files of a folder may go to.
#[derive(Clone, PartialEq, Message)]
pub struct Choice {
    /// The pair.
    #[prost(message, optional, tag = "1")]
    pub placement: Option<Placement>,
    /// What to show to its servers.
    #[prost(message, optional, tag = "2")]
    pub capability: Option<SignedCapability>,
    /// Its free room, bytes: see [`crate::placement::choose`].
    #[prost(uint64, tag = "3")]
    pub weight: u64,
}

/// Answer to [`Locate`].
#[derive(Clone, PartialEq, Message)]
pub struct Located {
    /// What stands at the path, if anything does.
    #[prost(message, optional, tag = "1")]
    pub record: Option<Record>,
    /// The folder of the path's last name.
    #[prost(uint64, tag = "2")]
    pub folder: u64,
    /// The last name as it is stored, or as given.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The pair that has it, or where a new file would go; none for folders.
    #[prost(message, optional, tag = "4")]
    pub placement: Option<Placement>,
    /// What to show to the pair's servers.
    #[prost(message, optional, tag = "5")]
    pub capability: Option<SignedCapability>,
    /// [`crate::ids::Seq`] of the state this was decided on.
    #[prost(uint64, tag = "6")]
    pub stamp: u64,
    /// The name manager's clock, ms since 1970.
    #[prost(uint64, tag = "7")]
    pub now_ms: u64,
    /// Where other new files of the folder would go, if there is more than one pair and all of the folder may be written.
    #[prost(message, repeated, tag = "8")]
    pub choices: Vec<Choice>,
    /// How durable a write there is that does not say it itself (R19); unset: no folder says it, so `async`.
    #[prost(enumeration = "Durability", tag = "27")]
    pub durability: i32,
    /// The folder that says so; 0: none.
    #[prost(uint64, tag = "28")]
    pub durability_from: u64,
    /// If asked: the servers that answer and hold the head durably, as far as they have said.
    #[prost(string, repeated, tag = "15")]
    pub held_by: Vec<String>,
}

/// Request of [`List`].
#[derive(Clone, PartialEq, Message)]
pub struct ListRequest {
    /// Folder, or a file (then it alone is listed).
    #[prost(string, tag = "1")]
    pub path: String,
    /// Begin after this sort name (`name` of a file, `name/` of a folder); empty: at the start.
    #[prost(string, tag = "2")]
    pub after: String,
    /// At most so many; 0: a page.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
    /// Only names that begin so.
    #[prost(string, tag = "4")]
    pub prefix: String,
    /// List this folder by id (from an earlier page) rather than by path.
    #[prost(uint64, tag = "5")]
    pub folder: u64,
}

/// Answer to [`List`].
#[derive(Clone, PartialEq, Message)]
pub struct ListReply {
    /// Records without their versions but the head, in order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Record>,
    /// Where to go on; empty: that was all.
    #[prost(string, tag = "2")]
    pub next: String,
}

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
    /// How long the other member still needs at that rate, ms; none: nothing lags, or nothing moves.
    #[prost(uint64, optional, tag = "41")]
    pub left_ms: Option<u64>,
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

/// Answer to [`Status`].
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
}

/// Request of [`Events`].
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

/// Answer to [`Events`].
#[derive(Clone, PartialEq, Message)]
pub struct EventsReply {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
}

/// Request of [`GetTicket`].
#[derive(Clone, PartialEq, Message)]
pub struct TicketRequest {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
}

/// Answer to [`GetTicket`].
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

/// Request of [`Switchover`].
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

/// Request of [`PairRecords`].
#[derive(Clone, PartialEq, Message)]
pub struct PairRecordsRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Rows after this [`crate::ids::Seq`].
    #[prost(uint64, tag = "2")]
    pub after: u64,
    /// At most so many.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// Answer to [`PairRecords`].
#[derive(Clone, PartialEq, Message)]
pub struct PairRecordsReply {
    /// Rows of the feed in order.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    /// Who acts.
    #[prost(message, optional, tag = "2")]
    pub placement: Option<Placement>,
    /// Cover for asking the pair's servers for their inventory.
    #[prost(message, optional, tag = "3")]
    pub capability: Option<SignedCapability>,
    /// Whether that was the last page.
    #[prost(bool, tag = "4")]
    pub end: bool,
}

/// Request of [`PairFiles`].
#[derive(Clone, PartialEq, Message)]
pub struct PairFilesRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Files after this id.
    #[prost(uint64, tag = "2")]
    pub after: u64,
    /// At most so many.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// Answer to [`PairFiles`].
#[derive(Clone, PartialEq, Message)]
pub struct PairFilesReply {
    /// Records in order of id, what was removed included as long as the index remembers it.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
    /// Go on after this id; 0: that was all.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// Every member has said that it has applied the pair's feed up to here.
    #[prost(uint64, tag = "3")]
    pub floor: u64,
    /// Who acts.
    #[prost(message, optional, tag = "4")]
    pub placement: Option<Placement>,
    /// Cover for asking the pair's servers for their inventory.
    #[prost(message, optional, tag = "5")]
    pub capability: Option<SignedCapability>,
}

/// Request of [`Whereabouts`].
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

/// Request of [`OpenUpload`].
#[derive(Clone, PartialEq, Message)]
pub struct OpenUploadRequest {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Folder.
    #[prost(uint64, tag = "2")]
    pub folder: u64,
    /// Name in it.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Pair.
    #[prost(uint32, tag = "4")]
    pub pair: u32,
    /// The client's timeout, ms.
    #[prost(uint64, tag = "5")]
    pub timeout_ms: u64,
}

/// Request of [`ForcePromote`].
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

/// Answer to [`ForcePromote`].
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
