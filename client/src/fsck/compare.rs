//! One file in the index and on both members: what differs, and whether lag explains it.

use std::fmt;
use types::ids::VersionNumber;
use types::message::store::{HeldFile, HeldVersion};
use types::record::{Record, Version, mark};

/// What a member holds of the file.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) server: &'a str,
    pub(super) file: Option<&'a HeldFile>,
}

/// Why something differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The member has no record of a file of the index.
    NoRecord,
    /// The member has a file that the index does not know.
    NotInIndex,
    /// The member's record is of the same row as the index's but says something else.
    RecordDiffers,
    /// The member keeps an older record than its row.
    RecordOld,
    /// The member's record is newer than the index.
    RecordNew,
    /// The member lacks a version it should hold.
    NoContent,
    /// Its content is not the index's, by size or digest.
    ContentDiffers,
    /// The members cut the same content differently.
    ManifestDiffers,
    /// Its bytes are damaged, in the member's words.
    Damaged(String),
}

impl Reason {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::NoRecord => "no_record",
            Reason::NotInIndex => "not_in_index",
            Reason::RecordDiffers => "record_differs",
            Reason::RecordOld => "record_old",
            Reason::RecordNew => "record_new",
            Reason::NoContent => "no_content",
            Reason::ContentDiffers => "content_differs",
            Reason::ManifestDiffers => "manifest_differs",
            Reason::Damaged(_) => "damaged",
        }
    }

    /// Whether a row that is not applied yet explains it.
    fn is_lag(&self) -> bool {
        matches!(
            self,
            Reason::NoRecord | Reason::NotInIndex | Reason::RecordOld | Reason::RecordNew | Reason::NoContent
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::NoRecord => "it has no record of the file",
            Reason::NotInIndex => "the index does not know the file",
            Reason::RecordDiffers => "its record differs from the index",
            Reason::RecordOld => "its record is older than the index",
            Reason::RecordNew => "its record is newer than the index",
            Reason::NoContent => "it lacks the content",
            Reason::ContentDiffers => "its content is not that of the index",
            Reason::ManifestDiffers => "its manifest is not that of its partner",
            Reason::Damaged(damage) => return write!(f, "its bytes are damaged: {damage}"),
        })
    }
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which member.
    pub server: String,
    /// The file's id.
    pub file: u64,
    /// The file's folder.
    pub folder: u64,
    /// The file's path, or its name if it lies in no folder any more.
    pub path: String,
    /// Which version, if it is about one.
    pub version: Option<VersionNumber>,
    /// Why.
    pub reason: Reason,
}

/// What was found of one file.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Where the file stands in the feed; none if the index does not know it.
    seq: Option<u64>,
    differences: Vec<Difference>,
}

impl Findings {
    pub(super) fn is_same(&self) -> bool {
        self.differences.is_empty()
    }

    /// Whether a member lags, and what is wrong: differences in rows up to `floor`, which every member has
    /// applied, and those that no lag explains.
    pub(super) fn judge(self, floor: u64) -> (bool, Vec<Difference>) {
        let beyond = self.seq.is_some_and(|seq| seq > floor);
        let (late, wrong): (Vec<_>, Vec<_>) =
            self.differences.into_iter().partition(|difference| beyond && difference.reason.is_lag());
        (!late.is_empty(), wrong)
    }
}

