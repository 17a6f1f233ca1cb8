//! What has to be here before a row is applied (R20, R22).

use crate::survey::record_of;
use types::ids::Seq;
use types::record::{Row, Version, mark};

/// What to do with a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// It is not newer than what is known: acknowledge it, change nothing.
    Known,
    /// Bring these versions here (in this order), then apply it.
    Apply {
        /// Kept versions whose bytes are missing here.
        fetch: Vec<Version>,
    },
}

/// Plans `row` against the sequence number of what is `known` of its subject (none: nothing). `holds`
/// tells whether the bytes of a version are durable here, by session and digest.
///
/// A version that is owed or lost is applied without its bytes (R9): whoever has it brings it in by
/// adoption, not by a row. Content in the trash is kept, so it is fetched like any other; a tombstone
/// needs nothing.
pub fn plan(row: &Row, known: Option<Seq>, holds: impl Fn(&Version) -> bool) -> Plan {
    if known.is_some_and(|known| Seq(row.seq) <= known) {
        return Plan::Known;
    }
    let versions = record_of(row).filter(|record| record.is_file()).map(|record| &record.versions[..]);
    let fetch = versions
        .unwrap_or_default()
        .iter()
        // The newest first: it is what a promotion right after this would serve.
        .rev()
        .filter(|version| !version.is_empty() && !version.is(mark::OWED) && !version.is(mark::LOST))
        .filter(|version| !holds(version))
        .cloned()
        .collect();
    Plan::Apply { fetch }
}

/// On how many members the one of these versions is that is on the fewest, as far as the log knows: what has one copy
/// only is brought first (R29).
pub fn fewest_copies(versions: &[Version]) -> u32 {
    versions.iter().map(|version| version.durable_on.count_ones()).min().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use types::record::{Kind, Record, Subject, on};

    fn version(session: u8, marks: u32, size: u64) -> Version {
        Version { session: vec![session; 16], marks, size, ..Version::default() }
    }

    fn row(seq: u64, kind: Kind, versions: Vec<Version>) -> Row {
        let record = Record { id: 20, kind: kind.into(), seq, versions, ..Record::default() };
        Row { seq, subject: Some(Subject::Record(record)) }
    }

    #[test]
    fn i4_a_late_row_does_not_bring_a_removed_file_back() {
        let late = row(5, Kind::File, vec![version(1, 0, 9)]);
        assert_eq!(plan(&late, Some(Seq(9)), |_| false), Plan::Known);
        assert_eq!(plan(&late, Some(Seq(5)), |_| false), Plan::Known, "the same row twice");
        assert_ne!(plan(&late, Some(Seq(4)), |_| false), Plan::Known);
    }

    #[test]
    fn a_copy_is_whole_before_its_row_counts() {
        let versions = vec![version(1, 0, 9), version(2, 0, 9), version(3, mark::CONFLICT, 9)];
        let Plan::Apply { fetch } = plan(&row(5, Kind::File, versions), None, |v| v.session[0] == 1) else {
            panic!("it is new")
        };
        let sessions: Vec<u8> = fetch.iter().map(|version| version.session[0]).collect();
        assert_eq!(sessions, [3, 2]);
    }

    #[test]
    fn r9_a_row_whose_bytes_are_away_does_not_hold_up_the_pair() {
        let versions = vec![version(1, mark::OWED, 9), version(2, mark::LOST, 9), version(3, 0, 0)];
        let plan = plan(&row(5, Kind::File, versions), None, |_| false);
        assert_eq!(plan, Plan::Apply { fetch: vec![] });
    }

    #[test]
    fn r20_a_rename_or_a_removal_needs_no_partner() {
        for kind in [Kind::Tombstone, Kind::Folder] {
            let plan = plan(&row(5, kind, vec![version(1, 0, 9)]), None, |_| false);
            assert_eq!(plan, Plan::Apply { fetch: vec![] });
        }
        let held = plan(&row(6, Kind::File, vec![version(1, 0, 9)]), Some(Seq(5)), |_| true);
        assert_eq!(held, Plan::Apply { fetch: vec![] });
    }

    #[test]
    fn r29_a_file_with_one_copy_is_brought_before_one_with_two() {
        let on = |durable_on| Version { durable_on, ..Version::default() };
        let (one, two) = ([on(on::BOTH), on(on::PRIMARY)], [on(on::BOTH)]);
        assert!(fewest_copies(&one) < fewest_copies(&two));
        assert!(fewest_copies(&two) < fewest_copies(&[]));
    }

    proptest! {
        /// I5: rows may come late, twice and out of order; what stands in the end is the newest.
        #[test]
        fn i5_any_order_of_rows_ends_in_the_newest(mut seqs in prop::collection::vec(1..50u64, 1..40)) {
            let mut known = None;
            for seq in &seqs {
                if plan(&row(*seq, Kind::File, vec![]), known, |_| false) != Plan::Known {
                    known = Some(Seq(*seq));
                }
            }
            seqs.sort_unstable();
            prop_assert_eq!(known, seqs.last().map(|seq| Seq(*seq)));
        }
    }
}
