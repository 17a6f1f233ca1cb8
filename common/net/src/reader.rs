//! Frames of one stream of bytes as it comes from a socket.

use crate::bounds::{BULK_MIN, READ_AFTER_BULK, READ_CHUNK};
use crate::buffers::{BUFFER, Buffer};
use crate::frame::{Frame, FrameCodec, HEADER, Start, lost};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::codec::Decoder;
use types::Result;

/// Frames of one stream, with "is there one already?" told apart from "wait for more".
///
/// Small frames come together in one buffer. A large body is read from the socket into a [`Buffer`] of its
/// own: nothing is copied, and no fresh memory is needed for each.
pub(crate) struct FrameReader {
    io: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    codec: FrameCodec,
    /// A large frame that is not all here.
    bulk: Option<Bulk>,
    after_bulk: bool,
}

struct Bulk {
    start: Start,
    head: Bytes,
    body: Buffer,
}

impl Bulk {
    fn missing(&self) -> usize {
        self.start.body - self.body.filled()
    }
}

impl FrameReader {
    pub(crate) fn new(io: Box<dyn AsyncRead + Send + Unpin>, codec: FrameCodec) -> FrameReader {
        FrameReader { io, buffer: BytesMut::new(), codec, bulk: None, after_bulk: false }
    }

    /// The peer has proved who it is.
    pub(crate) fn trust(&mut self) {
        self.codec = FrameCodec::proven();
    }

    /// The next frame if it has arrived whole.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>> {
        if self.bulk.is_none() {
            if self.buffer.is_empty() {
                return Ok(None);
            }
            self.begin_bulk()?;
        }
        match self.bulk.take_if(|bulk| bulk.missing() == 0) {
            Some(Bulk { start, head, body }) => start.frame(head, body.freeze()).map(Some),
            None if self.bulk.is_some() => Ok(None),
            None => {
                let frame = self.codec.decode(&mut self.buffer)?;
                self.after_bulk &= frame.is_none();
                Ok(frame)
            }
        }
    }

    /// Takes the start of a large frame out of the buffer, once its head is there.
    fn begin_bulk(&mut self) -> Result<()> {
        let Some(start) = self.codec.start(&self.buffer)? else { return Ok(()) };
        if !(BULK_MIN..=BUFFER).contains(&start.body) || self.buffer.len() < HEADER + start.head {
            return Ok(());
        }
        self.buffer.advance(HEADER);
        // A copy: a slice would keep this buffer from being used again.
        let head = Bytes::copy_from_slice(&self.buffer[..start.head]);
        self.buffer.advance(start.head);
        let mut body = Buffer::take();
        let here = self.buffer.len().min(start.body);
        body.put(&self.buffer[..here]);
        self.buffer.advance(here);
        self.bulk = Some(Bulk { start, head, body });
        self.after_bulk = true;
        Ok(())
    }

    /// Waits for more bytes; `false` when the peer has ended the stream. Dropping the future loses none.
    pub(crate) async fn fill(&mut self) -> Result<bool> {
        let read = match &mut self.bulk {
            Some(bulk) => {
                let missing = bulk.missing();
                let read = self.io.read(bulk.body.room(missing)).await;
                if let Ok(count) = read {
                    bulk.body.fill(count);
                }
                read
            }
            None => {
                // In the middle of a frame the decoder has made room for its rest; more would copy what is there.
                let room = self.buffer.capacity() - self.buffer.len();
                if self.buffer.len() < HEADER && room < READ_CHUNK / 4 {
                    self.buffer.reserve(READ_CHUNK);
                }
                let most = if self.after_bulk { READ_AFTER_BULK } else { usize::MAX };
                self.io.read_buf(&mut (&mut self.buffer).limit(most)).await
            }
        };
        match read {
            Ok(0) if self.buffer.is_empty() && self.bulk.is_none() => Ok(false),
            Ok(0) => Err(lost(&std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(true),
            Err(error) => Err(lost(&error)),
        }
    }

    /// The next frame; `None` when the peer has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads and forgets up to `most` bytes, so that closing does not cut off what was just said.
    pub(crate) async fn drain(&mut self, most: usize) {
        self.bulk = None;
        let mut seen = 0;
        while seen < most {
            self.buffer.clear();
            self.buffer.reserve(READ_CHUNK);
            match self.io.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => seen += count,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;
    use proptest::prelude::*;
    use tokio_util::codec::Encoder;
    use types::Code;
    use types::limits::PIECE;

    /// Gives at most so many bytes a read.
    struct Dribble(std::io::Cursor<Vec<u8>>, usize);

    impl AsyncRead for Dribble {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let most = self.1.min(buffer.remaining());
            let read = std::io::Read::read(&mut self.0, buffer.initialize_unfilled_to(most))?;
            buffer.advance(read);
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn wire(frames: &[Frame]) -> Vec<u8> {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| FrameCodec::proven().encode(frame.clone(), &mut out).unwrap());
        out.to_vec()
    }

    fn reader(bytes: Vec<u8>, step: usize) -> FrameReader {
        FrameReader::new(Box::new(Dribble(std::io::Cursor::new(bytes), step)), FrameCodec::proven())
    }

    fn frame(number: u64, body: usize, checked: bool) -> Frame {
        let body: Vec<u8> = (0..body).map(|at| (at as u64 * 31 + number) as u8).collect();
        let frame = Frame::new(Kind::Request, 7, number, Bytes::from("a head"), body.into());
        Frame { body_checked: checked, ..frame }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn small_and_large_frames_arrive_whole_however_the_bytes_come(
            sizes in proptest::collection::vec(
                (prop_oneof![0..200usize, 30_000..40_000usize, Just(PIECE), PIECE..400_000], any::<bool>()), 1..8),
            step in 1_000..300_000usize,
        ) {
            let frames: Vec<Frame> =
                sizes.iter().enumerate().map(|(at, (size, checked))| frame(at as u64, *size, *checked)).collect();
            let mut reader = reader(wire(&frames), step);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for frame in &frames {
                prop_assert_eq!(&runtime.block_on(reader.next()).unwrap().unwrap(), frame);
            }
            prop_assert!(runtime.block_on(reader.next()).unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_large_body_that_was_damaged_or_cut_off_is_refused() {
        let whole = wire(&[frame(1, PIECE, true)]);
        let mut bad = whole.clone();
        bad[PIECE / 2] ^= 1;
        assert_eq!(reader(bad, 9_999).next().await.unwrap_err().code, Code::BadRequest);
        let cut = whole[..PIECE / 2].to_vec();
        assert_eq!(reader(cut, 9_999).next().await.unwrap_err().code, Code::Unavailable);
    }
}
