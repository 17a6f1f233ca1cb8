//! Numbers in stored bytes: little-endian, as everywhere on the disk.

/// The 4 bytes at `at` as a number.
///
/// # Panics
/// When `bytes` does not reach that far: its length is checked by whoever knows what it holds.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// The 8 bytes at `at` as a number.
///
/// # Panics
/// As [`u32_at`].
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
