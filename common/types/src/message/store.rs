//! What clients ask storage servers.

use super::{Empty, methods};
use crate::capability::SignedCapability;
use crate::command::Asker;
use crate::record::{Record, Version};
use prost::Message;

methods! {
    /// Opens a write session, or finds it again (R28).
    OpenSession = 400: OpenSessionRequest => SessionState;
    /// A piece of content; the bytes are the frame's body.
    Piece = 401: PieceRequest => SessionState;
    /// Makes a session a version.
    Commit = 402: CommitRequest => Receipt;
    /// A small content in one round trip: open, piece and commit; the bytes are the frame's body.
    Put = 403: CommitRequest => Receipt;
    /// Ends a session without a commit.
    Abort = 404: AbortRequest => Empty;
    /// A range of a version; the bytes are the reply's body.
    Read = 405: ReadRequest => ReadReply;
    /// Records and chunk digests, for fsck.
    Inventory = 406: InventoryRequest => InventoryReply;
    /// Makes a version of another file a version of this one: its chunks are shared, no bytes travel (R16).
    Copy = 407: CopyRequest => Receipt;
    /// Compares bytes with their SHA-256 and repairs them from the partner, a page at a time.
    Scrub = 425: ScrubRequest => ScrubReply;
    /// What a member has set aside (R24), a page at a time; gives it up if asked to. For operators.
    Aside = 426: AsideRequest => AsideReply;
}

/// Durability asked for (R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Durability {
    /// As the nearest folder says, else the cluster.
    Unset = 0,
    /// On the acting member.
    Async = 1,
    /// On both members, or an error.
    Sync = 2,
    /// On both members, or on one once the pair is known degraded.
    SyncIfUp = 3,
}

impl Durability {
    /// Its name on the command line and in JSON; none if unset.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Durability::Unset => None,
            Durability::Async => Some("async"),
            Durability::Sync => Some("sync"),
            Durability::SyncIfUp => Some("sync-if-up"),
        }
    }
}

/// What is written to.
#[derive(Clone, PartialEq, Message)]
pub struct Target {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Folder.
    #[prost(uint64, tag = "2")]
    pub folder: u64,
    /// Name in it.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The file; 0: whatever bears the name.
    #[prost(uint64, tag = "4")]
    pub file: u64,
}

/// Request of [`OpenSession`].
#[derive(Clone, PartialEq, Message)]
pub struct OpenSessionRequest {
    /// Write session chosen by the client, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// What is written to.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Target>,
    /// Cover for writing there.
    #[prost(message, optional, tag = "3")]
    pub capability: Option<SignedCapability>,
    /// Epoch the client believes in.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// The client's timeout, ms.
    #[prost(uint64, tag = "5")]
    pub timeout_ms: u64,
    /// Bytes to come, if known.
    #[prost(uint64, optional, tag = "6")]
    pub size: Option<u64>,
    /// The session is new: nothing of it was ever sent to any server, so nobody need be asked for it.
    #[prost(bool, tag = "40")]
    pub first: bool,
}

/// Where a write session stands.
#[derive(Clone, PartialEq, Message)]
pub struct SessionState {
    /// Bytes from the start that this member has.
    #[prost(uint64, tag = "1")]
    pub held: u64,
    /// Bytes from the start that its partner has.
    #[prost(uint64, tag = "2")]
    pub partner_held: u64,
    /// Whether bytes are passed on to the partner now; if not, the window counts this member only.
    #[prost(bool, tag = "3")]
    pub passing: bool,
}

/// Request of [`Piece`]. The body is at most [`crate::limits::PIECE`] bytes; a piece may not cross a
/// multiple of [`crate::limits::CHUNK`].
#[derive(Clone, PartialEq, Message)]
pub struct PieceRequest {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Where it begins.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// CRC-64/NVME of each block of the body (the last may be shorter), as the client computed them.
    #[prost(fixed64, repeated, tag = "3")]
    pub crcs: Vec<u64>,
}

