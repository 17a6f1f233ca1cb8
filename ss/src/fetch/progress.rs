//! How much was copied from the partner, and how much of it belongs to contents that are not complete yet.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts bytes.
#[derive(Debug, Default)]
pub struct Progress {
    copied: AtomicU64,
    partial: AtomicU64,
}

impl Progress {
    /// Bytes copied since the server was started.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Bytes that are here of contents whose copy goes on.
    pub fn partial(&self) -> u64 {
        self.partial.load(Ordering::Relaxed)
    }

    /// Whole contents have come.
    pub(super) fn came(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A copy begins; what it holds counts as partial until it ends.
    pub(super) fn begin(&self) -> Part<'_> {
        Part { progress: self, held: 0 }
    }
}

/// One copy under way.
pub(super) struct Part<'a> {
    progress: &'a Progress,
    held: u64,
}

impl Part<'_> {
    /// So many more bytes are here.
    pub(super) fn came(&mut self, bytes: u64) {
        self.held += bytes;
        self.progress.came(bytes);
        self.progress.partial.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.progress.partial.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_ended_is_partial_no_more() {
        let progress = Progress::default();
        let mut part = progress.begin();
        part.came(7);
        progress.came(3);
        assert_eq!((progress.copied(), progress.partial()), (10, 7));
        drop(part);
        assert_eq!((progress.copied(), progress.partial()), (10, 0));
    }
}
