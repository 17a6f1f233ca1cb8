//! Large buffers that are used again.
//!
//! A quarter of a mebibyte fresh from the system costs 64 page faults and as many cleared pages, about as much
//! as copying the bytes. So whoever fills such buffers at a rate takes them from here, and they return when
//! the last slice of them is dropped. A few are kept ([`BUFFERS_KEPT`]); beyond that they are given back to
//! the system. How many are out at once is bounded by those who take them: budgets and windows.

use crate::bounds::BUFFERS_KEPT;
use bytes::Bytes;
use std::sync::{Mutex, PoisonError};
use tokio::sync::OwnedSemaphorePermit;
use types::limits::PIECE;

/// Bytes of a buffer: one piece.
pub const BUFFER: usize = PIECE;

static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer of [`BUFFER`] bytes to be filled from the start. What it holds before that is anything.
pub struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    /// One that was used before if there is one, else a new one.
    pub fn take() -> Buffer {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: spare.unwrap_or_else(|| vec![0; BUFFER].into()), filled: 0 }
    }

    /// How many bytes are filled.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The next `len` bytes to fill, or as many as there are left.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let end = BUFFER.min(self.filled.saturating_add(len));
        &mut self.bytes[self.filled..end]
    }

    /// The first `len` bytes of [`Buffer::room`] are filled.
    pub fn fill(&mut self, len: usize) {
        self.filled = BUFFER.min(self.filled + len);
    }

    /// Puts `bytes` behind what is filled. They must fit.
    pub fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// What is filled; the buffer returns when the last slice is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < BUFFERS_KEPT {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// The same bytes, which hold their share of a budget until the last slice of them is dropped: wherever they wait
/// meanwhile, they are counted once (R38).
pub fn charged(bytes: Bytes, share: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Charged { bytes, _share: share })
}

struct Charged {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[test]
    fn bytes_give_their_share_back_when_the_last_slice_of_them_goes() {
        let budget = Arc::new(Semaphore::new(9));
        let share = budget.clone().try_acquire_many_owned(9).unwrap();
        let bytes = charged(Bytes::from_static(b"all of it"), share);
        let part = bytes.slice(3..6);
        drop(bytes);
        assert_eq!((&part[..], budget.available_permits()), (&b" of"[..], 0));
        drop(part);
        assert_eq!(budget.available_permits(), 9);
    }

    #[test]
    fn a_buffer_in_use_is_not_given_out_again() {
        let mut one = Buffer::take();
        one.put(b"one");
        let one = one.freeze();
        let slice = one.slice(1..2);
        drop(one);
        let mut others: Vec<Buffer> = (0..BUFFERS_KEPT + 3).map(|_| Buffer::take()).collect();
        others.iter_mut().for_each(|other| other.put(&[0; BUFFER]));
        assert_eq!(&slice[..], b"n");
    }

    #[test]
    fn only_some_are_kept() {
        drop((0..2 * BUFFERS_KEPT).map(|_| Buffer::take()).collect::<Vec<_>>());
        assert!(SPARE.lock().unwrap().len() <= BUFFERS_KEPT);
    }
}
