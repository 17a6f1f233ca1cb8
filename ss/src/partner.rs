//! The other member of the pair: the connection to it, and what is asked over it.

use crate::node::Stop;
use crate::relay::{Relay, Way, is_no_way, without_it};
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
use types::message::member::{RelayMode, RelayRequest};
use types::message::partner::{
    PassAbort, PassAbortRequest, PassPiece, PassPieceRequest, PassPrepare, PassPrepareReply,
    PassPrepareRequest, PassedSession,
};
use types::message::store::SessionState;
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
    /// Also through the name manager.
    relayed: bool,
    answer: oneshot::Sender<Result<bool>>,
}

/// The other member.
pub struct Partner {
    link: Reconnecting,
    serving: Arc<Serving>,
    relay: Arc<Relay>,
    lazy: mpsc::Sender<Offer>,
    durable: mpsc::Sender<Offer>,
}

impl Partner {
    /// Keeps a connection to whoever the partner is at the time. Needs a runtime.
    pub fn start(serving: Arc<Serving>, secret: Vec<u8>, relay: Arc<Relay>, stop: Stop) -> Partner {
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
            tokio::spawn(offer_all(waiting, link.clone(), relay.clone(), durable));
            offers
        };
        let (lazy, durable) = (queue(false), queue(true));
        Partner { link, serving, relay, lazy, durable }
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

    /// How to pass something on to it now; none if there is no way, or if it is away as far as the log knows and only
    /// somebody who waits for it (`waited_for`) has to try.
    pub fn way(&self, waited_for: bool) -> Option<Way> {
        let way = self.relay.way(self.is_there()).ok()?;
        (way == Way::Direct || waited_for || !self.serving.degraded()).then_some(way)
    }

    /// Passes a piece on, or asks where the partner stands. One that is waited for is also passed to a partner of which
    /// the log believes that it is away.
    ///
    /// # Errors
    /// `UNAVAILABLE` when there is no way; what the partner answers.
    pub async fn pass(
        &self,
        request: &PassPieceRequest,
        body: Bytes,
        waited_for: bool,
    ) -> Result<SessionState> {
        match self.way(waited_for).ok_or_else(|| self.away())? {
            Way::Direct => {
                let passed = self.call::<PassPiece>(request, body, PATIENCE).await;
                Ok(self.heard(passed)?.0)
            }
            Way::Relayed => {
                let request = RelayRequest { piece: Some(request.clone()), ..RelayRequest::default() };
                self.relay.ask(request, body).await?.0.piece.ok_or_else(without_it)
            }
        }
    }

    /// Notes whether the partner answered.
    fn heard<T>(&self, answer: Result<T>) -> Result<T> {
        if answer.as_ref().is_err_and(|error| is_no_way(error) && error.code != Code::Unavailable) {
            self.relay.is_silent();
        }
        answer
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
    /// whether it is prepared (`durable`), or taken. Through the name manager goes only what is waited for, and what
    /// names bytes that went there before (`has_bytes_there`): else its row brings it.
    pub fn offer(
        &self,
        session: PassedSession,
        epoch: u64,
        durable: bool,
        has_bytes_there: bool,
    ) -> oneshot::Receiver<Result<bool>> {
        let (answer, told) = oneshot::channel();
        let queue = if durable { &self.durable } else { &self.lazy };
        let relayed = durable || has_bytes_there;
        let way = self.way(durable).filter(|way| relayed || *way == Way::Direct);
        if way.is_none() {
            let _ = answer.send(Err(self.away()));
        } else if let Err(full) = queue.try_send(Offer { session, epoch, relayed, answer }) {
            let busy = Error::new(Code::Busy, "too much waits for the partner", "try again in a moment");
            let _ = full.into_inner().answer.send(Err(busy));
        }
        told
    }

    /// Tells the partner, if it is there, that a session is dropped, once nothing of it is on its way there any more
    /// (`after`): else what comes later would stay. Best effort: the partner asks for what it was not told of.
    pub fn abort(self: &Arc<Self>, session: SessionId, after: impl Future<Output = ()> + Send + 'static) {
        if self.way(false).is_none() {
            return;
        }
        let partner = self.clone();
        tokio::spawn(async move {
            after.await;
            let request = PassAbortRequest { session: session.0.to_vec() };
            let told = match partner.way(false) {
                Some(Way::Relayed) => {
                    let request = RelayRequest { abort: Some(request), ..RelayRequest::default() };
                    partner.relay.ask(request, Bytes::new()).await.map(drop)
                }
                _ => partner.call::<PassAbort>(&request, Bytes::new(), PATIENCE).await.map(drop),
            };
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

async fn offer_all(mut waiting: mpsc::Receiver<Offer>, link: Reconnecting, relay: Arc<Relay>, durable: bool) {
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
        let (epoch, relayed) = (first.epoch, first.relayed);
        let mut bytes = first.session.encoded_len();
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.session.encoded_len();
            if bytes > BATCH_BYTES || (next.epoch, next.relayed) != (epoch, relayed) {
                left = Some(next);
                break;
            }
            batch.push(next);
        }
        let (link, relay) = (link.clone(), relayed.then(|| relay.clone()));
        tokio::spawn(async move {
            offer_batch(batch, epoch, &link, relay.as_deref(), durable).await;
            drop(slot);
        });
    }
}

/// Offers a batch over the connection, or through the name manager if there is that way (`relay`).
async fn offer_batch(
    batch: Vec<Offer>,
    epoch: u64,
    link: &Reconnecting,
    relay: Option<&Relay>,
    durable: bool,
) {
    let (sessions, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|offer| (offer.session, offer.answer)).unzip();
    let request = PassPrepareRequest { epoch, sessions, durable };
    let told = prepare(request, link, relay).await;
    for (at, answer) in answers.into_iter().enumerate() {
        let told = match &told {
            Ok(reply) => Ok(reply.prepared.get(at).copied().unwrap_or(false)),
            Err(error) => Err(error.clone()),
        };
        // Whoever asked may have gone.
        let _ = answer.send(told);
    }
}

async fn prepare(
    request: PassPrepareRequest,
    link: &Reconnecting,
    relay: Option<&Relay>,
) -> Result<PassPrepareReply> {
    let connection = link.current();
    if let Some(relay) = relay
        && relay.way(connection.is_some()) == Ok(Way::Relayed)
    {
        let request = RelayRequest { prepare: Some(request), ..RelayRequest::default() };
        return relay.ask(request, Bytes::new()).await?.0.prepare.ok_or_else(without_it);
    }
    let away = || Error::new(Code::Unavailable, "the partner is away", "try again in a moment");
    let connection = connection.ok_or_else(away)?;
    let told = wire::call::<PassPrepare>(&connection, &request, Bytes::new(), PATIENCE).await;
    if let (Err(error), Some(relay)) = (&told, relay)
        && is_no_way(error)
        && error.code != Code::Unavailable
    {
        relay.is_silent();
    }
    told.map(|(reply, _)| reply)
}
