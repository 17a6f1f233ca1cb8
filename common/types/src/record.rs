//! What is stored and replicated: records of files and folders, their versions, manifests, and the
//! control records (pairs, servers, users). The same shapes are on disk, in the feed and on the wire:
//! protocol buffers written by hand, which evolve both ways.

use crate::error::Result;
use crate::ids::{Digest, InodeId, Seq, SessionId, VersionNumber};
use crate::message::store::Durability;
use prost::{Enumeration, Message};

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Unset.
    Unknown = 0,
    /// Content with versions.
    File = 1,
    /// A folder.
    Folder = 2,
    /// A symbolic link; its target stands in the record.
    Symlink = 3,
    /// Removed for good; remembered until every cursor has passed it (R24).
    Tombstone = 4,
}

/// Marks of a version, as bits.
pub mod mark {
    /// Lost a race or an adoption: kept in the history, never the head by itself (R12).
    pub const CONFLICT: u32 = 1;
    /// Acknowledged, but only on a member that does not act (R11).
    pub const OWED: u32 = 2;
    /// Was owed by a disk that is gone.
    pub const LOST: u32 = 4;
}

/// Who holds a version, as bits.
pub mod on {
    /// The pair's primary.
    pub const PRIMARY: u32 = 1;
    /// The pair's backup.
    pub const BACKUP: u32 = 2;
    /// Both.
    pub const BOTH: u32 = 3;
}

/// One kept version of a file. Its identity is (session, digest); people call it `epoch.number`.
#[derive(Clone, PartialEq, Message)]
pub struct Version {
    /// Write session it came from, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Epoch of the pair at its commit.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Number within the file.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// Bytes of content.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// How the digest was made ([`crate::ids::DigestKind`]).
    #[prost(uint32, tag = "5")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub sha256: Vec<u8>,
    /// Who wrote it.
    #[prost(string, tag = "7")]
    pub author: String,
    /// Log time of its commit, ms since 1970.
    #[prost(uint64, tag = "8")]
    pub time_ms: u64,
    /// Epoch of the version it builds on; 0.0 for none.
    #[prost(uint64, tag = "9")]
    pub parent_epoch: u64,
    /// Number of the version it builds on.
    #[prost(uint64, tag = "10")]
    pub parent_number: u64,
    /// Bits of [`mark`].
    #[prost(uint32, tag = "11")]
    pub marks: u32,
    /// Bits of [`on`], as known when it was committed; for receipts, never for deciding (R11, R18).
    #[prost(uint32, tag = "12")]
    pub durable_on: u32,
    /// The server that holds it while it is owed or lost.
    #[prost(string, tag = "13")]
    pub holder: String,
}

impl Version {
    /// `E.N`.
    pub fn version(&self) -> VersionNumber {
        VersionNumber { epoch: self.epoch, number: self.number }
    }

    /// The version it builds on.
    pub fn parent(&self) -> VersionNumber {
        VersionNumber { epoch: self.parent_epoch, number: self.parent_number }
    }

    /// The write session it came from.
    pub fn session_id(&self) -> Result<SessionId> {
        SessionId::from_slice(&self.session)
    }

    /// Its digest.
    pub fn digest(&self) -> Result<Digest> {
        Digest::from_parts(self.digest_kind, &self.sha256)
    }

    /// Whether a bit of [`mark`] is set.
    pub fn is(&self, bit: u32) -> bool {
        self.marks & bit != 0
    }

    /// Whether it is an empty content, which nobody needs to fetch.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }
}

/// A right given to a user on a file or folder.
#[derive(Clone, PartialEq, Message)]
pub struct Grant {
    /// User name.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Bits of [`crate::capability::right`].
    #[prost(uint32, tag = "2")]
    pub rights: u32,
}

/// What stands where something lay before it was removed.
#[derive(Clone, PartialEq, Message)]
pub struct Trashed {
    /// Log time of the removal, ms since 1970.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// Folder it lay in.
    #[prost(uint64, tag = "2")]
    pub parent: u64,
    /// Name it had.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Who removed it.
    #[prost(string, tag = "4")]
    pub by: String,
}

