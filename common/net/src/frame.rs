//! One message on the wire.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | magic `PF` |
//! | 2 | 1 | protocol version, 1 |
//! | 3 | 1 | kind, see [`Kind`] |
//! | 4 | 1 | flags: bit 0 = the checksum covers the body; others are 0 |
//! | 5 | 1 | 0 |
//! | 6 | 2 | method |
//! | 8 | 8 | correlation |
//! | 16 | 4 | length of the head |
//! | 20 | 4 | length of the body |
//! | 24 | 8 | CRC-64/NVME over bytes 0 to 23, the head, and the body if bit 0 is set |
//! | 32 | | the head (a prost message), then the body (bulk bytes as they are) |
//!
//! Bodies up to [`BODY_CHECKED_MAX`] are covered; larger ones bring checksums of their own (a CRC per
//! block), and checking them twice would only cost. The decoder obeys the bit, not the length.
//!
//! Every length is checked before room is made for it. After any error of the decoder the stream has no
//! known frame boundary any more: answer with a failure and close.

use crate::bounds::{BODY_CHECKED_MAX, HELLO_FRAME_MAX};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use tokio_util::codec::{Decoder, Encoder};
use types::limits::{FRAME_HEAD_MAX, FRAME_MAX};
use types::{Code, Error, Result};

/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = *b"PF";
/// The version of this protocol.
pub const VERSION: u8 = 1;
/// Bytes of the fixed header.
pub const HEADER: usize = 32;

const FLAG_BODY_CHECKED: u8 = 1;
const CHECKED_HEADER: usize = 24;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Client: who I am and what this connection is for.
    Hello = 1,
    /// Server: prove it.
    Challenge = 2,
    /// Client: the proof.
    Proof = 3,
    /// Server: accepted, and a proof in return.
    Welcome = 4,
    /// Client: a call; its correlation returns in the answer.
    Request = 5,
    /// Client: a call without an answer.
    Cast = 6,
    /// Server: the answer to a request.
    Reply = 7,
    /// Server: a request, or with correlation 0 the connection, failed.
    Failure = 8,
    /// Server: something the client did not ask for.
    Push = 9,
    /// Either: no more requests; what is under way is still answered.
    Goodbye = 10,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        use Kind::*;
        [Hello, Challenge, Proof, Welcome, Request, Cast, Reply, Failure, Push, Goodbye]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// Which method a request, cast, reply or push belongs to; else 0.
    pub method: u16,
    /// Joins an answer to its request; else 0.
    pub correlation: u64,
    /// The message, encoded.
    pub head: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
    /// Whether the checksum covers the body.
    pub body_checked: bool,
}

impl Frame {
    /// A frame whose body is covered by the checksum if it is small.
    pub fn new(kind: Kind, method: u16, correlation: u64, head: Bytes, body: Bytes) -> Frame {
        let body_checked = body.len() <= BODY_CHECKED_MAX;
        Frame { kind, method, correlation, head, body, body_checked }
    }

    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        HEADER + self.head.len() + self.body.len()
    }

    /// Whether it may be sent.
    ///
    /// # Errors
    /// `BAD_REQUEST` when the head is beyond [`FRAME_HEAD_MAX`] or the whole beyond [`FRAME_MAX`].
    pub fn check_bounds(&self) -> Result<()> {
        check_lengths(self.head.len(), self.body.len(), FRAME_HEAD_MAX, FRAME_MAX)
    }

    /// The header, checksum included. The lengths must have passed [`Frame::check_bounds`].
    pub fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let mut out = &mut header[..];
        out.put_slice(&MAGIC);
        out.put_u8(VERSION);
        out.put_u8(self.kind as u8);
        out.put_u8(if self.body_checked { FLAG_BODY_CHECKED } else { 0 });
        out.put_u8(0);
        out.put_u16_le(self.method);
        out.put_u64_le(self.correlation);
        out.put_u32_le(u32::try_from(self.head.len()).unwrap_or(u32::MAX));
        out.put_u32_le(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        let crc = checksum(&header[..CHECKED_HEADER], &self.head, &self.body, self.body_checked);
        header[CHECKED_HEADER..].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

fn checksum(header: &[u8], head: &[u8], body: &[u8], body_checked: bool) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(header);
    digest.update(head);
    if body_checked {
        digest.update(body);
    }
    digest.finalize()
}

fn check_lengths(head: usize, body: usize, head_max: usize, frame_max: usize) -> Result<()> {
    if head > head_max {
        return Err(Error::bad_request(format_args!("a head of {head} bytes, beyond {head_max}")));
    }
    match HEADER.checked_add(head).and_then(|sum| sum.checked_add(body)) {
        Some(length) if length <= frame_max => Ok(()),
        _ => Err(Error::bad_request(format_args!("a frame of {head} and {body} bytes, beyond {frame_max}"))),
    }
}

