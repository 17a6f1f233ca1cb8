//! The frame decoder, with what comes cut anywhere.

use crate::input::Input;
use bytes::BytesMut;
use net::bounds::HELLO_FRAME_MAX;
use net::frame::{Frame, FrameCodec};
use tokio_util::codec::{Decoder, Encoder};
use types::limits::FRAME_MAX;

/// The first byte says whether the peer is proven, the second how much comes at once; then the stream.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (flags, step) = (input.byte(), usize::from(input.byte()).max(1));
    let (codec, most) = match flags & 1 {
        0 => (FrameCodec::unproven(), HELLO_FRAME_MAX),
        _ => (FrameCodec::proven(), FRAME_MAX),
    };
    let stream = input.rest();
    let at_once = decode(codec, most, stream, stream.len().max(1));
    let in_steps = decode(codec, most, stream, step);
    assert_eq!(at_once, in_steps, "it matters how the bytes come");
    let (frames, _) = at_once;
    let mut again = BytesMut::new();
    for frame in frames {
        frame.check_bounds().expect("what was received may be sent");
        FrameCodec::proven().encode(frame, &mut again).expect("what was received can be sent");
    }
    assert!(stream.starts_with(&again), "what was received is not what was sent");
}

/// The frames, and whether the stream broke.
fn decode(mut codec: FrameCodec, most: usize, stream: &[u8], step: usize) -> (Vec<Frame>, bool) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            let decoded = codec.decode(&mut buffer);
            assert!(buffer.capacity() <= 2 * (most + stream.len()), "room is made for what may not come");
            match decoded {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}
