//! Files, folders, links and tombstones.

use super::{Version, on};
use crate::ids::{InodeId, Seq, SessionId, VersionNumber};
use crate::limits::ENDED_KEPT;
use crate::message::store::Durability;
use crate::mutation::{self, Mutation};
use prost::{Enumeration, Message};

/// Bytes of a write session's id.
const SESSION_BYTES: usize = size_of::<SessionId>();

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
    /// Write sessions, 16 bytes each, of the versions that ended last, the newest at the end, at most [`ENDED_KEPT`]: a
    /// member that holds one of them prepared and met no row that named it learns here what became of it (I4). Those of
    /// which both members have learnt may be missing.
    #[prost(bytes = "vec", tag = "28")]
    pub ended: Vec<u8>,
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

    /// Notes that a version has ended: no row will name its write session any more.
    pub fn note_ended(&mut self, version: &Version) {
        // What the name manager made is with nobody prepared.
        let is_of_a_write = version.session_id().is_ok_and(|session| !session.is_made());
        if is_of_a_write && !mutation::is(Mutation::ForgetEnded) {
            self.ended.extend_from_slice(&version.session);
            let surplus = self.ended.len().saturating_sub(ENDED_KEPT * SESSION_BYTES);
            self.ended.drain(..surplus);
        }
    }

    /// Write sessions of the versions that ended last.
    pub fn ended_sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.ended.chunks_exact(SESSION_BYTES).filter_map(|session| SessionId::from_slice(session).ok())
    }

    /// It is removed for good: only that stays of it, and which versions ended with it.
    pub fn bury(&mut self) {
        self.kind = Kind::Tombstone as i32;
        for version in std::mem::take(&mut self.versions) {
            self.note_ended(&version);
        }
        self.access.clear();
        self.target.clear();
        self.set_head(VersionNumber::NONE);
    }

    /// A kept version by its number.
    pub fn version(&self, number: VersionNumber) -> Option<&Version> {
        self.versions.iter().find(|version| version.version() == number)
    }

    /// The head version.
    pub fn head_version(&self) -> Option<&Version> {
        self.version(self.head())
    }

    /// Whether its present content may be only where it was written: `cursor` is how far the other member has said that it
    /// has applied the feed. What was only moved, shared or renamed since is on both as it was; what lies in the trash is
    /// nobody's file.
    pub fn is_alone(&self, cursor: u64) -> bool {
        let alone = |head: &Version| !head.is_empty() && head.durable_on != on::BOTH;
        self.trashed.is_none() && self.content_seq > cursor && self.head_version().is_some_and(alone)
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
