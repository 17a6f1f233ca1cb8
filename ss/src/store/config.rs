//! What an owner chooses about its store.

use std::time::Duration;

use log::{Bounds, EXTENT_FILE_BYTES};

use super::damage::IndexDamage;

/// Segments of the journal that readers keep open, at most.
const OPEN_SEGMENTS: usize = 256;

/// How a store uses its disk and memory.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Folder of the journal on the disk.
    pub journal_folder: String,
    /// Folder of the extents on the disk.
    pub extents_folder: String,
    /// Length of a journal segment, in bytes; a record, so also a manifest, must fit in one.
    pub segment_bytes: u32,
    /// Length of an extent file, in bytes.
    pub extent_file_bytes: u32,
    /// Files of journal and extents that are kept open, at least 4: a quarter is for the journal, at most
    /// 256. See `net::files`.
    pub open_files: usize,
    /// Fill journal segments ahead on a thread. `false` in simulations.
    pub background_fill: bool,
    /// Memory for recent records and contents, in bytes.
    pub cache_bytes: usize,
    /// Memory for pages of the index, in bytes.
    pub index_cache_bytes: usize,
    /// The index is made durable after this much journal, in bytes: what a start replays at the most.
    pub index_commit_bytes: u64,
    /// The same, in records.
    pub index_commit_records: usize,
    /// Room that contents leave free, in bytes, so that rows, cursors and the index still find some.
    pub keep_free_bytes: u64,
    /// The journal is compacted when nothing came for so long, once a half of it is not needed; beyond three quarters,
    /// or when room is short, at once.
    pub compact_idle: Duration,
    /// So few segments are never compacted.
    pub compact_segments: usize,
    /// Go on behind damage of the journal: the partner tells what stood there, in feeds of this generation. None: a
    /// store whose journal is damaged is not opened.
    pub salvage: Option<u64>,
    /// Is told when the index is found damaged.
    pub index_damage: IndexDamage,
    /// Bounds of the queue before the journal.
    pub bounds: Bounds,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            journal_folder: "journal".into(),
            extents_folder: "extents".into(),
            segment_bytes: 16 << 20,
            extent_file_bytes: EXTENT_FILE_BYTES,
            open_files: 1024,
            background_fill: true,
            cache_bytes: 48 << 20,
            index_cache_bytes: 24 << 20,
            index_commit_bytes: 32 << 20,
            index_commit_records: 50_000,
            keep_free_bytes: 128 << 20,
            compact_idle: Duration::from_millis(200),
            compact_segments: 4,
            salvage: None,
            index_damage: IndexDamage::default(),
            bounds: Bounds::default(),
        }
    }
}

impl StoreConfig {
    /// Segments of the journal that readers keep open.
    pub(crate) fn open_segments(&self) -> usize {
        (self.open_files / 4).clamp(1, OPEN_SEGMENTS)
    }

    /// Extent files that are kept open.
    pub(crate) fn open_extents(&self) -> usize {
        self.open_files.saturating_sub(self.open_segments()).max(1)
    }
}
