//! What goes through the name manager's log: commands, decided by the state machine, and its answers.
//!
//! A log entry is one [`Batch`]: a format version, the leader's clock and some commands. Formats evolve
//! by adding fields; a number is never given another meaning. The commands stand in a room for each subject:
//! what clients ask (`entry` and `write`), a server's starts and cursors (`server`), who acts in a pair (`reign`),
//! and upkeep (`upkeep`).

mod answer;
mod entry;
mod reign;
mod server;
mod upkeep;
mod write;

pub use answer::{Answer, Answers, FeedPlace};
pub use entry::{Make, Move, OpenUpload, Remove, SetDurability};
pub use reign::{AbortHandover, Adopt, Handover, Owe, Prefer, Promote, Restore, VersionRef};
pub use server::{Acknowledge, Bootstrap, CaughtUp, Fail, Recovered, Register};
pub use upkeep::{Collect, Compared, EndImport, Import, Lose, Purge};
pub use write::{Asker, WriteComplete};

use crate::rebuild::{Rebuild, TakeIn};
use crate::record::Event;
use prost::{Message, Oneof};

/// Version of the log entry's format.
pub const BATCH_FORMAT: u32 = 1;

/// One log entry.
#[derive(Clone, PartialEq, Message)]
pub struct Batch {
    /// [`BATCH_FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The leader's clock when it proposed, ms since 1970; log time never goes back (R13).
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// The commands; the state machine numbers them by their place.
    #[prost(message, repeated, tag = "3")]
    pub commands: Vec<Command>,
}

/// One decision to be made.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// Which.
    #[prost(
        oneof = "Op",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 30"
    )]
    pub op: Option<Op>,
}

/// The commands.
#[derive(Clone, PartialEq, Oneof)]
pub enum Op {
    /// The first one of a cluster.
    #[prost(message, tag = "1")]
    Bootstrap(Bootstrap),
    /// A storage server starts: fences its start before.
    #[prost(message, tag = "2")]
    Register(Register),
    /// It has recovered its store and tells where it stands.
    #[prost(message, tag = "3")]
    Recovered(Recovered),
    /// A server is declared failed.
    #[prost(message, tag = "4")]
    Fail(Fail),
    /// The other member becomes acting; fences the old one.
    #[prost(message, tag = "5")]
    Promote(Promote),
    /// What the new acting member lacks; ends a promotion.
    #[prost(message, tag = "6")]
    Owe(Owe),
    /// Owed versions of a file have been copied to the acting member.
    #[prost(message, tag = "7")]
    Adopt(Adopt),
    /// A server has passed its marks: it may be promoted.
    #[prost(message, tag = "8")]
    CaughtUp(CaughtUp),
    /// How far a server has applied its feeds.
    #[prost(message, tag = "9")]
    Acknowledge(Acknowledge),
    /// Commits wait: the acting member hands over.
    #[prost(message, tag = "10")]
    Handover(Handover),
    /// The handover is done.
    #[prost(message, tag = "11")]
    Restore(Restore),
    /// The handover is given up; the acting member goes on.
    #[prost(message, tag = "12")]
    AbortHandover(AbortHandover),
    /// An operator chooses the preferred member.
    #[prost(message, tag = "13")]
    Prefer(Prefer),
    /// A prepared write becomes a version.
    #[prost(message, tag = "14")]
    WriteComplete(WriteComplete),
    /// An empty file, a folder or a symbolic link.
    #[prost(message, tag = "15")]
    Make(Make),
    /// Into the trash, or for good.
    #[prost(message, tag = "16")]
    Remove(Remove),
    /// Another name or folder.
    #[prost(message, tag = "17")]
    Move(Move),
    /// A name is placed for the life of an upload (R14).
    #[prost(message, tag = "18")]
    OpenUpload(OpenUpload),
    /// Only an event.
    #[prost(message, tag = "19")]
    Note(Event),
    /// A slice of the trash goes for good.
    #[prost(message, tag = "20")]
    Purge(Purge),
    /// Tombstones that every member has applied go (R24).
    #[prost(message, tag = "23")]
    Collect(Collect),
    /// What a member held beyond the index has been set aside (R24).
    #[prost(message, tag = "24")]
    Compared(Compared),
    /// An entry of a folder that a new server brings along.
    #[prost(message, tag = "25")]
    Import(Import),
    /// All of that folder is in.
    #[prost(message, tag = "26")]
    EndImport(EndImport),
    /// How durable writes below a folder are, unless they say it themselves (R19).
    #[prost(message, tag = "27")]
    SetDurability(SetDurability),
    /// A step of a rebuild (R26).
    #[prost(message, tag = "21")]
    Rebuild(Rebuild),
    /// What a member holds is taken in (R26).
    #[prost(message, tag = "22")]
    TakeIn(TakeIn),
    /// What a replaced disk owed is lost.
    #[prost(message, tag = "30")]
    Lose(Lose),
}
