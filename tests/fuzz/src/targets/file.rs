//! The small files of a data directory, which end with a checksum.

use super::assert_stable;
use crate::input::Input;
use ss::formats::{SmallFile, small_file};
use types::content::crc64;

/// All of them, as the first byte counts them.
pub const FILES: [SmallFile; 4] =
    [SmallFile::Identity, SmallFile::Import, SmallFile::ImportOf, SmallFile::Scrub];

/// The first byte chooses the file, and whether a line with the right checksum is put behind the text.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let which = FILES[usize::from(choice & 3)];
    let text = input.rest();
    let reread = |bytes: &[u8]| small_file(which, bytes);
    assert_stable(text, reread);
    if choice & 4 != 0 {
        let summed = [text, format!("crc64 = \"{:016x}\"\n", crc64(text)).as_bytes()].concat();
        assert_stable(&summed, reread);
        // One that says what was written says it with its checksum, and says nothing else with that.
        if let Ok(written) = reread(&summed) {
            let mut other = written;
            other[0] ^= 1;
            assert!(reread(&other).is_err(), "a flipped bit goes unnoticed");
        }
    }
}
