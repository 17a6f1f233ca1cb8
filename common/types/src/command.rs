//! What goes through the name manager's log: commands, decided by the state machine, and its answers.
//!
//! A log entry is one [`Batch`]: a format version, the leader's clock and some commands. Formats evolve
//! by adding fields; a number is never given another meaning.

use crate::error::{Code, Error, Result};
use crate::ids::{ClientId, RequestKey, VersionNumber};
use crate::message::store::Durability;
use crate::rebuild::{Rebuild, TakeIn};
use crate::record::{Event, Pair, Record, Server, Version};
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

/// Makes a cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Bootstrap {
    /// 16 random bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub cluster_id: Vec<u8>,
    /// The name managers' key, 32 random bytes (R15).
    #[prost(bytes = "vec", tag = "2")]
    pub master_key: Vec<u8>,
    /// Name of the first account.
    #[prost(string, tag = "3")]
    pub admin: String,
    /// Id of its key.
    #[prost(string, tag = "4")]
    pub key_id: String,
    /// Its key, 32 random bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub key: Vec<u8>,
    /// Which life of the feeds (R24, R26): random.
    #[prost(uint64, tag = "6")]
    pub generation: u64,
    /// Failures are found within about a second; holds for the life of the cluster, because a lease that
    /// was given at one pace must not be counted at the other (R2, R4).
    #[prost(bool, tag = "7")]
    pub fast: bool,
}

/// Purges a slice of the trash, oldest first: what has been there for its time, or must go at once.
#[derive(Clone, PartialEq, Message)]
pub struct Purge {
    /// Files and folders to purge at most; never more than `PURGE_SLICE`.
    #[prost(uint32, tag = "1")]
    pub limit: u32,
    /// Room is short on a member of this pair: what is in the trash goes whatever its time. 0: nowhere.
    #[prost(uint32, tag = "2")]
    pub short_pair: u32,
}

/// Drops tombstones of a feed (R24). Refused unless the durable cursors of all members of the feed that count have
/// passed `upto`.
#[derive(Clone, PartialEq, Message)]
pub struct Collect {
    /// Feed: 0 or the pair's number.
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    /// No tombstone up to here is needed any more.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
    /// The rows that are tombstones, by number; never more than `COLLECT_SLICE`.
    #[prost(uint64, repeated, tag = "3")]
    pub tombstones: Vec<u64>,
}

/// Ends the comparison of a member's disk with the index (R24).
#[derive(Clone, PartialEq, Message)]
pub struct Compared {
    /// The server.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Records it held that the index does not list.
    #[prost(uint64, tag = "3")]
    pub set_aside: u64,
    /// Some of their names.
    #[prost(string, repeated, tag = "4")]
    pub names: Vec<String>,
}

