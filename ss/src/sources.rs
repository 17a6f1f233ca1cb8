//! Where the partner's contents come from: from the partner, or through the name manager when it cannot be reached.

use crate::manager::Managers;
use crate::node::Stop;
use crate::partner::Partner;
use crate::serving::Serving;
use crate::wire;
use bytes::Bytes;
use net::Reconnecting;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use types::message::member::{Relay, RelayMode, RelayReply, RelayRequest};
use types::message::partner::{
    GetBytes, GetBytesReply, GetBytesRequest, GetManifest, GetManifestReply, GetManifestRequest,
};
use types::message::{Method, purpose};
use types::{Code, Error, Result};

/// A partner that has not been reached for so long is not waited for.
const UNREACHED: Duration = Duration::from_secs(1);
/// A partner that is connected but does not answer in this time is not asked again for [`AVOID`].
const SILENT: Duration = Duration::from_secs(4);
/// How long a silent partner is not asked.
const AVOID: Duration = Duration::from_secs(15);
/// How long a relayed request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the way to the partner.
#[derive(Default)]
struct Way {
    /// Since when there has been no connection.
    lost: Option<Instant>,
    /// It is not tried before.
    avoid: Option<Instant>,
}

/// Asks the partner for what it holds, one way or the other.
pub struct Sources {
    partner: Arc<Partner>,
    serving: Arc<Serving>,
    managers: Managers,
    /// A connection of its own: bulk bytes stand in the way of no commit. Made when it is needed first.
    link: OnceLock<Reconnecting>,
    way: Mutex<Way>,
    stop: Stop,
}

impl Sources {
    /// Nothing is dialled yet.
    pub fn new(partner: Arc<Partner>, serving: Arc<Serving>, managers: Managers, stop: Stop) -> Sources {
        let (link, way) = (OnceLock::new(), Mutex::default());
        Sources { partner, serving, managers, link, way, stop }
    }

    /// A page of a manifest.
    ///
    /// # Errors
    /// `UNAVAILABLE` when there is no way to the partner; what it answers.
    pub async fn manifest(
        &self,
        request: &GetManifestRequest,
        patience: Duration,
    ) -> Result<GetManifestReply> {
        if let Some((reply, _)) = self.direct::<GetManifest>(request, patience).await? {
            return Ok(reply);
        }
        let relay = RelayRequest { manifest: Some(request.clone()), ..self.request() };
        match self.relay(&relay).await {
            Ok((reply, _)) => reply.manifest.ok_or_else(|| Error::bad_request("a relayed answer without it")),
            Err(error) => Ok(self.last::<GetManifest>(request, patience, error).await?.0),
        }
    }

    /// Bytes and their checksum.
    ///
    /// # Errors
    /// As [`Sources::manifest`].
    pub async fn bytes(
        &self,
        request: &GetBytesRequest,
        patience: Duration,
    ) -> Result<(GetBytesReply, Bytes)> {
        if let Some(answer) = self.direct::<GetBytes>(request, patience).await? {
            return Ok(answer);
        }
        let relay = RelayRequest { bytes: Some(request.clone()), ..self.request() };
        match self.relay(&relay).await {
            Ok((reply, bytes)) => {
                let reply = reply.bytes.ok_or_else(|| Error::bad_request("a relayed answer without it"))?;
                Ok((reply, bytes))
            }
            Err(error) => self.last::<GetBytes>(request, patience, error).await,
        }
    }

    fn request(&self) -> RelayRequest {
        RelayRequest {
            server: self.serving.name.clone(),
            incarnation: self.serving.incarnation(),
            ..RelayRequest::default()
        }
    }

    /// The partner's own answer; none if it has to be asked through the name manager.
    async fn direct<M: Method>(
        &self,
        request: &M::Request,
        patience: Duration,
    ) -> Result<Option<(M::Reply, Bytes)>> {
        match self.serving.relay() {
            RelayMode::Never => return self.partner.call_waiting::<M>(request, patience).await.map(Some),
            RelayMode::Always => return Ok(None),
            RelayMode::Auto => {}
        }
        if !self.is_reached().await {
            return Ok(None);
        }
        match self.partner.call::<M>(request, Bytes::new(), patience.min(SILENT)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_no_way(&error) => {
                if error.code != Code::Unavailable {
                    self.way().avoid = Some(Instant::now() + AVOID);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The partner again, if relaying did not help: it may be back.
    async fn last<M: Method>(
        &self,
        request: &M::Request,
        patience: Duration,
        error: Error,
    ) -> Result<(M::Reply, Bytes)> {
        if self.serving.relay() == RelayMode::Always || !is_no_way(&error) {
            return Err(error);
        }
        tracing::debug!(%error, "nor through the name manager");
        self.partner.call_waiting::<M>(request, patience).await
    }

    /// Whether there is a connection to the partner that answers; one that was lost just now is waited for.
    async fn is_reached(&self) -> bool {
        let now = Instant::now();
        let until = {
            let mut way = self.way();
            if way.avoid.is_some_and(|until| now < until) {
                return false;
            }
            if self.partner.is_there() {
                way.lost = None;
                return true;
            }
            *way.lost.get_or_insert(now) + UNREACHED
        };
        self.partner.is_there_by(until).await
    }

    fn way(&self) -> std::sync::MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn relay(&self, request: &RelayRequest) -> Result<(RelayReply, Bytes)> {
        let link = self.link.get_or_init(|| {
            let link = self.managers.follow(purpose::DATA, None);
            let (stop, ended) = (self.stop.clone(), link.clone());
            tokio::spawn(async move {
                stop.stopped().await;
                ended.stop();
            });
            link
        });
        let connection = link.get(Instant::now() + PATIENCE).await?;
        wire::call::<Relay>(&connection, request, Bytes::new(), PATIENCE).await
    }
}

/// Whether an error means that the partner was not reached.
fn is_no_way(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable | Code::Timeout | Code::OutcomeUnknown | Code::Busy)
}
