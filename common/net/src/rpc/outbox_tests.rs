use super::*;
use crate::frame::FrameCodec;
use std::task::Waker;
use tokio_util::codec::Decoder;

/// Takes at most `most` bytes a write and remembers how it was written to.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    bytes: BytesMut,
    writes: usize,
    slices: Vec<usize>,
    most: usize,
    /// Every other write is refused, as by a full socket.
    sluggish: bool,
    refused: Option<Waker>,
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let mut seen = self.0.lock().unwrap();
        if seen.sluggish && seen.refused.is_none() {
            seen.refused = Some(context.waker().clone());
            return Poll::Pending;
        }
        seen.refused = None;
        seen.writes += 1;
        let mut left = seen.most;
        for slice in slices {
            seen.slices.push(slice.as_ptr() as usize);
            let count = slice.len().min(left);
            seen.bytes.extend_from_slice(&slice[..count]);
            left -= count;
        }
        Poll::Ready(Ok(seen.most - left))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn wire(most: usize, sluggish: bool) -> (Wire, Outbox) {
    let wire = Wire::default();
    wire.0.lock().unwrap().most = most;
    wire.0.lock().unwrap().sluggish = sluggish;
    (wire.clone(), Outbox::new(Box::new(wire)))
}

fn frame(number: u64, body: usize) -> Frame {
    Frame::new(Kind::Reply, 1, number, Bytes::from_static(b"head"), vec![number as u8; body].into())
}

fn received(wire: &Wire) -> Vec<u64> {
    let mut bytes = wire.0.lock().unwrap().bytes.clone();
    let mut numbers = Vec::new();
    while let Some(frame) = FrameCodec::proven().decode(&mut bytes).unwrap() {
        numbers.push(frame.correlation);
    }
    assert!(bytes.is_empty());
    numbers
}

fn full() -> Error {
    Error::new(Code::Unavailable, "closed", "x")
}

#[test]
fn many_small_answers_cost_one_write() {
    let (wire, outbox) = wire(usize::MAX, false);
    for _ in 0..100 {
        outbox.queue(None, |number| frame(number, 50)).unwrap();
    }
    outbox.flush_now();
    assert_eq!(received(&wire), (1..=100).collect::<Vec<_>>());
    assert_eq!(wire.0.lock().unwrap().writes, 1);
}

#[test]
fn a_large_body_is_written_from_where_it_lies() {
    let (wire, outbox) = wire(usize::MAX, false);
    let large = frame(2, 300_000);
    let at = large.body.as_ptr() as usize;
    outbox.queue(None, |number| frame(number, 10)).unwrap();
    outbox.queue(None, |_| large).unwrap();
    outbox.queue(None, |number| frame(number, 10)).unwrap();
    outbox.flush_now();
    assert_eq!(received(&wire), [1, 2, 3]);
    let seen = wire.0.lock().unwrap();
    assert_eq!(seen.writes, 1);
    assert!(seen.slices.contains(&at));
}

#[tokio::test]
async fn a_sluggish_socket_gets_every_byte_once_and_in_order() {
    for most in [1000, 4097, 100_000] {
        let (wire, outbox) = wire(most, true);
        let outbox = Arc::new(outbox);
        let running = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.run().await }
        });
        let waker = tokio::spawn({
            let wire = wire.clone();
            async move {
                loop {
                    // The socket has room again.
                    let refused = wire.0.lock().unwrap().refused.clone();
                    if let Some(waker) = refused {
                        waker.wake();
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        for number in 1..=200u64 {
            let next = frame(number, (number as usize * 997) % 40_000);
            let room = outbox.room(next.wire_len()).await.unwrap();
            outbox.queue(Some(room), |_| next).unwrap();
            if number % 3 == 0 { outbox.flush_now() } else { outbox.wake() }
        }
        outbox.close(full(), true);
        running.await.unwrap().unwrap();
        waker.abort();
        assert_eq!(received(&wire), (1..=200).collect::<Vec<_>>());
        assert!(outbox.queue(None, |number| frame(number, 1)).is_err());
    }
}

#[test]
fn a_frame_is_taken_back_only_while_nothing_of_it_was_written() {
    let (wire, outbox) = wire(10, false);
    wire.0.lock().unwrap().most = 10;
    let first = outbox.queue(None, |number| frame(number, 10)).unwrap();
    outbox.flush_now();
    let second = outbox.queue(None, |number| frame(number, 10)).unwrap();
    let third = outbox.queue(None, |number| frame(number, 10)).unwrap();
    assert!(!outbox.take_back(first));
    assert!(outbox.take_back(second));
    assert_eq!(outbox.close(full(), false), second);
    assert!(third > second);
    outbox.flush_now();
    assert_eq!(received(&wire), [first]);
}

#[test]
fn pushes_have_their_own_bound() {
    let (wire, outbox) = wire(usize::MAX, false);
    let push = || Frame { kind: Kind::Push, ..frame(0, 100) };
    for _ in 0..3 {
        outbox.queue_push(push(), 3, 10_000).unwrap();
    }
    assert_eq!(outbox.queue_push(push(), 3, 10_000).unwrap_err().code, Code::Busy);
    assert_eq!(outbox.queue_push(push(), 9, 450).unwrap_err().code, Code::Busy);
    outbox.flush_now();
    assert_eq!(received(&wire).len(), 3);
    outbox.queue_push(push(), 3, 10_000).unwrap();
}
