//! The records of the journal: what the store is made of. The index is computed from them and nothing else.
//!
//! A record of the engine bears one of the kinds below. Its payload is the length of the head (4 bytes,
//! little-endian), the head (a protocol buffer, tags below), and for some kinds a tail of raw content.
//!
//! | kind | name | head | tail |
//! |---|---|---|---|
//! | 1 | Prepared | [`ContentRecord`] | inline content, or the one chunk of a content of at most 64 KiB |
//! | 2 | Unprepared | [`SessionRecord`] | |
//! | 3 | Dropped | [`SessionRecord`] | |
//! | 4 | Fetched | [`ContentRecord`] | as Prepared |
//! | 5 | Row | [`RowRecord`] | |
//! | 6 | Advance | [`AdvanceRecord`] | |
//! | 7 | FeedReset | [`AdvanceRecord`], only `generation` | |
//! | 8 | Places | [`PlacesRecord`]: precedes its Prepared or Fetched, with nothing between | |
//! | 9 | Collected | [`CollectedRecord`] | |
//! | 10 | Moved | [`ContentRecord`] with `state` and the places of all its chunks | as Prepared |
//! | 11 | Chunks | [`PlacesRecord`] without session: where these chunks are now | the chunk without another place |
//! | 12 | Cursors | [`CursorsRecord`] | |
//! | 30 | Repaired | [`PlacesRecord`] without session: good copies of these chunks | the chunk without a place |
//! | 40 | Forgotten | [`ForgottenRecord`] | |
//! | 41 | Aside | [`AsideRecord`] | |
//! | 42 | Hole | [`HoleRecord`] | |
//! | 43 | GivenUp | [`GivenUpRecord`] | |

use bytes::Bytes;
use prost::Message;
use types::command::Asker;
use types::ids::SessionId;
use types::message::store::Target;
use types::record::{Manifest, Record, Row};
use types::{Code, Error, Result};

/// Kinds of records in the journal. The numbers are on disk.
pub(crate) mod kind {
    /// A content is durable and waits for the log's decision.
    pub const PREPARED: u8 = 1;
    /// It is open again: the log has not taken it.
    pub const UNPREPARED: u8 = 2;
    /// It is given up.
    pub const DROPPED: u8 = 3;
    /// A content came from the partner, for a version that the log has.
    pub const FETCHED: u8 = 4;
    /// A row of a feed, as applied.
    pub const ROW: u8 = 5;
    /// A cursor moved.
    pub const ADVANCE: u8 = 6;
    /// The feeds have another life; the cursors begin at zero.
    pub const FEED_RESET: u8 = 7;
    /// Chunks of the content in the next record.
    pub const PLACES: u8 = 8;
    /// Contents that no version named any more are gone.
    pub const COLLECTED: u8 = 9;
    /// A content as it stands: the segment that held its record is given back.
    pub const MOVED: u8 = 10;
    /// Chunks whose places only a segment knew that is given back.
    pub const CHUNKS: u8 = 11;
    /// The cursors as they stand.
    pub const CURSORS: u8 = 12;
    /// Good copies of chunks whose bytes did not check any more.
    pub const REPAIRED: u8 = 30;
    /// Tombstones that were collected are gone.
    pub const FORGOTTEN: u8 = 40;
    /// A record that the index does not list is set aside.
    pub const ASIDE: u8 = 41;
    /// Ranges of the journal cannot be read, and nothing is needed of them any more.
    pub const HOLE: u8 = 42;
    /// What was set aside is given up, by an operator's word.
    pub const GIVEN_UP: u8 = 43;
}

