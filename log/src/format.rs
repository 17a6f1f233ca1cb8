//! Format version 1 on disk: segment headers, records, and the engine's own records. All integers are
//! little-endian; the crate's documentation has the tables.

use crc_fast::{CrcAlgorithm, Digest};

use crate::Position;
use crate::bytes::{u32_at, u64_at};

/// The first bytes of every segment file, in every version.
pub(crate) const MAGIC: [u8; 8] = *b"PairLog\n";
/// The version this build writes and reads.
pub(crate) const VERSION: u32 = 1;
/// Room of the header: a page of its own, so that no later write touches the header's page again.
pub(crate) const HEADER_BYTES: u32 = 4096;
/// What of the header's room carries meaning; the rest is zero.
const HEADER_USED: usize = 64;
/// Length of a record's header.
pub(crate) const RECORD_HEADER: usize = 32;
/// Records start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Where in a record's header the use number stands; a multiple of [`ALIGN`], so that a scan finds it.
pub(crate) const USE_AT: usize = 8;

/// The highest kind an owner may give a record; the engine's are above.
pub const MAX_OWNER_KIND: u8 = 239;
/// A record without payload; its header's synced position is what it is for.
pub(crate) const KIND_MARK: u8 = 240;
/// Names the segments that the log still has.
pub(crate) const KIND_LIVE: u8 = 241;

const _: () = assert!(HEADER_USED <= HEADER_BYTES as usize);
const _: () = assert!((HEADER_BYTES as usize).is_multiple_of(ALIGN));
const _: () = assert!(RECORD_HEADER.is_multiple_of(ALIGN) && USE_AT.is_multiple_of(ALIGN));
const _: () = assert!(MAX_OWNER_KIND < KIND_MARK && KIND_MARK < KIND_LIVE);

/// Bytes that a record with `payload` bytes occupies.
pub(crate) const fn record_bytes(payload: usize) -> usize {
    (RECORD_HEADER + payload).next_multiple_of(ALIGN)
}

/// A segment's header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// The segment's number; its file's name says the same.
    pub number: u32,
    /// The log it belongs to (the salt of its creation).
    pub log: u64,
    /// Unique for each use of a file as a segment; counts up from the log's number.
    pub use_number: u64,
    /// Length of the file, in bytes.
    pub segment_bytes: u32,
    /// Everything before this offset was durable before the segment got its name.
    pub head_end: u32,
    /// Where the segment before ends. Everything before it is durable, nothing behind it counts.
    pub previous_end: Position,
}

