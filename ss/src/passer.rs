//! Passes the bytes of one upload on to the partner while they come (R18), and when all are there lets the
//! partner prepare them.

use crate::node::Node;
use crate::partner::PATIENCE;
use crate::sessions::Piece;
use crate::upload::{DIGESTS, Upload};
use bytes::Bytes;
use net::buffers::charged;
use ss_core::passing::Passing;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::content::block_crcs;
use types::limits::CLIENT_TIMEOUT;
use types::message::partner::PassPieceRequest;
use types::message::store::SessionState;
use types::{Code, Error, Result};

/// Pause before a broken stream is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause before bytes that cannot be read now are read again.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// Starts passing on, unless it is under way, in the reign `epoch`. While there is no partner the client's
/// window counts this member only.
pub fn start(node: &Arc<Node>, upload: &Arc<Upload>, epoch: u64) {
    if !upload.start_passer() {
        return;
    }
    // At once, so that the client's first answer says so.
    if node.partner.way(false).is_some() {
        upload.passing_changed(|passing| *passing = Passing::new(true));
    }
    let (node, upload) = (node.clone(), upload.clone());
    tokio::spawn(async move {
        Passer { node, upload: upload.clone(), epoch }.run().await;
        upload.passer_ended();
    });
}

/// Has the partner open the session, and gives what it has of it.
pub async fn ask(node: &Arc<Node>, upload: &Arc<Upload>, epoch: u64) -> Result<SessionState> {
    let passer = Passer { node: node.clone(), upload: upload.clone(), epoch };
    passer.open().await
}

struct Passer {
    node: Arc<Node>,
    upload: Arc<Upload>,
    epoch: u64,
}

impl Passer {
    async fn run(&self) {
        let mut changes = self.upload.changes();
        loop {
            let passed = tokio::select! {
                passed = self.stream(&mut changes) => passed,
                // Sooner than the deadline of a call, when the name manager has noticed.
                () = self.node.serving.partner_lost() => Err(away()),
            };
            let over = self.upload.is_over() || self.node.serving.epoch() != Some(self.epoch);
            match passed {
                Ok(()) => return,
                Err(_) if over => return self.upload.partner_prepared(false),
                Err(error) => tracing::debug!(%error, session = %self.upload.id, "passing on stopped"),
            }
            self.upload.passing_changed(Passing::broken);
            // Once it is sealed only a commit that waits for the partner wants another try; the row brings
            // the bytes there else.
            if self.upload.sealed().is_some_and(|seal| !seal.durable) {
                return self.upload.partner_prepared(false);
            }
            tokio::time::sleep(PAUSE).await;
            if self.upload.is_over() {
                return self.upload.partner_prepared(false);
            }
        }
    }

    /// Passes on from where the partner is to the end; an error when the stream breaks.
    async fn stream(&self, changes: &mut watch::Receiver<SessionState>) -> Result<()> {
        let there = self.open().await?;
        self.upload.tell_anew();
        self.upload.passing_changed(|passing| passing.restarted(there.held));
        let mut calls = JoinSet::new();
        loop {
            changes.mark_unchanged();
            while let Some((range, piece)) = self.upload.next_to_pass() {
                let piece = match piece {
                    Some(in_memory) => in_memory,
                    None => self.read_back(range).await?,
                };
                let request = self.request(&piece);
                let (node, waited_for) = (self.node.clone(), self.is_waited_for());
                calls.spawn(async move { node.partner.pass(&request, piece.bytes, waited_for).await });
            }
            if let Some(mut seal) = self.upload.sealed()
                && calls.is_empty()
            {
                let (from, digests) = self.rest_of_digests().await?;
                (seal.passed.digests_from, seal.passed.digests) = (from, digests);
                let told = self.node.partner.offer(seal.passed, self.epoch, seal.durable, true);
                let prepared =
                    told.await.unwrap_or_else(|_| Err(Error::internal("an offer was forgotten")))?;
                self.upload.partner_prepared(prepared);
                return Ok(());
            }
            tokio::select! {
                Some(passed) = calls.join_next() => {
                    let there = passed.map_err(Error::internal)??;
                    self.upload.passing_changed(|passing| passing.acknowledged(there.held));
                }
                changed = changes.changed() => {
                    if changed.is_err() || self.upload.is_over() {
                        return Err(Error::new(Code::Cancelled, "the upload has ended", "nothing to do"));
                    }
                }
            }
        }
    }

    /// Reads bytes back. While a commit makes the content durable they are neither the upload's any more nor
    /// the store's yet; that passes.
    async fn read_back(&self, range: Range<u64>) -> Result<Piece> {
        let len = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let memory = self.node.sessions.read_back.clone().acquire_many_owned(len);
        let share = memory.await.map_err(Error::internal)?;
        let (end, offset) = (Instant::now() + PATIENCE, range.start);
        let bytes = loop {
            let (upload, store, range) = (self.upload.clone(), self.node.store()?.clone(), range.clone());
            match self.node.pool.run(move || upload.read_back(&store, range)).await {
                Ok(bytes) => break bytes,
                Err(error) if self.upload.is_over() || Instant::now() >= end => return Err(error),
                Err(_) => tokio::time::sleep(READ_PAUSE).await,
            }
        };
        Ok(Piece { offset, crcs: block_crcs(&bytes), bytes: charged(bytes, share) })
    }

    /// The last digests that the partner lacks; if there are more than one message takes, those before go at once.
    async fn rest_of_digests(&self) -> Result<(u32, Bytes)> {
        loop {
            let piece = Piece { offset: 0, bytes: Bytes::new(), crcs: Vec::new() };
            let request = self.request(&piece);
            if request.digests.len() < 32 * DIGESTS {
                return Ok((request.digests_from, request.digests));
            }
            self.node.partner.pass(&request, Bytes::new(), self.is_waited_for()).await?;
        }
    }

    /// One piece, with the digests that the partner was not told yet.
    fn request(&self, piece: &Piece) -> PassPieceRequest {
        let (digests_from, digests) = self.upload.untold();
        PassPieceRequest {
            session: self.upload.id.0.to_vec(),
            offset: piece.offset,
            crcs: piece.crcs.clone(),
            epoch: self.epoch,
            digests_from,
            digests,
            ..PassPieceRequest::default()
        }
    }

    /// Whether a commit waits for the partner.
    fn is_waited_for(&self) -> bool {
        self.upload.sealed().is_some_and(|seal| seal.durable)
    }

    /// Has the partner open the session, and asks what it has.
    async fn open(&self) -> Result<SessionState> {
        let (target, user) = self.upload.whose();
        let request = PassPieceRequest {
            session: self.upload.id.0.to_vec(),
            epoch: self.epoch,
            target: Some(target),
            user,
            size: self.upload.size_hint(),
            timeout_ms: u64::try_from(CLIENT_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            ..PassPieceRequest::default()
        };
        self.node.partner.pass(&request, Bytes::new(), self.is_waited_for()).await
    }
}

fn away() -> Error {
    Error::new(Code::Unavailable, "the partner is away", "wait until it is back")
}
