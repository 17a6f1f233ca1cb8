//! Paths: finding and listing what stands there, placing names for uploads.

use super::Placement;
use crate::capability::SignedCapability;
use crate::message::store::Durability;
use crate::record::Record;
use prost::Message;

/// Request of [`Locate`](super::Locate).
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

/// Answer to [`Locate`](super::Locate).
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

/// Request of [`List`](super::List).
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

/// Answer to [`List`](super::List).
#[derive(Clone, PartialEq, Message)]
pub struct ListReply {
    /// Records without their versions but the head, in order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Record>,
    /// Where to go on; empty: that was all.
    #[prost(string, tag = "2")]
    pub next: String,
}

/// Request of [`OpenUpload`](super::OpenUpload).
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
