//! The records of the Raft log.

use super::assert_stable;
use crate::input::Input;
use nm_raft::formats;

/// One record: its kind, then its bytes. Kind 0 is the membership that the state keeps.
pub fn record(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let bytes = input.rest();
    match kind {
        0 => assert_stable(bytes, formats::reread_membership),
        _ => assert_stable(bytes, |bytes| formats::reread(kind, bytes)),
    }
}

/// A whole log: what a start makes of its records, of which each checks.
pub fn replay(data: &[u8]) {
    let records = Input(data).records();
    if let Ok((first, end)) = formats::replay(&records) {
        assert!(first <= end && end - first <= records.len() as u64, "entries that nobody wrote");
    }
}
