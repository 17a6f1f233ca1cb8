//! Compaction of a segment that cannot be read to its end (R31). Contents and chunks that lay in the bad part have been
//! put elsewhere by a repair. What else it told, rows and places, is in the index: all of that is restated, a slice at a
//! time, so that a replay without the segment makes the index that there is.

use log::{LogError, Position};
use types::record::{Record, Row, Subject};
use types::{Code, Error, Result};

use super::PLACES_PER_RECORD;
use super::change::{AsideRecord, Change, PlacesRecord, RowRecord};
use super::commit::Committing;
use super::trouble::log_error;

/// Records restated in one slice.
const SLICE: usize = 256;

/// How far the restating has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Restating {
    /// Users and pairs come first, in one slice.
    #[default]
    Control,
    /// Records with ids above this one are to come.
    Records(u64),
    /// The same of those that are set aside.
    Aside(u64),
    /// Chunks with digests behind this one are to come.
    Chunks(Option<[u8; 32]>),
}

impl Committing {
    /// Where reading goes on behind a bad record, if nothing is found in what is passed over.
    pub(super) fn behind_damage(&self, bad: Position, end: Position, why: LogError) -> Result<Position> {
        let next = self.shared.reader.behind_damage(bad).map_err(log_error)?.min(end);
        match self.shared.index.found_in(bad..next)? {
            None => {
                tracing::warn!(from = %bad, to = %next, "a bad part of the journal is passed over");
                Ok(next)
            }
            Some(position) => Err(Error::new(
                Code::Damaged,
                format_args!("{why}, and a content is found at {position}"),
                "repair it from the partner with `pairfs scrub`: then this part is given up",
            )),
        }
    }

    /// The next slice of all that the index has, and what comes after it.
    pub(super) fn restate_all(&self, from: Restating) -> Result<(Vec<Change>, Option<Restating>)> {
        let index = &self.shared.index;
        let row = |feed, seq, subject| {
            // What it ended has ended, and what was refused is not in the index.
            let row = Some(Row { seq, subject: Some(subject) });
            Change::Row(RowRecord { feed, row, collected: u64::MAX, ..RowRecord::default() })
        };
        Ok(match from {
            Restating::Control => {
                let mut changes = Vec::new();
                let mut after = String::new();
                loop {
                    let users = index.users_after(&after, SLICE)?;
                    let Some((_, last)) = users.last() else { break };
                    after.clone_from(&last.name);
                    changes.extend(users.into_iter().map(|(seq, user)| row(0, seq, Subject::User(user))));
                }
                let pairs = index.pairs_after(0, usize::MAX)?.into_iter();
                changes.extend(pairs.map(|(seq, pair)| row(0, seq, Subject::Pair(pair))));
                (changes, Some(Restating::Records(0)))
            }
            Restating::Records(after) => {
                let records = index.records_after(after, SLICE)?;
                let next = records.keys().next_back().map(|last| Restating::Records(*last));
                let changes = records
                    .into_values()
                    .map(|record| row(record.pair, record.seq, Subject::Record(record)))
                    .collect();
                (changes, next.or(Some(Restating::Aside(0))))
            }
            Restating::Aside(after) => {
                let records = index.aside_after(after, SLICE)?;
                let next = records.last().map(|last| Restating::Aside(last.id));
                let aside = |record: Record| Change::Aside(AsideRecord { record: Some(record) });
                (records.into_iter().map(aside).collect(), next.or(Some(Restating::Chunks(None))))
            }
            Restating::Chunks(after) => {
                let chunks = index.chunks_after(after, PLACES_PER_RECORD)?;
                let next = chunks.last().map(|(last, _)| Restating::Chunks(Some(*last)));
                // Where a record of the journal holds it, that one tells.
                let in_extents = chunks.iter().filter(|(_, chunk)| chunk.extent().is_some());
                let places = in_extents.map(|(sha256, chunk)| chunk.place(sha256, false)).collect();
                let record = PlacesRecord { places, ..PlacesRecord::default() };
                let changes = match record.places.is_empty() {
                    true => Vec::new(),
                    false => vec![Change::Chunks { record, tail: Default::default() }],
                };
                (changes, next)
            }
        })
    }
}
