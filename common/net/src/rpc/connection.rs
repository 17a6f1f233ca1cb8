//! One connection of a server: reads requests, begins them, answers.

use crate::BoxFuture;
use crate::bounds::{BULK_MIN, DRAIN_MAX, HELLO_FRAME_MAX, INLINE_BURST, LINGER_MAX, REQUEST_BYTES};
use crate::buffers::charged;
use crate::frame::{Frame, Kind};
use crate::reader::FrameReader;
use crate::rpc::lane::{Lane, Turn};
use crate::rpc::{Incoming, Outgoing, Service, Session, failure};
use bytes::Bytes;
use futures_util::FutureExt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use types::limits::CONN_INFLIGHT;
use types::{Code, Error, Result};

/// A place among the requests that are worked on, by number and by bytes.
pub(crate) struct Place {
    _count: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    /// Its share of the whole server's, if it is large and has no body that holds it.
    bulk: Option<OwnedSemaphorePermit>,
}

/// What the requests of one connection share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) session: Arc<Session>,
}

/// Tells the service of the end, however it comes.
struct Connected(Context);

impl Drop for Connected {
    fn drop(&mut self) {
        let Context { service, session } = &self.0;
        session.close();
        // The panic is logged; there is nobody to tell.
        let _ = caught(|| service.disconnected(session));
    }
}

/// Serves `context.session`, whose service has accepted it, to its end.
pub(crate) async fn serve(
    context: Context,
    mut reader: FrameReader,
    bulk: Arc<Semaphore>,
    draining: CancellationToken,
) {
    let writer = tokio::spawn(write(context.session.clone()));
    let connected = Connected(context.clone());
    let mut requests = Requests {
        count: Arc::new(Semaphore::new(CONN_INFLIGHT)),
        bytes: Arc::new(Semaphore::new(REQUEST_BYTES)),
        bulk,
        lane: Lane::new(context.clone()),
        context,
        draining,
        burst: 0,
    };
    let ended = requests.read(&mut reader).await;
    let session = &connected.0.session;
    let broken = ended.is_err();
    if let Err(error) = ended {
        tracing::debug!(session = session.id, peer = %session.peer.addr, %error, "connection ended");
        session.outbox.last_words(failed(0, 0, &error), error, false);
    }
    drop(connected);
    // Closing with unread bytes would cut off the last words on their way.
    if broken {
        let _ = timeout(LINGER_MAX, reader.drain(64 * HELLO_FRAME_MAX)).await;
    }
    let _ = writer.await;
}

async fn write(session: Arc<Session>) {
    let lingered = async {
        session.closed().await;
        tokio::time::sleep(LINGER_MAX).await;
    };
    tokio::select! {
        result = session.outbox.run() => if let Err(error) = result { session.end(error, false) },
        () = lingered => {}
    }
    // The service may hold the session for longer; the socket must not wait for that.
    session.outbox.hang_up();
}

struct Requests {
    context: Context,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Bytes of large requests, of all connections (R38), until the service has let go of their bodies. Small ones go
    /// without, so that what keeps a cluster together does not wait for bulk.
    bulk: Arc<Semaphore>,
    lane: Lane,
    draining: CancellationToken,
    burst: u32,
}

