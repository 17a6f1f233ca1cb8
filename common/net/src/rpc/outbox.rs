//! The sending half of a connection: a bounded queue of frames and the one place that writes them.
//!
//! Small frames are copied together and large parts lie beside them as slices, so whatever is ready goes
//! out in one vectored write. Usually a task of its own writes ([`Outbox::run`]); who has just queued the
//! only frame may write at once instead ([`Outbox::flush_now`]) and save the way through that task.

use crate::bounds::{BATCH_BYTES, BATCH_SLICES, COALESCE_MAX, OUT_BYTES};
use crate::frame::{Frame, Kind, lost};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{Code, Effect, Error, Result};

/// Room for one frame in the queue, given back once the frame is written or dropped.
pub(crate) type Room = OwnedSemaphorePermit;

pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    io: Mutex<Io>,
    room: Arc<Semaphore>,
}

struct Queue {
    frames: VecDeque<Queued>,
    /// Number of the next frame; numbers follow the order of the queue.
    next: u64,
    /// Frames below this number have been handed to the socket, in part at least.
    started: u64,
    pushes: usize,
    push_bytes: usize,
    /// Nothing more is taken; `finish` still writes what is queued.
    closed: Option<Error>,
    /// Of the task that writes, when it has nothing to do.
    writer: Option<Waker>,
}

struct Queued {
    number: u64,
    frame: Frame,
    room: Option<Room>,
}

struct Io {
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    batch: Batch,
    flushed: bool,
}

/// What is being written.
#[derive(Default)]
struct Batch {
    small: BytesMut,
    parts: VecDeque<Bytes>,
    rooms: Vec<Room>,
}

impl Batch {
    fn put(&mut self, queued: Queued) {
        let Queued { frame, room, .. } = queued;
        self.small.extend_from_slice(&frame.header());
        for part in [frame.head, frame.body] {
            if part.len() <= COALESCE_MAX {
                self.small.extend_from_slice(&part);
            } else {
                self.cut();
                self.parts.push_back(part);
            }
        }
        self.rooms.extend(room);
    }

    fn cut(&mut self) {
        if !self.small.is_empty() {
            self.parts.push_back(self.small.split().freeze());
        }
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.parts.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.parts.pop_front();
        }
        self.rooms.clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outbox {
    pub(crate) fn new(writer: Box<dyn AsyncWrite + Send + Unpin>) -> Outbox {
        let queue = Queue {
            frames: VecDeque::new(),
            next: 1,
            started: 1,
            pushes: 0,
            push_bytes: 0,
            closed: None,
            writer: None,
        };
        Outbox {
            queue: Mutex::new(queue),
            io: Mutex::new(Io { writer, batch: Batch::default(), flushed: true }),
            room: Arc::new(Semaphore::new(OUT_BYTES)),
        }
    }

    /// Waits for room for `length` bytes in the queue.
    pub(crate) async fn room(&self, length: usize) -> Result<Room> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(length).await.map_err(|_| self.reason())
    }

    /// Room for `length` bytes if there is some now.
    pub(crate) fn room_now(&self, length: usize) -> Option<Room> {
        self.room.clone().try_acquire_many_owned(u32::try_from(length).unwrap_or(u32::MAX)).ok()
    }

    /// Queues the frame that `make` makes from its number. The numbers follow the order on the wire.
    /// Nothing is written before [`Outbox::wake`] or [`Outbox::flush_now`].
    pub(crate) fn queue(&self, room: Option<Room>, make: impl FnOnce(u64) -> Frame) -> Result<u64> {
        let mut queue = locked(&self.queue);
        if let Some(error) = &queue.closed {
            return Err(error.clone());
        }
        let number = queue.next;
        queue.next += 1;
        let frame = make(number);
        queue.frames.push_back(Queued { number, frame, room });
        Ok(number)
    }

    /// Queues a push unless `depth` of them, or `bytes` of them, wait already.
    pub(crate) fn queue_push(&self, frame: Frame, depth: usize, bytes: usize) -> Result<()> {
        let mut queue = locked(&self.queue);
        if let Some(error) = &queue.closed {
            return Err(error.clone());
        }
        let length = frame.wire_len();
        if queue.pushes >= depth || queue.push_bytes + length > bytes {
            return Err(Error::new(
                Code::Busy,
                "the peer does not read its pushes",
                "it has to connect again",
            ));
        }
        queue.pushes += 1;
        queue.push_bytes += length;
        let number = queue.next;
        queue.next += 1;
        queue.frames.push_back(Queued { number, frame, room: None });
        Ok(())
    }

    /// Takes a frame back; `false` if it has been handed to the socket already.
    pub(crate) fn take_back(&self, number: u64) -> bool {
        let mut queue = locked(&self.queue);
        if number < queue.started {
            return false;
        }
        if let Ok(at) = queue.frames.binary_search_by_key(&number, |queued| queued.number) {
            queue.frames.remove(at);
        }
        true
    }

