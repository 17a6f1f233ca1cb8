//! The rounds of the background scrubber: when the next one begins, how far it is, what it has found. Pure: times are
//! wall-clock ms since 1970, as arguments.
//!
//! A round begins half a period after the one before began, so that it has the other half to come to its end: then no
//! byte goes longer than a period without having been looked at.

use std::collections::BTreeSet;
use types::limits::{SCRUB_BAD, SCRUB_BAD_TOLD};
use types::message::member::ScrubState;
use types::message::store::{ScrubPlace, ScrubReply};

/// A round under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When it began.
    pub started_ms: u64,
    /// Everything before it has been looked at: file, number of its version, chunk.
    pub place: (u64, u64, u32),
    /// Bytes that were looked at.
    pub bytes: u64,
    /// Files with a bad copy that it could not repair.
    pub bad: BTreeSet<u64>,
}

/// What is kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Start of the last round that came to its end; 0: none has.
    pub verified_ms: u64,
    /// Files with a bad copy that it could not repair.
    pub bad: BTreeSet<u64>,
    /// The one that is under way.
    pub round: Option<Round>,
}

impl Rounds {
    /// Whether there is something to look at at `now_ms`: then a round is under way when this returns.
    pub fn begin(&mut self, now_ms: u64, period_ms: u64) -> bool {
        let is_due = self.verified_ms == 0 || now_ms >= self.verified_ms.saturating_add(period_ms / 2);
        if self.round.is_none() && is_due {
            self.round = Some(Round { started_ms: now_ms.max(1), ..Round::default() });
        }
        self.round.is_some()
    }

    /// Where the round goes on.
    pub fn place(&self) -> ScrubPlace {
        let (file, number, chunk) = self.round.as_ref().map_or((0, 0, 0), |round| round.place);
        ScrubPlace { file, number, chunk }
    }

    /// A page of the round has been looked at. Whether that was its end.
    pub fn looked(&mut self, page: &ScrubReply) -> bool {
        let Some(round) = &mut self.round else { return false };
        round.bytes = round.bytes.saturating_add(page.bytes);
        let place = page.next.unwrap_or_default();
        round.place = (place.file, place.number, place.chunk);
        remember(&mut round.bad, page);
        if page.end {
            let round = std::mem::take(round);
            (self.verified_ms, self.bad, self.round) = (round.started_ms, round.bad, None);
        }
        page.end
    }

    /// The files of [`bad`](Self::bad) have been looked at once more, up to where `page` says.
    pub fn looked_again(&mut self, page: &ScrubReply) {
        let upto = match (page.end, page.next) {
            (false, Some(place)) => place.file,
            _ => u64::MAX,
        };
        for bad in
            [Some(&mut self.bad), self.round.as_mut().map(|round| &mut round.bad)].into_iter().flatten()
        {
            bad.retain(|file| *file >= upto);
        }
        remember(&mut self.bad, page);
    }

    /// Files with a bad copy: of those before the place of a round what it has found, of the others what the one before
    /// has.
    pub fn bad(&self) -> BTreeSet<u64> {
        let Some(round) = &self.round else { return self.bad.clone() };
        self.bad.range(round.place.0..).chain(&round.bad).copied().collect()
    }

    /// For people: `expected` bytes in all, `bytes_per_second` of late.
    pub fn state(&self, period_ms: u64, expected: u64, bytes_per_second: u64) -> ScrubState {
        let bad = self.bad();
        let round = self.round.clone().unwrap_or_default();
        ScrubState {
            verified_ms: self.verified_ms,
            started_ms: round.started_ms,
            file: round.place.0,
            bytes: round.bytes,
            expected: expected.max(round.bytes),
            bytes_per_second,
            bad_files: bad.len() as u64,
            bad: bad.into_iter().take(SCRUB_BAD_TOLD).collect(),
            period_ms,
        }
    }
}