/// Request of [`Commit`] and [`Put`].
#[derive(Clone, PartialEq, Message)]
pub struct CommitRequest {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// What is written to.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Target>,
    /// Cover for writing there.
    #[prost(message, optional, tag = "3")]
    pub capability: Option<SignedCapability>,
    /// Epoch the client believes in.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Who asks, with which key. The user is that of the connection.
    #[prost(message, optional, tag = "5")]
    pub asker: Option<Asker>,
    /// Bytes of the whole content.
    #[prost(uint64, tag = "6")]
    pub size: u64,
    /// CRC-64/NVME of the whole content, as the client computed it.
    #[prost(fixed64, tag = "7")]
    pub crc64: u64,
    /// Digest to compare with, 32 bytes, or empty.
    #[prost(bytes = "vec", tag = "8")]
    pub sha256: Vec<u8>,
    /// Refused unless this is the head; 0.0: no condition.
    #[prost(uint64, tag = "9")]
    pub if_epoch: u64,
    /// Number of that version.
    #[prost(uint64, tag = "10")]
    pub if_number: u64,
    /// Refused if the name is taken.
    #[prost(bool, tag = "11")]
    pub create_only: bool,
    /// Durability wanted.
    #[prost(enumeration = "Durability", tag = "12")]
    pub durability: i32,
    /// POSIX mode to keep; 0: leave.
    #[prost(uint32, tag = "13")]
    pub mode: u32,
    /// Modification time to keep, ms since 1970; 0: the commit's.
    #[prost(sint64, tag = "14")]
    pub mtime_ms: i64,
    /// How long the client waits, ms.
    #[prost(uint64, tag = "15")]
    pub timeout_ms: u64,
    /// If `durability` is unset: what held there when the client looked the path up. The server goes by its own
    /// records of the folders; this is for folders that it does not know yet.
    #[prost(enumeration = "Durability", tag = "27")]
    pub inherited: i32,
}

/// Request of [`Copy`].
#[derive(Clone, PartialEq, Message)]
pub struct CopyRequest {
    /// The write, as for [`Commit`]; size, CRC and digest are those of what is cited.
    #[prost(message, optional, tag = "1")]
    pub commit: Option<CommitRequest>,
    /// The file that is cited, of the same pair.
    #[prost(message, optional, tag = "2")]
    pub source: Option<Target>,
    /// Cover for reading it.
    #[prost(message, optional, tag = "3")]
    pub capability: Option<SignedCapability>,
    /// The version of it.
    #[prost(uint64, tag = "4")]
    pub version_epoch: u64,
    /// Number of that version.
    #[prost(uint64, tag = "5")]
    pub version_number: u64,
}

/// What a commit brought about.
#[derive(Clone, PartialEq, Message)]
pub struct Receipt {
    /// The version.
    #[prost(message, optional, tag = "1")]
    pub version: Option<Version>,
    /// The file.
    #[prost(uint64, tag = "2")]
    pub file: u64,
    /// Who has it durably: bits of [`crate::record::on`].
    #[prost(uint32, tag = "3")]
    pub durable_on: u32,
}

/// Request of [`Abort`].
#[derive(Clone, PartialEq, Message)]
pub struct AbortRequest {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
}

/// Request of [`Read`].
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// The file.
    #[prost(uint64, tag = "2")]
    pub file: u64,
    /// The folder the client found it in; refused (`MOVED`) if it is another by now (R23).
    #[prost(uint64, tag = "3")]
    pub folder: u64,
    /// The name the client found it under.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Cover for reading it.
    #[prost(message, optional, tag = "5")]
    pub capability: Option<SignedCapability>,
    /// Epoch the client believes in.
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    /// Version wanted; 0.0: the head.
    #[prost(uint64, tag = "7")]
    pub version_epoch: u64,
    /// Number of that version.
    #[prost(uint64, tag = "8")]
    pub version_number: u64,
    /// Where to begin.
    #[prost(uint64, tag = "9")]
    pub offset: u64,
    /// At most so many bytes ([`crate::limits::PIECE`] at the most).
    #[prost(uint32, tag = "10")]
    pub len: u32,
    /// Also without a lease: possibly old.
    #[prost(bool, tag = "11")]
    pub stale_ok: bool,
}

/// Answer to [`Read`].
#[derive(Clone, PartialEq, Message)]
pub struct ReadReply {
    /// The version read.
    #[prost(message, optional, tag = "1")]
    pub version: Option<Version>,
    /// CRC-64/NVME of the body.
    #[prost(fixed64, tag = "2")]
    pub crc64: u64,
}

/// Request of [`Inventory`].
#[derive(Clone, PartialEq, Message)]
pub struct InventoryRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Files after this id.
    #[prost(uint64, tag = "2")]
    pub after: u64,
    /// At most so many.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
    /// Cover: an operator's.
    #[prost(message, optional, tag = "4")]
    pub capability: Option<SignedCapability>,
    /// Read every byte and compare with its SHA-256.
    #[prost(bool, tag = "5")]
    pub verify: bool,
    /// Only this file, if not 0.
    #[prost(uint64, tag = "6")]
    pub file: u64,
}

