//! I5 Convergence: once nothing fails any more, both copies become the same by themselves.

use super::Violation;
use client::fsck::Report;
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
    let differences = report.differences().map(|difference| format!("the copies differ: {difference:?}"));
    away.chain(differences).map(|what| Violation { invariant: INVARIANT, what }).collect()
}

/// The cluster has not come to rest.
pub fn unsettled(status: Option<&StatusReply>) -> Violation {
    let what = format!("nothing fails any more, and the cluster does not come to rest: {status:?}");
    Violation { invariant: INVARIANT, what }
}