/// Marks versions lost that a disk owed which is gone, a slice at a time (R12).
#[derive(Clone, PartialEq, Message)]
pub struct Lose {
    /// The server whose disk was replaced.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

/// Registers one start of a storage server (R6, R7).
#[derive(Clone, PartialEq, Message)]
pub struct Register {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its primary's name, if it is a backup; else empty.
    #[prost(string, tag = "2")]
    pub backup_of: String,
    /// Token on its disk; empty for a new disk.
    #[prost(bytes = "vec", tag = "3")]
    pub token: Vec<u8>,
    /// Token it has stored to take on next.
    #[prost(bytes = "vec", tag = "4")]
    pub next_token: Vec<u8>,
    /// Address where it listens.
    #[prost(string, tag = "5")]
    pub addr: String,
    /// IP address it registers from.
    #[prost(string, tag = "6")]
    pub ip: String,
    /// Boot id of its host.
    #[prost(string, tag = "7")]
    pub boot: String,
    /// The operator says that this disk replaces the known one.
    #[prost(bool, tag = "8")]
    pub replace_disk: bool,
    /// The present incarnation is known to be alive at another address.
    #[prost(bool, tag = "9")]
    pub elsewhere: bool,
    /// It brings a folder along to be taken in: refused unless it is new, or has such an import unfinished (R24).
    #[prost(bool, tag = "10")]
    pub import: bool,
    /// The newest generation this disk has joined; a name manager of an older one was replaced by a rebuild (R26).
    #[prost(uint64, tag = "11")]
    pub generation: u64,
}

/// One entry of a folder that a new server brings along, on behalf of an administrator (R24).
#[derive(Clone, PartialEq, Message)]
pub struct Import {
    /// The server.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Its pair.
    #[prost(uint32, tag = "3")]
    pub pair: u32,
    /// The epoch it acts in.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Who owns what comes in; filled in by the name manager.
    #[prost(string, tag = "5")]
    pub user: String,
    /// From 1, without gaps: each is done once.
    #[prost(uint64, tag = "6")]
    pub number: u64,
    /// Path from the root.
    #[prost(string, tag = "7")]
    pub path: String,
    /// File, folder or link; `Unknown`: it cannot be stored, `target` says why.
    #[prost(enumeration = "crate::record::Kind", tag = "8")]
    pub kind: i32,
    /// Write session under which the server has the content prepared, 16 bytes; empty for an empty file.
    #[prost(bytes = "vec", tag = "9")]
    pub session: Vec<u8>,
    /// Bytes of content.
    #[prost(uint64, tag = "10")]
    pub size: u64,
    /// How the digest was made.
    #[prost(uint32, tag = "11")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "12")]
    pub sha256: Vec<u8>,
    /// POSIX mode.
    #[prost(uint32, tag = "13")]
    pub mode: u32,
    /// Modification time, ms since 1970.
    #[prost(sint64, tag = "14")]
    pub mtime_ms: i64,
    /// Target of a link.
    #[prost(string, tag = "15")]
    pub target: String,
    /// End of the server's journal (R7).
    #[prost(uint64, tag = "16")]
    pub journal: u64,
}

/// Ends an import.
#[derive(Clone, PartialEq, Message)]
pub struct EndImport {
    /// The server.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// What was taken in, for people.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Entries that have no path here, as their names are not UTF-8.
    #[prost(uint64, tag = "4")]
    pub passed_over: u64,
}

/// Where a registered server stands.
#[derive(Clone, PartialEq, Message)]
pub struct Recovered {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration it belongs to.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Durable cursor in the control feed.
    #[prost(uint64, tag = "3")]
    pub control_cursor: u64,
    /// Durable cursor in its pair's feed.
    #[prost(uint64, tag = "4")]
    pub pair_cursor: u64,
    /// End of its journal.
    #[prost(uint64, tag = "5")]
    pub journal: u64,
    /// Generation of the feeds its cursors belong to; 0 for a new disk.
    #[prost(uint64, tag = "6")]
    pub generation: u64,
}

/// Declares a server failed.
#[derive(Clone, PartialEq, Message)]
pub struct Fail {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration that is meant.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Why, for people.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// What it had acknowledged until then, so that it is not counted as missed when it returns: everything
    /// up to here of the control feed.
    #[prost(uint64, tag = "4")]
    pub control_cursor: u64,
    /// The same of its pair's feed.
    #[prost(uint64, tag = "5")]
    pub pair_cursor: u64,
    /// End of its journal by then.
    #[prost(uint64, tag = "6")]
    pub journal: u64,
}

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

/// A server has passed the feeds' ends as of its registration (R8).
#[derive(Clone, PartialEq, Message)]
pub struct CaughtUp {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration that is meant.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Rows of its pair's feed sent to it since it registered.
    #[prost(uint64, tag = "3")]
    pub rows_resent: u64,
}

/// How far a server has durably applied its feeds (R21).
#[derive(Clone, PartialEq, Message)]
pub struct Acknowledge {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration that is meant.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Everything up to here of the control feed.
    #[prost(uint64, tag = "3")]
    pub control_cursor: u64,
    /// Everything up to here of its pair's feed.
    #[prost(uint64, tag = "4")]
    pub pair_cursor: u64,
    /// End of its journal.
    #[prost(uint64, tag = "5")]
    pub journal: u64,
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

/// Who asks for something, and how to recognise that it was asked before (R13).
#[derive(Clone, PartialEq, Message)]
pub struct Asker {
    /// User.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Log time of the client id's issue, ms.
    #[prost(uint64, tag = "2")]
    pub client_issued: u64,
    /// Random part of the client id.
    #[prost(uint64, tag = "3")]
    pub client_random: u64,
    /// Number of the request.
    #[prost(uint64, tag = "4")]
    pub number: u64,
    /// Lowest number still unanswered.
    #[prost(uint64, tag = "5")]
    pub lowest: u64,
    /// SHA-256 of what the user asked: operation, path as given, condition, content digest.
    #[prost(bytes = "vec", tag = "6")]
    pub ask: Vec<u8>,
}

impl Asker {
    /// The request key.
    pub fn key(&self) -> RequestKey {
        RequestKey {
            client: ClientId { issued: self.client_issued, random: self.client_random },
            number: self.number,
            lowest: self.lowest,
        }
    }

