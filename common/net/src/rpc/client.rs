//! The calling side of a connection.

use crate::bounds::{COALESCE_MAX, LINGER_MAX, PUSH_BACKLOG};
use crate::frame::{Frame, FrameCodec, Kind};
use crate::handshake::{self, Credential, Learnt};
use crate::reader::FrameReader;
use crate::rpc::outbox::Outbox;
use crate::rpc::{Method, Push, Pushes, failure};
use crate::transport::{Dial, Stream, Tcp};
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, broadcast, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use types::limits::{CONN_INFLIGHT, HELLO_TIMEOUT};
use types::{Code, Effect, Error, Result};

type Answer = Result<(Bytes, Bytes)>;

/// A proven connection to a server. Clones share it; it is closed when the last one goes.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

pub(crate) struct Shared {
    pub(crate) peer: SocketAddr,
    /// Nothing can be asked any more.
    closing: CancellationToken,
    /// Nothing will arrive any more.
    pub(crate) done: CancellationToken,
    local: SocketAddr,
    learnt: Learnt,
    outbox: Outbox,
    slots: Semaphore,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    pushes: broadcast::Sender<Push>,
    /// For the first subscriber, who must not miss what came before they asked.
    first: Mutex<Option<broadcast::Receiver<Push>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Connects to `addr` (`host:port`) over TCP, and both sides prove who they are, within
    /// [`HELLO_TIMEOUT`]. With `cluster_id` only a server of that cluster will do; without it
    /// [`Connection::cluster_id`] tells which it is. What `purpose` means is between the two sides.
    ///
    /// # Errors
    /// `UNAVAILABLE` when nobody answers; `WRONG_CLUSTER`; `BAD_PROOF` when either side does not hold the
    /// key; `BUSY` when the server has too many connections; what the service's `connected` says.
    pub async fn open(
        addr: &str,
        credential: Credential,
        cluster_id: Option<[u8; 16]>,
        purpose: u16,
    ) -> Result<Connection> {
        Connection::open_with(&Tcp, addr, credential, cluster_id, purpose).await
    }

