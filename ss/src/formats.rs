//! What stands in a data directory, for tests that look at stored bytes alone: each reads and writes again.

use crate::store;
use crate::{identity, import, scrub};
use bytes::Bytes;
use types::Result;

/// A record of the journal, of this kind.
///
/// # Errors
/// `UNKNOWN_FORMAT`.
pub fn journal_record(kind: u8, payload: &[u8]) -> Result<Vec<u8>> {
    store::reread_change(kind, Bytes::copy_from_slice(payload))
}

/// The entry of a content in the index.
///
/// # Errors
/// `IO`: it makes no sense.
pub fn content_entry(bytes: &[u8]) -> Result<Vec<u8>> {
    store::reread_content(bytes)
}

/// The entry of a chunk in the index.
///
/// # Errors
/// `IO`: it makes no sense.
pub fn chunk_entry(bytes: &[u8]) -> Result<Vec<u8>> {
    store::reread_chunk(bytes)
}

/// A small file that ends with its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallFile {
    /// `identity`.
    Identity,
    /// `import`.
    Import,
    /// `import-of`.
    ImportOf,
    /// `scrub`.
    Scrub,
}

/// One of the small files.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`.
pub fn small_file(which: SmallFile, bytes: &[u8]) -> Result<Vec<u8>> {
    match which {
        SmallFile::Identity => identity::reread(bytes),
        SmallFile::Import => import::note::reread(bytes),
        SmallFile::ImportOf => import::source::reread(bytes),
        SmallFile::Scrub => scrub::background::reread(bytes),
    }
}
