//! The SHA-256 of an upload's chunks (R17), computed beside the writing: on another thread, from the pieces while
//! they are in memory.
//!
//! Only the member that the client talks to hashes. Its partner is told the digests and has them when it prepares
//! the content, or goes on from them when it has to act (decision 0017). What is neither told nor in memory is
//! read back.

use crate::sessions::lock;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;
use types::Result;
use types::content::Digester;
use types::limits::PIECE;

/// Pieces that may wait to be hashed; then who writes lends a hand, so that memory stays bounded.
const AHEAD: usize = 8;

/// The digests of one upload, as far as they are known.
#[derive(Default)]
pub(crate) struct Hashing {
    /// Locked after `digester`, if both are.
    queue: Mutex<Queue>,
    /// Locked while a piece is hashed.
    digester: Mutex<Digester>,
    /// The digests of the complete chunks, for those who do not wait. Locked after `digester`, if both are.
    known: Mutex<Vec<[u8; 32]>>,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Waiting>,
    /// Where the next piece has to begin to be queued.
    next: u64,
    running: bool,
}

struct Waiting {
    offset: u64,
    bytes: Bytes,
}

/// Who takes a piece has to do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Nothing: a thread is at it.
    Running,
    /// Start a thread that calls [`Hashing::step`] until nothing is left.
    Start,
    /// Too many wait: call [`Hashing::step`] once.
    Help,
}

impl Hashing {
    /// Takes a piece that was just written. If it does not follow what was taken before, it is read back later.
    pub(crate) fn offer(&self, offset: u64, bytes: Bytes) -> Offered {
        let mut queue = lock(&self.queue);
        if offset == queue.next {
            queue.next += bytes.len() as u64;
            queue.pieces.push_back(Waiting { offset, bytes });
        }
        match std::mem::replace(&mut queue.running, true) {
            false => Offered::Start,
            true if queue.pieces.len() > AHEAD => Offered::Help,
            true => Offered::Running,
        }
    }

    /// Hashes one piece: the first that waits, else the next of the `held` bytes, which `read` gives. `false` when
    /// nothing is left.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn step(
        &self,
        held: impl Fn() -> u64,
        read: impl FnOnce(Range<u64>) -> Result<Bytes>,
    ) -> Result<bool> {
        let mut digester = lock(&self.digester);
        let taken = digester.taken();
        let first = {
            let mut queue = lock(&self.queue);
            let first = queue.pieces.pop_front();
            if first.is_none() && taken >= held() {
                queue.next = taken;
                queue.running = false;
                return Ok(false);
            }
            first
        };
        let Some(Waiting { offset, bytes }) = first else {
            let read = read(taken..piece_end(taken, held()));
            let bytes = read.inspect_err(|_| lock(&self.queue).running = false)?;
            digester.update(&bytes);
            self.publish(&digester);
            let mut queue = lock(&self.queue);
            if queue.pieces.is_empty() {
                queue.next = digester.taken();
            }
            return Ok(true);
        };
        // Less than all of it, if the digest of its chunk was told meanwhile.
        match taken.checked_sub(offset).and_then(|known| usize::try_from(known).ok()) {
            Some(known) if known < bytes.len() => digester.update(&bytes[known..]),
            _ => {}
        }
        self.publish(&digester);
        Ok(true)
    }

    fn publish(&self, digester: &Digester) {
        let mut known = lock(&self.known);
        let new = known.len()..digester.done().len();
        known.extend_from_slice(&digester.done()[new]);
    }

    /// Takes digests of chunks from `from` on, 32 bytes each, that the acting member has computed.
    pub(crate) fn tell(&self, from: u32, digests: &[u8]) {
        let (told, _) = digests.as_chunks::<32>();
        if told.is_empty() {
            return;
        }
        let mut digester = lock(&self.digester);
        digester.tell(from as usize, told.iter().copied());
        self.publish(&digester);
    }

    /// The digests of the complete chunks that are known, from `from` on, at most `most`.
    pub(crate) fn known(&self, from: usize, most: usize) -> Bytes {
        let known = lock(&self.known);
        let rest = known.get(from..).unwrap_or_default();
        rest[..rest.len().min(most)].concat().into()
    }

    /// The digests of all chunks of what was taken.
    pub(crate) fn chunks(&self) -> Vec<[u8; 32]> {
        lock(&self.digester).clone().chunks()
    }
}

/// A piece ends at a multiple of its length, so within its chunk.
fn piece_end(from: u64, held: u64) -> u64 {
    ((from / PIECE as u64 + 1) * PIECE as u64).min(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::limits::CHUNK;

    fn bytes() -> Bytes {
        (0..2 * CHUNK + 3 * PIECE + 9).map(|at| (at % 253) as u8).collect::<Vec<_>>().into()
    }

    fn expected() -> Vec<[u8; 32]> {
        let mut digester = Digester::default();
        digester.update(&bytes());
        digester.chunks()
    }

    fn offer(hashing: &Hashing, range: Range<usize>) -> Offered {
        hashing.offer(range.start as u64, bytes().slice(range))
    }

    fn finish(hashing: &Hashing) -> u64 {
        let (held, mut read) = (bytes().len() as u64, 0);
        let slice = |range: Range<u64>| bytes().slice(range.start as usize..range.end as usize);
        while hashing
            .step(
                || held,
                |range| {
                    read += range.end - range.start;
                    Ok(slice(range))
                },
            )
            .unwrap()
        {}
        read
    }

    #[test]
    fn pieces_in_memory_are_hashed_without_reading_them_back() {
        let hashing = Hashing::default();
        assert_eq!(offer(&hashing, 0..PIECE), Offered::Start);
        let len = bytes().len();
        let mut helped = false;
        for from in (PIECE..len).step_by(PIECE) {
            helped |= offer(&hashing, from..len.min(from + PIECE)) == Offered::Help;
        }
        assert!(helped, "what waits is bounded");
        assert_eq!(finish(&hashing), 0);
        assert_eq!(hashing.chunks(), expected());
        assert_eq!(hashing.known(1, 9).len(), 32, "the last chunk is not complete");
    }

    #[test]
    fn who_was_told_digests_hashes_only_what_is_beyond_them() {
        let hashing = Hashing::default();
        offer(&hashing, 0..PIECE);
        hashing.tell(0, &expected()[..2].concat());
        // From here on the client talks to this member; what lies between came from the other one.
        offer(&hashing, 2 * CHUNK + PIECE..2 * CHUNK + 2 * PIECE);
        assert_eq!(finish(&hashing), (3 * PIECE + 9) as u64);
        assert_eq!(hashing.chunks(), expected());
    }

    #[test]
    fn who_was_told_nothing_reads_everything_back() {
        let hashing = Hashing::default();
        assert_eq!(finish(&hashing), bytes().len() as u64);
        assert_eq!(hashing.chunks(), expected());
        let whole = Hashing::default();
        whole.tell(0, &expected().concat());
        assert_eq!(finish(&whole), 0);
        assert_eq!(whole.chunks(), expected());
    }
}
