//! A content in pieces: a session that survives the loss of its server, then its commit.

use super::content::{Again, Fed, Feeder, Piece, Source, Start};
use super::receipt::Receipt;
use super::request::{Request, Summary, new_session};
use super::window::{Gap, Window};
use crate::bounds::{ABORT_WAIT, SOURCE_WAIT, WINDOW_POLL};
use crate::call::call;
use crate::core::{Acting, Core, Key};
use crate::lookup::{Found, locate};
use crate::retry::{Remedy, Retry, remedy};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use types::ids::SessionId;
use types::limits::CHUNK;
use types::message::manager::{OpenUpload, OpenUploadRequest};
use types::message::store::{
    Abort, AbortRequest, Commit, OpenSession, OpenSessionRequest, Piece as SendPiece, PieceRequest,
    SessionState,
};
use types::record::{Version, mark};
use types::{Code, Effect, Error, Result};

/// One upload, over all its attempts.
struct Upload {
    session: SessionId,
    window: Window,
    feeder: Feeder,
    /// The source, if it can be read again.
    again: Option<Again>,
    /// Set at the end of the source.
    summary: Option<Summary>,
    size: Option<u64>,
    /// More than a chunk: the name manager keeps the name's place for it (R14), until then.
    placed: Option<Placed>,
    long: bool,
    /// A commit was sent and not answered.
    committing: bool,
    /// Something went well since the last failure.
    got_on: bool,
    /// When the commit that was sent last is to be answered.
    commit_by: Option<Instant>,
    /// No server has heard of the session yet.
    unknown: bool,
    /// Some bytes are in no window any more and cannot be read again.
    lost: bool,
    /// It was so at the last look: what fails now fails for that.
    gap: bool,
}

/// Where the name manager keeps the name's place.
struct Placed {
    pair: u32,
    renew: Instant,
}

pub(super) async fn upload(core: &Core, request: &Request<'_>, start: Start) -> Result<Receipt> {
    let mut retry = core.retry();
    let key = core.key(request.given, &mut retry).await?;
    let mut upload = Upload::new(start)?;
    let mut fresh = false;
    let written = loop {
        let (error, pair) = match upload.attempt(core, request, &key, &mut retry, fresh).await {
            Ok(receipt) => break Ok(receipt),
            Err((error, Some(pair))) => (error, pair),
            Err((error, None)) => break Err(error),
        };
        if std::mem::take(&mut upload.got_on) {
            retry.progress();
        }
        if let Some(deadline) = upload.commit_by.take() {
            retry.wait_until(deadline);
        }
        match core.after(error, pair, &request.name, &mut retry).await {
            Ok(relocate) => fresh = relocate,
            Err(error) => {
                upload.abort(core, pair, &error, &retry).await;
                break Err(error);
            }
        }
    };
    key.end(written, &retry)
}

impl Upload {
    fn new(start: Start) -> Result<Upload> {
        let (source, size, long) = match start {
            Start::Whole(bytes) => {
                let (size, long) = (bytes.len() as u64, bytes.len() > CHUNK);
                (Source::Bytes(bytes), Some(size), long)
            }
            Start::Long(Source::Bytes(bytes)) => {
                let size = bytes.len() as u64;
                (Source::Bytes(bytes), Some(size), true)
            }
            Start::Long(Source::File(file, size)) => (Source::File(file, size), Some(size), true),
            Start::Long(source) => (source, None, true),
        };
        let (feeder, again) = Feeder::start(source);
        let (session, window) = (new_session()?, Window::default());
        Ok(Upload {
            session,
            window,
            feeder,
            again,
            summary: None,
            size,
            placed: None,
            long,
            committing: false,
            got_on: false,
            commit_by: None,
            unknown: true,
            lost: false,
            gap: false,
        })
    }

    /// One attempt at one acting member. An error without a pair is final.
    async fn attempt(
        &mut self,
        core: &Core,
        request: &Request<'_>,
        key: &Key<'_>,
        retry: &mut Retry,
        fresh: bool,
    ) -> Result<Receipt, (Error, Option<u32>)> {
        let tried = self.try_once(core, request, key, retry, fresh).await;
        tried.map_err(|(error, pair)| match error.code {
            // When the time is over in the middle of another look, the reason is the same.
            Code::Timeout | Code::Unavailable | Code::OutcomeUnknown if self.gap => (gone(), pair),
            _ => (error, pair),
        })
    }

