//! I6 Integrity. What a reader is given has the digest that its version says; in the end no copy has bad bytes.

use super::Violation;
use crate::load::Seen;
use client::fsck::{Reason, Report};

const INVARIANT: &str = "I6 integrity";

/// Checks what readers were given.
pub fn digests(seen: &[Seen]) -> Vec<Violation> {
    let wrong = seen.iter().filter(|seen| !seen.digest_fits);
    wrong
        .map(|Seen { path, version, len, .. }| {
            let what =
                format!("{path}: {version} was given to a reader as {len} bytes that have another digest");
            Violation { invariant: INVARIANT, what }
        })
        .collect()
}

/// Whether a difference between copies is this invariant's.
pub fn is_bad_bytes(reason: &Reason) -> bool {
    matches!(reason, Reason::Damaged(_) | Reason::ContentDiffers)
}

/// Checks the copies in the end.
pub fn copies(report: &Report) -> Vec<Violation> {
    let bad = report.differences().filter(|difference| is_bad_bytes(&difference.reason));
    bad.map(|difference| Violation { invariant: INVARIANT, what: format!("a copy is bad: {difference:?}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::fsck::{Difference, PairReport};
    use types::ids::VersionNumber;

    #[test]
    fn bytes_of_another_digest_are_found() {
        let saw = |digest_fits| {
            let version = VersionNumber { epoch: 1, number: 1 };
            Seen { path: "/a".into(), version, session: vec![1; 16], value: None, len: 9, digest_fits }
        };
        assert_eq!(digests(&[saw(true), saw(false)]).len(), 1);
    }

    #[test]
    fn a_copy_whose_bytes_are_damaged_in_the_end_is_found_and_lag_is_another_matter() {
        let differs = |reason| Difference {
            server: "ss1".into(),
            file: 20,
            folder: 1,
            path: "a".into(),
            version: None,
            reason,
        };
        let differences = vec![differs(Reason::Damaged("block 0".into())), differs(Reason::RecordOld)];
        let report = Report { pairs: vec![PairReport { differences, ..PairReport::default() }] };
        assert_eq!(copies(&report).len(), 1);
        assert!(copies(&Report::default()).is_empty());
    }
}
