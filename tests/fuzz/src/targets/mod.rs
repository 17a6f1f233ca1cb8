//! The targets, by what they look at.

pub mod capability;
pub mod file;
pub mod frame;
pub mod journal;
pub mod log;
pub mod message;
pub mod port;
pub mod raft;
pub mod state;
pub mod text;

/// What was read is written in a way that is read, and written, the same: `reread` reads and writes.
///
/// # Panics
/// If not.
pub fn assert_stable<E: std::fmt::Debug>(bytes: &[u8], reread: impl Fn(&[u8]) -> Result<Vec<u8>, E>) {
    let Ok(first) = reread(bytes) else { return };
    let second = reread(&first).expect("what was written can be read");
    assert_eq!(first, second, "what was read again is another thing");
}