impl Requests {
    async fn read(&mut self, reader: &mut FrameReader) -> Result<()> {
        let session = self.context.session.clone();
        let drained = drain(session.clone(), self.count.clone(), self.draining.clone());
        tokio::pin!(drained);
        loop {
            if session.is_closed() {
                return Ok(());
            }
            if let Some(frame) = reader.buffered()? {
                self.take(frame).await?;
                continue;
            }
            // All that was ready is answered: now it goes out together.
            session.outbox.flush_now();
            self.burst = 0;
            let more = tokio::select! {
                biased;
                () = session.closed() => return Ok(()),
                () = &mut drained => return Ok(()),
                more = reader.fill() => more?,
            };
            if !more {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<()> {
        let cast = match frame.kind {
            Kind::Request => false,
            Kind::Cast => true,
            Kind::Goodbye => return Ok(()),
            kind => return Err(Error::bad_request(format_args!("{kind:?} from a client"))),
        };
        self.burst += 1;
        if self.burst >= INLINE_BURST {
            self.burst = 0;
            self.context.session.outbox.flush_now();
            tokio::task::yield_now().await;
        }
        if self.draining.is_cancelled() {
            if !cast {
                let error = Error::new(Code::Unavailable, "the server is stopping", "ask another server");
                answer(&self.context, frame.method, frame.correlation, Err(error)).await;
            }
            return Ok(());
        }
        let Some(mut place) = self.place(frame.wire_len()).await else { return Ok(()) };
        let Frame { method, correlation, head, mut body, .. } = frame;
        // The bytes may stay in memory for longer than their request, or not as long.
        if !body.is_empty()
            && let Some(share) = place.bulk.take()
        {
            body = charged(body, share);
        }
        let request = Incoming { method, head, body };
        match cast {
            true if self.lane.is_idle() => {
                if let Some(rest) = begin_cast(&self.context, request).await {
                    self.lane.add(Turn::Running(rest), place);
                }
            }
            true => self.lane.add(Turn::Cast(request), place),
            false if !self.lane.is_idle() && self.context.service.ordered(method) => {
                self.lane.add(Turn::Call(correlation, request), place);
            }
            false => begin_call(&self.context, correlation, request, place).await,
        }
        Ok(())
    }

    /// Waits for a place; `None` when the connection ends meanwhile.
    async fn place(&self, bytes: usize) -> Option<Place> {
        let is_bulk = bytes >= BULK_MIN;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let session = &self.context.session;
        let place = async {
            let _count = take(&self.count, 1, session).await?;
            let _bytes = take(&self.bytes, bytes, session).await?;
            let bulk = if is_bulk { Some(take(&self.bulk, bytes, session).await?) } else { None };
            Some(Place { _count, _bytes, bulk })
        };
        tokio::select! {
            biased;
            place = place => place,
            () = session.closed() => None,
        }
    }
}

/// Takes `many` of what there are; what is answered already goes out before it waits for others.
async fn take(all: &Arc<Semaphore>, many: u32, session: &Session) -> Option<OwnedSemaphorePermit> {
    if let Ok(taken) = all.clone().try_acquire_many_owned(many) {
        return Some(taken);
    }
    session.outbox.flush_now();
    all.clone().acquire_many_owned(many).await.ok()
}

/// Once the server stops: says so, waits for the requests that are worked on, for a while.
async fn drain(session: Arc<Session>, count: Arc<Semaphore>, draining: CancellationToken) {
    draining.cancelled().await;
    let goodbye = Frame::new(Kind::Goodbye, 0, 0, Bytes::new(), Bytes::new());
    // Closed already: nothing to say.
    let _ = session.outbox.queue(None, |_| goodbye);
    session.outbox.wake();
    let all = u32::try_from(CONN_INFLIGHT).unwrap_or(u32::MAX);
    let _ = timeout(DRAIN_MAX, count.acquire_many(all)).await;
}

/// Begins a call; what is not ready at once goes on in a task of its own.
pub(crate) async fn begin_call(context: &Context, correlation: u64, request: Incoming, place: Place) {
    let method = request.method;
    let Context { service, session } = context.clone();
    let mut future = match caught(|| service.call(session, request)) {
        Ok(future) => future,
        Err(error) => return answer(context, method, correlation, Err(error)).await,
    };
    match poll_once(&mut future).await {
        Ok(Poll::Ready(result)) => {
            let is_bulk = result.as_ref().is_ok_and(|answer| answer.body.len() >= BULK_MIN);
            answer(context, method, correlation, result).await;
            // On its way while the next one is made.
            if is_bulk {
                context.session.outbox.flush_now();
            }
        }
        Err(error) => answer(context, method, correlation, Err(error)).await,
        Ok(Poll::Pending) => {
            let context = context.clone();
            tokio::spawn(async move {
                let result = AssertUnwindSafe(future).catch_unwind().await;
                let result = result.unwrap_or_else(|_| Err(panicked()));
                answer(&context, method, correlation, result).await;
                context.session.outbox.wake();
                drop(place);
            });
        }
    }
}

/// Begins a cast; returns what is not done at once.
pub(crate) async fn begin_cast(context: &Context, request: Incoming) -> Option<BoxFuture<'static, ()>> {
    let Context { service, session } = context.clone();
    let begun = match caught(|| service.cast(session, request)) {
        Ok(mut future) => match poll_once(&mut future).await {
            Ok(Poll::Pending) => return Some(future),
            Ok(Poll::Ready(())) => Ok(()),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    if let Err(error) = begun {
        cast_failed(context, error);
    }
    None
}

/// A cast that panicked leaves its series in an unknown state, and nobody waits for an answer.
pub(crate) fn cast_failed(context: &Context, error: Error) {
    context.session.outbox.last_words(failed(0, 0, &error), error, false);
    context.session.close();
}

/// Queues the answer; who calls sees to it that it is written.
async fn answer(context: &Context, method: u16, correlation: u64, result: Result<Outgoing>) {
    let frame = match result {
        Ok(Outgoing { head, body }) => {
            let frame = Frame::new(Kind::Reply, method, correlation, head, body);
            match frame.check_bounds() {
                Ok(()) => frame,
                Err(error) => failed(method, correlation, &Error::internal(error.message).outcome_unknown()),
            }
        }
        Err(error) => failed(method, correlation, &error),
    };
    let outbox = &context.session.outbox;
    let room = match outbox.room_now(frame.wire_len()) {
        Some(room) => room,
        None => {
            outbox.flush_now();
            match outbox.room(frame.wire_len()).await {
                Ok(room) => room,
                // The connection has ended; so has the interest.
                Err(_) => return,
            }
        }
    };
    let _ = outbox.queue(Some(room), |_| frame);
}

pub(crate) fn failed(method: u16, correlation: u64, error: &Error) -> Frame {
    Frame::new(Kind::Failure, method, correlation, failure::encode(error), Bytes::new())
}

async fn poll_once<T>(future: &mut BoxFuture<'static, T>) -> Result<Poll<T>> {
    poll_fn(|context| Poll::Ready(caught(|| future.as_mut().poll(context)))).await
}

pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| panicked())
}

pub(crate) fn panicked() -> Error {
    tracing::error!("a request made the server panic; the message is on stderr");
    Error::internal("the server failed at this request").outcome_unknown()
}
