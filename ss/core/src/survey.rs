//! What a new acting member lacks (R11): every row beyond its cursor is compared with what it holds.

use types::command::VersionRef;
use types::record::{Record, Row, Subject, Version, mark};

/// The answer to a survey.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Kept versions whose bytes are not here.
    pub lacks: Vec<VersionRef>,
    /// Versions marked owed whose bytes are here.
    pub holds: Vec<VersionRef>,
}

/// Compares `rows` with what is held. `holds` tells whether the bytes of a version are durable here,
/// prepared sessions included; it must compare session *and* digest.
pub fn survey(rows: &[Row], holds: impl Fn(&Version) -> bool) -> Survey {
    let mut found = Survey::default();
    for record in rows.iter().filter_map(record_of).filter(|record| record.is_file()) {
        for version in record.versions.iter().filter(|version| !version.is_empty()) {
            let held = holds(version);
            if version.is(mark::OWED) {
                if held {
                    found.holds.push(reference(record, version));
                }
            } else if !version.is(mark::LOST) && !held {
                found.lacks.push(reference(record, version));
            }
        }
    }
    found
}

/// The record a row is about, if it is about one.
pub fn record_of(row: &Row) -> Option<&Record> {
    match &row.subject {
        Some(Subject::Record(record)) => Some(record),
        _ => None,
    }
}

fn reference(record: &Record, version: &Version) -> VersionRef {
    VersionRef { inode: record.id, session: version.session.clone(), sha256: version.sha256.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::Kind;

    fn version(session: u8, marks: u32, size: u64) -> Version {
        Version { session: vec![session; 16], sha256: vec![session; 32], marks, size, ..Version::default() }
    }

    fn row(versions: Vec<Version>) -> Row {
        let record = Record { id: 20, kind: Kind::File.into(), versions, ..Record::default() };
        Row { seq: 1, subject: Some(Subject::Record(record)) }
    }

    #[test]
    fn r11_every_acknowledged_version_that_is_not_here_is_reported_owed() {
        let rows = [row(vec![version(1, 0, 5), version(2, 0, 5), version(3, mark::CONFLICT, 5)])];
        let found = survey(&rows, |version| version.session[0] == 1);
        let lacks: Vec<u8> = found.lacks.iter().map(|lack| lack.session[0]).collect();
        assert_eq!(lacks, [2, 3], "conflict versions are kept versions too");
        assert!(found.holds.is_empty());
    }

    #[test]
    fn r12_an_owed_version_that_is_here_after_all_is_reported_held_and_one_away_stays_owed() {
        let rows = [row(vec![version(1, mark::OWED, 5), version(2, mark::OWED, 5)])];
        let found = survey(&rows, |version| version.session[0] == 1);
        assert_eq!(found.holds.len(), 1);
        assert!(found.lacks.is_empty());
    }

    #[test]
    fn an_empty_file_or_a_lost_version_is_not_reported_as_owed() {
        let rows = [row(vec![version(1, 0, 0), version(2, mark::LOST, 5)])];
        assert_eq!(survey(&rows, |_| false), Survey::default());
    }

    #[test]
    fn folders_and_tombstones_owe_nothing() {
        for kind in [Kind::Folder, Kind::Tombstone, Kind::Symlink] {
            let record = Record { kind: kind.into(), versions: vec![version(1, 0, 5)], ..Record::default() };
            let rows = [Row { seq: 1, subject: Some(Subject::Record(record)) }];
            assert_eq!(survey(&rows, |_| false), Survey::default());
        }
    }
}
