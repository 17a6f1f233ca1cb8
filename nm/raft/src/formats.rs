//! What stands in the Raft log, for tests that look at stored bytes alone.

use crate::config::ENTRY_CACHE_BYTES;
use crate::entries::Entries;
use crate::error::RaftError;
use crate::record::{self, RecordError, kind};
use bytes::Bytes;

/// Reads a record of the log and writes it again.
///
/// # Errors
/// Why the record is none: as `RaftError` puts it.
pub fn reread(kind: u8, record: &[u8]) -> Result<Vec<u8>, RaftError> {
    let record = Bytes::copy_from_slice(record);
    Ok(match kind {
        kind::ENTRY => {
            let entry = record::decode_entry(record)?;
            let mut out = Vec::new();
            let data = record::entry_header(&entry, &mut out);
            out.extend_from_slice(data);
            out
        }
        kind::VOTE => record::encode_vote(&record::decode_vote(record)?),
        kind::TRUNCATE => record::encode_truncation(&record::decode_truncation(record)?),
        kind::PURGE | kind::COMMITTED => record::encode_log_id(&record::decode_log_id(record)?),
        kind::HEAD => record::encode_head(&record::decode_head(record)?),
        _ => {
            let reason = format!("kind {kind} is none of the log");
            return Err(RecordError::Malformed { what: "a record", reason }.into());
        }
    })
}

/// What the state keeps of the group's membership, read and written again.
///
/// # Errors
/// As [`reread`].
pub fn reread_membership(bytes: &[u8]) -> Result<Vec<u8>, RaftError> {
    Ok(record::encode_membership(&record::decode_membership(Bytes::copy_from_slice(bytes))?))
}

/// Takes these records in as a start does, one after the other, as if each stood 64 bytes behind the one before. Gives
/// the indexes of the entries that the log has then: the first, and the one behind the last.
///
/// # Errors
/// `Damaged`, `Format`.
pub fn replay(records: &[(u8, Vec<u8>)]) -> Result<(u64, u64), RaftError> {
    let mut entries = Entries::new(ENTRY_CACHE_BYTES);
    for (at, (kind, record)) in records.iter().enumerate() {
        entries.replay(64 * (at as u64 + 1), *kind, Bytes::copy_from_slice(record))?;
    }
    entries.check()?;
    Ok(entries.bounds())
}
