//! Positions in a log.

use std::fmt;

/// Where a record starts: segment number in the high 32 bits, byte offset in that segment in the low 32.
///
/// Positions only grow over the whole life of a log, also across restarts and cuts, so they order records.
/// That of a durable record is never given again and can be stored; that of a record that a crash cut may be.
/// `Position::default()` is before every record.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

impl Position {
    /// The position of byte `offset` of segment `segment`.
    pub const fn new(segment: u32, offset: u32) -> Position {
        Position((segment as u64) << 32 | offset as u64)
    }

    /// The segment's number; the first segment of a log is 1.
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Offset in the segment's file, in bytes.
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_segment_is_after_every_offset_of_an_earlier_one() {
        assert!(Position::new(2, 0) > Position::new(1, u32::MAX));
        assert_eq!((Position::new(7, 9).segment(), Position::new(7, 9).offset()), (7, 9));
        assert_eq!(Position::new(7, 9).to_string(), "7:9");
    }
}