/// A file, folder, symbolic link or tombstone: the name manager's inode, the row of the feed and what a
/// storage server keeps are this one record.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// [`InodeId`].
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Folder it lies in.
    #[prost(uint64, tag = "2")]
    pub parent: u64,
    /// Its name there, as given.
    #[prost(string, tag = "3")]
    pub name: String,
    /// What it is.
    #[prost(enumeration = "Kind", tag = "4")]
    pub kind: i32,
    /// Pair that holds it; 0 for folders and links.
    #[prost(uint32, tag = "5")]
    pub pair: u32,
    /// Where it stands in its feed: [`Seq`] of the last change of anything below.
    #[prost(uint64, tag = "6")]
    pub seq: u64,
    /// [`Seq`] of the last change of name, parent or access.
    #[prost(uint64, tag = "7")]
    pub stamp: u64,
    /// [`Seq`] of the last change of the head.
    #[prost(uint64, tag = "8")]
    pub content_seq: u64,
    /// Owner's name.
    #[prost(string, tag = "9")]
    pub owner: String,
    /// Rights of others.
    #[prost(message, repeated, tag = "10")]
    pub access: Vec<Grant>,
    /// Log time of its creation, ms since 1970.
    #[prost(uint64, tag = "11")]
    pub created_ms: u64,
    /// Log time of the last change of content, name or access, ms since 1970.
    #[prost(uint64, tag = "12")]
    pub changed_ms: u64,
    /// Kept versions, oldest first.
    #[prost(message, repeated, tag = "13")]
    pub versions: Vec<Version>,
    /// Epoch of the head version; 0.0 for none.
    #[prost(uint64, tag = "14")]
    pub head_epoch: u64,
    /// Number of the head version.
    #[prost(uint64, tag = "15")]
    pub head_number: u64,
    /// Highest version number ever given in this file.
    #[prost(uint64, tag = "16")]
    pub last_number: u64,
    /// Set while it lies in the trash.
    #[prost(message, optional, tag = "17")]
    pub trashed: Option<Trashed>,
    /// POSIX mode bits as put, with those of the type if `put` kept it, so that 0000 can be told from none; 0 for
    /// the default.
    #[prost(uint32, tag = "18")]
    pub mode: u32,
    /// Modification time as put, ms since 1970; 0: that of the head.
    #[prost(sint64, tag = "19")]
    pub mtime_ms: i64,
    /// Target of a symbolic link.
    #[prost(string, tag = "20")]
    pub target: String,
    /// How durable writes below it are unless they say it themselves, for a folder; unset: as the folder above
    /// says (R19).
    #[prost(enumeration = "Durability", tag = "27")]
    pub durability: i32,
}

impl Record {
    /// Its id.
    pub fn inode(&self) -> InodeId {
        InodeId(self.id)
    }

    /// Number of the head; none for folders and files whose content is not decided.
    pub fn head(&self) -> VersionNumber {
        VersionNumber { epoch: self.head_epoch, number: self.head_number }
    }

    /// Makes `version` the head.
    pub fn set_head(&mut self, version: VersionNumber) {
        self.head_epoch = version.epoch;
        self.head_number = version.number;
    }

    /// A kept version by its number.
    pub fn version(&self, number: VersionNumber) -> Option<&Version> {
        self.versions.iter().find(|version| version.version() == number)
    }

    /// The head version.
    pub fn head_version(&self) -> Option<&Version> {
        self.version(self.head())
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        self.kind() == Kind::File
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind() == Kind::Folder
    }

    /// Whether it was removed for good.
    pub fn is_tombstone(&self) -> bool {
        self.kind() == Kind::Tombstone
    }

    /// Place in the feed.
    pub fn at(&self) -> Seq {
        Seq(self.seq)
    }
}

/// One chunk in a manifest. The CRC-64 of each of its blocks stands with the chunk itself.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkRef {
    /// SHA-256, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub sha256: bytes::Bytes,
    /// Bytes.
    #[prost(uint32, tag = "2")]
    pub len: u32,
    /// CRC-64/NVME of the whole chunk.
    #[prost(fixed64, tag = "3")]
    pub crc64: u64,
}

/// Where the bytes of a version are: inline, or an ordered list of chunks.
#[derive(Clone, PartialEq, Message)]
pub struct Manifest {
    /// Bytes of content.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// The content, if it is small; then `chunks` is empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub inline: bytes::Bytes,
    /// CRC-64/NVME of the whole content.
    #[prost(fixed64, tag = "3")]
    pub crc64: u64,
    /// The chunks in order.
    #[prost(message, repeated, tag = "4")]
    pub chunks: Vec<ChunkRef>,
    /// How the digest was made.
    #[prost(uint32, tag = "5")]
    pub digest_kind: u32,
    /// Digest of the content, 32 bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub sha256: bytes::Bytes,
}