/// Where a chunk of an upload lies.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkPlace {
    /// SHA-256, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub sha256: Bytes,
    /// Bytes.
    #[prost(uint32, tag = "2")]
    pub len: u32,
    /// CRC-64/NVME of each of its blocks.
    #[prost(fixed64, repeated, tag = "3")]
    pub crcs: Vec<u64>,
    /// Extent file; 0: the chunk is this record's tail.
    #[prost(uint32, tag = "4")]
    pub file: u32,
    /// Where it begins in the extent file, in bytes.
    #[prost(uint32, tag = "5")]
    pub offset: u32,
    /// The record of the journal whose payload holds it, if it is neither in an extent nor this record's tail.
    #[prost(uint64, tag = "6")]
    pub position: u64,
    /// Bytes of that payload before it.
    #[prost(uint32, tag = "7")]
    pub skip: u32,
}

/// Head of Prepared and Fetched.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContentRecord {
    /// Write session, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub session: Bytes,
    /// What is written to; not in Fetched.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Target>,
    /// Who asked; not in Fetched.
    #[prost(message, optional, tag = "3")]
    pub asker: Option<Asker>,
    /// Prepared for the partner, not as the acting member.
    #[prost(bool, tag = "4")]
    pub for_partner: bool,
    /// The manifest without inline content, which is the tail. None: the session is held already and is
    /// prepared once more.
    #[prost(message, optional, tag = "5")]
    pub manifest: Option<Manifest>,
    /// Where the chunks lie that came with this upload.
    #[prost(message, repeated, tag = "6")]
    pub places: Vec<ChunkPlace>,
    /// How many Places records directly before this one belong to it.
    #[prost(uint32, tag = "7")]
    pub parts: u32,
    /// How it stands; only in Moved, and in Fetched where it takes the place of a kept version's content. The numbers of [`State`](super::entry::State).
    #[prost(uint32, tag = "8")]
    pub state: u32,
    /// Number of the newest row that the acting member knew when it was prepared (R26).
    #[prost(uint64, tag = "9")]
    pub seen: u64,
}

/// Head of Unprepared and Dropped.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionRecord {
    /// Write session, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub session: Bytes,
}

/// Head of Row.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RowRecord {
    /// The feed it came in.
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    /// The row.
    #[prost(message, optional, tag = "2")]
    pub row: Option<Row>,
    /// Sessions of versions that the record had before it and has no more, 16 bytes each. The row before it may
    /// have left the journal when this one is replayed.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub gone: Vec<Vec<u8>>,
    /// Up to where tombstones of the feed had been collected where the row was read (R24).
    #[prost(uint64, tag = "4")]
    pub collected: u64,
    /// It was refused: its file may be one whose tombstone is forgotten. It says so on its own, because the record
    /// that forgot may have left the journal when this one is replayed.
    #[prost(bool, tag = "5")]
    pub late: bool,
    /// It is new here: what its record says has ended ends with it, also what is prepared here and no row named. A row that
    /// is restated ends nothing: the session may have been brought once more.
    #[prost(bool, tag = "6")]
    pub ends: bool,
}

/// Head of Forgotten: tombstones of a feed with a number up to `upto` are gone.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ForgottenRecord {
    /// The feed: 0 for control, else the pair's.
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    /// Number of the last row.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
}

/// Head of Aside: a record that the name manager does not list. Its contents stay, nobody finds them by it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AsideRecord {
    /// The record as it stood.
    #[prost(message, optional, tag = "1")]
    pub record: Option<Record>,
}

/// Head of Hole (R31). Without a generation: what stood in the ranges has been put elsewhere (a repair). With one: it
/// is not known, so the cursors are zero again and everything is compared (R24).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HoleRecord {
    /// What cannot be read.
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<RangeRecord>,
    /// Generation of the feeds whose rows are applied anew.
    #[prost(uint64, optional, tag = "2")]
    pub generation: Option<u64>,
    /// Sessions of contents whose bytes have gone with it, 16 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub lost: Vec<Bytes>,
}

/// Head of GivenUp: nothing happens if the record is not set aside any more, or another one is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GivenUpRecord {
    /// Id of the record.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its number.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// Sessions of its versions that no other record names, 16 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub sessions: Vec<Bytes>,
}

