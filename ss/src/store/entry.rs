//! What the index holds of a content and of a chunk, as bytes.

use bytes::Bytes;
use log::bytes::{u32_at, u64_at};
use log::{Extent, Position};
use types::Result;
use types::record::Manifest;

use super::change::ChunkPlace;
use super::trouble::index_error;

/// How a content stands. The numbers are in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Durable, waiting for the log's decision: ends only by that (R10).
    Prepared = 1,
    /// The log has not taken it; its client may commit it again.
    Open = 2,
    /// A version of a record.
    Kept = 3,
    /// Was a version that no record names any more; its bytes wait to be collected.
    Loose = 4,
    /// Copied from the partner for a version that the log has; the row that names it is to come.
    Fetched = 5,
}

impl State {
    /// The state of this number.
    pub(super) fn from_byte(byte: u8) -> Option<State> {
        let all = [State::Prepared, State::Open, State::Kept, State::Loose, State::Fetched];
        all.into_iter().find(|s| *s as u8 == byte)
    }

    /// Whether the log has it as a version.
    pub fn is_decided(self) -> bool {
        matches!(self, State::Kept | State::Fetched)
    }
}

/// A content in the index: its state and where its manifest stands.
///
/// 54 bytes, little-endian: state (1), position of its record in the journal (8), length of that record's
/// payload (4), size (8), kind of digest (1), SHA-256 (32).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContentEntry {
    pub state: State,
    pub position: Position,
    pub payload: u32,
    pub size: u64,
    pub digest_kind: u8,
    pub sha256: [u8; 32],
}

impl ContentEntry {
    const BYTES: usize = 54;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0] = self.state as u8;
        out[1..9].copy_from_slice(&self.position.0.to_le_bytes());
        out[9..13].copy_from_slice(&self.payload.to_le_bytes());
        out[13..21].copy_from_slice(&self.size.to_le_bytes());
        out[21] = self.digest_kind;
        out[22..].copy_from_slice(&self.sha256);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<ContentEntry> {
        let bad = || index_error("the entry of a content makes no sense");
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| bad())?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&bytes[22..]);
        Ok(ContentEntry {
            state: State::from_byte(bytes[0]).ok_or_else(bad)?,
            position: Position(u64_at(bytes, 1)),
            payload: u32_at(bytes, 9),
            size: u64_at(bytes, 13),
            digest_kind: bytes[21],
            sha256,
        })
    }

    /// Whether it is this content: size and digest agree.
    pub fn is(&self, manifest: &Manifest) -> bool {
        self.size == manifest.size
            && u32::from(self.digest_kind) == manifest.digest_kind
            && self.sha256[..] == manifest.sha256[..]
    }
}

/// Where a chunk's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Extent(Extent),
    /// In the payload of a journal's record, behind `skip` bytes.
    Journal {
        position: Position,
        skip: u32,
    },
}

/// A chunk in the index.
///
/// Little-endian: references from contents (4), length (4), where (1: 0 extent, 1 journal), file or position
/// (8), offset or bytes to skip (4), CRC-64 of each block (8 each).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChunkEntry {
    pub refs: u32,
    pub len: u32,
    pub location: Location,
    pub crcs: Vec<u64>,
}

impl ChunkEntry {
    const HEAD: usize = 21;

    /// A chunk as an upload's record names it. `here` is that record, and how many bytes of its payload are
    /// before the tail.
    pub fn placed(place: &ChunkPlace, here: (Position, u32)) -> ChunkEntry {
        let location = match extent_of(place) {
            Some(extent) => Location::Extent(extent),
            None if place.position != 0 => {
                Location::Journal { position: Position(place.position), skip: place.skip }
            }
            None => Location::Journal { position: here.0, skip: here.1 },
        };
        ChunkEntry { refs: 0, len: place.len, location, crcs: place.crcs.clone() }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::HEAD + self.crcs.len() * 8);
        out.extend_from_slice(&self.refs.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        let (kind, first, second) = match self.location {
            Location::Extent(extent) => (0, u64::from(extent.file), extent.offset),
            Location::Journal { position, skip } => (1, position.0, skip),
        };
        out.push(kind);
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&second.to_le_bytes());
        self.crcs.iter().for_each(|crc| out.extend_from_slice(&crc.to_le_bytes()));
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<ChunkEntry> {
        let bad = || index_error("the entry of a chunk makes no sense");
        if bytes.len() < Self::HEAD || !(bytes.len() - Self::HEAD).is_multiple_of(8) {
            return Err(bad());
        }
        let (len, first, second) = (u32_at(bytes, 4), u64_at(bytes, 9), u32_at(bytes, 17));
        let location = match bytes[8] {
            0 => {
                let file = u32::try_from(first).map_err(|_| bad())?;
                Location::Extent(Extent { file, offset: second, len })
            }
            1 => Location::Journal { position: Position(first), skip: second },
            _ => return Err(bad()),
        };
        let crcs = bytes[Self::HEAD..].chunks_exact(8).map(|c| u64_at(c, 0)).collect();
        Ok(ChunkEntry { refs: u32_at(bytes, 0), len, location, crcs })
    }

    /// The place of this chunk for a record of the journal; if that record carries it itself, without a place.
    pub fn place(&self, sha256: &[u8; 32], carried: bool) -> ChunkPlace {
        let mut place = ChunkPlace {
            sha256: Bytes::copy_from_slice(sha256),
            len: self.len,
            crcs: self.crcs.clone(),
            ..ChunkPlace::default()
        };
        match self.location {
            Location::Extent(extent) => (place.file, place.offset) = (extent.file, extent.offset),
            Location::Journal { .. } if carried => {}
            Location::Journal { position, skip } => (place.position, place.skip) = (position.0, skip),
        }
        place
    }

    /// Its extent, if it is in one.
    pub fn extent(&self) -> Option<Extent> {
        match self.location {
            Location::Extent(extent) => Some(extent),
            Location::Journal { .. } => None,
        }
    }
}

/// The extent a place names; `None` for a chunk that is the tail of its record.
pub(crate) fn extent_of(place: &ChunkPlace) -> Option<Extent> {
    (place.file != 0).then_some(Extent { file: place.file, offset: place.offset, len: place.len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_being_written() {
        let content = ContentEntry {
            state: State::Open,
            position: Position::new(7, 4096),
            payload: 99,
            size: 1 << 40,
            digest_kind: 1,
            sha256: [5; 32],
        };
        assert_eq!(ContentEntry::decode(&content.encode()).unwrap(), content);
        let extent = Extent { file: 3, offset: 8192, len: 70_000 };
        let journal = Location::Journal { position: Position::new(1, 5000), skip: 17 };
        for location in [Location::Extent(extent), journal] {
            let chunk = ChunkEntry { refs: 2, len: 70_000, location, crcs: vec![1, u64::MAX] };
            assert_eq!(ChunkEntry::decode(&chunk.encode()).unwrap(), chunk);
        }
        assert!(ContentEntry::decode(&[0; 54]).is_err());
        assert!(ChunkEntry::decode(&[9; 22]).is_err());
    }
}