    /// [`Connection::open`] over another transport.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open_with(
        dial: &dyn Dial,
        addr: &str,
        credential: Credential,
        cluster_id: Option<[u8; 16]>,
        purpose: u16,
    ) -> Result<Connection> {
        let opened = timeout(HELLO_TIMEOUT, async {
            let Stream { reader, mut writer, peer, local } = dial.dial(addr).await?;
            let mut reader = FrameReader::new(reader, FrameCodec::unproven());
            let learnt =
                handshake::prove(&mut reader, &mut *writer, &credential, cluster_id, purpose).await?;
            reader.trust();
            let (pushes, first) = broadcast::channel(PUSH_BACKLOG);
            let shared = Arc::new(Shared {
                peer,
                local,
                learnt,
                outbox: Outbox::new(writer),
                slots: Semaphore::new(CONN_INFLIGHT),
                waiting: Mutex::default(),
                closing: CancellationToken::new(),
                done: CancellationToken::new(),
                pushes,
                first: Mutex::new(Some(first)),
            });
            tokio::spawn(write(shared.clone()));
            tokio::spawn(read(shared.clone(), reader));
            Ok(Connection { handle: Arc::new(Handle { shared }) })
        });
        opened.await.unwrap_or_else(|_| {
            Err(Error::new(
                Code::Unavailable,
                format_args!("{addr} did not answer in {} s", HELLO_TIMEOUT.as_secs()),
                "check the address and that the server runs",
            ))
        })
    }

    /// Calls `M` and waits for the answer, at most until `deadline`. `body` are bulk bytes, empty for none,
    /// as are those that return. At 1024 calls in flight, or 4 MiB not yet written, it waits for room.
    ///
    /// Dropping the future gives up the call: if it was written the server still does it.
    ///
    /// # Errors
    /// What the server answers, with the effect it states. Of our own: `TIMEOUT` at the deadline,
    /// `UNAVAILABLE` when the connection ends, both with [`Effect::None`] if nothing of the request was
    /// written and [`Effect::Unknown`] if something was; `BAD_REQUEST` beyond the bounds of a frame.
    pub async fn call<M: Method>(
        &self,
        request: M::Request,
        body: Bytes,
        deadline: impl Into<Instant>,
    ) -> Result<(M::Reply, Bytes)> {
        let head = Bytes::from(request.encode_to_vec());
        drop(request);
        self.call_and_decode::<M>(head, body, deadline.into()).await
    }

    /// [`Connection::call`] with a request that is lent, not given away: for calls that may be repeated.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_again<M: Method>(
        &self,
        request: &M::Request,
        body: Bytes,
        deadline: impl Into<Instant>,
    ) -> Result<(M::Reply, Bytes)> {
        self.call_and_decode::<M>(request.encode_to_vec().into(), body, deadline.into()).await
    }

    async fn call_and_decode<M: Method>(
        &self,
        head: Bytes,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(M::Reply, Bytes)> {
        let (head, body) = self.call_encoded(M::ID, M::NAME, head, body, deadline).await?;
        let reply = M::Reply::decode(head).map_err(|error| {
            let what = format_args!("the answer to {} does not decode ({error})", M::NAME);
            Error::bad_request(what).outcome_unknown()
        })?;
        Ok((reply, body))
    }

    /// [`Connection::call`] for a message that is encoded already.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_encoded(
        &self,
        method: u16,
        name: &str,
        head: Bytes,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(Bytes, Bytes)> {
        let shared = &*self.handle.shared;
        let mut frame = Frame::new(Kind::Request, method, 0, head, body);
        frame.check_bounds()?;
        let late = |effect| timed_out(name, shared.peer, effect);
        if deadline <= Instant::now() {
            return Err(late(Effect::None));
        }
        shared.check_open()?;
        let entered = async {
            let slot = shared.slots.acquire().await.map_err(|_| shared.outbox.reason())?;
            let room = match shared.outbox.room_now(frame.wire_len()) {
                Some(room) => room,
                None => shared.outbox.room(frame.wire_len()).await?,
            };
            Ok((slot, room))
        };
        let (slot, room) = timeout_at(deadline, entered).await.unwrap_or_else(|_| Err(late(Effect::None)))?;
        let (sender, receiver) = oneshot::channel();
        let number = shared.outbox.queue(Some(room), |number| {
            locked(&shared.waiting).insert(number, sender);
            frame.correlation = number;
            frame
        })?;
        let call = InFlight { shared, number };
        // Alone: nothing to be written together with, so the way through the writing task only costs.
        if shared.slots.available_permits() + 1 == CONN_INFLIGHT {
            shared.outbox.flush_now();
        } else {
            shared.outbox.wake();
        }
        let answer = match timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(shared.outbox.reason().outcome_unknown()),
            Err(_) if shared.outbox.take_back(number) => Err(late(Effect::None)),
            Err(_) => Err(late(Effect::Unknown)),
        };
        drop(call);
        drop(slot);
        answer
    }

    /// Sends `M` without an answer; waits only for room in the queue. Casts of one task arrive in their
    /// order, also between its calls of methods that the service orders. Whether they arrived, a later call
    /// tells.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the connection has ended, `BAD_REQUEST` beyond the bounds of a frame.
    pub async fn cast<M: Method>(&self, request: M::Request, body: Bytes) -> Result<()> {
        self.cast_encoded(M::ID, request.encode_to_vec().into(), body).await
    }

    /// [`Connection::cast`] for a message that is encoded already.
    ///
    /// # Errors
    /// As [`Connection::cast`].
    pub async fn cast_encoded(&self, method: u16, head: Bytes, body: Bytes) -> Result<()> {
        let shared = &*self.handle.shared;
        let mut frame = Frame::new(Kind::Cast, method, 0, head, body);
        frame.check_bounds()?;
        shared.check_open()?;
        let room = shared.outbox.room(frame.wire_len()).await?;
        shared.outbox.queue(Some(room), |number| {
            frame.correlation = number;
            frame
        })?;
        shared.outbox.wake();
        Ok(())
    }

    /// What the server says unasked. The first subscriber gets everything since the connection was made,
    /// later ones what comes from now on.
    pub fn pushes(&self) -> Pushes {
        let shared = self.handle.shared.clone();
        let first = locked(&shared.first).take();
        Pushes { receiver: first.unwrap_or_else(|| shared.pushes.subscribe()), shared, missed: false }
    }

    /// Says goodbye and closes, for all clones. Queued casts are still written (for at most a second); calls
    /// in flight fail with an unknown effect.
    pub fn close(&self) {
        self.handle.shared.leave();
    }

    /// Whether nothing can be asked any more: lost, closed, or the server is stopping.
    pub fn is_closed(&self) -> bool {
        self.handle.shared.closing.is_cancelled()
    }

    /// Waits until [`Connection::is_closed`]. Does not itself keep the connection open.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.handle.shared.closing.clone().cancelled_owned()
    }

    /// The server's address as this side sees it.
    pub fn peer_addr(&self) -> SocketAddr {
        self.handle.shared.peer
    }

    /// This side's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.shared.local
    }

    /// The cluster of the server, proven; `None` if the server does not know yet.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        self.handle.shared.learnt.cluster_id
    }

    /// What the server is called, in the words of someone who holds the key; empty if it does not say.
    pub fn server_name(&self) -> &str {
        &self.handle.shared.learnt.server_name
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} → {})", self.local_addr(), self.peer_addr())
    }
}

