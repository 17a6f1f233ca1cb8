//! What storage servers tell the name manager, and what it tells them.
//!
//! The messages stand in a room for each subject: a server's life and its lease (`life`), prepared writes (`writes`),
//! rows of the feeds (`rows`), versions asked for and brought (`versions`), the partner seen through the name manager
//! (`partner`).

mod life;
mod partner;
mod rows;
mod versions;
mod writes;

pub use life::{
    DamageReport, GrantMessage, HeartbeatRequest, LeaveRequest, LetGoRequest, ProbeReply, ProbeRequest,
    Reach, Registered, ScrubState,
};
pub use partner::{LookAtReply, LookAtRequest, RelayMode, RelayReply, RelayRequest};
pub use rows::{ApplyReply, ApplyRequest, CompareReply, CompareRequest, RowFailure};
pub use versions::{BringReply, BringRequest, SurveyReply, SurveyRequest};
pub use writes::{CompleteRequest, Prepared, Resolution, ResolveReply, ResolveRequest, TakeInRequest};

use super::{Empty, methods};
use crate::command::{Answer, Answers, EndImport, Recovered, Register};
use crate::message::partner::{GetBytesReply, GetBytesRequest, GetManifestReply, GetManifestRequest};
use crate::record::Server;

methods! {
    /// ss → nm: a start registers itself (R6, R7).
    RegisterServer = 200: Register => Registered;
    /// ss → nm: it has recovered its store.
    ReportRecovered = 201: Recovered => Server;
    /// ss → nm, on a connection of its own: alive.
    Heartbeat = 202: HeartbeatRequest => GrantMessage;
    /// ss → nm: writes that are prepared, many at once.
    Complete = 203: CompleteRequest => Answers;
    /// ss → nm: what became of prepared sessions (R10)?
    Resolve = 204: ResolveRequest => ResolveReply;
    /// ss → nm: it wants to stop: hand over first. Answers when it need not wait any longer.
    Leave = 205: LeaveRequest => Empty;
    /// ss → nm: the lease is given up; sent last before the listener closes (R6).
    ReleaseLease = 206: LeaveRequest => Empty;
    /// ss → nm: entries of a folder that it brings along (R24); one answer each. No record: passed over, and why.
    TakeIn = 220: TakeInRequest => Answers;
    /// ss → nm: all of that folder is in.
    TakenIn = 221: EndImport => Answer;
    /// ss → nm: a manifest or bytes of its partner, which it cannot reach; or what it passes on to it. Bytes are the
    /// frame's body.
    Relay = 222: RelayRequest => RelayReply;
    /// ss → nm: it has found bad bytes, for `pairfs events`.
    ReportDamage = 225: DamageReport => Empty;

    /// nm → ss: rows beyond its cursor.
    Apply = 300: ApplyRequest => ApplyReply;
    /// nm → ss: which of these versions does it hold (R11)?
    Survey = 302: SurveyRequest => SurveyReply;
    /// nm → ss: stop serving for a handover (R27).
    LetGo = 303: LetGoRequest => Empty;
    /// nm → ss: are you there?
    Probe = 304: ProbeRequest => ProbeReply;
    /// nm → ss: copy these owed versions from your partner (R12).
    Bring = 305: BringRequest => BringReply;
    /// nm → ss: does your partner's port refuse you, too (R5)?
    LookAt = 306: LookAtRequest => LookAtReply;
    /// nm → ss, for its partner: as [`crate::message::partner::GetManifest`].
    RelayManifest = 320: GetManifestRequest => GetManifestReply;
    /// nm → ss, for its partner: as [`crate::message::partner::GetBytes`].
    RelayBytes = 321: GetBytesRequest => GetBytesReply;
    /// nm → ss: set aside what you hold in this range and I do not list (R24).
    Compare = 335: CompareRequest => CompareReply;
}

/// Push to storage servers on their heartbeat connection: a grant for the newest heartbeat
/// ([`GrantMessage`]), sent when something changed (R39).
pub const PUSH_GRANT: u16 = 290;
