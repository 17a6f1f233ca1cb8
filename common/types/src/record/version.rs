//! Versions of a file, and where their bytes are.

use crate::error::Result;
use crate::ids::{Digest, SessionId, VersionNumber};
use prost::Message;

/// Marks of a version, as bits.
pub mod mark {
    /// Lost a race or an adoption: kept in the history, never the head by itself (R12).
    pub const CONFLICT: u32 = 1;
    /// Acknowledged, but only on a member that does not act (R11).
    pub const OWED: u32 = 2;
    /// Was owed by a disk that is gone.
    pub const LOST: u32 = 4;
}

/// Who holds a version, as bits.
pub mod on {
    /// The pair's primary.
    pub const PRIMARY: u32 = 1;
    /// The pair's backup.
    pub const BACKUP: u32 = 2;
    /// Both.
    pub const BOTH: u32 = 3;
}

/// One kept version of a file. Its identity is (session, digest); people call it `epoch.number`.
#[derive(Clone, PartialEq, Message)]
pub struct Version {
    /// Write session it came from, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Epoch of the pair at its commit.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Number within the file.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// Bytes of content.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// How the digest was made ([`crate::ids::DigestKind`]).
    #[prost(uint32, tag = "5")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub sha256: Vec<u8>,
    /// Who wrote it.
    #[prost(string, tag = "7")]
    pub author: String,
    /// Log time of its commit, ms since 1970.
    #[prost(uint64, tag = "8")]
    pub time_ms: u64,
    /// Epoch of the version it builds on; 0.0 for none.
    #[prost(uint64, tag = "9")]
    pub parent_epoch: u64,
    /// Number of the version it builds on.
    #[prost(uint64, tag = "10")]
    pub parent_number: u64,
    /// Bits of [`mark`].
    #[prost(uint32, tag = "11")]
    pub marks: u32,
    /// Bits of [`on`], as known when it was committed; for receipts, never for deciding (R11, R18).
    #[prost(uint32, tag = "12")]
    pub durable_on: u32,
    /// The server that holds it while it is owed or lost.
    #[prost(string, tag = "13")]
    pub holder: String,
}

impl Version {
    /// `E.N`.
    pub fn version(&self) -> VersionNumber {
        VersionNumber { epoch: self.epoch, number: self.number }
    }

    /// The version it builds on.
    pub fn parent(&self) -> VersionNumber {
        VersionNumber { epoch: self.parent_epoch, number: self.parent_number }
    }

    /// The write session it came from.
    pub fn session_id(&self) -> Result<SessionId> {
        SessionId::from_slice(&self.session)
    }

    /// Its digest.
    pub fn digest(&self) -> Result<Digest> {
        Digest::from_parts(self.digest_kind, &self.sha256)
    }

    /// Whether a bit of [`mark`] is set.
    pub fn is(&self, bit: u32) -> bool {
        self.marks & bit != 0
    }

    /// Whether it is an empty content, which nobody needs to fetch.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }
}

/// One chunk in a manifest. The CRC-64 of each of its blocks stands with the chunk itself.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkRef {
    /// SHA-256, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub sha256: bytes::Bytes,
    /// Bytes.
    #[prost(uint32, tag = "2")]
    pub len: u32,
    /// CRC-64/NVME of the whole chunk.
    #[prost(fixed64, tag = "3")]
    pub crc64: u64,
}

/// Where the bytes of a version are: inline, or an ordered list of chunks.
#[derive(Clone, PartialEq, Message)]
pub struct Manifest {
    /// Bytes of content.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// The content, if it is small; then `chunks` is empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub inline: bytes::Bytes,
    /// CRC-64/NVME of the whole content.
    #[prost(fixed64, tag = "3")]
    pub crc64: u64,
    /// The chunks in order.
    #[prost(message, repeated, tag = "4")]
    pub chunks: Vec<ChunkRef>,
    /// How the digest was made.
    #[prost(uint32, tag = "5")]
    pub digest_kind: u32,
    /// Digest of the content, 32 bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub sha256: bytes::Bytes,
}

impl Manifest {
    /// Its digest.
    pub fn digest(&self) -> Result<Digest> {
        Digest::from_parts(self.digest_kind, &self.sha256)
    }

    /// Whether the content stands in it.
    pub fn is_inline(&self) -> bool {
        self.chunks.is_empty()
    }
}