/// One call that waits for its answer; forgets it when dropped.
struct InFlight<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if locked(&self.shared.waiting).remove(&self.number).is_some() {
            self.shared.outbox.take_back(self.number);
        }
    }
}

impl Shared {
    fn check_open(&self) -> Result<()> {
        if !self.closing.is_cancelled() {
            return Ok(());
        }
        Err(match self.done.is_cancelled() {
            true => self.outbox.reason(),
            false => stopping(),
        })
    }

    /// The end, for everyone who waits. With `finish` what is queued is still written.
    pub(crate) fn fail(&self, reason: Error, finish: bool) {
        let unsent = self.outbox.close(reason, finish);
        let reason = self.outbox.reason();
        self.closing.cancel();
        self.slots.close();
        let waiting = std::mem::take(&mut *locked(&self.waiting));
        for (number, sender) in waiting {
            let error = reason.clone();
            // The caller may have gone.
            let _ = sender.send(Err(if number < unsent { error.outcome_unknown() } else { error }));
        }
        self.done.cancel();
    }

    fn leave(&self) {
        let goodbye = Frame::new(Kind::Goodbye, 0, 0, Bytes::new(), Bytes::new());
        // Not queued if it is closed already, and then not needed.
        let _ = self.outbox.queue(None, |_| goodbye);
        let what = format_args!("this side closed the connection to {}", self.peer);
        self.fail(Error::new(Code::Unavailable, what, "connect again"), true);
    }

    fn take(&self, frame: Frame) -> Result<()> {
        match frame.kind {
            Kind::Reply => self.answer(frame.correlation, Ok((frame.head, frame.body))),
            Kind::Failure if frame.correlation == 0 => return Err(failure::decode(frame.head)),
            Kind::Failure => self.answer(frame.correlation, Err(failure::decode(frame.head))),
            Kind::Push => {
                let head = match frame.head.len() {
                    // It may wait; it must not keep a whole receive buffer alive.
                    ..=COALESCE_MAX => Bytes::copy_from_slice(&frame.head),
                    _ => frame.head,
                };
                // Nobody may have subscribed.
                let _ = self.pushes.send(Push { method: frame.method, head });
            }
            Kind::Goodbye => self.closing.cancel(),
            kind => return Err(Error::bad_request(format_args!("{kind:?} from a server"))),
        }
        Ok(())
    }

    fn answer(&self, number: u64, answer: Answer) {
        // Late answers to calls that were given up find nobody.
        if let Some(sender) = locked(&self.waiting).remove(&number) {
            let _ = sender.send(answer);
        }
    }
}

async fn read(shared: Arc<Shared>, mut reader: FrameReader) {
    let reason = loop {
        let more = match reader.buffered() {
            Ok(Some(frame)) => shared.take(frame).map(|()| true),
            Ok(None) => tokio::select! {
                biased;
                () = shared.done.cancelled() => return,
                more = reader.fill() => more,
            },
            Err(error) => Err(error),
        };
        match more {
            Ok(true) => {}
            Ok(false) if shared.closing.is_cancelled() => break stopping(),
            Ok(false) => break hung_up(),
            Err(error) => break error,
        }
    };
    tracing::debug!(peer = %shared.peer, %reason, "connection ended");
    shared.fail(reason, false);
}

async fn write(shared: Arc<Shared>) {
    let lingered = async {
        shared.done.cancelled().await;
        tokio::time::sleep(LINGER_MAX).await;
    };
    tokio::select! {
        result = shared.outbox.run() => if let Err(error) = result { shared.fail(error, false) },
        () = lingered => {}
    }
    shared.outbox.hang_up();
}

fn hung_up() -> Error {
    Error::new(Code::Unavailable, "the server closed the connection", "check that it runs, then try again")
}

fn stopping() -> Error {
    Error::new(Code::Unavailable, "the server is stopping", "try again, or ask another server")
}

fn timed_out(name: &str, peer: SocketAddr, effect: Effect) -> Error {
    let error = Error::new(
        Code::Timeout,
        format_args!("{name} was not answered by {peer} in time"),
        "try again, or allow more time",
    );
    Error { effect, ..error }
}
