//! Bytes go bad on a disk.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes by which a place in a content is found again.
const MARK: usize = 48;

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == wanted[0]) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Changes one byte of `content` in the files of `folder`: the byte at `offset` of it, in every file where it lies.
///
/// # Panics
/// If it lies in none.
#[track_caller]
pub fn flip(folder: &Path, content: &[u8], offset: usize) {
    let wanted = &content[offset..content.len().min(offset + MARK)];
    let files = std::fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.unwrap().path());
    let flipped = files.filter(|path| flip_in(path, wanted)).count();
    assert!(flipped > 0, "the content does not lie in {}", folder.display());
}

/// Changes the first byte of `wanted` in a file; whether it was there.
pub fn flip_in(path: &Path, wanted: &[u8]) -> bool {
    let Some(at) = find(&std::fs::read(path).expect("it can be read"), wanted) else { return false };
    let file = OpenOptions::new().write(true).open(path).expect("it can be written");
    file.write_all_at(&[wanted[0] ^ 0x40], at as u64).expect("it can be written");
    true
}
