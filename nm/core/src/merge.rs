//! Which of two accounts of the same thing counts, when a name manager is rebuilt (R26): pure values, in any order.
//!
//! Sequence numbers are one line for the life of a cluster, rebuilds included, so the account with the higher number
//! was decided later. Two accounts with one number are the same row; if they differ all the same (a member's
//! memory is not a proof), the choice does not depend on who came first.

use prost::Message;
use std::cmp::Ordering;
use types::limits::NUMBER_MAX;
use types::record::{Pair, Record, Row, Subject, User};

/// The account of a file or folder that counts.
pub fn record(one: Record, other: Record) -> Record {
    match order(&one, &other) {
        Ordering::Less => other,
        _ => one,
    }
}

/// How two accounts of one file or folder order: the greater one counts. A tombstone never loses against what is not
/// newer than it (I4).
fn order(one: &Record, other: &Record) -> Ordering {
    let rank = |record: &Record| (record.seq, record.is_tombstone());
    rank(one).cmp(&rank(other)).then_with(|| one.encode_to_vec().cmp(&other.encode_to_vec()))
}

/// Whether the account of a pair in row `seq` counts more than the one known from row `known_seq`: a later reign first.
pub fn pair_is_newer(pair: &Pair, seq: u64, known: &Pair, known_seq: u64) -> bool {
    let rank = |pair: &Pair, seq| (pair.epoch, seq, pair.encode_to_vec());
    rank(pair, seq) > rank(known, known_seq)
}

/// The same for a user.
pub fn user_is_newer(user: &User, seq: u64, known: &User, known_seq: u64) -> bool {
    (seq, user.encode_to_vec()) > (known_seq, known.encode_to_vec())
}

/// The highest numbers that something taken in names: what comes later has to be above them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// Sequence number.
    pub seq: u64,
    /// Inode.
    pub inode: u64,
    /// Pair.
    pub pair: u32,
    /// Epoch, in versions of `pair`.
    pub epoch: u64,
    /// Log time, ms since 1970.
    pub time_ms: u64,
}

/// The floors that a row sets.
pub fn floors(row: &Row) -> Floors {
    let mut floors = Floors { seq: row.seq, ..Floors::default() };
    match &row.subject {
        Some(Subject::Record(record)) => {
            floors.seq = floors.seq.max(record.seq).max(record.stamp).max(record.content_seq);
            floors.inode = record.id;
            floors.pair = record.pair;
            floors.epoch = record.versions.iter().map(|version| version.epoch).max().unwrap_or(0);
            let times = record.versions.iter().map(|version| version.time_ms);
            let trashed = record.trashed.as_ref().map(|trashed| trashed.time_ms);
            let all = times.chain(trashed).chain([record.created_ms, record.changed_ms]);
            floors.time_ms = all.max().unwrap_or(0);
        }
        Some(Subject::Pair(pair)) => {
            floors.seq = floors.seq.max(pair.handover_seq);
            floors.pair = pair.id;
            floors.epoch = pair.epoch;
            floors.time_ms = pair.changed_ms;
        }
        Some(Subject::User(user)) => floors.seq = floors.seq.max(user.revoked_before),
        None => {}
    }
    floors
}

/// Whether a new life can begin above what a row says: a damaged one may leave no room for it.
pub fn leaves_room(row: &Row) -> bool {
    let Floors { seq, inode, pair, epoch, time_ms } = floors(row);
    let number = match &row.subject {
        Some(Subject::Record(record)) => record.last_number,
        _ => 0,
    };
    pair <= u32::MAX / 2 && [seq, inode, epoch, time_ms, number].iter().all(|number| *number <= NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use types::record::{Kind, Version};

    fn accounts() -> impl Strategy<Value = Vec<Record>> {
        let one = (1..6u64, 0..3u8, 0..3u64).prop_map(|(seq, kind, number)| Record {
            id: 20,
            seq,
            kind: if kind == 0 { Kind::Tombstone } else { Kind::File } as i32,
            last_number: number,
            versions: vec![Version { number, ..Version::default() }],
            ..Record::default()
        });
        prop::collection::vec(one, 1..12)
    }

    fn merged(all: &[Record]) -> Record {
        all.iter().cloned().reduce(record).unwrap()
    }

    proptest! {
        #[test]
        fn r26_merging_in_any_order_and_twice_gives_the_same(all in accounts(), turn in 0..12usize) {
            let mut turned = all.clone();
            turned.rotate_left(turn % all.len());
            let mut reversed = all.clone();
            reversed.reverse();
            let mut twice = all.clone();
            twice.extend(turned.iter().cloned());
            let once = merged(&all);
            prop_assert_eq!(&merged(&turned), &once);
            prop_assert_eq!(&merged(&reversed), &once);
            prop_assert_eq!(&merged(&twice), &once);
        }

        #[test]
        fn i4_a_tombstone_never_loses_against_an_older_record(all in accounts()) {
            let newest = all.iter().map(|record| record.seq).max().unwrap();
            let removed = all.iter().any(|record| record.seq == newest && record.is_tombstone());
            let once = merged(&all);
            prop_assert_eq!(once.seq, newest);
            prop_assert!(!removed || once.is_tombstone());
        }
    }

    #[test]
    fn a_pair_of_a_later_reign_counts_whatever_its_row() {
        let reign = |epoch| Pair { id: 1, epoch, ..Pair::default() };
        assert!(pair_is_newer(&reign(2), 5, &reign(1), 9));
        assert!(!pair_is_newer(&reign(1), 9, &reign(2), 5));
        assert!(pair_is_newer(&reign(2), 6, &reign(2), 5));
        assert!(!pair_is_newer(&reign(2), 5, &reign(2), 5));
    }

    #[test]
    fn every_number_of_a_record_is_below_the_floors() {
        let record = Record {
            id: 40,
            pair: 2,
            seq: 10,
            stamp: 11,
            content_seq: 12,
            changed_ms: 100,
            versions: vec![Version { epoch: 7, time_ms: 200, ..Version::default() }],
            ..Record::default()
        };
        let row = Row { seq: 10, subject: Some(Subject::Record(record)) };
        assert_eq!(floors(&row), Floors { seq: 12, inode: 40, pair: 2, epoch: 7, time_ms: 200 });
    }
}
