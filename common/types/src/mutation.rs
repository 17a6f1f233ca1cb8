//! Rules that can be broken on purpose, so that the simulation can prove that it would notice.
//!
//! Built with `RUSTFLAGS="--cfg mutation"` the one mutation that the simulation sets at its start is in force. In every
//! other build [`is`] is `false` at compile time, and nothing of this is left. A switch is one line, at the place that
//! the rule is about. `docs/testing.md` has the table: what catches each, and how soon.

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// R1: a commit is taken from whoever sends it.
    SkipFence = 1,
    /// R2: a lease that has ended serves on.
    EndedLeaseServes,
    /// R3: a lease is granted while the pair changes hands.
    GrantWhileChanging,
    /// R4: a new leader takes everybody for silent, and every lease for ended.
    NewLeaderDoesNotWait,
    /// R5: a closed connection is taken for death.
    SilenceIsDeath,
    /// R7: an old image of a disk is taken for the disk.
    TrustOldImage,
    /// R8: a member that has not caught up is promoted.
    PromoteStale,
    /// R9: what happened before a lease need not be applied to serve in it.
    IgnoreServeFrom,
    /// R10: what was prepared is forgotten at a start.
    ForgetPrepared,
    /// R11: who is promoted does not say what it lacks.
    SkipSurvey,
    /// R12: conflict versions are dropped.
    DropConflicts,
    /// R13: a repeated request is done again.
    SkipIdempotency,
    /// R19: `sync` is content with one copy.
    SyncWithOne,
    /// R20: a row that fails is dropped.
    DropFailedRow,
    /// R21: the watermark passes rows that are not acknowledged.
    AdvanceEarly,
    /// R22: an older row replaces a newer record.
    ApplyOutOfOrder,
    /// R23: a removal is answered before it is seen.
    AnswerUnseen,
    /// R24: tombstones go while a member is away.
    ForgetTombstone,
    /// R27: the target of a handover serves before the old member has let go.
    KeepLeaseInHandover,
    /// R31: a storage server acknowledges before the fsync.
    AcknowledgeUnsynced,
    /// R32: what a version names is collected.
    CollectInUse,
    /// R33: the name manager acknowledges before the fsync of its log.
    LogUnsynced,
    /// R34: the log is purged of what is not durably applied.
    PurgeUndurable,
    /// I3: a reader takes whatever version is the head at each range.
    TornRead,
    /// I6: bytes are read without being checked.
    UncheckedRead,
    /// I7: storage servers do not offer folders to a rebuild.
    KeepFoldersBack,
    /// I8: a capability's signature is not checked.
    UncheckedCapability,
    /// I9: a client waits as long as it takes.
    EndlessWait,
    /// R14: a folder that has moved is written to all the same.
    WriteIntoMoved,
    /// R18: a client lets go what only the acting member has.
    KeepNothing,
    /// R28: a new acting member leaves its partner's bytes of an upload where they are.
    LeaveBytes,
    /// R10: a tombstone is forgotten while something older than it is in doubt.
    ForgetInDoubt,
    /// I4: a removal does not tell which writes ended with it.
    ForgetEnded,
    /// R6: a server that starts is the one that it was.
    KeepIncarnation,
}

/// Whether this rule is broken.
#[cfg(not(mutation))]
#[must_use]
pub const fn is(_: Mutation) -> bool {
    false
}

#[cfg(mutation)]
pub use present::{is, set};

#[cfg(mutation)]
mod present {
    use super::Mutation;
    use std::sync::atomic::{AtomicU8, Ordering};

    static PRESENT: AtomicU8 = AtomicU8::new(0);

    /// Whether this rule is broken.
    #[must_use]
    pub fn is(mutation: Mutation) -> bool {
        PRESENT.load(Ordering::Relaxed) == mutation as u8
    }

    /// Breaks this rule, for the whole process.
    pub fn set(mutation: Mutation) {
        PRESENT.store(mutation as u8, Ordering::Relaxed);
    }
}
