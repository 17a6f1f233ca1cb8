//! I5 Convergence: once nothing fails any more, both copies become the same by themselves.

use super::{Violation, i6_integrity};
use client::fsck::{Reason, Report};
use types::message::manager::StatusReply;

const INVARIANT: &str = "I5 convergence";

/// Whether the cluster has come to rest: each pair served by its preferred member, nothing behind, nothing owed.
pub fn is_settled(status: &StatusReply) -> bool {
    !status.pairs.is_empty()
        && status.pairs.iter().all(|pair| {
            pair.state == "active"
                && pair.acting == pair.preferred
                && pair.lag_rows == 0
                && pair.owed_versions == 0
        })
}

/// What differs between the copies in the end.
pub fn copies(report: &Report) -> Vec<Violation> {
    let away =
        report.away().map(|member| format!("{} could not be compared: {:?}", member.server, member.away));
    let others = |reason: &Reason| *reason != Reason::NotInIndex && !i6_integrity::is_bad_bytes(reason);
    let differences = report
        .differences()
        .filter(|difference| others(&difference.reason))
        .map(|difference| format!("the copies differ: {difference:?}"));
    away.chain(differences).map(|what| Violation { invariant: INVARIANT, what }).collect()
}

/// The cluster has not come to rest.
pub fn unsettled(status: Option<&StatusReply>) -> Violation {
    let what = format!("nothing fails any more, and the cluster does not come to rest: {status:?}");
    Violation { invariant: INVARIANT, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::fsck::{Difference, MemberReport, PairReport};
    use types::message::manager::PairStatus;

    #[test]
    fn a_cluster_rests_when_the_preferred_member_acts_and_nothing_is_left_to_do() {
        let rests = PairStatus {
            acting: "ss1".into(),
            preferred: "ss1".into(),
            state: "active".into(),
            ..PairStatus::default()
        };
        let status = |pair: PairStatus| StatusReply { pairs: vec![pair], ..StatusReply::default() };
        assert!(is_settled(&status(rests.clone())));
        assert!(!is_settled(&StatusReply::default()), "nothing is known");
        for other in [
            PairStatus { acting: "ss1_backup".into(), ..rests.clone() },
            PairStatus { state: "degraded".into(), ..rests.clone() },
            PairStatus { lag_rows: 1, ..rests.clone() },
            PairStatus { owed_versions: 1, ..rests },
        ] {
            assert!(!is_settled(&status(other)));
        }
    }

    #[test]
    fn copies_that_differ_and_members_that_are_away_are_found() {
        let difference = Difference {
            server: "ss1".into(),
            file: 20,
            folder: 1,
            path: "a".into(),
            version: None,
            reason: Reason::NoContent,
        };
        let away = MemberReport { server: "ss1".into(), files: 0, away: Some("no answer".into()) };
        let pair = PairReport { differences: vec![difference], members: vec![away], ..PairReport::default() };
        assert_eq!(copies(&Report { pairs: vec![pair] }).len(), 2);
        assert!(copies(&Report::default()).is_empty());
    }
}
