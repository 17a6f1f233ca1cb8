//! Where in a checked file the blocks of a database are.
//!
//! Block 0 of the file is the header. Groups follow: a block of checksums, then the blocks that they are of. All blocks have the
//! length of redb's pages, so that what redb writes at once lies in as few pieces as possible, and none is shared.

/// Length of a block, and of redb's pages.
pub(super) const BLOCK: u64 = 4096;
/// Bytes of a block's checksum.
pub(super) const SUM: usize = 8;
/// Blocks whose checksums fill one block.
pub(super) const GROUP: u64 = BLOCK / SUM as u64;
/// Blocks of a group in the file.
const GROUP_IN_FILE: u64 = GROUP + 1;

/// The group of a block of the database (not of block 0, which is the header), and its place in it.
pub(super) fn group_of(block: u64) -> (usize, usize) {
    let at = block - 1;
    ((at / GROUP) as usize, (at % GROUP) as usize)
}

/// Offset in the file of a group's checksums.
pub(super) fn sums_at(group: usize) -> u64 {
    (1 + group as u64 * GROUP_IN_FILE) * BLOCK
}

/// Offset in the file of a block of the database.
pub(super) fn block_at(block: u64) -> u64 {
    let (group, place) = group_of(block);
    sums_at(group) + (1 + place as u64) * BLOCK
}

/// Groups of a database of so many bytes.
pub(super) fn groups(len: u64) -> usize {
    len.div_ceil(BLOCK).saturating_sub(1).div_ceil(GROUP) as usize
}

/// Length of the file of a database of so many bytes.
pub(super) fn file_len(len: u64) -> u64 {
    match len.div_ceil(BLOCK) {
        0 => 0,
        blocks => (blocks + groups(len) as u64) * BLOCK,
    }
}

/// Length of the database in a file of so many bytes: blocks that are there to their end.
pub(super) fn database_len(file: u64) -> u64 {
    let Some(rest) = (file / BLOCK).checked_sub(1) else { return 0 };
    let (whole, part) = (rest / GROUP_IN_FILE, rest % GROUP_IN_FILE);
    (1 + whole * GROUP + part.saturating_sub(1)) * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_share_a_place_and_the_length_tells_how_many_there_are() {
        let mut taken = vec![0];
        for block in 1..3 * GROUP {
            let (group, place) = group_of(block);
            if place == 0 {
                taken.push(sums_at(group));
            }
            taken.push(block_at(block));
            let len = (block + 1) * BLOCK;
            assert_eq!(file_len(len), block_at(block) + BLOCK, "the last block ends the file");
            assert_eq!(database_len(file_len(len)), len);
            assert_eq!(database_len(file_len(len) - 1), len - BLOCK, "a block that is cut is not there");
            assert_eq!(groups(len), group + 1);
        }
        assert!(taken.windows(2).all(|two| two[0] + BLOCK == two[1]), "no gaps, no overlaps");
        assert_eq!((file_len(0), database_len(0), groups(0)), (0, 0, 0));
        assert_eq!((file_len(BLOCK), database_len(BLOCK), groups(BLOCK)), (BLOCK, BLOCK, 0));
    }
}
