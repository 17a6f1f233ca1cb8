//! The commit of an upload, and how it ended.

use super::Upload;
use crate::sessions::lock;
use crate::store::{Content, Store};
use bytes::Bytes;
use net::clock::boottime;
use ss_core::session::{AfterRefusal, CommitStep};
use std::time::Duration;
use tokio::time::timeout;
use types::ids::RequestKey;
use types::message::store::{Receipt, Target};
use types::{Code, Error, Result};

impl Upload {
    /// A commit; see [`WriteSession::commit`].
    pub fn commit(&self, user: &str, target: &Target, key: RequestKey) -> Result<CommitStep> {
        let step = lock(&self.state).session.commit(boottime(), user, target, key)?;
        if step != CommitStep::Join {
            self.outcome.send_replace(None);
        }
        Ok(step)
    }

    /// How the commit ended, when it has.
    pub async fn outcome(&self, patience: Duration) -> Result<Receipt> {
        let mut outcome = self.outcome.subscribe();
        let ended = timeout(patience, outcome.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(ended)) => ended.clone().unwrap_or_else(|| Err(Error::internal("no outcome"))),
            _ => Err(Error::new(
                Code::OutcomeUnknown,
                "the write was not decided in time",
                "repeat it with its request key",
            )
            .outcome_unknown()),
        }
    }

    /// Tells those that wait how the commit ended.
    pub fn ended(&self, outcome: Result<Receipt>) {
        self.outcome.send_replace(Some(outcome));
    }

    /// The content of `size` bytes that was uploaded, made whole; on a disk thread.
    ///
    /// # Errors
    /// `NO_SUCH_SESSION` when bytes are missing, `BUSY` while somebody else makes it durable: the upload stays as it
    /// is. After any other error the bytes are gone.
    pub(crate) fn finish(&self, store: &Store, size: u64, crc64: u64, sha256: &[u8]) -> Result<Content> {
        let held = lock(&self.state).held;
        if self.is_broken() {
            return Err(super::broken());
        }
        if held != size {
            return Err(Error::new(
                Code::NoSuchSession,
                format_args!("{held} of {size} bytes are here"),
                "open the session again, then send what is missing",
            ));
        }
        if size == 0 && lock(&self.writer).is_none() {
            return store.small(Bytes::new(), crc64);
        }
        let busy =
            || Error::new(Code::Busy, "the content is being made durable just now", "ask again in a moment");
        if lock(&self.writer).is_none() {
            return Err(busy());
        }
        while self.hash_more(store)? {}
        let writer = lock(&self.writer).take().ok_or_else(busy)?;
        let sha256 = (!sha256.is_empty()).then_some(sha256);
        writer.finish_as(size, Some(crc64), sha256, &self.hashing.chunks())
    }

    /// It could not be made durable.
    pub fn not_prepared(&self) {
        lock(&self.state).session.not_prepared(boottime());
    }

    /// It is durable here.
    pub fn prepared(&self) {
        lock(&self.state).session.prepared();
    }

    /// It is durable here for the partner, as `size` bytes.
    pub(crate) fn prepared_for_partner(&self, size: u64) {
        let mut state = lock(&self.state);
        state.session.prepared();
        (state.held, state.accepted) = (size, size);
        drop(state);
        self.progress.send_modify(|progress| progress.held = size);
    }

    /// All of it is here, though it did not come in pieces.
    pub(crate) fn all_here(&self, size: u64) {
        {
            let mut state = lock(&self.state);
            (state.held, state.accepted) = (size, size);
        }
        self.progress.send_modify(|progress| progress.held = size);
    }

    /// Lets the bytes go that are in no content yet; on a disk thread.
    pub(crate) fn discard(&self) {
        drop(lock(&self.writer).take());
    }

    /// Nobody knows what became of it.
    pub fn in_doubt(&self) {
        lock(&self.state).session.in_doubt();
    }

    /// The name manager has refused it.
    pub fn refused(&self, code: Code) -> AfterRefusal {
        lock(&self.state).session.refused(boottime(), code)
    }

    /// Open again though it was to be dropped: it expires later.
    pub(crate) fn reopen(&self) {
        lock(&self.state).session.reopen(boottime());
    }

    /// Open again, with `size` bytes durable here, which may be dropped once rows up to `mark` are applied. Nothing
    /// happens if somebody commits it now.
    pub(crate) fn undecided(&self, now: Duration, size: u64, mark: u64) {
        let mut state = lock(&self.state);
        if !state.session.is_open() && !state.session.is_idle_prepared() {
            return;
        }
        state.session.reopen(now);
        state.mark = state.mark.max(mark);
        state.accepted = state.accepted.max(size);
        state.held = state.held.max(size);
        drop(state);
        self.progress.send_modify(|progress| progress.held = progress.held.max(size));
    }
}