    /// Tells the writing task that there is work.
    pub(crate) fn wake(&self) {
        let waker = locked(&self.queue).writer.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Writes what the socket takes now; the writing task does the rest.
    pub(crate) fn flush_now(&self) {
        let done = match self.io.try_lock() {
            Ok(mut io) => {
                let mut context = Context::from_waker(Waker::noop());
                matches!(self.drive(&mut io, &mut context), Poll::Ready(Ok(())))
            }
            Err(_) => false,
        };
        // Also after an error: the writing task meets it again and ends.
        if !done {
            self.wake();
        }
    }

    /// Takes no more frames. With `finish` those that wait are still written, else they are dropped.
    /// Returns the first number that is never handed to the socket.
    pub(crate) fn close(&self, mut reason: Error, finish: bool) -> u64 {
        reason.effect = Effect::None;
        let mut queue = locked(&self.queue);
        queue.closed.get_or_insert(reason);
        let dropped = if finish { VecDeque::new() } else { std::mem::take(&mut queue.frames) };
        let unsent = queue.frames.back().map_or(queue.started, |last| last.number + 1);
        drop(queue);
        drop(dropped);
        self.room.close();
        self.wake();
        unsent
    }

    /// Closes with `frame` as the last words; with `only` instead of what waits, else after it.
    pub(crate) fn last_words(&self, frame: Frame, reason: Error, only: bool) {
        let dropped = match only {
            true => std::mem::take(&mut locked(&self.queue).frames),
            false => VecDeque::new(),
        };
        // Closed already: someone else had the last word.
        let _ = self.queue(None, |_| frame);
        drop(dropped);
        self.close(reason, true);
    }

    /// Why it is closed.
    pub(crate) fn reason(&self) -> Error {
        locked(&self.queue).closed.clone().unwrap_or_else(|| Error::internal("the connection is open"))
    }

    /// Writes until [`Outbox::close`] or an error, then ends the stream.
    pub(crate) async fn run(&self) -> Result<()> {
        poll_fn(|context| {
            // First of all: someone else's `flush_now` may take our place at the socket and has to be able
            // to call us back.
            locked(&self.queue).writer = Some(context.waker().clone());
            let mut io = locked(&self.io);
            match self.drive(&mut io, context) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            let queue = locked(&self.queue);
            if !queue.frames.is_empty() {
                context.waker().wake_by_ref();
                Poll::Pending
            } else if queue.closed.is_some() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await?;
        poll_fn(|context| Pin::new(&mut locked(&self.io).writer).poll_shutdown(context))
            .await
            .map_err(|error| lost(&error))
    }

    /// Lets go of the socket, whoever still holds this: nothing is written any more.
    pub(crate) fn hang_up(&self) {
        let mut io = locked(&self.io);
        io.writer = Box::new(tokio::io::sink());
        io.batch = Batch::default();
    }

    /// Writes until nothing waits (ready) or the socket is full (pending).
    fn drive(&self, io: &mut Io, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            if io.batch.parts.is_empty() && !self.fill(&mut io.batch) {
                if !io.flushed {
                    match Pin::new(&mut io.writer).poll_flush(context) {
                        Poll::Ready(Ok(())) => io.flushed = true,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                return Poll::Ready(Ok(()));
            }
            io.flushed = false;
            let mut slices = [IoSlice::new(&[]); BATCH_SLICES];
            let count = io.batch.parts.len().min(BATCH_SLICES);
            for (slice, part) in slices.iter_mut().zip(&io.batch.parts) {
                *slice = IoSlice::new(part);
            }
            match Pin::new(&mut io.writer).poll_write_vectored(context, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(lost(&std::io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => io.batch.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn fill(&self, batch: &mut Batch) -> bool {
        let mut taken = Vec::new();
        let (mut bytes, mut parts) = (0, 0);
        {
            let mut queue = locked(&self.queue);
            while bytes < BATCH_BYTES && parts + 4 <= BATCH_SLICES {
                let Some(queued) = queue.frames.pop_front() else { break };
                queue.started = queued.number + 1;
                bytes += queued.frame.wire_len();
                if queued.frame.head.len() > COALESCE_MAX || queued.frame.body.len() > COALESCE_MAX {
                    parts += 4;
                }
                if queued.frame.kind == Kind::Push {
                    queue.pushes -= 1;
                    queue.push_bytes -= queued.frame.wire_len();
                }
                taken.push(queued);
            }
        }
        // Checksums are made outside the lock of the queue.
        for queued in taken {
            batch.put(queued);
        }
        batch.cut();
        !batch.parts.is_empty()
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
