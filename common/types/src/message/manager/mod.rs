//! What clients ask the name manager.
//!
//! The messages stand in a room for each subject: a client's connection and who acts in a pair (`connect`), paths
//! (`paths`), what operators see and do (`operate`), pages through a pair's records (`pages`).

mod connect;
mod operate;
mod pages;
mod paths;

pub use connect::{Attached, MemberAddr, Placement, TicketReply, TicketRequest, WhereaboutsRequest};
pub use operate::{
    EventsReply, EventsRequest, ForcePromoteReply, ForcePromoteRequest, ManagerStatus, PairStatus,
    ServerSettings, ServerStatus, Setting, StatusReply, StatusRequest, SwitchoverRequest,
};
pub use pages::{PairFilesReply, PairFilesRequest, PairRecordsReply, PairRecordsRequest};
pub use paths::{Choice, ListReply, ListRequest, LocateRequest, Located, OpenUploadRequest};

use super::{Empty, methods};
use crate::command::{Answer, Make, Move, Remove, SetDurability};

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
    Status = 107: StatusRequest => StatusReply;
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
