//! The rules that a build with `--cfg mutation` can break, and which rule or invariant each is.

use types::mutation::Mutation;
use types::mutation::Mutation::*;

/// All of them, each with its rule or invariant.
pub const ALL: [(Mutation, &str); 34] = [
    (SkipFence, "R1"),
    (EndedLeaseServes, "R2"),
    (GrantWhileChanging, "R3"),
    (NewLeaderDoesNotWait, "R4"),
    (SilenceIsDeath, "R5"),
    (KeepIncarnation, "R6"),
    (TrustOldImage, "R7"),
    (PromoteStale, "R8"),
    (IgnoreServeFrom, "R9"),
    (ForgetPrepared, "R10"),
    (SkipSurvey, "R11"),
    (DropConflicts, "R12"),
    (SkipIdempotency, "R13"),
    (SyncWithOne, "R19"),
    (DropFailedRow, "R20"),
    (AdvanceEarly, "R21"),
    (ApplyOutOfOrder, "R22"),
    (AnswerUnseen, "R23"),
    (ForgetTombstone, "R24"),
    (KeepLeaseInHandover, "R27"),
    (AcknowledgeUnsynced, "R31"),
    (CollectInUse, "R32"),
    (LogUnsynced, "R33"),
    (PurgeUndurable, "R34"),
    (TornRead, "I3"),
    (UncheckedRead, "I6"),
    (KeepFoldersBack, "R26"),
    (UncheckedCapability, "R15"),
    (EndlessWait, "I9"),
    (WriteIntoMoved, "R14"),
    (KeepNothing, "R18"),
    (LeaveBytes, "R28"),
    (ForgetInDoubt, "R26"),
    (ForgetEnded, "R26"),
];

/// The mutation of this name.
pub fn find(name: &str) -> Option<Mutation> {
    ALL.iter().map(|(mutation, _)| *mutation).find(|mutation| format!("{mutation:?}") == name)
}