/// A range of the journal.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRecord {
    /// Its first byte.
    #[prost(uint64, tag = "1")]
    pub from: u64,
    /// Behind its last.
    #[prost(uint64, tag = "2")]
    pub to: u64,
}

/// Head of Collected.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CollectedRecord {
    /// Write sessions, 16 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub sessions: Vec<Bytes>,
}

/// Head of Advance and FeedReset.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AdvanceRecord {
    /// Generation of the feeds.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// The feed: 0 for control, else the pair's.
    #[prost(uint32, tag = "2")]
    pub feed: u32,
    /// Everything up to here is applied.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
}

/// Head of Cursors.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CursorsRecord {
    /// Generation of the feeds.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Cursor in the control feed.
    #[prost(uint64, tag = "2")]
    pub control: u64,
    /// Cursor in the pair's feed.
    #[prost(uint64, tag = "3")]
    pub pair: u64,
    /// Up to where tombstones of the control feed are forgotten.
    #[prost(uint64, tag = "4")]
    pub forgotten_control: u64,
    /// The same of the pair's feed.
    #[prost(uint64, tag = "5")]
    pub forgotten_pair: u64,
}

/// Head of Places: chunks of a content with more than one record takes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlacesRecord {
    /// Write session, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub session: Bytes,
    /// 0 for the first such record of a content, then counting.
    #[prost(uint32, tag = "2")]
    pub part: u32,
    /// The places.
    #[prost(message, repeated, tag = "3")]
    pub places: Vec<ChunkPlace>,
}

/// One record, decoded or about to be written.
pub(crate) enum Change {
    Content { record: ContentRecord, tail: Bytes, fetched: bool },
    Unprepared(SessionRecord),
    Dropped(SessionRecord),
    Row(RowRecord),
    Advance(AdvanceRecord),
    FeedReset(AdvanceRecord),
    Places(PlacesRecord),
    Collected(CollectedRecord),
    Moved { record: ContentRecord, tail: Bytes },
    Chunks { record: PlacesRecord, tail: Bytes },
    Cursors(CursorsRecord),
    Repaired { record: PlacesRecord, tail: Bytes },
    Forgotten(ForgottenRecord),
    Aside(AsideRecord),
    Hole(HoleRecord),
    GivenUp(GivenUpRecord),
}

/// Length of the head's length.
const HEAD_LEN: usize = 4;

impl Change {
    /// Its kind in the journal.
    pub fn kind(&self) -> u8 {
        match self {
            Change::Content { fetched: false, .. } => kind::PREPARED,
            Change::Content { fetched: true, .. } => kind::FETCHED,
            Change::Unprepared(_) => kind::UNPREPARED,
            Change::Dropped(_) => kind::DROPPED,
            Change::Row(_) => kind::ROW,
            Change::Advance(_) => kind::ADVANCE,
            Change::FeedReset(_) => kind::FEED_RESET,
            Change::Places(_) => kind::PLACES,
            Change::Collected(_) => kind::COLLECTED,
            Change::Moved { .. } => kind::MOVED,
            Change::Chunks { .. } => kind::CHUNKS,
            Change::Cursors(_) => kind::CURSORS,
            Change::Repaired { .. } => kind::REPAIRED,
            Change::Forgotten(_) => kind::FORGOTTEN,
            Change::Aside(_) => kind::ASIDE,
            Change::Hole(_) => kind::HOLE,
            Change::GivenUp(_) => kind::GIVEN_UP,
        }
    }

    /// Writes length and head into `out`, which is emptied first. The tail follows on disk.
    pub fn head(&self, out: &mut Vec<u8>) {
        fn put(out: &mut Vec<u8>, message: &impl Message) {
            out.extend_from_slice(&(message.encoded_len() as u32).to_le_bytes());
            message.encode_raw(out);
        }
        out.clear();
        match self {
            Change::Content { record, .. } | Change::Moved { record, .. } => put(out, record),
            Change::Unprepared(record) | Change::Dropped(record) => put(out, record),
            Change::Row(record) => put(out, record),
            Change::Advance(record) | Change::FeedReset(record) => put(out, record),
            Change::Places(record) | Change::Chunks { record, .. } | Change::Repaired { record, .. } => {
                put(out, record)
            }
            Change::Collected(record) => put(out, record),
            Change::Cursors(record) => put(out, record),
            Change::Forgotten(record) => put(out, record),
            Change::Aside(record) => put(out, record),
            Change::Hole(record) => put(out, record),
            Change::GivenUp(record) => put(out, record),
        }
    }