/// Compares file `id`.
pub(super) fn compare(id: u64, index: Option<&Record>, members: &[Held<'_>]) -> Findings {
    let mut findings = Findings { seq: index.map(|record| record.seq), differences: Vec::new() };
    for member in members {
        let record = index.or_else(|| member.file.and_then(|file| file.record.as_ref()));
        let mut found = |version: Option<VersionNumber>, reason| {
            findings.differences.push(Difference {
                server: member.server.to_owned(),
                file: id,
                folder: record.map_or(0, |record| record.parent),
                path: record.map_or_else(|| format!("#{id}"), |record| record.name.clone()),
                version,
                reason,
            });
        };
        match (index.filter(|record| !record.is_tombstone()), member.file) {
            (Some(_), None) => found(None, Reason::NoRecord),
            (Some(record), Some(file)) => {
                compare_record(record, file, &mut found);
                compare_versions(record, member.server, file, &mut found);
            }
            (None, Some(file)) if !is_gone(file) => found(None, Reason::NotInIndex),
            (None, _) => {}
        }
    }
    compare_members(id, index, members, &mut findings);
    findings
}

fn is_gone(file: &HeldFile) -> bool {
    file.record.as_ref().is_some_and(Record::is_tombstone)
}

fn compare_record(index: &Record, file: &HeldFile, found: &mut impl FnMut(Option<VersionNumber>, Reason)) {
    let Some(record) = &file.record else { return found(None, Reason::NoRecord) };
    match record.seq.cmp(&index.seq) {
        std::cmp::Ordering::Less => found(None, Reason::RecordOld),
        std::cmp::Ordering::Greater => found(None, Reason::RecordNew),
        std::cmp::Ordering::Equal if !agree(record, index) => found(None, Reason::RecordDiffers),
        std::cmp::Ordering::Equal => {}
    }
}

/// Whether two records of the same row agree.
fn agree(one: &Record, two: &Record) -> bool {
    let place = |record: &Record| (record.parent, record.kind, record.head());
    let kept = |version: &Version| (version.session.clone(), version.marks);
    place(one) == place(two)
        && one.name == two.name
        && one.versions.iter().map(kept).eq(two.versions.iter().map(kept))
}

fn compare_versions(
    index: &Record,
    server: &str,
    file: &HeldFile,
    found: &mut impl FnMut(Option<VersionNumber>, Reason),
) {
    for version in &index.versions {
        let number = Some(version.version());
        match file.versions.iter().find(|held| held.session == version.session) {
            Some(held) if !held.damage.is_empty() => found(number, Reason::Damaged(held.damage.clone())),
            Some(held) if held.size != version.size || held.sha256 != version.sha256 => {
                found(number, Reason::ContentDiffers);
            }
            Some(_) => {}
            None if must_hold(version, server) => found(number, Reason::NoContent),
            None => {}
        }
    }
}

/// Whether `server` should hold this version: what is owed only its holder does, what is lost nobody.
fn must_hold(version: &Version, server: &str) -> bool {
    if version.is_empty() || version.is(mark::LOST) {
        return false;
    }
    !version.is(mark::OWED) || version.holder == server
}

/// Both members must have cut the same content the same way.
fn compare_members(id: u64, index: Option<&Record>, members: &[Held<'_>], findings: &mut Findings) {
    let [Held { file: Some(one), .. }, Held { server, file: Some(two) }] = members else { return };
    let differs = |one: &&HeldVersion| {
        let same = two.versions.iter().find(|two| two.session == one.session);
        same.is_some_and(|two| two.manifest != one.manifest)
    };
    for held in one.versions.iter().filter(differs) {
        let version = index.and_then(|record| record.versions.iter().find(|v| v.session == held.session));
        findings.differences.push(Difference {
            server: (*server).to_owned(),
            file: id,
            folder: index.map_or(0, |record| record.parent),
            path: index.map_or_else(|| format!("#{id}"), |record| record.name.clone()),
            version: version.map(Version::version),
            reason: Reason::ManifestDiffers,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::Kind;

    fn version(number: u64, marks: u32) -> Version {
        let session = vec![number as u8 + 1; 16];
        let holder = if marks == 0 { "" } else { "ss1" }.to_owned();
        Version {
            session,
            epoch: 1,
            number,
            size: 5,
            sha256: vec![9; 32],
            marks,
            holder,
            ..Version::default()
        }
    }

    fn record(seq: u64, versions: &[Version]) -> Record {
        let mut record = Record {
            id: 17,
            parent: 1,
            name: "a".into(),
            kind: Kind::File.into(),
            seq,
            versions: versions.to_vec(),
            ..Record::default()
        };
        record.set_head(versions.last().map_or(VersionNumber::NONE, Version::version));
        record
    }

    fn held(record: &Record) -> HeldFile {
        let versions = record.versions.iter().map(|version| HeldVersion {
            session: version.session.clone(),
            size: version.size,
            sha256: version.sha256.clone(),
            manifest: vec![1; 32],
            damage: String::new(),
        });
        HeldFile { record: Some(record.clone()), versions: versions.collect() }
    }

    fn reasons(
        index: Option<&Record>,
        one: Option<&HeldFile>,
        two: Option<&HeldFile>,
        floor: u64,
    ) -> (bool, Vec<Reason>) {
        let members = [Held { server: "ss1", file: one }, Held { server: "ss1_backup", file: two }];
        let (late, wrong) = compare(17, index, &members).judge(floor);
        (late, wrong.into_iter().map(|difference| difference.reason).collect())
    }

    #[test]
    fn equal_copies_are_well() {
        let index = record(50, &[version(1, 0), version(2, 0)]);
        let copy = held(&index);
        assert_eq!(reasons(Some(&index), Some(&copy), Some(&copy), 50), (false, vec![]));
    }

    #[test]
    fn what_a_member_still_has_to_apply_is_lag_and_what_it_has_applied_is_damage() {
        let index = record(50, &[version(1, 0), version(2, 0)]);
        let (copy, old) = (held(&index), held(&record(40, &[version(1, 0)])));
        assert_eq!(reasons(Some(&index), Some(&copy), Some(&old), 49), (true, vec![]));
        assert_eq!(
            reasons(Some(&index), Some(&copy), Some(&old), 50),
            (false, vec![Reason::RecordOld, Reason::NoContent])
        );
        assert_eq!(reasons(Some(&index), Some(&copy), None, 49), (true, vec![]));
        assert_eq!(reasons(Some(&index), Some(&copy), None, 50), (false, vec![Reason::NoRecord]));
    }

    #[test]
    fn damage_is_found_even_in_rows_that_lag() {
        let index = record(50, &[version(1, 0)]);
        let copy = held(&index);
        let mut bad = copy.clone();
        bad.versions[0].damage = "chunk 0 does not fit its digest".into();
        let damaged = Reason::Damaged("chunk 0 does not fit its digest".into());
        assert_eq!(reasons(Some(&index), Some(&copy), Some(&bad), 0), (false, vec![damaged]));
        let mut other = copy.clone();
        other.versions[0].sha256 = vec![8; 32];
        assert_eq!(reasons(Some(&index), Some(&other), Some(&copy), 0).1, [Reason::ContentDiffers]);
        let mut cut = copy.clone();
        cut.versions[0].manifest = vec![2; 32];
        assert_eq!(reasons(Some(&index), Some(&copy), Some(&cut), 0).1, [Reason::ManifestDiffers]);
    }

    #[test]
    fn owed_versions_are_expected_of_their_holder_only() {
        let index = record(50, &[version(1, 0), version(2, mark::OWED)]);
        let (holder, mut other) = (held(&index), held(&index));
        other.versions.pop();
        assert_eq!(reasons(Some(&index), Some(&holder), Some(&other), 50), (false, vec![]));
        assert_eq!(reasons(Some(&index), Some(&other), Some(&holder), 50).1, [Reason::NoContent]);
        let lost = record(50, &[version(1, 0), version(2, mark::LOST)]);
        let mut without = held(&lost);
        without.versions.pop();
        assert_eq!(reasons(Some(&lost), Some(&without), Some(&without), 50), (false, vec![]));
    }

    #[test]
    fn a_removed_file_must_not_live_on_a_member() {
        let mut gone = record(60, &[]);
        gone.kind = Kind::Tombstone.into();
        let (alive, tombstone) = (held(&record(50, &[version(1, 0)])), held(&gone));
        assert_eq!(reasons(Some(&gone), None, Some(&tombstone), 60), (false, vec![]));
        assert_eq!(reasons(Some(&gone), None, Some(&alive), 59), (true, vec![]));
        assert_eq!(reasons(Some(&gone), None, Some(&alive), 60), (false, vec![Reason::NotInIndex]));
        assert_eq!(reasons(None, None, Some(&alive), 60), (false, vec![Reason::NotInIndex]));
        assert_eq!(reasons(None, None, Some(&tombstone), 60), (false, vec![]));
    }

    #[test]
    fn records_of_the_same_row_must_agree() {
        let index = record(50, &[version(1, 0)]);
        let mut renamed = held(&index);
        if let Some(record) = &mut renamed.record {
            record.name = "b".into();
        }
        let copy = held(&index);
        assert_eq!(reasons(Some(&index), Some(&renamed), Some(&copy), 0).1, [Reason::RecordDiffers]);
    }
}