impl Manifest {
    /// Its digest.
    pub fn digest(&self) -> Result<Digest> {
        Digest::from_parts(self.digest_kind, &self.sha256)
    }

    /// Whether the content stands in it.
    pub fn is_inline(&self) -> bool {
        self.chunks.is_empty()
    }
}

/// A row of a change feed: one subject at its latest sequence number.
#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// [`Seq`] of the change.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// What changed.
    #[prost(oneof = "Subject", tags = "2, 3, 4")]
    pub subject: Option<Subject>,
}

/// What a row tells.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Subject {
    /// A file, folder, link or tombstone.
    #[prost(message, tag = "2")]
    Record(Record),
    /// A pair.
    #[prost(message, tag = "3")]
    Pair(Pair),
    /// A user's public data.
    #[prost(message, tag = "4")]
    User(User),
}

/// A user's public data; the keys stay with the name manager.
#[derive(Clone, PartialEq, Message)]
pub struct User {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// May administer the cluster.
    #[prost(bool, tag = "2")]
    pub admin: bool,
    /// Capabilities with a stamp below this are void for this user (R15).
    #[prost(uint64, tag = "3")]
    pub revoked_before: u64,
}

/// What a pair is about, as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Phase {
    /// The acting member serves, if it has a lease.
    Steady = 0,
    /// `Promote` is in the log; what the new acting member lacks is not yet known, nobody serves (R11).
    Promoted = 1,
    /// `Handover` is in the log: commits wait, nobody gets a lease (R27).
    Handover = 2,
}

/// A pair of storage servers.
#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    /// Its number, from 1; also the number of its feed.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its name: that of its primary.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Server name of the primary.
    #[prost(string, tag = "3")]
    pub primary: String,
    /// Server name of the backup.
    #[prost(string, tag = "4")]
    pub backup: String,
    /// Number of the current reign.
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    /// Server name of the acting member; empty before the first.
    #[prost(string, tag = "6")]
    pub acting: String,
    /// Server name of the preferred member.
    #[prost(string, tag = "7")]
    pub preferred: String,
    /// Where it stands between reigns.
    #[prost(enumeration = "Phase", tag = "8")]
    pub phase: i32,
    /// Log index of the open `Handover`.
    #[prost(uint64, tag = "9")]
    pub handover_seq: u64,
    /// Whom the open `Handover` makes acting.
    #[prost(string, tag = "10")]
    pub handover_to: String,
    /// Versions owed in this pair.
    #[prost(uint64, tag = "11")]
    pub owed: u64,
    /// Versions lost in this pair.
    #[prost(uint64, tag = "12")]
    pub lost: u64,
    /// Files of this pair (trash included).
    #[prost(uint64, tag = "13")]
    pub files: u64,
    /// Bytes of the heads of its files.
    #[prost(uint64, tag = "14")]
    pub bytes: u64,
    /// [`Seq`] of the last row of its feed.
    #[prost(uint64, tag = "15")]
    pub feed_end: u64,
    /// Whether the backup has ever caught up.
    #[prost(bool, tag = "16")]
    pub formed: bool,
    /// Failed tries of the handover that is wanted now.
    #[prost(uint32, tag = "17")]
    pub handover_tries: u32,
    /// Log time of the last change of the acting member, ms since 1970.
    #[prost(uint64, tag = "18")]
    pub changed_ms: u64,
    /// Whether the preferred member waits for an operator (`switchover` set it, or failback is manual).
    #[prost(bool, tag = "19")]
    pub hold: bool,
}

impl Pair {
    /// The other member of the pair than `server`.
    pub fn partner_of(&self, server: &str) -> &str {
        if server == self.primary { &self.backup } else { &self.primary }
    }

    /// Whether `server` is a member.
    pub fn has(&self, server: &str) -> bool {
        !server.is_empty() && (server == self.primary || server == self.backup)
    }

    /// The bit of [`on`] for `server`.
    pub fn bit_of(&self, server: &str) -> u32 {
        if server == self.primary { on::PRIMARY } else { on::BACKUP }
    }
}

