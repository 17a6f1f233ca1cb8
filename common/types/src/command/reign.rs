//! Who acts in a pair: promotion and what it leaves owed, handover, preference.

use prost::Message;

/// Makes the other member acting (R8); refused unless it is fresh, or an operator accepts the loss.
#[derive(Clone, PartialEq, Message)]
pub struct Promote {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Epoch that ends.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Who acts.
    #[prost(string, tag = "3")]
    pub to: String,
    /// Why, for people.
    #[prost(string, tag = "4")]
    pub reason: String,
    /// An operator accepts that what this member lacks may be lost: it need not be fresh.
    #[prost(bool, tag = "5")]
    pub accept_loss: bool,
}

/// A version of a file, by identity.
#[derive(Clone, PartialEq, Message)]
pub struct VersionRef {
    /// [`crate::ids::InodeId`].
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// Write session it came from, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub session: Vec<u8>,
    /// Digest, 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
}

/// What the new acting member lacks (R11).
#[derive(Clone, PartialEq, Message)]
pub struct Owe {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Its epoch since `Promote`.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Versions the acting member lacks; its partner holds them.
    #[prost(message, repeated, tag = "3")]
    pub lacks: Vec<VersionRef>,
    /// Versions that were owed and that the acting member holds.
    #[prost(message, repeated, tag = "4")]
    pub holds: Vec<VersionRef>,
    /// The survey is complete: the pair may be served.
    #[prost(bool, tag = "5")]
    pub done: bool,
}

/// All owed versions of a file from one holder are on the acting member now (R12).
#[derive(Clone, PartialEq, Message)]
pub struct Adopt {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Its epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// File.
    #[prost(uint64, tag = "3")]
    pub inode: u64,
    /// Who held them.
    #[prost(string, tag = "4")]
    pub holder: String,
    /// The sessions whose versions were copied, 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub sessions: Vec<Vec<u8>>,
}

/// Begins a handover (R27).
#[derive(Clone, PartialEq, Message)]
pub struct Handover {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Its epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Who shall act.
    #[prost(string, tag = "3")]
    pub to: String,
}

/// Ends a handover well: its target acts. Accepted only if the target's logged cursor covers every row.
#[derive(Clone, PartialEq, Message)]
pub struct Restore {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Its epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// Gives a handover up.
#[derive(Clone, PartialEq, Message)]
pub struct AbortHandover {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Its epoch.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Why, for people.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Chooses the preferred member.
#[derive(Clone, PartialEq, Message)]
pub struct Prefer {
    /// Pair.
    #[prost(uint32, tag = "1")]
    pub pair: u32,
    /// Server.
    #[prost(string, tag = "2")]
    pub server: String,
}