/// Adds what could not be repaired, as long as there is room.
fn remember(bad: &mut BTreeSet<u64>, page: &ScrubReply) {
    for finding in page.findings.iter().filter(|finding| !finding.repaired) {
        if bad.len() < SCRUB_BAD {
            bad.insert(finding.file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::message::store::ScrubFinding;

    const PERIOD: u64 = 1000;

    fn page(next: u64, end: bool, bad: &[u64]) -> ScrubReply {
        let finding = |file: &u64| ScrubFinding { file: *file, ..ScrubFinding::default() };
        ScrubReply {
            next: Some(ScrubPlace { file: next, ..ScrubPlace::default() }),
            end,
            bytes: 10,
            findings: bad.iter().map(finding).collect(),
            ..ScrubReply::default()
        }
    }

    #[test]
    fn everything_is_looked_at_once_in_a_period_and_a_round_goes_on_where_it_was() {
        let mut rounds = Rounds::default();
        assert!(rounds.begin(5_000, PERIOD), "at once the first time");
        assert!(!rounds.looked(&page(8, false, &[])));
        assert!(rounds.begin(9_000, PERIOD));
        assert_eq!((rounds.place().file, rounds.state(PERIOD, 100, 5).started_ms), (8, 5_000));
        assert_eq!(rounds.state(PERIOD, 100, 5).left_ms(), Some(18_000));
        assert!(rounds.looked(&page(0, true, &[])));
        assert_eq!((rounds.verified_ms, rounds.place()), (5_000, ScrubPlace::default()));
        assert_eq!(rounds.state(PERIOD, 100, 5).left_ms(), None);
        assert!(!rounds.begin(5_499, PERIOD) && rounds.begin(5_500, PERIOD), "half a period after its start");
    }

    #[test]
    fn what_was_verified_when_follows_the_place_of_the_round() {
        let mut rounds = Rounds::default();
        rounds.begin(5_000, PERIOD);
        rounds.looked(&page(8, false, &[]));
        let state = rounds.state(PERIOD, 0, 0);
        assert_eq!((state.verified(7), state.verified(8)), (Some(5_000), None));
        rounds.looked(&page(0, true, &[]));
        assert_eq!(rounds.state(PERIOD, 0, 0).verified(8), Some(5_000));
    }

    #[test]
    fn a_file_of_which_both_copies_are_bad_is_remembered_until_a_copy_is_good() {
        let mut rounds = Rounds::default();
        rounds.begin(5_000, PERIOD);
        rounds.looked(&page(8, false, &[3, 7]));
        rounds.looked(&page(0, true, &[9]));
        let bad = |rounds: &Rounds| rounds.bad().into_iter().collect::<Vec<_>>();
        assert_eq!(bad(&rounds), [3, 7, 9]);
        rounds.begin(6_000, PERIOD);
        rounds.looked(&page(5, false, &[]));
        assert_eq!(bad(&rounds), [7, 9], "3 was found well");
        rounds.looked_again(&page(8, false, &[7]));
        assert_eq!(bad(&rounds), [7, 9]);
        rounds.looked_again(&page(0, true, &[9]));
        assert_eq!(bad(&rounds), [9], "7 was repaired meanwhile");
        let mut repaired = page(0, true, &[9]);
        repaired.findings[0].repaired = true;
        rounds.looked_again(&repaired);
        assert!(bad(&rounds).is_empty());
    }

    #[test]
    fn what_is_remembered_and_told_is_bounded() {
        let mut rounds = Rounds::default();
        rounds.begin(1, PERIOD);
        let many: Vec<u64> = (1..=2 * SCRUB_BAD as u64).collect();
        rounds.looked(&page(0, true, &many));
        let state = rounds.state(PERIOD, 0, 0);
        assert_eq!((state.bad_files as usize, state.bad.len()), (SCRUB_BAD, SCRUB_BAD_TOLD));
    }
}
