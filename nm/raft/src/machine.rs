//! The seam between the glue and the deciding code.

use bytes::Bytes;
use nm_core::store::{StoreError, StoreMut};

/// What the glue runs: the pure state machine.
pub trait Machine: Send + Sync + 'static {
    /// Applies one log entry (an encoded batch of commands) inside the transaction `store`.
    ///
    /// `index` is the entry's place in the log; it grows from call to call, with gaps where Raft put
    /// entries of its own. Must be deterministic: every member of the group, and this one after a crash,
    /// repeats it from the same state. What a command does not allow is an answer, not an error; an
    /// error means that the store failed and ends the process.
    fn apply(&self, index: u64, payload: &[u8], store: &mut dyn StoreMut) -> Result<Applied, StoreError>;
}

/// What applying an entry gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The encoded answer for whoever proposed the entry.
    pub reply: Bytes,
}