    async fn try_once(
        &mut self,
        core: &Core,
        request: &Request<'_>,
        key: &Key<'_>,
        retry: &mut Retry,
        fresh: bool,
    ) -> Result<Receipt, (Error, Option<u32>)> {
        if self.committing
            && let Some(receipt) = self.committed(core, request, retry).await
        {
            return Ok(receipt);
        }
        let lookup = core.lookups.for_writing(&core.manager, &request.name, None, fresh, retry).await;
        let found = lookup.map_err(|error| (error, None))?.found;
        let pair = found.target.pair;
        self.place(core, &found, retry).await.map_err(|error| {
            let again = (remedy(error.code) == Remedy::Relocate).then_some(pair);
            (error, again)
        })?;
        let timing = retry.clone();
        let (this, wait) = (&mut *self, &timing);
        let sent = core.at_acting(pair, wait, |acting| async move {
            this.open(&acting, &found, wait).await?;
            this.send(core, &acting, &found, request.options.progress.as_deref()).await?;
            // A commit has its own time, which begins with it, and once more only if there was something to send again.
            let got_on = std::mem::take(&mut this.got_on) || !this.committing;
            let mut timing = if got_on { core.retry() } else { wait.clone() };
            this.commit_by = Some(timing.deadline());
            // It may be that the capability was for the time of the upload only.
            let lookup = core
                .lookups
                .for_writing(&core.manager, &request.name, Some(pair), false, &mut timing)
                .await?;
            let Some(summary) = this.summary else { return Err(Error::internal("a commit before the end")) };
            let commit = request.commit(this.session, &lookup.found, &acting, key, summary, &timing);
            this.committing = true;
            let answer = call::<Commit>(&acting.connection, &commit, Bytes::new(), timing.deadline()).await;
            answer.map(|(receipt, _)| receipt)
        });
        let sent = sent.await;
        // Before its commit an upload has no effect that anyone sees.
        let effect = |error: &Error| if self.committing { error.effect } else { Effect::None };
        let receipt = sent.map_err(|error| (Error { effect: effect(&error), ..error }, Some(pair)))?;
        Receipt::new(request.path, receipt).map_err(|error| (error, None))
    }

    /// Whether an earlier attempt's commit became a version that stands: then its name is this session.
    async fn committed(&self, core: &Core, request: &Request<'_>, retry: &mut Retry) -> Option<Receipt> {
        let located = locate(&core.manager, &request.name, 0, true, retry).await.ok()?;
        let record = located.record?;
        let version = standing(&record.versions, self.session, self.lost)?;
        Receipt::of_version(request.path, version, record.id, version.durable_on).ok()
    }

    /// Has the name manager keep the name's place, and keeps it kept.
    async fn place(&mut self, core: &Core, found: &Found, retry: &mut Retry) -> Result<()> {
        let pair = found.target.pair;
        let kept =
            self.placed.as_ref().is_some_and(|placed| placed.pair == pair && placed.renew > Instant::now());
        if !self.long || kept {
            return Ok(());
        }
        core.manager.call::<OpenUpload>(|| place_request(self.session, found, core.timeout), retry).await?;
        self.placed = Some(Placed { pair, renew: Instant::now() + renew_after(core.timeout) });
        Ok(())
    }

    /// Opens the session or finds it again, and goes on from what the server has.
    async fn open(&mut self, acting: &Acting, found: &Found, retry: &Retry) -> Result<()> {
        let state = self.ask_state(acting, found, retry).await?;
        if self.window.resume(&state) == Err(Gap) {
            let Some(source) = self.again.take() else {
                (self.lost, self.gap) = (true, true);
                // It may come back with them: worth waiting for.
                return Err(gone());
            };
            (self.feeder, self.again) = Feeder::start(source.into());
            self.window.restart();
            self.summary = None;
        }
        self.gap = false;
        Ok(())
    }

    async fn ask_state(&mut self, acting: &Acting, found: &Found, retry: &Retry) -> Result<SessionState> {
        let open = OpenSessionRequest {
            session: self.session.0.to_vec(),
            target: Some(found.target.clone()),
            capability: Some(found.capability.clone()),
            epoch: acting.epoch,
            timeout_ms: retry.left_for_server(),
            size: self.size,
            first: std::mem::replace(&mut self.unknown, false),
        };
        let answer = call::<OpenSession>(&acting.connection, &open, Bytes::new(), retry.deadline()).await;
        answer.map(|(state, _)| state)
    }

