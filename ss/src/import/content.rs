//! A local file becomes a content of the store.

use crate::store::{Content, Store};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use types::Error;
use types::content::{block_crcs, crc64};
use types::limits::{INLINE_MAX, PIECE};

/// Why there is no content.
#[derive(Debug)]
pub enum Trouble {
    /// The file cannot be read: it is passed over.
    Local(std::io::Error),
    /// The store cannot take it.
    Store(Error),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Local(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Store(error)
    }
}

/// Reads a file as it is now, a piece at a time; none if it is empty. Blocks.
pub fn read(store: &Store, path: &Path, size: u64) -> Result<Option<Content>, Trouble> {
    // What was a file when the folder was read may be a link by now, or a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from)?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file any more").into());
    }
    let mut piece = next(&mut file)?;
    if piece.is_empty() {
        return Ok(None);
    }
    if piece.len() <= INLINE_MAX {
        let crc = crc64(&piece);
        return Ok(Some(store.small(piece, crc)?));
    }
    let mut writer = store.writer(Some(size));
    let mut held = 0;
    while !piece.is_empty() {
        held = writer.push(held, &piece, &block_crcs(&piece))?;
        piece = next(&mut file)?;
    }
    Ok(Some(writer.finish(held, None, None)?))
}

/// The next piece; short only at the end.
fn next(file: &mut File) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}
