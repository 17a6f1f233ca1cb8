//! I2 and I4 for what is done to folders and names: a tree that one worker alone changes is in the end what its requests made
//! of it. The last one may be of unknown outcome: then it is what it was before that, or after.

use super::Violation;
use crate::load::Value;
use std::collections::BTreeMap;

/// What a worker does to its tree. Paths begin at the tree's root, with a `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Makes a folder.
    Folder(String),
    /// Writes a file.
    Write(String, Value),
    /// Copies a file to where nothing is.
    Copy(String, String),
    /// Moves a file, or a folder with all that is in it, to where nothing is.
    Move(String, String),
    /// Removes a file, or a folder with all that is in it.
    Remove(String),
}

/// What is in a tree: contents of files; none: a folder.
pub type Tree = BTreeMap<String, Option<Value>>;

/// The tree after a deed.
pub fn after(tree: &Tree, deed: &Deed) -> Tree {
    let mut tree = tree.clone();
    let inside = |path: &str, folder: &str| {
        path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    match deed {
        Deed::Folder(path) => drop(tree.insert(path.clone(), None)),
        Deed::Write(path, value) => drop(tree.insert(path.clone(), Some(*value))),
        Deed::Copy(from, to) => {
            let value = tree.get(from).copied().flatten();
            tree.insert(to.clone(), value);
        }
        Deed::Move(from, to) => {
            let moved: Vec<_> = tree.extract_if(.., |path, _| inside(path, from)).collect();
            tree.extend(
                moved.into_iter().map(|(path, value)| (format!("{to}{}", &path[from.len()..]), value)),
            );
        }
        Deed::Remove(path) => tree.retain(|other, _| !inside(other, path)),
    }
    tree
}

/// Compares what is there with what may be. Contents `in_doubt` may be there besides, after a rebuild (R26).
pub fn check(root: &str, may_be: &[Tree], in_doubt: &[Value], is: &Tree) -> Option<Violation> {
    let doubtful = |value: &Option<Value>| value.is_some_and(|value| in_doubt.contains(&value));
    let fits = |tree: &Tree| {
        let there = |(path, value): (&String, &Option<Value>)| {
            is.get(path).is_some_and(|found| found == value || doubtful(found))
        };
        let known = |(path, value): (&String, &Option<Value>)| tree.contains_key(path) || doubtful(value);
        tree.iter().all(there) && is.iter().all(known)
    };
    if may_be.iter().any(fits) {
        return None;
    }
    let surely = |path: &&String| may_be.iter().all(|tree| tree.contains_key(*path));
    let lost = may_be.iter().flat_map(BTreeMap::keys).find(|path| surely(path) && !is.contains_key(*path));
    let back = is.keys().find(|path| !may_be.iter().any(|tree| tree.contains_key(*path)));
    let (invariant, which) = match (lost, back) {
        (None, Some(back)) => ("I4 deletes stay deleted", format!("{back} should not be there")),
        (Some(lost), _) => ("I2 nothing acknowledged is lost", format!("{lost} is gone")),
        (None, None) => ("I2 nothing acknowledged is lost", "other contents".to_owned()),
    };
    Some(Violation {
        invariant,
        what: format!("{root}: {which}: it is {is:?} and should be one of {may_be:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Option<Value>)]) -> Tree {
        entries.iter().map(|(path, value)| ((*path).to_owned(), *value)).collect()
    }

    #[test]
    fn a_folder_takes_along_what_is_in_it_and_nothing_else() {
        let before = tree(&[("/a", None), ("/a/f", Some(1)), ("/ab", Some(2))]);
        let deed = |deed| after(&before, &deed);
        let moved = tree(&[("/b", None), ("/b/f", Some(1)), ("/ab", Some(2))]);
        assert_eq!(deed(Deed::Move("/a".into(), "/b".into())), moved);
        assert_eq!(deed(Deed::Remove("/a".into())), tree(&[("/ab", Some(2))]));
        assert_eq!(deed(Deed::Copy("/a/f".into(), "/c".into()))["/c"], Some(1));
        assert_eq!(deed(Deed::Write("/ab".into(), 3))["/ab"], Some(3));
    }

    #[test]
    fn what_is_lost_back_or_other_is_found_and_what_may_be_is_not() {
        let (old, new) = (tree(&[("/f", Some(1))]), tree(&[("/f", Some(1)), ("/g", Some(2))]));
        let found =
            |is: &Tree| check("/t", &[old.clone(), new.clone()], &[], is).map(|found| found.invariant);
        assert_eq!((found(&old), found(&new)), (None, None));
        assert_eq!(found(&tree(&[])), Some("I2 nothing acknowledged is lost"));
        assert_eq!(found(&tree(&[("/f", Some(1)), ("/h", Some(2))])), Some("I4 deletes stay deleted"));
        assert_eq!(found(&tree(&[("/f", Some(2))])), Some("I2 nothing acknowledged is lost"));
        let in_doubt =
            |is: &[(&str, Option<Value>)]| check("/t", std::slice::from_ref(&old), &[5], &tree(is)).is_none();
        assert!(in_doubt(&[("/f", Some(5))]) && in_doubt(&[("/f", Some(1)), ("/g", Some(5))]));
        assert!(!in_doubt(&[("/g", Some(5))]) && !in_doubt(&[("/f", Some(1)), ("/g", None)]));
    }
}