/// What a server holds of one version.
#[derive(Clone, PartialEq, Message)]
pub struct HeldVersion {
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Digest of the content, 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
    /// SHA-256 over the chunk digests and lengths: equal manifests, equal values. 32 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub manifest: Vec<u8>,
    /// What is wrong with its bytes; empty: nothing (as far as asked).
    #[prost(string, tag = "5")]
    pub damage: String,
}

/// What a server holds of one file.
#[derive(Clone, PartialEq, Message)]
pub struct HeldFile {
    /// Its record.
    #[prost(message, optional, tag = "1")]
    pub record: Option<Record>,
    /// The versions of the record that it holds.
    #[prost(message, repeated, tag = "2")]
    pub versions: Vec<HeldVersion>,
}

/// Answer to [`Inventory`].
#[derive(Clone, PartialEq, Message)]
pub struct InventoryReply {
    /// In order of id.
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<HeldFile>,
    /// Whether that was the last page.
    #[prost(bool, tag = "2")]
    pub end: bool,
}

/// Where a scrub stands: everything before it has been looked at. Files in the order of their ids, their versions in
/// that of their numbers (never used twice), chunks in theirs.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ScrubPlace {
    /// File.
    #[prost(uint64, tag = "1")]
    pub file: u64,
    /// Number of a version of it.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Chunk of that version.
    #[prost(uint32, tag = "3")]
    pub chunk: u32,
}

/// Request of [`Scrub`].
#[derive(Clone, PartialEq, Message)]
pub struct ScrubRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Cover: an operator's.
    #[prost(message, optional, tag = "2")]
    pub capability: Option<SignedCapability>,
    /// Where to begin; none: at the start.
    #[prost(message, optional, tag = "3")]
    pub from: Option<ScrubPlace>,
    /// Only these files, ascending, at most [`crate::limits::SCRUB_FILES`]; empty: all.
    #[prost(uint64, repeated, tag = "4")]
    pub files: Vec<u64>,
    /// Bytes a second, at most; 0: no bound.
    #[prost(uint64, tag = "5")]
    pub rate: u64,
    /// Which run the page belongs to, a random number: what several contents share is read once in it. 0: it is read for
    /// each of them.
    #[prost(uint64, tag = "6")]
    pub run: u64,
}

/// Something whose bytes are not what they should be.
#[derive(Clone, PartialEq, Message)]
pub struct ScrubFinding {
    /// File.
    #[prost(uint64, tag = "1")]
    pub file: u64,
    /// Folder it lies in.
    #[prost(uint64, tag = "2")]
    pub folder: u64,
    /// Its name there.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Epoch of the version.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Number of the version.
    #[prost(uint64, tag = "5")]
    pub number: u64,
    /// What was wrong.
    #[prost(string, tag = "6")]
    pub what: String,
    /// It is right again: the partner had a good copy.
    #[prost(bool, tag = "7")]
    pub repaired: bool,
    /// Why it is not.
    #[prost(string, tag = "8")]
    pub why_not: String,
}

/// Answer to [`Scrub`].
#[derive(Clone, PartialEq, Message)]
pub struct ScrubReply {
    /// Where to go on.
    #[prost(message, optional, tag = "1")]
    pub next: Option<ScrubPlace>,
    /// Whether that was the last page.
    #[prost(bool, tag = "2")]
    pub end: bool,
    /// Files whose last byte was looked at.
    #[prost(uint64, tag = "3")]
    pub files: u64,
    /// Bytes that were looked at.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// What was found.
    #[prost(message, repeated, tag = "5")]
    pub findings: Vec<ScrubFinding>,
    /// Bytes that the server's data takes: about what there is to look at.
    #[prost(uint64, tag = "6")]
    pub used_bytes: u64,
}

/// Request of [`Aside`].
#[derive(Clone, PartialEq, Message)]
pub struct AsideRequest {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Cover: an operator's.
    #[prost(message, optional, tag = "2")]
    pub capability: Option<SignedCapability>,
    /// Only records with ids above this one are told.
    #[prost(uint64, tag = "3")]
    pub after: u64,
    /// Nothing is told, these are given up: at most [`crate::limits::ASIDE_PAGE`].
    #[prost(message, repeated, tag = "4")]
    pub give_up: Vec<AsideName>,
}

/// A record that is set aside, as it was told.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct AsideName {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its number: another one under the same id is not meant.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// Answer to [`Aside`].
#[derive(Clone, PartialEq, Message)]
pub struct AsideReply {
    /// Records, by id. Fewer than there are: ask again behind the last.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
    /// How many were given up.
    #[prost(uint64, tag = "2")]
    pub given_up: u64,
}