/// Takes frames out of a stream of bytes. Bodies and heads are slices of the receive buffer, not copies:
/// keeping a small one alive keeps up to one frame's bytes alive.
#[derive(Clone, Copy, Debug)]
pub struct FrameCodec {
    head_max: usize,
    frame_max: usize,
}

impl FrameCodec {
    /// For a peer that has proved who it is.
    pub const fn proven() -> FrameCodec {
        FrameCodec { head_max: FRAME_HEAD_MAX, frame_max: FRAME_MAX }
    }

    /// For a peer that has not: small frames only.
    pub const fn unproven() -> FrameCodec {
        FrameCodec { head_max: HELLO_FRAME_MAX, frame_max: HELLO_FRAME_MAX }
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = Error;

    /// The next whole frame of `buffer`, if it is there; else makes room for the rest of it.
    ///
    /// # Errors
    /// `UNSUPPORTED` for another protocol version, `BAD_REQUEST` for whatever else is no frame.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>> {
        let Some(start) = self.start(buffer)? else {
            buffer.reserve(HEADER - buffer.len());
            return Ok(None);
        };
        if buffer.len() < start.wire_len() {
            buffer.reserve(start.wire_len() - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(start.wire_len()).freeze();
        frame.advance(HEADER);
        let head = frame.split_to(start.head);
        start.frame(head, frame).map(Some)
    }
}

impl FrameCodec {
    /// What the header at the start of `buffer` says, once it is there.
    ///
    /// # Errors
    /// As decoding.
    pub(crate) fn start(&self, buffer: &[u8]) -> Result<Option<Start>> {
        // What is surely wrong is refused now: a stranger may never send 32 bytes.
        check_start(buffer)?;
        let Some(header) = buffer.first_chunk::<HEADER>().copied() else { return Ok(None) };
        let mut fields = &header[3..];
        let (kind, flags, reserved) = (fields.get_u8(), fields.get_u8(), fields.get_u8());
        let (method, correlation) = (fields.get_u16_le(), fields.get_u64_le());
        let (head, body) = (fields.get_u32_le() as usize, fields.get_u32_le() as usize);
        check_lengths(head, body, self.head_max, self.frame_max)?;
        let kind = Kind::from_number(kind)
            .ok_or_else(|| Error::bad_request(format_args!("a frame of unknown kind {kind}")))?;
        if flags & !FLAG_BODY_CHECKED != 0 || reserved != 0 {
            return Err(Error::bad_request(format_args!("a frame with unknown flags {flags:#x}")));
        }
        let body_checked = flags & FLAG_BODY_CHECKED != 0;
        Ok(Some(Start { header, kind, method, correlation, body_checked, head, body }))
    }
}

/// A header whose lengths are within the bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    header: [u8; HEADER],
    kind: Kind,
    method: u16,
    correlation: u64,
    body_checked: bool,
    /// Bytes of the head.
    pub(crate) head: usize,
    /// Bytes of the body.
    pub(crate) body: usize,
}

impl Start {
    fn wire_len(&self) -> usize {
        HEADER + self.head + self.body
    }