    /// An asker with this key.
    pub fn new(user: &str, key: RequestKey, ask: [u8; 32]) -> Asker {
        Asker {
            user: user.to_owned(),
            client_issued: key.client.issued,
            client_random: key.client.random,
            number: key.number,
            lowest: key.lowest,
            ask: ask.to_vec(),
        }
    }
}

/// A write that the acting member has prepared (R10, R14).
#[derive(Clone, PartialEq, Message)]
pub struct WriteComplete {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// Pair.
    #[prost(uint32, tag = "2")]
    pub pair: u32,
    /// Epoch the acting member believes in.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// The acting member.
    #[prost(string, tag = "4")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "5")]
    pub incarnation: u64,
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub session: Vec<u8>,
    /// Folder of the target.
    #[prost(uint64, tag = "7")]
    pub folder: u64,
    /// Name of the target there.
    #[prost(string, tag = "8")]
    pub name: String,
    /// The file meant; 0: whatever bears the name, made if nothing does.
    #[prost(uint64, tag = "9")]
    pub file: u64,
    /// [`crate::ids::Seq`] of the state its capability was decided on.
    #[prost(uint64, tag = "10")]
    pub stamp: u64,
    /// Bytes of content.
    #[prost(uint64, tag = "11")]
    pub size: u64,
    /// How the digest was made.
    #[prost(uint32, tag = "12")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "13")]
    pub sha256: Vec<u8>,
    /// The write is refused (`CHANGED`) unless this is the head; 0.0: no condition.
    #[prost(uint64, tag = "14")]
    pub if_epoch: u64,
    /// Number of that version.
    #[prost(uint64, tag = "15")]
    pub if_number: u64,
    /// Refused (`EXISTS`) if the name is taken.
    #[prost(bool, tag = "16")]
    pub create_only: bool,
    /// Who has it prepared, bits of [`crate::record::on`].
    #[prost(uint32, tag = "17")]
    pub durable_on: u32,
    /// POSIX mode to keep; 0: leave.
    #[prost(uint32, tag = "18")]
    pub mode: u32,
    /// Modification time to keep, ms since 1970; 0: the commit's.
    #[prost(sint64, tag = "19")]
    pub mtime_ms: i64,
    /// End of the server's journal, the highest seen is kept (R7).
    #[prost(uint64, tag = "20")]
    pub journal: u64,
}

impl WriteComplete {
    /// The condition on the head; none: no condition.
    pub fn if_version(&self) -> VersionNumber {
        VersionNumber { epoch: self.if_epoch, number: self.if_number }
    }
}

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

/// A place in a feed that somebody may want to wait for.
#[derive(Clone, PartialEq, Message)]
pub struct FeedPlace {
    /// Feed.
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    /// Row.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// What became of a command.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    /// 0: done; else [`Code`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// What happened: what to do next.
    #[prost(string, tag = "2")]
    pub message: String,
    /// The file or folder it made or changed, after the change.
    #[prost(message, optional, tag = "3")]
    pub record: Option<Record>,
    /// The version it made.
    #[prost(message, optional, tag = "4")]
    pub version: Option<Version>,
    /// Rows it made.
    #[prost(message, repeated, tag = "5")]
    pub rows: Vec<FeedPlace>,
    /// The server after the change.
    #[prost(message, optional, tag = "6")]
    pub server: Option<Server>,
    /// The pair after the change.
    #[prost(message, optional, tag = "7")]
    pub pair: Option<Pair>,
    /// It was answered from a stored result: nothing was executed again.
    #[prost(bool, tag = "8")]
    pub repeated: bool,
    /// Of a command that does a slice at a time: there is more to do.
    #[prost(bool, tag = "9")]
    pub more: bool,
}

impl Answer {
    /// A refusal.
    pub fn refused(error: Error) -> Answer {
        Answer { code: error.code.number(), message: error.message, ..Answer::default() }
    }

    /// The answer, or the refusal as an error whose effect surely did not happen.
    pub fn into_result(self) -> Result<Answer> {
        match self.code {
            0 => Ok(self),
            code => Err(Error {
                code: Code::from_number(code),
                message: self.message,
                effect: crate::error::Effect::None,
            }),
        }
    }
}

/// The answers to a batch, in its order.
#[derive(Clone, PartialEq, Message)]
pub struct Answers {
    /// One for each command.
    #[prost(message, repeated, tag = "1")]
    pub answers: Vec<Answer>,
}