/// What the first page of a segment file turned out to be.
pub(crate) enum Parsed {
    Header(Header),
    UnknownVersion(u32),
    Bad(&'static str),
}

impl Header {
    /// The header's page.
    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut page = [0; HEADER_BYTES as usize];
        page[0..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[12..16].copy_from_slice(&self.number.to_le_bytes());
        page[16..24].copy_from_slice(&self.log.to_le_bytes());
        page[24..32].copy_from_slice(&self.use_number.to_le_bytes());
        page[32..36].copy_from_slice(&self.segment_bytes.to_le_bytes());
        page[36..40].copy_from_slice(&self.head_end.to_le_bytes());
        page[40..48].copy_from_slice(&self.previous_end.0.to_le_bytes());
        let crc = checksum(&[&page[..HEADER_USED - 8]]);
        page[HEADER_USED - 8..HEADER_USED].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads a header from a file's first bytes.
    pub fn decode(page: &[u8]) -> Parsed {
        if page.len() < HEADER_USED || page[0..8] != MAGIC {
            return Parsed::Bad("the segment's header is not one");
        }
        match version_of(&page[..HEADER_USED - 8], u64_at(page, HEADER_USED - 8), VERSION) {
            Version::Known => {}
            Version::Other(version) => return Parsed::UnknownVersion(version),
            Version::Bad => return Parsed::Bad("the checksum of the segment's header is wrong"),
        }
        Parsed::Header(Header {
            number: u32_at(page, 12),
            log: u64_at(page, 16),
            use_number: u64_at(page, 24),
            segment_bytes: u32_at(page, 32),
            head_end: u32_at(page, 36),
            previous_end: Position(u64_at(page, 40)),
        })
    }
}

/// Which version of its format a header is of.
pub(crate) enum Version {
    /// The one this build knows.
    Known,
    /// Another one.
    Other(u32),
    /// Nobody can say: its checksum is wrong.
    Bad,
}

/// Looks at a header's bytes up to its checksum `sum`. Magic, version (at 8), the place of the checksum and what it covers
/// are the same in every version, so that a later one is named, and a flipped bit of the version is damage like any other.
pub(crate) fn version_of(covered: &[u8], sum: u64, known: u32) -> Version {
    match u32_at(covered, 8) {
        _ if checksum(&[covered]) != sum => Version::Bad,
        version if version == known => Version::Known,
        version => Version::Other(version),
    }
}

/// A record's header, without its checksum.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    /// Length of the payload, in bytes.
    pub len: u32,
    pub kind: u8,
    pub use_number: u64,
    /// What was known to be durable when the record was written: everything before this.
    pub synced: Position,
}

impl RecordHeader {
    fn encode(&self) -> [u8; RECORD_HEADER - 8] {
        let mut out = [0; RECORD_HEADER - 8];
        out[0..4].copy_from_slice(&self.len.to_le_bytes());
        out[4] = self.kind;
        out[8..16].copy_from_slice(&self.use_number.to_le_bytes());
        out[16..24].copy_from_slice(&self.synced.0.to_le_bytes());
        out
    }

    /// Reads the fields; they mean nothing until [`check_record`] agrees.
    pub fn decode(bytes: &[u8]) -> RecordHeader {
        RecordHeader {
            len: u32_at(bytes, 0),
            kind: bytes[4],
            use_number: u64_at(bytes, USE_AT),
            synced: Position(u64_at(bytes, 16)),
        }
    }
}

/// Appends a whole record, padded with zeros, to `out`. It will stand at `at`.
pub(crate) fn encode_record(out: &mut Vec<u8>, at: Position, header: RecordHeader, parts: &[&[u8]]) {
    let fields = header.encode();
    let mut digest = record_digest(at, &fields);
    for part in parts {
        digest.update(part);
    }
    let start = out.len();
    out.reserve(record_bytes(header.len as usize));
    out.extend_from_slice(&fields);
    out.extend_from_slice(&digest.finalize().to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.resize(start + record_bytes(header.len as usize), 0);
}

/// Whether `bytes` begin with a whole record of this use that was written for position `at`; its header then.
/// The bytes behind the record do not matter.
pub(crate) fn check_record(bytes: &[u8], at: Position, use_number: u64) -> Option<RecordHeader> {
    if bytes.len() < RECORD_HEADER {
        return None;
    }
    let header = RecordHeader::decode(bytes);
    if header.use_number != use_number || header.len as usize > bytes.len() - RECORD_HEADER {
        return None;
    }
    let mut digest = record_digest(at, &bytes[..RECORD_HEADER - 8]);
    digest.update(&bytes[RECORD_HEADER..RECORD_HEADER + header.len as usize]);
    (digest.finalize() == u64_at(bytes, RECORD_HEADER - 8)).then_some(header)
}

/// A record's checksum begins with the place it was written for. So a write that the disk misplaced, or a
/// segment file stored as somebody's content in another, is never taken for a record.
fn record_digest(at: Position, fields: &[u8]) -> Digest {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&at.0.to_le_bytes());
    digest.update(fields);
    digest
}

/// CRC-64/NVME over the parts.
pub(crate) fn checksum(parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// Segments `first..=last` are part of the log. Only the last range of a log holds the segment being
/// written; its `end` is 0. For the others `end` is the offset at which segment `last` ends: its successor,
/// which would say so, has been given back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct LiveRange {
    pub first: u32,
    pub last: u32,
    pub end: u32,
}

const LIVE_RANGE_BYTES: usize = 12;

/// Payload of a live record of so many ranges, in bytes.
pub(crate) const fn live_bytes(ranges: usize) -> usize {
    ranges * LIVE_RANGE_BYTES
}

/// The payload of a live record.
pub(crate) fn encode_live(ranges: &[LiveRange]) -> Vec<u8> {
    let mut out = Vec::with_capacity(live_bytes(ranges.len()));
    for range in ranges {
        out.extend_from_slice(&range.first.to_le_bytes());
        out.extend_from_slice(&range.last.to_le_bytes());
        out.extend_from_slice(&range.end.to_le_bytes());
    }
    out
}

/// Reads a live record; `None` when it is not one, or its ranges are not in order.
pub(crate) fn decode_live(payload: &[u8]) -> Option<Vec<LiveRange>> {
    if payload.is_empty() || !payload.len().is_multiple_of(LIVE_RANGE_BYTES) {
        return None;
    }
    let ranges: Vec<LiveRange> = payload
        .chunks_exact(LIVE_RANGE_BYTES)
        .map(|c| LiveRange { first: u32_at(c, 0), last: u32_at(c, 4), end: u32_at(c, 8) })
        .collect();
    let whole = ranges.iter().all(|r| r.first <= r.last);
    let ordered = ranges.windows(2).all(|w| w[0].last < w[1].first);
    (whole && ordered).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position::new(3, 4096);

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header =
            RecordHeader { len: payload.len() as u32, kind: 5, use_number: 77, synced: Position::new(2, 1) };
        encode_record(&mut out, AT, header, &[payload]);
        out
    }

