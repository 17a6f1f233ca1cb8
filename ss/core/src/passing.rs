//! Which bytes of a session go to the partner next (R18).
//!
//! Pieces go in order, several in flight. When the stream breaks, the client is told (it then counts this
//! member only), and passing on starts again at what the partner says it has.

use std::ops::Range;
use types::limits::{CLIENT_WINDOW, PIECE};

/// Bytes that may be here and not yet on the partner before the client's piece is left waiting for an
/// answer. Half a window: a client whose window is full always gets answers that make room.
pub const BACKLOG: u64 = CLIENT_WINDOW as u64 / 2;
/// Bytes of one session that may be on their way to the partner.
pub const IN_FLIGHT: u64 = 8 * PIECE as u64;

/// How far the passing on of one session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    on: bool,
    sent: u64,
    partner: u64,
}

impl Passing {
    /// Nothing was passed on; `on`: there is a partner to pass to.
    pub fn new(on: bool) -> Passing {
        Passing { on, sent: 0, partner: 0 }
    }

    /// Whether bytes are passed on now.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Bytes from the start that the partner has said it has.
    pub fn partner_held(&self) -> u64 {
        self.partner
    }

    /// The next bytes to send, of the first `held`: at most a piece, never across a piece's multiple, so
    /// never across a chunk's.
    pub fn next(&self, held: u64) -> Option<Range<u64>> {
        if !self.on || self.sent >= held || self.sent.saturating_sub(self.partner) >= IN_FLIGHT {
            return None;
        }
        let piece = PIECE as u64;
        let end = (self.sent / piece + 1) * piece;
        Some(self.sent..end.min(held))
    }

    /// Bytes up to `end` are on their way.
    pub fn sent(&mut self, end: u64) {
        self.sent = self.sent.max(end);
    }

    /// The partner says that it has `held` bytes from the start.
    pub fn acknowledged(&mut self, held: u64) {
        self.partner = self.partner.max(held);
    }

    /// The stream is broken: from now on the client's window counts this member only.
    pub fn broken(&mut self) {
        self.on = false;
    }

    /// The partner is back and has `held` bytes from the start, possibly fewer than before.
    pub fn restarted(&mut self, held: u64) {
        *self = Passing { on: true, sent: held, partner: held };
    }

    /// Whether a piece may be answered while `held` bytes are here (see [`BACKLOG`]).
    pub fn may_answer(&self, held: u64) -> bool {
        !self.on || held.saturating_sub(self.partner) <= BACKLOG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_upload_does_not_stop_when_the_partner_does() {
        let mut passing = Passing::new(true);
        assert!(!passing.may_answer(BACKLOG + 1));
        passing.broken();
        assert!(passing.may_answer(u64::MAX));
        assert_eq!(passing.next(100), None);
        passing.restarted(40);
        assert_eq!(passing.next(100), Some(40..100));
    }

    #[test]
    fn a_client_with_a_full_window_always_gets_room_again() {
        let mut passing = Passing::new(true);
        passing.acknowledged(CLIENT_WINDOW as u64 - BACKLOG);
        assert!(passing.may_answer(CLIENT_WINDOW as u64), "half of the window is on both by then");
    }

    proptest! {
        /// I9, R18: every byte goes once, in order, in pieces the partner takes, within the bound.
        #[test]
        fn r18_the_partner_gets_every_byte_once_and_in_order(steps in prop::collection::vec((0..3u8, 1..700_000u64), 1..200)) {
            let mut passing = Passing::new(true);
            let (mut held, mut sent, mut partner) = (0u64, 0u64, 0u64);
            for (step, size) in steps {
                match step {
                    0 => held += size,
                    1 => {
                        if let Some(range) = passing.next(held) {
                            prop_assert_eq!(range.start, sent);
                            prop_assert!(range.end <= held && range.start < range.end);
                            prop_assert!(crate::session::check_piece(range.start, (range.end - range.start) as usize).is_ok());
                            sent = range.end;
                            passing.sent(sent);
                        }
                    }
                    _ => {
                        partner = (partner + size).min(sent);
                        passing.acknowledged(partner);
                    }
                }
                prop_assert!(sent - partner <= IN_FLIGHT + PIECE as u64);
            }
            passing.acknowledged(sent);
            while let Some(range) = passing.next(held) {
                passing.sent(range.end);
                passing.acknowledged(range.end);
            }
            prop_assert_eq!(passing.partner_held(), held);
        }
    }
}
