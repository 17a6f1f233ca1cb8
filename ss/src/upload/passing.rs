//! What of an upload is passed on to the partner.

use super::{Seal, Upload};
use crate::sessions::{Piece, lock};
use crate::store::Store;
use bytes::Bytes;
use ss_core::passing::Passing;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;
use types::limits::{FRAME_HEAD_MAX, PIECE};
use types::record::Manifest;
use types::{Error, Result};

/// Digests of chunks in one message.
pub(crate) const DIGESTS: usize = 4096;

const _: () = assert!(DIGESTS * 32 <= FRAME_HEAD_MAX / 4);

impl Upload {
    /// Whether the caller shall start the task that passes on.
    pub(crate) fn start_passer(&self) -> bool {
        let mut state = lock(&self.state);
        !state.over && !std::mem::replace(&mut state.passer, true)
    }

    /// Waits until nothing is passed on any more.
    pub(crate) async fn passed(&self) {
        // The sender lives as long as this does.
        let _ = self.progress.subscribe().wait_for(|_| !lock(&self.state).passer).await;
    }

    pub(crate) fn passer_ended(&self) {
        lock(&self.state).passer = false;
        self.passing_changed(Passing::broken);
    }

    /// Changes how far passing on is, and tells those that wait.
    pub(crate) fn passing_changed(&self, change: impl FnOnce(&mut Passing)) {
        let (partner_held, passing) = {
            let mut state = lock(&self.state);
            change(&mut state.passing);
            let partner = state.passing.partner_held();
            if !state.passing.is_on() {
                state.recent.clear();
            }
            (partner, state.passing.is_on())
        };
        self.progress.send_modify(|progress| {
            progress.partner_held = partner_held;
            progress.passing = passing;
        });
    }

    /// The next bytes for the partner, marked as sent; the bytes themselves, with their checksums, if they are in
    /// memory.
    pub(crate) fn next_to_pass(&self) -> Option<(Range<u64>, Option<Piece>)> {
        let mut state = lock(&self.state);
        let range = state.passing.next(state.held)?;
        while state.recent.front().is_some_and(|piece| piece.end() <= range.start) {
            state.recent.pop_front();
        }
        let piece = match state.recent.front() {
            Some(piece) if piece.offset == range.start && piece.end() == range.end => {
                state.recent.pop_front()
            }
            _ => None,
        };
        state.passing.sent(range.end);
        Some((range, piece))
    }

    /// Digests of chunks that the partner was not told yet, and the first of those chunks; they count as told.
    pub(crate) fn untold(&self) -> (u32, Bytes) {
        let (from, manifest) = {
            let state = lock(&self.state);
            (state.told, state.manifest.clone())
        };
        let digests = match manifest {
            Some(manifest) => {
                let rest = manifest.chunks.iter().skip(from).take(DIGESTS);
                rest.flat_map(|chunk| chunk.sha256.iter().copied()).collect()
            }
            None => self.hashing.known(from, DIGESTS),
        };
        lock(&self.state).told = from + digests.len() / 32;
        (u32::try_from(from).unwrap_or(u32::MAX), digests)
    }

    /// The partner may have forgotten what it was told.
    pub(crate) fn tell_anew(&self) {
        lock(&self.state).told = 0;
    }

    /// Reads bytes back for passing on; on a disk thread.
    pub(crate) fn read_back(&self, store: &Store, range: Range<u64>) -> Result<Bytes> {
        let len = u32::try_from(range.end - range.start).unwrap_or(PIECE as u32);
        let manifest = lock(&self.state).manifest.clone();
        if let Some(manifest) = manifest {
            return store.read(&manifest, range.start, len).map(|(bytes, _)| bytes);
        }
        match lock(&self.writer).as_ref() {
            Some(writer) => writer.read(range.start, len),
            None => Err(Error::internal("an upload without its bytes")),
        }
    }

    /// All bytes are here as `manifest`, and the partner shall prepare them when it has them.
    pub(crate) fn seal(&self, manifest: Arc<Manifest>, seal: Seal) {
        {
            let mut state = lock(&self.state);
            state.manifest = Some(manifest);
            state.seal = Some(seal);
        }
        self.partner.send_replace(None);
        self.progress.send_modify(|_| {});
    }

    /// What the partner has to prepare, once it has all the bytes.
    pub(crate) fn sealed(&self) -> Option<Seal> {
        lock(&self.state).seal.clone()
    }

    /// Whether nothing goes on for it any more.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).over
    }

    /// Whether the partner has prepared it.
    pub(crate) fn partner_prepared(&self, prepared: bool) {
        self.partner.send_replace(Some(prepared));
    }

    /// Whether the partner has prepared it, and every change of that.
    pub(crate) fn partner_watch(&self) -> watch::Receiver<Option<bool>> {
        self.partner.subscribe()
    }
}