    /// The frame with this head and this body.
    ///
    /// # Errors
    /// `BAD_REQUEST` when the checksum is wrong.
    pub(crate) fn frame(self, head: Bytes, body: Bytes) -> Result<Frame> {
        let Start { header, kind, method, correlation, body_checked, .. } = self;
        let expected = &header[CHECKED_HEADER..];
        if checksum(&header[..CHECKED_HEADER], &head, &body, body_checked).to_le_bytes() != expected {
            return Err(Error::bad_request("a frame whose checksum is wrong"));
        }
        Ok(Frame { kind, method, correlation, head, body, body_checked })
    }
}

fn check_start(start: &[u8]) -> Result<()> {
    let magic = start.len().min(MAGIC.len());
    if start[..magic] != MAGIC[..magic] {
        return Err(Error::bad_request("bytes that are no frame of this protocol"));
    }
    match start.get(MAGIC.len()) {
        Some(&version) if version != VERSION => Err(Error::new(
            Code::Unsupported,
            format_args!("the peer speaks protocol version {version}, this program {VERSION}"),
            "run the same version of the program on both sides",
        )),
        _ => Ok(()),
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = Error;

    /// Appends `frame` to `buffer`, copying it: for small frames. Connections write large bodies from
    /// where they lie instead.
    ///
    /// # Errors
    /// As [`Frame::check_bounds`].
    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> Result<()> {
        check_lengths(frame.head.len(), frame.body.len(), self.head_max, self.frame_max)?;
        buffer.reserve(frame.wire_len());
        buffer.put_slice(&frame.header());
        buffer.put_slice(&frame.head);
        buffer.put_slice(&frame.body);
        Ok(())
    }
}

/// The error of a connection whose socket failed.
pub(crate) fn lost(error: &std::io::Error) -> Error {
    Error::new(
        Code::Unavailable,
        format_args!("the connection was lost ({error})"),
        "check that the server runs, then try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        (1u8..=10).prop_map(|number| Kind::from_number(number).unwrap())
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
        (kinds(), any::<u16>(), any::<u64>(), bytes(300), bytes(100_000), any::<bool>()).prop_map(
            |(kind, method, correlation, head, body, body_checked)| Frame {
                kind,
                method,
                correlation,
                head,
                body,
                body_checked,
            },
        )
    }

    fn wire(frame: &Frame) -> BytesMut {
        let mut buffer = BytesMut::new();
        FrameCodec::proven().encode(frame.clone(), &mut buffer).unwrap();
        buffer
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            sent in proptest::collection::vec(frames(), 1..4),
            cuts in proptest::collection::vec(1usize..5000, 1..20),
        ) {
            let mut stream = BytesMut::new();
            for frame in &sent {
                stream.extend_from_slice(&wire(frame));
            }
            let (mut buffer, mut received, mut cuts) = (BytesMut::new(), Vec::new(), cuts.into_iter().cycle());
            while !stream.is_empty() {
                let cut = cuts.next().unwrap().min(stream.len());
                buffer.extend_from_slice(&stream.split_to(cut));
                while let Some(frame) = FrameCodec::proven().decode(&mut buffer).unwrap() {
                    received.push(frame);
                }
            }
            prop_assert_eq!(sent, received);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic_or_a_large_allocation(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            honest_start in any::<bool>(),
        ) {
            let mut buffer = BytesMut::new();
            if honest_start {
                buffer.extend_from_slice(&[b'P', b'F', VERSION]);
            }
            buffer.extend_from_slice(&bytes);
            let _ = FrameCodec::proven().decode(&mut buffer);
            prop_assert!(buffer.capacity() <= 2 * FRAME_MAX);
        }

        #[test]
        fn one_flipped_bit_is_noticed(frame in frames(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut buffer = wire(&frame);
            let covered = if frame.body_checked { buffer.len() } else { HEADER + frame.head.len() };
            let at = at.index(covered);
            buffer[at] ^= 1 << bit;
            match FrameCodec::proven().decode(&mut buffer) {
                Ok(Some(_)) => prop_assert!(false, "a damaged frame was taken"),
                // A longer length only waits for bytes that will not fit the checksum.
                Ok(None) => prop_assert!((16..24).contains(&at)),
                Err(error) => prop_assert!(matches!(error.code, Code::BadRequest | Code::Unsupported)),
            }
        }
    }

    #[test]
    fn lengths_are_judged_before_room_is_made() {
        for (head, body) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (524_289, 0), (0, 1_048_545)]
        {
            let mut buffer = wire(&Frame::new(Kind::Request, 1, 1, Bytes::new(), Bytes::new()));
            buffer[16..20].copy_from_slice(&u32::to_le_bytes(head));
            buffer[20..24].copy_from_slice(&u32::to_le_bytes(body));
            assert_eq!(FrameCodec::proven().decode(&mut buffer).unwrap_err().code, Code::BadRequest);
            assert!(buffer.capacity() < 4096);
        }
    }

    #[test]
    fn the_largest_frame_passes_and_strangers_get_less() {
        let frame = Frame::new(Kind::Request, 1, 1, Bytes::new(), vec![7; FRAME_MAX - HEADER].into());
        assert_eq!(FrameCodec::proven().decode(&mut wire(&frame)).unwrap().unwrap(), frame);
        assert!(FrameCodec::unproven().decode(&mut wire(&frame)).is_err());
        let larger = Frame { body: vec![7; FRAME_MAX - HEADER + 1].into(), ..frame };
        assert!(larger.check_bounds().is_err());
    }

    #[test]
    fn another_version_is_told_apart_from_noise() {
        let mut buffer = BytesMut::from(&b"PF\x02"[..]);
        assert_eq!(FrameCodec::proven().decode(&mut buffer).unwrap_err().code, Code::Unsupported);
        let mut buffer = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
        assert_eq!(FrameCodec::proven().decode(&mut buffer).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn a_body_is_not_copied_on_its_way_in() {
        let mut buffer = wire(&Frame::new(Kind::Reply, 1, 1, Bytes::from("head"), vec![9; 1000].into()));
        let at = buffer.as_ptr() as usize;
        let frame = FrameCodec::proven().decode(&mut buffer).unwrap().unwrap();
        assert_eq!(frame.body.as_ptr() as usize, at + HEADER + 4);
    }
}