    /// The bytes behind the head.
    pub fn tail(&self) -> &[u8] {
        match self {
            Change::Content { tail, .. }
            | Change::Moved { tail, .. }
            | Change::Chunks { tail, .. }
            | Change::Repaired { tail, .. } => tail,
            _ => &[],
        }
    }

    /// Memory it holds on to, about, in bytes.
    pub fn weight(&self) -> usize {
        const PLACE: usize = 640;
        256 + match self {
            Change::Content { record, tail, .. } => {
                let chunks = record.manifest.as_ref().map_or(0, |m| m.chunks.len());
                tail.len() + record.places.len() * PLACE + chunks * 96
            }
            Change::Places(record) => record.places.len() * PLACE,
            Change::Repaired { record, tail } => tail.len() + record.places.len() * PLACE,
            Change::Row(_) | Change::Aside(_) => 1024,
            _ => 0,
        }
    }

    /// Reads a record of the journal. Content is a slice of `payload`, not a copy.
    pub fn decode(kind: u8, payload: Bytes) -> Result<Change> {
        let bad = |what: &str| {
            Error::new(
                Code::UnknownFormat,
                format_args!("a record of kind {kind} in the journal {what}"),
                "use the version of PairFS that wrote it",
            )
        };
        let len = payload.first_chunk::<HEAD_LEN>().ok_or_else(|| bad("is too short"))?;
        let end = HEAD_LEN + u32::from_le_bytes(*len) as usize;
        if end > payload.len() {
            return Err(bad("is too short"));
        }
        let (head, tail) = (payload.slice(HEAD_LEN..end), payload.slice(end..));
        fn read<M: Message + Default>(head: Bytes) -> Result<M, prost::DecodeError> {
            M::decode(head)
        }
        let change = match kind {
            kind::PREPARED => read(head).map(|record| Change::Content { record, tail, fetched: false }),
            kind::FETCHED => read(head).map(|record| Change::Content { record, tail, fetched: true }),
            kind::UNPREPARED => read(head).map(Change::Unprepared),
            kind::DROPPED => read(head).map(Change::Dropped),
            kind::ROW => read(head).map(Change::Row),
            kind::ADVANCE => read(head).map(Change::Advance),
            kind::FEED_RESET => read(head).map(Change::FeedReset),
            kind::PLACES => read(head).map(Change::Places),
            kind::COLLECTED => read(head).map(Change::Collected),
            kind::MOVED => read(head).map(|record| Change::Moved { record, tail }),
            kind::CHUNKS => read(head).map(|record| Change::Chunks { record, tail }),
            kind::CURSORS => read(head).map(Change::Cursors),
            kind::REPAIRED => read(head).map(|record| Change::Repaired { record, tail }),
            kind::FORGOTTEN => read(head).map(Change::Forgotten),
            kind::ASIDE => read(head).map(Change::Aside),
            kind::HOLE => read(head).map(Change::Hole),
            kind::GIVEN_UP => read(head).map(Change::GivenUp),
            _ => return Err(bad("is of a kind that this version does not know")),
        };
        change.map_err(|_| bad("does not decode"))
    }
}

/// The session a record is about.
pub(crate) fn session_of(bytes: &[u8]) -> Result<SessionId> {
    SessionId::from_slice(bytes)
}

/// A session id as it stands in records.
pub(crate) fn session_bytes(session: SessionId) -> Bytes {
    Bytes::copy_from_slice(&session.0)
}