    /// Sends all pieces, several in flight, in order.
    async fn send(
        &mut self,
        core: &Core,
        acting: &Acting,
        found: &Found,
        progress: Option<&AtomicU64>,
    ) -> Result<()> {
        let mut flights = FuturesUnordered::new();
        let mut stall = core.retry();
        loop {
            while let Some(piece) = self.window.send() {
                let (session, deadline) = (self.session, stall.deadline());
                flights.push(send_piece(acting, session, piece, deadline));
            }
            if self.summary.is_some() && self.window.is_sent() && flights.is_empty() {
                return Ok(());
            }
            let room = self.window.has_room();
            tokio::select! {
                biased;
                Some(answer) = flights.next(), if !flights.is_empty() => {
                    self.window.state(&answer?);
                    stall.progress();
                    self.got_on = true;
                    if let Some(progress) = progress {
                        progress.store(self.window.held(), Ordering::Relaxed);
                    }
                }
                fed = self.feeder.next(), if self.summary.is_none() && room => match fed? {
                    Fed::Pieces(pieces) => pieces.into_iter().for_each(|piece| self.window.push(piece)),
                    Fed::End(summary) => self.summary = Some(summary),
                },
                // All is answered, but the partner is behind, or the source has nothing now.
                () = tokio::time::sleep(if room { SOURCE_WAIT } else { WINDOW_POLL }), if flights.is_empty() => {
                    if room {
                        // That takes as long as it takes; the session is told of, so that it does not expire.
                        stall.progress();
                    } else if stall.left().is_zero() {
                        return Err(Error::new(Code::Timeout, "the upload does not get on", "see `pairfs status`"));
                    }
                    let state = self.ask_state(acting, found, &stall).await?;
                    self.window.state(&state);
                    self.got_on |= room;
                }
            }
            if self.placed.as_ref().is_some_and(|placed| placed.renew <= Instant::now()) {
                self.place(core, found, &mut stall.clone()).await?;
            }
        }
    }

    /// Tells the server that nothing more will come, unless a commit may still be decided.
    async fn abort(&self, core: &Core, pair: u32, error: &Error, retry: &Retry) {
        if self.committing && (retry.is_unknown() || error.effect == Effect::Unknown) {
            return;
        }
        let brief = Retry::new(ABORT_WAIT);
        let abort = AbortRequest { session: self.session.0.to_vec() };
        let told = core.at_acting(pair, &brief, |acting| async move {
            call::<Abort>(&acting.connection, &abort, Bytes::new(), Instant::now() + ABORT_WAIT).await
        });
        if let Ok(Err(error)) = tokio::time::timeout(ABORT_WAIT, told).await {
            tracing::debug!(%error, "an upload that ended is left to expire");
        }
    }
}

/// No living server has all that was sent, and the client has not kept it either.
fn gone() -> Error {
    let what = "the server that had the upload is lost, and its bytes cannot be read again";
    Error::new(Code::NoSuchSession, what, "write it again")
}

/// The version of `session`. One whose bytes the acting member lacks does not stand while they can be sent once more:
/// the repeated commit settles what is owed (R12).
fn standing(versions: &[Version], session: SessionId, lost: bool) -> Option<&Version> {
    let version = versions.iter().find(|version| version.session == session.0)?;
    (lost || !version.is(mark::OWED)).then_some(version)
}

fn place_request(session: SessionId, found: &Found, timeout: Duration) -> OpenUploadRequest {
    OpenUploadRequest {
        session: session.0.to_vec(),
        folder: found.target.folder,
        name: found.target.name.clone(),
        pair: found.target.pair,
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
    }
}

fn renew_after(timeout: Duration) -> Duration {
    (timeout / 2).max(Duration::from_secs(1))
}

async fn send_piece(
    acting: &Acting,
    session: SessionId,
    piece: Piece,
    deadline: Instant,
) -> Result<SessionState> {
    let request = PieceRequest { session: session.0.to_vec(), offset: piece.offset, crcs: piece.crcs };
    // A lost piece changes nothing that anyone sees: its effect is no matter.
    let answer = call::<SendPiece>(&acting.connection, &request, piece.body, deadline).await;
    answer.map(|(state, _)| state).map_err(|error| Error { effect: Effect::None, ..error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r12_an_owed_version_is_written_again_while_its_bytes_are_at_hand() {
        let session = SessionId::from_random([3; 16]);
        let version = |marks| vec![Version { session: session.0.to_vec(), marks, ..Version::default() }];
        assert!(standing(&version(0), session, false).is_some());
        assert!(standing(&version(mark::OWED), session, false).is_none());
        assert!(standing(&version(mark::OWED), session, true).is_some(), "its holder may come back with it");
        assert!(standing(&version(0), SessionId::from_random([4; 16]), true).is_none());
    }
}
