//! I7 The index can be rebuilt from the storage servers alone: what a name manager made anew from them shows is what the
//! one before showed.

use super::Violation;
use super::i2_nothing_acknowledged_is_lost::Final;
use crate::load::Value;
use std::collections::{BTreeMap, BTreeSet};
use types::ids::VersionNumber;
use types::limits::VERSIONS_KEPT;

const INVARIANT: &str = "I7 the index can be rebuilt";

/// Compares all files before and after, by path. Writes of which nobody was told whether they were done may have become
/// heads: `may_be` tells which contents those are. What a member had prepared and no row had named there may stand beside
/// a head as a conflict version, for nobody can tell any more what became of it (R26).
pub fn same(
    before: &BTreeMap<String, Final>,
    after: &BTreeMap<String, Final>,
    may_be: impl Fn(Value) -> bool,
) -> Vec<Violation> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let nothing = Final::default();
    let differs = |path: &&String| {
        let (old, new) = (before.get(*path).unwrap_or(&nothing), after.get(*path).unwrap_or(&nothing));
        let is_kept = |(version, value): (&VersionNumber, &Value)| {
            let newer = new.versions.range(version..).filter(|(other, _)| *other != version).count();
            new.versions.get(version) == Some(value) || newer >= VERSIONS_KEPT
        };
        let head = new.head.and_then(|head| new.versions.get(&head));
        let same_head = new.head == old.head || head.is_some_and(|value| may_be(*value));
        !(same_head && old.versions.iter().all(is_kept))
    };
    let violation = |path: &String| {
        let what = format!("{path} was {:?} and is {:?}", before.get(path), after.get(path));
        Violation { invariant: INVARIANT, what }
    };
    paths.into_iter().filter(differs).map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(files: &[(&str, &[u64])]) -> BTreeMap<String, Final> {
        let version = |number: &u64| (VersionNumber { epoch: 1, number: *number }, *number);
        let file = |(path, numbers): &(&str, &[u64])| {
            let versions: BTreeMap<_, _> = numbers.iter().map(version).collect();
            let head = versions.last_key_value().map(|(version, _)| *version);
            ((*path).to_owned(), Final { versions, head })
        };
        files.iter().map(file).collect()
    }

    #[test]
    fn what_is_missing_added_or_changed_is_found() {
        let before = index(&[("/a", &[1, 2]), ("/b", &[1])]);
        let found = |after: &[(&str, &[u64])]| same(&before, &index(after), |value| value == 9).len();
        assert_eq!(found(&[("/a", &[1, 2]), ("/b", &[1])]), 0);
        assert_eq!(found(&[("/a", &[1, 2])]), 1, "one is missing");
        assert_eq!(found(&[("/a", &[1]), ("/b", &[1])]), 1, "a version is missing");
        assert_eq!(found(&[("/a", &[1, 2]), ("/b", &[1]), ("/c", &[1])]), 1, "one came back");
        assert_eq!(found(&[("/a", &[1, 2, 9]), ("/b", &[1]), ("/c", &[9])]), 0, "that may have been done");
        assert_eq!(found(&[("/a", &[1, 2, 8]), ("/b", &[1])]), 1, "an old content is the head");
        assert_eq!(found(&[("/a", &[1]), ("/b", &[1])]), 1, "the head is gone");
    }
}
