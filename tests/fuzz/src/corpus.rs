//! The kept inputs, one file each, in `corpus/TARGET`.

use std::path::{Path, PathBuf};

/// Where the inputs of a target are kept.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The kept inputs of a target with their files, in the order of these.
///
/// # Panics
/// If a file cannot be read.
pub fn kept(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(files) = std::fs::read_dir(folder(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a kept input can be read"));
    files.into_iter().map(read).collect()
}
