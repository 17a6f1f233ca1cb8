//! What an owner chooses, and its bounds.

use crate::LogError;
use crate::format::HEADER_BYTES;

/// The smallest segment: room for a header and as much again for records.
pub const MIN_SEGMENT_BYTES: u32 = 2 * HEADER_BYTES;
/// The largest segment: recovery reads a segment into memory.
pub const MAX_SEGMENT_BYTES: u32 = 1 << 30;
/// The most spares.
pub const MAX_SPARES: usize = 16;

const _: () =
    assert!(MIN_SEGMENT_BYTES < MAX_SEGMENT_BYTES && MIN_SEGMENT_BYTES.is_multiple_of(HEADER_BYTES));

/// Where a log lives and how it uses its disk.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Folder on the [`Disk`](crate::Disk); nothing else may live there.
    pub folder: String,
    /// Length of a segment file in bytes: a multiple of 4096 between [`MIN_SEGMENT_BYTES`] and
    /// [`MAX_SEGMENT_BYTES`]. May change from one start to the next. A record must fit in one segment.
    pub segment_bytes: u32,
    /// Files kept ready to become the next segment, at most [`MAX_SPARES`].
    pub spare_segments: usize,
    /// Fill spares with zeros on a thread of its own, ahead of need. `false`: when needed, in the writer's
    /// thread; for simulations, where the order of operations must repeat.
    pub background_fill: bool,
    /// Segment files that readers keep open beside the one being written, at least 1.
    pub open_segments: usize,
}

impl Default for LogConfig {
    /// Folder `log`, 16 MiB segments, one spare, filled in the background, 16 of them open.
    fn default() -> LogConfig {
        LogConfig {
            folder: "log".into(),
            segment_bytes: 16 << 20,
            spare_segments: 1,
            background_fill: true,
            open_segments: 16,
        }
    }
}

impl LogConfig {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(HEADER_BYTES)
        {
            return Err(LogError::Invalid("segment_bytes is out of bounds or no multiple of 4096"));
        }
        if self.spare_segments > MAX_SPARES {
            return Err(LogError::Invalid("spare_segments is above MAX_SPARES"));
        }
        if self.folder.is_empty() {
            return Err(LogError::Invalid("the log needs a folder of its own"));
        }
        Ok(())
    }
}
