//! What the files of a pair take, from the name manager's index, a page at a time.

use crate::bounds::FSCK_PAGE;
use crate::core::Core;
use std::collections::HashSet;
use types::Result;
use types::limits::INLINE_MAX;
use types::message::manager::{PairRecords, PairRecordsRequest};
use types::record::{Record, Subject, Version};

/// Bytes of the contents of one pair, before they are stored twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files, the trash left out.
    pub files: u64,
    /// Bytes of the newest versions of those files.
    pub logical: u64,
    /// Bytes of older versions that are kept.
    pub history: u64,
    /// Bytes of all versions in the trash.
    pub trash: u64,
    /// Of all these, bytes that take no room because another version has the same content: contents that stand inline
    /// (up to 16 KiB) are not shared.
    pub shared: u64,
}

#[derive(Default)]
struct Counting {
    usage: Usage,
    /// Beginnings of digests: 8 bytes tell a billion contents apart well enough for a sum.
    seen: HashSet<[u8; 8]>,
}

impl Counting {
    fn take(&mut self, record: &Record) {
        if !record.is_file() {
            return;
        }
        let all: u64 = record.versions.iter().map(|version| version.size).sum();
        let head = record.head_version().map_or(0, |head| head.size);
        if record.trashed.is_some() {
            self.usage.trash += all;
        } else {
            self.usage.files += 1;
            self.usage.logical += head;
            self.usage.history += all - head;
        }
        let shared = record.versions.iter().filter(|version| version.size > INLINE_MAX as u64);
        let again: u64 = shared.filter(|version| !self.is_first(version)).map(|version| version.size).sum();
        self.usage.shared += again;
    }

    fn is_first(&mut self, version: &Version) -> bool {
        version.sha256.first_chunk().is_none_or(|start| self.seen.insert(*start))
    }
}

pub(crate) async fn usage(core: &Core, pair: u32) -> Result<Usage> {
    let (mut counting, mut after) = (Counting::default(), 0);
    loop {
        let request = || PairRecordsRequest { pair, after, limit: FSCK_PAGE };
        let page = core.manager.call::<PairRecords>(request, &mut core.retry()).await?;
        let Some(last) = page.rows.last() else { return Ok(counting.usage) };
        after = last.seq;
        let records = page.rows.iter().filter_map(|row| match &row.subject {
            Some(Subject::Record(record)) => Some(record),
            _ => None,
        });
        records.for_each(|record| counting.take(record));
        if page.end {
            return Ok(counting.usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::{Kind, Trashed};

    #[test]
    fn a_content_that_two_versions_share_is_counted_as_shared_once() {
        let version = |number, digest, size| Version {
            epoch: 1,
            number,
            size,
            sha256: vec![digest; 32],
            ..Version::default()
        };
        let file = |versions: Vec<Version>| {
            let (head, kind) = (versions[versions.len() - 1].version(), Kind::File.into());
            let mut record = Record { kind, versions, ..Record::default() };
            record.set_head(head);
            record
        };
        let mut counting = Counting::default();
        counting.take(&file(vec![version(1, 1, 100_000), version(2, 2, 30_000)]));
        counting.take(&file(vec![version(1, 1, 100_000)]));
        counting.take(&file(vec![version(1, 3, 10)]));
        let trashed = Record { trashed: Some(Trashed::default()), ..file(vec![version(1, 3, 10)]) };
        counting.take(&trashed);
        let expected = Usage { files: 3, logical: 130_010, history: 100_000, trash: 10, shared: 100_000 };
        assert_eq!(counting.usage, expected);
    }
}