    #[test]
    fn a_record_is_valid_only_whole_and_only_in_its_place_and_use() {
        let bytes = record(b"hello");
        assert_eq!(bytes.len(), 40);
        assert_eq!(check_record(&bytes, AT, 77).unwrap().len, 5);
        assert!(check_record(&bytes, Position::new(3, 4104), 77).is_none());
        assert!(check_record(&bytes, Position::new(4, 4096), 77).is_none());
        assert!(check_record(&bytes, AT, 78).is_none());
        assert!(check_record(&bytes[..36], AT, 77).is_none());
        for byte in 0..RECORD_HEADER + 5 {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[byte] ^= 1 << bit;
                assert!(check_record(&bad, AT, 77).is_none(), "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn parts_make_the_same_record_as_the_whole() {
        let mut parts = Vec::new();
        let header = RecordHeader { len: 5, kind: 5, use_number: 77, synced: Position::new(2, 1) };
        encode_record(&mut parts, AT, header, &[b"he", b"", b"llo"]);
        assert_eq!(parts, record(b"hello"));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let header = Header {
            number: 9,
            log: 1,
            use_number: 12,
            segment_bytes: 65536,
            head_end: 4200,
            previous_end: Position::new(8, 5000),
        };
        let page = header.encode();
        assert!(matches!(Header::decode(&page), Parsed::Header(h) if h == header));
        for byte in 0..HEADER_USED {
            let mut bad = page;
            bad[byte] ^= 4;
            assert!(matches!(Header::decode(&bad), Parsed::Bad(_)), "byte {byte}");
        }
        // A header of a later version has a checksum that fits it.
        let mut later = page;
        later[8] = 2;
        let crc = checksum(&[&later[..HEADER_USED - 8]]);
        later[HEADER_USED - 8..HEADER_USED].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Header::decode(&later), Parsed::UnknownVersion(2)));
    }

    #[test]
    fn live_ranges_survive_and_disorder_is_refused() {
        let r = |first, last, end| LiveRange { first, last, end };
        let ranges = vec![r(1, 3, 5000), r(5, 5, 4096), r(9, 12, 0)];
        assert_eq!(decode_live(&encode_live(&ranges)), Some(ranges));
        assert_eq!(decode_live(&encode_live(&[r(4, 3, 0)])), None);
        assert_eq!(decode_live(&encode_live(&[r(1, 3, 0), r(3, 4, 0)])), None);
        assert_eq!(decode_live(&[]), None);
        assert_eq!(decode_live(&[0; 13]), None);
    }
}
