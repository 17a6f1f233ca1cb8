//! Which version a read gets (R11, R23).

use types::ids::VersionNumber;
use types::record::{Record, Version, mark};
use types::{Code, Error, Result};

/// Where the reader believes the file to be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Folder.
    pub folder: u64,
    /// Name in it.
    pub name: &'a str,
}

/// The version of `record` that a reader gets who found it at `place` and wants `wanted` (none: the head).
/// `holds` tells whether the bytes of a version are here.
///
/// An owed head is not here: then the newest version that is, conflict versions aside, is the head that
/// is served.
///
/// # Errors
/// `NOT_FOUND` when it was removed, `IS_A_FOLDER`, `MOVED` when it has another place by now,
/// `NO_SUCH_VERSION`, `ONLY_COPY_AWAY` when the bytes are on a server that does not act, `DAMAGED` when
/// its disk is gone.
pub fn readable<'a>(
    record: &'a Record,
    place: Place<'_>,
    wanted: VersionNumber,
    holds: impl Fn(&Version) -> bool,
) -> Result<&'a Version> {
    if record.is_tombstone() || record.trashed.is_some() {
        return Err(Error::not_found(place.name));
    }
    if record.is_folder() {
        return Err(Error::new(Code::IsAFolder, format_args!("{} is a folder", place.name), "name a file"));
    }
    if record.parent != place.folder || record.name != place.name {
        return Err(Error::new(
            Code::Moved,
            format_args!("{} has another place by now", place.name),
            "look the path up again",
        ));
    }
    if !wanted.is_none() {
        let version = record.version(wanted).ok_or_else(|| no_such(place.name, wanted))?;
        return if version.is_empty() || holds(version) { Ok(version) } else { Err(away(version)) };
    }
    let Some(head) = record.head_version() else {
        // The log takes an owed head back until its holder returns; with nothing before it, none is left.
        let kept = record.versions.iter().filter(|version| version.is(mark::OWED) || version.is(mark::LOST));
        return Err(match kept.max_by_key(|version| version.version()) {
            Some(newest) => away(newest),
            None => no_such(place.name, record.head()),
        });
    };
    if head.is_empty() || holds(head) {
        return Ok(head);
    }
    let older = record.versions.iter().filter(|version| !version.is(mark::CONFLICT));
    let held = older.filter(|version| version.is_empty() || holds(version));
    held.max_by_key(|version| version.version()).ok_or_else(|| away(head))
}

fn no_such(name: &str, version: VersionNumber) -> Error {
    Error::new(
        Code::NoSuchVersion,
        format_args!("{name} has no version {version}"),
        "`pairfs info` lists those that are kept",
    )
}

fn away(version: &Version) -> Error {
    if version.is(mark::LOST) {
        let (number, holder) = (version.version(), &version.holder);
        let what = format_args!("version {number} is lost: it was only on a disk of {holder} that is gone");
        return Error::new(Code::Damaged, what, "write the file again, or read an older version");
    }
    let holder = if version.holder.is_empty() { "its partner" } else { &version.holder };
    Error::new(
        Code::OnlyCopyAway,
        format_args!("the only copy is on {holder}"),
        format_args!("start {holder} again, or read an older version"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::{Kind, Trashed};

    fn version(number: u64, marks: u32) -> Version {
        let holder = if marks & mark::OWED != 0 { "ss1".to_owned() } else { String::new() };
        Version {
            session: vec![number as u8; 16],
            epoch: 1,
            number,
            size: 5,
            marks,
            holder,
            ..Version::default()
        }
    }

    fn record(versions: Vec<Version>) -> Record {
        let head = versions.last().map(Version::version).unwrap_or_default();
        let mut record = Record {
            id: 20,
            parent: 1,
            name: "a".into(),
            kind: Kind::File.into(),
            versions,
            ..Record::default()
        };
        record.set_head(head);
        record
    }

    const HERE: Place<'static> = Place { folder: 1, name: "a" };

    #[test]
    fn r23_a_file_that_was_moved_or_removed_is_not_read_under_its_old_name() {
        let mut record = record(vec![version(1, 0)]);
        let none = VersionNumber::NONE;
        assert_eq!(readable(&record, HERE, none, |_| true).unwrap().number, 1);
        for place in [Place { folder: 2, name: "a" }, Place { folder: 1, name: "b" }] {
            assert_eq!(readable(&record, place, none, |_| true).unwrap_err().code, Code::Moved);
        }
        record.trashed = Some(Trashed::default());
        assert_eq!(readable(&record, HERE, none, |_| true).unwrap_err().code, Code::NotFound);
        record.trashed = None;
        record.kind = Kind::Tombstone.into();
        assert_eq!(readable(&record, HERE, none, |_| true).unwrap_err().code, Code::NotFound);
    }

    #[test]
    fn r11_after_a_failover_the_newest_version_that_is_here_is_served() {
        let record = record(vec![version(1, 0), version(2, 0), version(3, mark::OWED)]);
        let got = readable(&record, HERE, VersionNumber::NONE, |version| version.number < 3).unwrap();
        assert_eq!(got.number, 2);
    }

    #[test]
    fn r11_when_the_only_copy_is_away_the_error_names_its_server() {
        let record = record(vec![version(3, mark::OWED)]);
        let error = readable(&record, HERE, VersionNumber::NONE, |_| false).unwrap_err();
        assert_eq!(error.code, Code::OnlyCopyAway);
        assert!(error.message.contains("the only copy is on ss1"), "{}", error.message);
        let mut headless = record;
        headless.set_head(VersionNumber::NONE);
        let error = readable(&headless, HERE, VersionNumber::NONE, |_| false).unwrap_err();
        assert_eq!(error.code, Code::OnlyCopyAway, "the log has no head for it any more");
    }

    #[test]
    fn a_conflict_version_is_never_taken_for_the_head() {
        let record = record(vec![version(1, 0), version(2, mark::CONFLICT), version(3, mark::OWED)]);
        let got = readable(&record, HERE, VersionNumber::NONE, |version| version.number < 3).unwrap();
        assert_eq!(got.number, 1);
        let asked = VersionNumber { epoch: 1, number: 2 };
        assert_eq!(readable(&record, HERE, asked, |_| true).unwrap().number, 2, "but it can be asked for");
    }

    #[test]
    fn a_version_that_is_not_kept_is_said_to_be_so() {
        let record = record(vec![version(1, 0)]);
        let asked = VersionNumber { epoch: 1, number: 7 };
        assert_eq!(readable(&record, HERE, asked, |_| true).unwrap_err().code, Code::NoSuchVersion);
    }
}
