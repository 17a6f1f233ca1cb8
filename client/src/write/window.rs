//! The window of an upload: pieces that are kept because they may have to be sent again (R18).

use super::content::Piece;
use std::collections::VecDeque;
use types::limits::CLIENT_WINDOW;
use types::message::store::SessionState;
use types::mutation::{self, Mutation};

/// Pieces from the source that are not surely on both members (or, while nothing is passed on, on the
/// acting member), in order; which of them were sent to the present server; and how far the servers are.
#[derive(Debug, Default)]
pub(super) struct Window {
    pieces: VecDeque<Piece>,
    /// Bytes of the pieces.
    bytes: usize,
    /// How many of the pieces were sent on the present connection.
    sent: usize,
    /// End of what came from the source.
    taken: u64,
    held: u64,
    partner_held: u64,
    passing: bool,
}

/// A server holds less than the window can send: the source must be read again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap;

impl Window {
    /// Whether another block of the source fits.
    pub(super) fn has_room(&self) -> bool {
        self.bytes + crate::bounds::SOURCE_READ <= CLIENT_WINDOW
    }

    /// Takes a piece from the source.
    pub(super) fn push(&mut self, piece: Piece) {
        self.taken = self.taken.max(piece.end());
        if piece.end() <= self.safe() {
            // Read again after a gap, but the server has it.
            return;
        }
        self.bytes += piece.body.len();
        self.pieces.push_back(piece);
    }

    /// The next piece to send.
    pub(super) fn send(&mut self) -> Option<Piece> {
        while let Some(piece) = self.pieces.get(self.sent) {
            self.sent += 1;
            if let Some(rest) = piece.beyond(self.held) {
                return Some(rest);
            }
        }
        None
    }

    /// Whether everything taken from the source was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.pieces.len()
    }

    /// Bytes that the server asked now has.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Takes what a server answered. Answers may come in any order.
    pub(super) fn state(&mut self, state: &SessionState) {
        self.held = self.held.max(state.held);
        self.partner_held = self.partner_held.max(state.partner_held);
        self.passing = state.passing;
        self.release();
    }

    /// Goes on with a server that answered `state`, perhaps another one than before.
    ///
    /// # Errors
    /// [`Gap`] if it lacks bytes that the window has let go.
    pub(super) fn resume(&mut self, state: &SessionState) -> Result<(), Gap> {
        let kept_from = self.pieces.front().map_or(self.taken, |piece| piece.offset);
        (self.held, self.partner_held, self.passing) = (state.held, state.partner_held, state.passing);
        self.sent = 0;
        if state.held < kept_from {
            return Err(Gap);
        }
        self.release();
        Ok(())
    }

    /// Forgets all pieces: the source is read again from its start. What the server has stays known.
    pub(super) fn restart(&mut self) {
        self.pieces.clear();
        (self.bytes, self.sent, self.taken) = (0, 0, 0);
    }

    /// Up to where bytes will not be asked for again.
    fn safe(&self) -> u64 {
        let both = self.passing && !mutation::is(Mutation::KeepNothing);
        if both { self.held.min(self.partner_held) } else { self.held }
    }

    fn release(&mut self) {
        let safe = self.safe();
        // Only what was sent: a piece ahead of `sent` would be counted wrongly.
        while self.pieces.front().is_some_and(|piece| piece.end() <= safe) {
            if let Some(piece) = self.pieces.pop_front() {
                self.bytes -= piece.body.len();
                self.sent = self.sent.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use types::content::block_crcs;
    use types::limits::PIECE;

    fn piece(number: u64) -> Piece {
        let body = Bytes::from(vec![number as u8; PIECE]);
        Piece { offset: number * PIECE as u64, crcs: block_crcs(&body), body }
    }

    fn state(held: u64, partner_held: u64, passing: bool) -> SessionState {
        SessionState { held: held * PIECE as u64, partner_held: partner_held * PIECE as u64, passing }
    }

    fn filled() -> Window {
        let mut window = Window::default();
        let mut number = 0;
        while window.has_room() {
            for _ in 0..crate::bounds::SOURCE_READ / PIECE {
                window.push(piece(number));
                number += 1;
            }
        }
        window
    }

    #[test]
    fn at_most_16_mib_wait_for_the_partner() {
        let mut window = filled();
        assert_eq!(window.bytes, CLIENT_WINDOW);
        while window.send().is_some() {}
        window.state(&state(64, 10, true));
        assert_eq!(window.bytes, CLIENT_WINDOW - 10 * PIECE);
        window.state(&state(64, 10, false));
        assert_eq!(window.bytes, 0, "nothing is passed on: only the acting member counts");
    }

    #[test]
    fn the_partner_goes_on_where_it_is() {
        let mut window = filled();
        while window.send().is_some() {}
        window.state(&state(40, 20, true));
        assert_eq!(window.resume(&state(25, 0, false)), Ok(()));
        assert_eq!(window.send().map(|piece| piece.offset), Some(25 * PIECE as u64));
    }

    #[test]
    fn a_partner_that_lacks_what_was_let_go_is_noticed() {
        let mut window = filled();
        while window.send().is_some() {}
        window.state(&state(40, 0, false));
        assert_eq!(window.resume(&state(10, 0, false)), Err(Gap));
        window.restart();
        for number in 0..12 {
            window.push(piece(number));
        }
        assert_eq!(window.send().map(|piece| piece.offset), Some(10 * PIECE as u64));
    }

    #[test]
    fn half_a_piece_is_not_sent_twice() {
        let mut window = Window::default();
        window.push(piece(0));
        let half = PIECE as u64 / 2;
        window.resume(&SessionState { held: half, partner_held: 0, passing: true }).unwrap();
        let rest = window.send().unwrap();
        assert_eq!((rest.offset, rest.body.len()), (half, PIECE / 2));
        assert_eq!(rest.crcs, block_crcs(&rest.body));
    }

    proptest! {
        #[test]
        fn whatever_the_servers_answer_every_byte_reaches_the_last_one(
            steps in proptest::collection::vec((0..4u8, 0..8u64, any::<bool>()), 0..200)
        ) {
            let piece_len = PIECE as u64;
            let total = 24;
            let mut window = Window::default();
            let (mut next, mut held, mut partner) = (0, 0u64, 0u64);
            let mut passing = true;
            for (step, amount, flag) in steps {
                match step {
                    0 if next < total => {
                        window.push(piece(next));
                        next += 1;
                    }
                    1 => {
                        if let Some(piece) = window.send() {
                            prop_assert_eq!(piece.offset, held * piece_len, "in order, without a hole");
                            held += 1;
                        }
                    }
                    2 => {
                        if passing {
                            partner = held.min(partner + amount);
                        }
                        passing = flag && (passing || partner == held);
                        window.state(&state(held, partner, passing));
                    }
                    3 => {
                        // The acting member is lost, its partner goes on.
                        (held, partner, passing) = (partner, 0, flag);
                        if window.resume(&state(held, partner, passing)).is_err() {
                            window.restart();
                            next = 0;
                        }
                    }
                    _ => {}
                }
            }
            while held < total {
                if let Some(piece) = window.send() {
                    prop_assert_eq!(piece.offset, held * piece_len);
                    held += 1;
                } else {
                    prop_assert!(next < total);
                    window.push(piece(next));
                    next += 1;
                }
            }
        }
    }
}
