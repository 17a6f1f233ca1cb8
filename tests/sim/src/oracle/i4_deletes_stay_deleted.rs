//! I4 Deletes stay deleted: a shared file whose last request that was done is a removal is not there in the end. The
//! order of answers says the same (`linearizable`); this says it plainly of the end.

use super::{Violation, by_path};
use crate::load::{Ask, Came, Request};
use client::fsck::{Reason, Report};

const INVARIANT: &str = "I4 deletes stay deleted";

/// Checks the shared files: `is_there` tells which are, in the end.
pub fn removed_files(requests: &[Request], is_there: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, requests) in by_path(requests).into_iter().filter(|(path, _)| path.starts_with("/shared/")) {
        let changes = requests.iter().filter(|request| request.ask != Ask::Read);
        let ended = |request: &&&Request| match &request.ended {
            Some((place, Came::Removed(_) | Came::Written(..))) => *place,
            Some((_, Came::Nothing(_))) => 0,
            // It may have been done after all others.
            _ => usize::MAX,
        };
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_key(ended);
        let Some(last) = changes.last() else { continue };
        let removed = matches!(last.ended, Some((_, Came::Removed(_))));
        let alone = changes.iter().rev().skip(1).all(|other| ended(other) < last.begun);
        if removed && alone && is_there(path) {
            let what = format!("{path} was removed last and is there in the end");
            violations.push(Violation { invariant: INVARIANT, what });
        }
    }
    violations
}

/// What a member holds and the index does not know: it was removed.
pub fn back(report: &Report) -> Vec<Violation> {
    let back = report.differences().filter(|difference| difference.reason == Reason::NotInIndex);
    back.map(|difference| Violation {
        invariant: INVARIANT,
        what: format!("a member holds what was removed: {difference:?}"),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(ask: Ask, begun: usize, ended: usize, came: Came) -> Request {
        Request {
            worker: 0,
            path: "/shared/0".into(),
            ask,
            at: 0,
            begun,
            ended: Some((ended, came)),
            most: 0,
            took: None,
        }
    }

    #[test]
    fn what_was_removed_last_and_is_there_is_found_and_what_is_uncertain_is_not() {
        let version = types::ids::VersionNumber { epoch: 1, number: 1 };
        let write = |begun, ended| {
            request(Ask::Write { value: 1, sync: true }, begun, ended, Came::Written(version, true))
        };
        let remove = request(Ask::Remove, 5, 6, Came::Removed(true));
        assert_eq!(removed_files(&[write(1, 2), remove.clone()], |_| true).len(), 1);
        assert!(removed_files(&[write(1, 2), remove.clone()], |_| false).is_empty());
        assert!(removed_files(&[write(1, 5), remove.clone()], |_| true).is_empty(), "at the same time");
        assert!(removed_files(&[remove, write(7, 8)], |_| true).is_empty());
    }
}
