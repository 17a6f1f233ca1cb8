//! Files, folders and links by their paths: made, moved, removed, and names placed for uploads.

use super::Asker;
use crate::message::store::Durability;
use prost::Message;

/// Makes an empty file, a folder or a symbolic link.
#[derive(Clone, PartialEq, Message)]
pub struct Make {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// Path from the root.
    #[prost(string, tag = "2")]
    pub path: String,
    /// [`crate::record::Kind`]: file, folder or link.
    #[prost(enumeration = "crate::record::Kind", tag = "3")]
    pub kind: i32,
    /// Make missing parents; an existing folder is fine then.
    #[prost(bool, tag = "4")]
    pub parents: bool,
    /// Pair for a file.
    #[prost(uint32, tag = "5")]
    pub pair: u32,
    /// Target of a link.
    #[prost(string, tag = "6")]
    pub target: String,
    /// POSIX mode to keep, as in [`Record::mode`](crate::record::Record::mode); 0: none, or leave it. With `parents`
    /// a folder that exists takes it on.
    #[prost(uint32, tag = "7")]
    pub mode: u32,
    /// Modification time to keep, ms since 1970; 0: none, or leave it.
    #[prost(sint64, tag = "8")]
    pub mtime_ms: i64,
    /// How durable writes below it are, for a folder; not for the parents that are made with it.
    #[prost(enumeration = "Durability", tag = "27")]
    pub durability: i32,
}

/// Says how durable writes below a folder are unless they say it themselves; the root's holds for the cluster (R19).
#[derive(Clone, PartialEq, Message)]
pub struct SetDurability {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// Path of the folder from the root.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Unset: as the folder above says.
    #[prost(enumeration = "Durability", tag = "3")]
    pub durability: i32,
}

/// Removes a file or folder.
#[derive(Clone, PartialEq, Message)]
pub struct Remove {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// Path from the root.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Also a folder that is not empty.
    #[prost(bool, tag = "3")]
    pub recursive: bool,
    /// Past the trash.
    #[prost(bool, tag = "4")]
    pub now: bool,
    /// Also with an upload open.
    #[prost(bool, tag = "5")]
    pub force: bool,
}

/// Moves a file or folder.
#[derive(Clone, PartialEq, Message)]
pub struct Move {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// From.
    #[prost(string, tag = "2")]
    pub from: String,
    /// To; an existing folder: into it.
    #[prost(string, tag = "3")]
    pub to: String,
    /// Replace an existing file.
    #[prost(bool, tag = "4")]
    pub force: bool,
}

/// Places a name for the life of an upload.
#[derive(Clone, PartialEq, Message)]
pub struct OpenUpload {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub session: Vec<u8>,
    /// Folder.
    #[prost(uint64, tag = "3")]
    pub folder: u64,
    /// Name in it.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Pair.
    #[prost(uint32, tag = "5")]
    pub pair: u32,
    /// Log time at which it is forgotten, ms since 1970.
    #[prost(uint64, tag = "6")]
    pub expires_ms: u64,
}
