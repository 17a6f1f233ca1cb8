//! I3 No torn reads. Every content that was read is one that was written, whole; and a version has one content, whoever
//! reads it, when and where.

use super::Violation;
use crate::load::{Seen, Value};
use std::collections::BTreeMap;

const INVARIANT: &str = "I3 no torn reads";

/// Checks what readers saw.
pub fn whole(seen: &[Seen]) -> Vec<Violation> {
    let mut contents: BTreeMap<&[u8], Value> = BTreeMap::new();
    let mut violations = Vec::new();
    for Seen { path, version, session, value, len, .. } in seen {
        let Some(value) = value else {
            let what = format!("{path}: {version} was read as {len} bytes that nobody wrote so");
            violations.push(Violation { invariant: INVARIANT, what });
            continue;
        };
        let known = *contents.entry(session).or_insert(*value);
        if known != *value {
            let what = format!("{path}: {version} is content {known} to one reader and {value} to another");
            violations.push(Violation { invariant: INVARIANT, what });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ids::VersionNumber;

    fn saw(session: u8, value: Option<Value>) -> Seen {
        let version = VersionNumber { epoch: 1, number: 1 };
        Seen { path: "/a".into(), version, session: vec![session; 16], value, len: 9, digest_fits: true }
    }

    #[test]
    fn a_content_that_nobody_wrote_is_torn() {
        assert!(whole(&[saw(1, Some(1)), saw(2, Some(2)), saw(1, Some(1))]).is_empty());
        assert_eq!(whole(&[saw(1, Some(1)), saw(2, None)]).len(), 1);
    }

    #[test]
    fn a_version_that_is_two_contents_is_found() {
        assert_eq!(whole(&[saw(1, Some(1)), saw(1, Some(2))]).len(), 1);
    }
}
