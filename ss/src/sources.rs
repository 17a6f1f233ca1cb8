//! Where the partner's contents come from: from the partner, or through the name manager when it cannot be reached.

use crate::partner::Partner;
use crate::relay::{Relay, Way, is_no_way, without_it};
use crate::serving::Serving;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use types::message::Method;
use types::message::member::{RelayMode, RelayRequest};
use types::message::partner::{
    GetBytes, GetBytesReply, GetBytesRequest, GetManifest, GetManifestReply, GetManifestRequest,
};
use types::{Code, Error, Result};

/// A partner that is connected but does not answer in this time is asked through the name manager for a while.
const SILENT: Duration = Duration::from_secs(4);

/// Asks the partner for what it holds, one way or the other.
pub struct Sources {
    partner: Arc<Partner>,
    serving: Arc<Serving>,
    relay: Arc<Relay>,
}

impl Sources {
    /// Nothing is dialled yet.
    pub fn new(partner: Arc<Partner>, serving: Arc<Serving>, relay: Arc<Relay>) -> Sources {
        Sources { partner, serving, relay }
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
        let relay = RelayRequest { manifest: Some(request.clone()), ..RelayRequest::default() };
        match self.relay.ask(relay, Bytes::new()).await {
            Ok((reply, _)) => reply.manifest.ok_or_else(without_it),
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
        let relay = RelayRequest { bytes: Some(request.clone()), ..RelayRequest::default() };
        match self.relay.ask(relay, Bytes::new()).await {
            Ok((reply, bytes)) => Ok((reply.bytes.ok_or_else(without_it)?, bytes)),
            Err(error) => self.last::<GetBytes>(request, patience, error).await,
        }
    }

    /// The partner's own answer; none if it has to be asked through the name manager.
    async fn direct<M: Method>(
        &self,
        request: &M::Request,
        patience: Duration,
    ) -> Result<Option<(M::Reply, Bytes)>> {
        if self.serving.relay() == RelayMode::Never {
            return self.partner.call_waiting::<M>(request, patience).await.map(Some);
        }
        if !self.is_reached().await {
            return Ok(None);
        }
        match self.partner.call::<M>(request, Bytes::new(), patience.min(SILENT)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_no_way(&error) => {
                if error.code != Code::Unavailable {
                    self.relay.is_silent();
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
        match self.relay.way(self.partner.is_there()) {
            Ok(way) => way == Way::Direct,
            Err(until) => self.partner.is_there_by(until).await,
        }
    }
}
