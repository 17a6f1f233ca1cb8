//! The other member of the pair: the connection to it, and what is asked over it.

use crate::node::Stop;
use crate::serving::Serving;
use crate::wire;
use bytes::Bytes;
use net::redial::Attempt;
use net::{Connection, Credential, Reconnecting};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use types::ids::SessionId;
use types::limits::{BATCH_COMMANDS, FRAME_HEAD_MAX, KIB};
use types::message::member::RelayMode;
use types::message::partner::{PassAbort, PassAbortRequest, PassPrepare, PassPrepareRequest, PassedSession};
use types::message::{Method, purpose};
use types::{Code, Error, Result};

/// How long the partner may take for one request before it counts as away.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Requests to prepare under way at once.
const IN_FLIGHT: usize = 4;
/// Sessions that wait to be offered; a lazy one more is not offered.
const QUEUE: usize = 4 * KIB;
/// Bytes of sessions in one request.
const BATCH_BYTES: usize = FRAME_HEAD_MAX / 2;

struct Offer {
    session: PassedSession,
    epoch: u64,
    answer: oneshot::Sender<Result<bool>>,
}

/// The other member.
pub struct Partner {
    link: Reconnecting,
    serving: Arc<Serving>,
    lazy: mpsc::Sender<Offer>,
    durable: mpsc::Sender<Offer>,
}

impl Partner {
    /// Keeps a connection to whoever the partner is at the time. Needs a runtime.
    pub fn start(serving: Arc<Serving>, secret: Vec<u8>, stop: Stop) -> Partner {
        let whose = serving.clone();
        let attempt: Attempt = Arc::new(move || {
            let (serving, secret) = (whose.clone(), secret.clone());
            Box::pin(async move { open(&serving, secret).await })
        });
        let link = Reconnecting::start_with(attempt, None);
        let ended = link.clone();
        tokio::spawn(async move {
            stop.stopped().await;
            ended.stop();
        });
        let queue = |durable| {
            let (offers, waiting) = mpsc::channel(QUEUE);
            tokio::spawn(offer_all(waiting, link.clone(), durable));
            offers
        };
        let (lazy, durable) = (queue(false), queue(true));
        Partner { link, serving, lazy, durable }
    }

    /// Whether there is a connection now.
    pub fn is_there(&self) -> bool {
        self.current().is_some()
    }

    /// The connection, unless the members shall not talk to each other (any more).
    fn current(&self) -> Option<Connection> {
        self.link.current().filter(|_| self.serving.relay() != RelayMode::Always)
    }

    /// Whether there is a connection by then.
    pub async fn is_there_by(&self, until: Instant) -> bool {
        self.link.get(until).await.is_ok()
    }

    /// Calls `M`, if there is a connection now.
    pub async fn call<M: Method>(
        &self,
        request: &M::Request,
        body: Bytes,
        patience: Duration,
    ) -> Result<(M::Reply, Bytes)> {
        let connection = self.current().ok_or_else(|| self.away())?;
        wire::call::<M>(&connection, request, body, patience).await
    }

    /// Calls `M`, waiting for a connection if there is none.
    pub async fn call_waiting<M: Method>(
        &self,
        request: &M::Request,
        patience: Duration,
    ) -> Result<(M::Reply, Bytes)> {
        let connection = self.link.get(Instant::now() + patience).await?;
        wire::call::<M>(&connection, request, Bytes::new(), patience).await
    }

    /// Asks the partner to prepare a session; several go in one request. Does not wait: the receiver tells
    /// whether it is prepared (`durable`), or taken.
    pub fn offer(
        &self,
        session: PassedSession,
        epoch: u64,
        durable: bool,
    ) -> oneshot::Receiver<Result<bool>> {
        let (answer, told) = oneshot::channel();
        let queue = if durable { &self.durable } else { &self.lazy };
        if !self.is_there() {
            let _ = answer.send(Err(self.away()));
        } else if let Err(full) = queue.try_send(Offer { session, epoch, answer }) {
            let busy = Error::new(Code::Busy, "too much waits for the partner", "try again in a moment");
            let _ = full.into_inner().answer.send(Err(busy));
        }
        told
    }

    /// Tells the partner, if it is there, that a session is dropped, once nothing of it is on its way there any more
    /// (`after`): else what comes later would stay. Best effort: the partner asks for what it was not told of.
    pub fn abort(self: &Arc<Self>, session: SessionId, after: impl Future<Output = ()> + Send + 'static) {
        if !self.is_there() {
            return;
        }
        let partner = self.clone();
        tokio::spawn(async move {
            after.await;
            let request = PassAbortRequest { session: session.0.to_vec() };
            let told = partner.call::<PassAbort>(&request, Bytes::new(), PATIENCE).await;
            if let Err(error) = told {
                tracing::debug!(%error, %session, "the partner was not told of a dropped session");
            }
        });
    }

    fn away(&self) -> Error {
        let name = self.serving.partner().map_or_else(|| "the partner".to_owned(), |(name, _)| name);
        Error::new(
            Code::Unavailable,
            format_args!("{name} cannot be reached"),
            "see `pairfs status`; start it again or wait for it",
        )
    }
}

async fn open(serving: &Serving, secret: Vec<u8>) -> Result<Connection> {
    let away = |what: &str| Error::new(Code::Unavailable, what, "wait for the name manager's word");
    if serving.relay() == RelayMode::Always {
        return Err(away("the members of a pair shall not talk to each other"));
    }
    let Some((name, addr)) = serving.partner().filter(|(_, addr)| !addr.is_empty()) else {
        return Err(away("the partner's address is not known"));
    };
    let credential = Credential::Node { name: serving.name.clone(), secret };
    let connection = Connection::open(&addr, credential, serving.cluster_id(), purpose::DATA).await?;
    if connection.server_name() == name {
        return Ok(connection);
    }
    connection.close();
    Err(away("another server answers at the partner's address"))
}

async fn offer_all(mut waiting: mpsc::Receiver<Offer>, link: Reconnecting, durable: bool) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut left: Option<Offer> = None;
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let first = match left.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let epoch = first.epoch;
        let mut bytes = first.session.encoded_len();
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.session.encoded_len();
            if bytes > BATCH_BYTES || next.epoch != epoch {
                left = Some(next);
                break;
            }
            batch.push(next);
        }
        let link = link.clone();
        tokio::spawn(async move {
            offer_batch(batch, epoch, &link, durable).await;
            drop(slot);
        });
    }
}

async fn offer_batch(batch: Vec<Offer>, epoch: u64, link: &Reconnecting, durable: bool) {
    let (sessions, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|offer| (offer.session, offer.answer)).unzip();
    let request = PassPrepareRequest { epoch, sessions, durable };
    let told = match link.current() {
        Some(connection) => wire::call::<PassPrepare>(&connection, &request, Bytes::new(), PATIENCE).await,
        None => Err(Error::new(Code::Unavailable, "the partner is away", "try again in a moment")),
    };
    for (at, answer) in answers.into_iter().enumerate() {
        let told = match &told {
            Ok((reply, _)) => Ok(reply.prepared.get(at).copied().unwrap_or(false)),
            Err(error) => Err(error.clone()),
        };
        // Whoever asked may have gone.
        let _ = answer.send(told);
    }
}
