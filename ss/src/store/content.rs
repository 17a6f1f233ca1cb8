//! A content on its way into the store, and one that is held.

use std::sync::Arc;

use bytes::Bytes;
use log::{Extent, Extents};
use types::command::Asker;
use types::content::{crc64, sha256};
use types::ids::{DigestKind, SessionId};
use types::limits::INLINE_MAX;
use types::message::store::Target;
use types::record::Manifest;
use types::{Code, Error, Result};

use super::change::{ChunkPlace, ContentRecord, session_of};
use super::entry::{State, extent_of};

/// Extents that nothing durable names yet; they are free again when this is dropped.
pub(crate) struct Reserved {
    extents: Arc<Extents>,
    list: Vec<Extent>,
}

impl Reserved {
    pub fn new(extents: Arc<Extents>) -> Reserved {
        Reserved { extents, list: Vec::new() }
    }

    pub fn push(&mut self, extent: Extent) {
        self.list.push(extent);
    }

    /// Replaces the extent that was pushed last.
    pub fn replace_last(&mut self, extent: Extent) {
        self.list.pop();
        self.list.push(extent);
    }

    pub fn extents(&self) -> &Arc<Extents> {
        &self.extents
    }

    /// A record that names them stands in the journal.
    pub fn keep(mut self) {
        self.list.clear();
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for extent in self.list.drain(..) {
            if let Err(error) = self.extents.free(extent) {
                tracing::warn!(%error, "cannot free the room of an upload");
            }
        }
    }
}

/// A complete, checked content that is not durable yet. Its room is free again when it is dropped.
pub struct Content {
    pub(crate) manifest: Manifest,
    /// Inline content, or the only chunk of a content of at most one block.
    pub(crate) tail: Bytes,
    pub(crate) places: Vec<ChunkPlace>,
    pub(crate) reserved: Option<Reserved>,
}

impl Content {
    /// A content that stands inline in its manifest.
    ///
    /// # Errors
    /// `BadRequest` when there are too many bytes, or they do not have this CRC-64.
    pub(crate) fn small(bytes: &Bytes, crc: u64) -> Result<Content> {
        if bytes.len() > INLINE_MAX {
            let what = format_args!("{} bytes are too many to stand inline", bytes.len());
            return Err(Error::new(Code::BadRequest, what, "upload it in pieces"));
        }
        if crc64(bytes) != crc {
            return Err(bad_crc());
        }
        // A copy: the bytes are a slice of a frame, which would be kept in memory as a whole.
        Ok(Content::inline(Bytes::copy_from_slice(bytes), crc))
    }

    pub(crate) fn inline(bytes: Bytes, crc: u64) -> Content {
        let manifest = Manifest {
            size: bytes.len() as u64,
            crc64: crc,
            digest_kind: DigestKind::Plain as u32,
            sha256: Bytes::copy_from_slice(&sha256(&bytes)),
            inline: bytes.clone(),
            chunks: Vec::new(),
        };
        Content { manifest, tail: bytes, places: Vec::new(), reserved: None }
    }

    /// A content that is held here already, for another session: it cites the same chunks (R16), which must not
    /// be collected before this is prepared.
    pub fn cited(manifest: &Manifest) -> Content {
        if manifest.is_inline() {
            return Content::inline(manifest.inline.clone(), manifest.crc64);
        }
        Content { manifest: manifest.clone(), tail: Bytes::new(), places: Vec::new(), reserved: None }
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        self.manifest.size
    }

    /// Whether some of it lies in extents, which are synced before the record that names them.
    pub(crate) fn has_extents(&self) -> bool {
        self.places.iter().any(|place| extent_of(place).is_some())
    }
}

/// The bytes are not those that were sent.
pub(crate) fn bad_crc() -> Error {
    Error::new(
        Code::BadRequest,
        "the bytes that arrived do not have the CRC-64 they were sent with",
        "send them again",
    )
}

/// Who wrote a content, where to.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Origin {
    /// What is written to. None for what came from the partner.
    pub target: Option<Target>,
    /// Who asked: with the request key the log knows what became of it.
    pub asker: Option<Asker>,
    /// It was prepared for the partner, not as the acting member.
    pub for_partner: bool,
    /// Number of the newest row that the acting member knew when it was prepared (R26).
    pub seen: u64,
}

/// A content that the store holds. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Its write session: the identity of the version it is or may become (R11).
    pub session: SessionId,
    /// How it stands.
    pub state: State,
    /// Where its bytes are.
    pub manifest: Arc<Manifest>,
    /// Who wrote it, where to.
    pub origin: Arc<Origin>,
}

impl Held {
    /// What a record of the journal holds.
    pub(crate) fn from_record(record: ContentRecord, tail: Bytes, state: State) -> Result<Held> {
        let session = session_of(&record.session)?;
        let mut manifest = record.manifest.unwrap_or_default();
        if manifest.chunks.is_empty() {
            manifest.inline = tail;
        }
        let ContentRecord { target, asker, for_partner, seen, .. } = record;
        let origin = Origin { target, asker, for_partner, seen };
        Ok(Held { session, state, manifest: Arc::new(manifest), origin: Arc::new(origin) })
    }

    /// The same content in another state.
    pub(crate) fn in_state(&self, state: State) -> Held {
        Held { state, ..self.clone() }
    }

    /// Memory it takes, about, in bytes.
    pub(crate) fn weight(&self) -> usize {
        const FIXED: usize = 600;
        FIXED + self.manifest.inline.len() + self.manifest.chunks.len() * 96
    }
}
