//! Whether what clients were answered, and what is there in the end, may be. Each check stands in the file of its
//! invariant.

pub mod i1_one_acting_member;
pub mod i2_nothing_acknowledged_is_lost;
pub mod i3_no_torn_reads;
pub mod i4_deletes_stay_deleted;
pub mod i5_convergence;
pub mod i6_integrity;
pub mod i7_rebuild;
pub mod i8_authority;
pub mod i9_bounded;
pub mod linearizable;
pub mod trees;

use crate::load::Request;
use std::collections::BTreeMap;

/// Something that may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of which invariant.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
}

/// The requests for each file, in the order in which they were begun.
pub fn by_path(requests: &[Request]) -> BTreeMap<&str, Vec<&Request>> {
    let mut paths: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in requests {
        paths.entry(&request.path).or_default().push(request);
    }
    paths
}
