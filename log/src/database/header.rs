//! The first sector of a checked file: which format it has, and redb's own header, with a checksum of both.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `PairSum\n` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | zero |
//! | 16 | 320 | redb's header |
//! | 336 | 8 | CRC-64/NVME of bytes 0 to 335 |
//!
//! It is written as a whole, and a sector is written whole or not at all, as the log assumes as well.

use crate::bytes::u64_at;
use crate::format::{Version, checksum, version_of};

/// The first bytes of every checked file, in every version.
const MAGIC: [u8; 8] = *b"PairSum\n";
/// The version this build writes and reads.
const VERSION: u32 = 1;
/// The first bytes of a file of redb as it is.
const REDB: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
const REDB_AT: usize = 16;
/// Length of redb's header.
pub(super) const REDB_HEADER: usize = 320;
const SUM_AT: usize = REDB_AT + REDB_HEADER;
/// What is written at once.
pub(super) const SECTOR: usize = 512;

const _: () = assert!(SUM_AT + 8 <= SECTOR);

/// A header's sector.
pub(super) type Sector = [u8; SECTOR];

/// What a file's first sector says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A database with checksums.
    Checked,
    /// The same, but its header is damaged.
    BadHeader,
    /// One whose making was not finished: nothing was ever in it.
    Unfinished,
    /// A database as redb writes it, of the first days.
    Plain,
    /// Of a version that this build does not know.
    OtherVersion(u32),
    /// Nothing of these.
    Foreign,
}

pub(super) fn kind(sector: &Sector) -> Kind {
    if sector.iter().all(|byte| *byte == 0) {
        return Kind::Unfinished;
    }
    if sector[..REDB.len()] == REDB {
        return Kind::Plain;
    }
    if sector[..MAGIC.len()] != MAGIC {
        return Kind::Foreign;
    }
    match version_of(&sector[..SUM_AT], u64_at(sector, SUM_AT), VERSION) {
        // redb writes its magic last.
        Version::Known if sector[REDB_AT..REDB_AT + REDB.len()] != REDB => Kind::Unfinished,
        Version::Known => Kind::Checked,
        Version::Other(version) => Kind::OtherVersion(version),
        Version::Bad => Kind::BadHeader,
    }
}

/// The sector around redb's header; one whose checksum is wrong unless it is `trusted`.
pub(super) fn encode(redb: &[u8], trusted: bool) -> Sector {
    let mut sector = [0; SECTOR];
    sector[..8].copy_from_slice(&MAGIC);
    sector[8..12].copy_from_slice(&VERSION.to_le_bytes());
    sector[REDB_AT..REDB_AT + redb.len()].copy_from_slice(redb);
    let sum = checksum(&[&sector[..SUM_AT]]);
    sector[SUM_AT..SUM_AT + 8].copy_from_slice(&if trusted { sum } else { !sum }.to_le_bytes());
    sector
}

/// redb's header in it.
pub(super) fn redb_header(sector: &Sector) -> &[u8] {
    &sector[REDB_AT..SUM_AT]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_makes_it_a_damaged_one() {
        let mut redb = [7; REDB_HEADER];
        redb[..REDB.len()].copy_from_slice(&REDB);
        let sector = encode(&redb, true);
        assert_eq!(kind(&sector), Kind::Checked);
        assert_eq!(redb_header(&sector), redb);
        for byte in 0..SUM_AT + 8 {
            for bit in 0..8 {
                let mut bad = sector;
                bad[byte] ^= 1 << bit;
                let expected = if byte < MAGIC.len() { Kind::Foreign } else { Kind::BadHeader };
                assert_eq!(kind(&bad), expected, "bit {bit} of byte {byte}");
            }
        }
    }

    #[test]
    fn a_header_of_a_later_version_is_named_and_one_not_finished_holds_nothing() {
        let mut later = encode(&REDB, true);
        later[8] = 2;
        let sum = checksum(&[&later[..SUM_AT]]);
        later[SUM_AT..SUM_AT + 8].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(kind(&later), Kind::OtherVersion(2));
        assert_eq!(kind(&encode(&[0; REDB_HEADER], true)), Kind::Unfinished);
        assert_eq!(kind(&[0; SECTOR]), Kind::Unfinished);
        assert_eq!(kind(&encode(&REDB, false)), Kind::BadHeader);
    }
}