/// A storage server as the log knows it.
#[derive(Clone, PartialEq, Message)]
pub struct Server {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its pair.
    #[prost(uint32, tag = "2")]
    pub pair: u32,
    /// Address where it listens, as it told.
    #[prost(string, tag = "3")]
    pub addr: String,
    /// Number of its registration; a new one fences the one before.
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
    /// Token on its disk (R7), 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub token: Vec<u8>,
    /// Boot of the host it registered from.
    #[prost(string, tag = "6")]
    pub boot: String,
    /// Declared failed.
    #[prost(bool, tag = "7")]
    pub failed: bool,
    /// May be promoted (R8).
    #[prost(bool, tag = "8")]
    pub fresh: bool,
    /// `Recovered` was applied for this incarnation.
    #[prost(bool, tag = "9")]
    pub recovered: bool,
    /// Its cursor in the control feed.
    #[prost(uint64, tag = "10")]
    pub control_cursor: u64,
    /// Its cursor in its pair's feed.
    #[prost(uint64, tag = "11")]
    pub pair_cursor: u64,
    /// Highest position of its journal that was ever reported.
    #[prost(uint64, tag = "12")]
    pub journal: u64,
    /// Ends of the feeds as of its registration: passing them makes it fresh (R8). Control feed.
    #[prost(uint64, tag = "13")]
    pub control_mark: u64,
    /// The same for the pair's feed.
    #[prost(uint64, tag = "14")]
    pub pair_mark: u64,
    /// Rows of its pair's feed beyond its cursor when it registered.
    #[prost(uint64, tag = "15")]
    pub rows_missed: u64,
    /// Log time of its registration, ms since 1970.
    #[prost(uint64, tag = "16")]
    pub registered_ms: u64,
    /// IP address it registered from.
    #[prost(string, tag = "17")]
    pub ip: String,
    /// Log time when it was declared failed, ms since 1970.
    #[prost(uint64, tag = "18")]
    pub failed_ms: u64,
    /// Token it had before (R7), 16 bytes.
    #[prost(bytes = "vec", tag = "19")]
    pub previous_token: Vec<u8>,
    /// Its disk was replaced while it owed versions: they are being marked lost (R12).
    #[prost(bool, tag = "20")]
    pub disk_lost: bool,
    /// Its operator said at its registration that the known disk may be gone.
    #[prost(bool, tag = "21")]
    pub may_replace: bool,
    /// What it holds is compared with the index from the start (R24): every row is sent anew, and what the index does
    /// not list is set aside.
    #[prost(bool, tag = "22")]
    pub compare: bool,
    /// It takes a folder in that it brought along (R24); none: it does not, or has done so.
    #[prost(message, optional, tag = "25")]
    pub import: Option<ImportProgress>,
}

/// How far an import has come.
#[derive(Clone, PartialEq, Message)]
pub struct ImportProgress {
    /// Number of the last entry; they are numbered from 1.
    #[prost(uint64, tag = "1")]
    pub done: u64,
    /// Path of the last entry: the next one comes behind it in the order of the walk.
    #[prost(string, tag = "2")]
    pub after: String,
    /// Files taken in.
    #[prost(uint64, tag = "3")]
    pub files: u64,
    /// Folders taken in, those that were there already included.
    #[prost(uint64, tag = "4")]
    pub folders: u64,
    /// Symbolic links taken in.
    #[prost(uint64, tag = "5")]
    pub links: u64,
    /// Bytes of those files.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Entries that were passed over: their names are taken, or they cannot be stored.
    #[prost(uint64, tag = "7")]
    pub skipped: u64,
}

/// Something an operator wants to know, as `pairfs events` shows it.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Its number; increasing.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// Log time, ms since 1970.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// What happened: `registered`, `suspect`, `failed`, `promoted`, `recovering`, `caught-up`, `restored`, …
    #[prost(string, tag = "3")]
    pub kind: String,
    /// Server it is about, or empty.
    #[prost(string, tag = "4")]
    pub server: String,
    /// Pair it is about, or empty.
    #[prost(string, tag = "5")]
    pub pair: String,
    /// Why, for people.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// The pair's epoch after it; 0 if it is about no pair.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
    /// Numbers that belong to it (`rows_missed`, `rows_resent`, `owed`, …).
    #[prost(message, repeated, tag = "8")]
    pub numbers: Vec<Number>,
}

/// A named number of an event.
#[derive(Clone, PartialEq, Message)]
pub struct Number {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(uint64, tag = "2")]
    pub value: u64,
}
