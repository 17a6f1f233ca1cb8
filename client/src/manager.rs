//! The connection to the name manager: kept open, signed in again after a loss, listened to for pushes.

use crate::bounds::SEEK_WAIT;
use crate::call::call;
use crate::config::ClientConfig;
use crate::places::Places;
use crate::retry::{Remedy, Retry, remedy};
use bytes::Bytes;
use net::{Connection, Credential, Reconnecting};
use prost::Message;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use types::limits::HELLO_TIMEOUT;
use types::message::manager::{Attach, Attached, PUSH_PLACEMENT, Placement, Whereabouts, WhereaboutsRequest};
use types::message::{Empty, Method, purpose};
use types::{Code, Effect, Error, Result};

/// The name manager, as one client sees it.
pub(crate) struct Manager {
    link: Reconnecting,
    /// Where it is looked for, for people.
    addrs: String,
    state: Arc<State>,
}

/// What outlives a connection.
struct State {
    places: Places,
    /// The first answer to Attach: who the client is, and that the cluster stays the same.
    attached: OnceLock<Attached>,
    cluster_id: OnceLock<[u8; 16]>,
    /// Pairs whose next acting member is being asked for.
    seeking: Mutex<HashSet<u32>>,
}

impl State {
    fn seeking(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.seeking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manager {
    /// Begins to connect; must be called within a tokio runtime.
    pub(crate) fn start(config: &ClientConfig) -> Result<Manager> {
        if config.nm.is_empty() {
            let error = Error::new(Code::Usage, "no name manager's address is given", "give one with --nm");
            return Err(error);
        }
        let state = Arc::new(State {
            places: Places::default(),
            attached: OnceLock::new(),
            cluster_id: OnceLock::new(),
            seeking: Mutex::default(),
        });
        let credential = Credential::User {
            name: config.user.clone(),
            key_id: config.key_id.clone(),
            key: config.key.0.clone(),
        };
        let (nm, next, known) = (config.nm.clone(), AtomicUsize::new(0), state.clone());
        let attempt = move || {
            let addr = nm[next.fetch_add(1, Ordering::Relaxed) % nm.len()].clone();
            let (credential, cluster) = (credential.clone(), known.cluster_id.get().copied());
            let opened = async move { Connection::open(&addr, credential, cluster, purpose::DATA).await };
            Box::pin(opened) as net::BoxFuture<'static, Result<Connection>>
        };
        let hooked = state.clone();
        let hook = move |connection| {
            let attached = attach(connection, hooked.clone());
            Box::pin(attached) as net::BoxFuture<'static, Result<()>>
        };
        let link = Reconnecting::start_with(Arc::new(attempt), Some(Arc::new(hook)));
        Ok(Manager { link, addrs: config.nm.join(", "), state })
    }

    /// Waits for the first connection.
    ///
    /// # Errors
    /// At once what no waiting helps against (an unknown key); `UNAVAILABLE` at the deadline.
    pub(crate) async fn first(&self, deadline: Instant) -> Result<Attached> {
        self.connection(deadline).await?;
        self.attached()
    }

    async fn connection(&self, deadline: Instant) -> Result<Connection> {
        self.link.get(deadline).await.map_err(|error| match error.code {
            Code::Unavailable => {
                let what = format_args!("no name manager answers at {}", self.addrs);
                Error::new(Code::Unavailable, what, "check that it runs and that this is its address")
            }
            _ => error,
        })
    }

    /// Who this client is.
    pub(crate) fn attached(&self) -> Result<Attached> {
        self.state.attached.get().cloned().ok_or_else(|| Error::internal("asked before it was attached"))
    }

    /// The cluster, once known.
    pub(crate) fn cluster_id(&self) -> Option<[u8; 16]> {
        self.state.cluster_id.get().copied()
    }

    /// Who acts where.
    pub(crate) fn places(&self) -> &Places {
        &self.state.places
    }

    /// Another client id, for when the first one may have been forgotten.
    pub(crate) async fn attach_again(&self, retry: &mut Retry) -> Result<Attached> {
        self.call::<Attach>(|| Empty {}, retry).await
    }

    /// Asks a question until it is answered, at most until the deadline of `retry`. `request` is made anew
    /// for each attempt. Errors that another lookup may cure are the caller's.
    pub(crate) async fn call<M: Method>(
        &self,
        request: impl Fn() -> M::Request,
        retry: &mut Retry,
    ) -> Result<M::Reply> {
        loop {
            // A question has no effect that anyone could miss.
            match self
                .change::<M>(request(), retry)
                .await
                .map_err(|error| Error { effect: Effect::None, ..error })
            {
                Err(error) if remedy(error.code) != Remedy::Relocate => {
                    self.pause(error, retry).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Asks once for a change, whose effect may be unknown.
    pub(crate) async fn change<M: Method>(&self, request: M::Request, retry: &Retry) -> Result<M::Reply> {
        let connection = self.connection(retry.deadline()).await?;
        let (reply, _) = call::<M>(&connection, &request, Bytes::new(), retry.deadline()).await?;
        Ok(reply)
    }

    /// Waits before another attempt after `error`.
    ///
    /// # Errors
    /// `error` in the words it ends with, when there is no other attempt.
    pub(crate) async fn pause(&self, error: Error, retry: &mut Retry) -> Result<Remedy> {
        let (remedy, pause) = retry.failed(error)?;
        tokio::time::sleep(pause).await;
        Ok(remedy)
    }

    /// Has the name manager tell who acts next in `pair`, as soon as it is another member or another start
    /// than `known`. The answer comes to [`Manager::places`], as a push would. One question at a time.
    pub(crate) fn seek(&self, pair: u32, known: Option<&Placement>) {
        if !self.state.seeking().insert(pair) {
            return;
        }
        let acting = known.and_then(crate::places::acting);
        let request = WhereaboutsRequest {
            pair,
            known_epoch: acting.and(known).map_or(0, |known| known.epoch),
            known_incarnation: acting.map_or(0, |member| member.incarnation),
            wait_ms: u32::try_from(SEEK_WAIT.as_millis()).unwrap_or(u32::MAX),
        };
        let (link, state) = (self.link.clone(), self.state.clone());
        tokio::spawn(async move {
            let deadline = Instant::now() + SEEK_WAIT + HELLO_TIMEOUT;
            let asked = async {
                let connection = link.get(deadline).await?;
                call::<Whereabouts>(&connection, &request, Bytes::new(), deadline).await
            };
            match asked.await {
                Ok((placement, _)) => state.places.learn(placement),
                Err(error) => tracing::debug!(%error, pair, "who acts is not known"),
            }
            state.seeking().remove(&pair);
        });
    }
}

/// Signs in on a new connection, listens to its pushes and asks again for all that may have been missed.
async fn attach(connection: Connection, state: Arc<State>) -> Result<()> {
    let mut pushes = connection.pushes();
    let deadline = Instant::now() + HELLO_TIMEOUT;
    let (attached, _) = call::<Attach>(&connection, &Empty {}, Bytes::new(), deadline).await?;
    let cluster = attached.cluster_id[..].try_into();
    let cluster: [u8; 16] = cluster.map_err(|_| Error::bad_request("a cluster id is 16 bytes"))?;
    // A name manager that is being rebuilt may not know it yet (R26).
    if cluster != [0; 16] && *state.cluster_id.get_or_init(|| cluster) != cluster {
        let error = Error::new(Code::WrongCluster, "another cluster answers now", "connect again");
        return Err(error);
    }
    // Kept from the first time: request keys are under that id.
    state.attached.get_or_init(|| attached);
    let listening = state.clone();
    tokio::spawn(async move {
        while let Some(push) = pushes.recv().await {
            if push.method != PUSH_PLACEMENT {
                continue;
            }
            match Placement::decode(push.head) {
                Ok(placement) => listening.places.learn(placement),
                Err(error) => tracing::warn!(%error, "a push that does not decode"),
            }
        }
    });
    for pair in state.places.pairs() {
        let (connection, state) = (connection.clone(), state.clone());
        tokio::spawn(async move {
            let request = WhereaboutsRequest { pair, ..WhereaboutsRequest::default() };
            let deadline = Instant::now() + Duration::from_secs(5);
            if let Ok((placement, _)) =
                call::<Whereabouts>(&connection, &request, Bytes::new(), deadline).await
            {
                state.places.learn(placement);
            }
        });
    }
    Ok(())
}
