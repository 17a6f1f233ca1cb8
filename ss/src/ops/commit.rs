//! Commit and Put: an upload becomes a version (R10, R19). Durable here as prepared and offered to the
//! partner, then decided by the log, then shown to readers, then acknowledged.

use crate::durability::inherited;
use crate::node::Node;
use crate::passer;
use crate::store::{Content, Held, Prepare, State};
use crate::upload::{Seal, Upload};
use bytes::Bytes;
use log::crash_point;
use net::clock::boottime;
use ss_core::session::{AfterRefusal, CommitStep, WriteSession};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use types::capability::right;
use types::command::{Answer, Asker, WriteComplete};
use types::ids::SessionId;
use types::limits::{CLIENT_TIMEOUT, CLIENT_TIMEOUT_MAX, INLINE_MAX};
use types::message::member::{Prepared, Resolution, ResolveRequest};
use types::message::partner::PassedSession;
use types::message::store::{CommitRequest, Durability, Receipt, Target};
use types::mutation::{self, Mutation};
use types::record::Manifest;
use types::{Code, Error, Result};

/// Pause before the partner is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a commit waits for the partner because of a handover only (R27).
const HANDOVER_WAIT: Duration = Duration::from_secs(2);

/// Where the content of a commit is.
pub enum Source {
    /// It was uploaded in pieces.
    Pieces,
    /// It comes along (Put).
    Body(Bytes),
    /// It is held here as another session's, and is shared (Copy).
    Cited(SessionId, Arc<Manifest>),
}

/// Commits a content.
///
/// # Errors
/// Those of the log's decision; `OUTCOME_UNKNOWN` when there is none in the client's time, and the commit
/// goes on.
pub async fn run(node: Arc<Node>, user: String, request: CommitRequest, source: Source) -> Result<Receipt> {
    let patience = match request.timeout_ms {
        0 => CLIENT_TIMEOUT,
        ms => Duration::from_millis(ms).min(CLIENT_TIMEOUT_MAX),
    };
    let (commit, step) = Commit::begin(node, &user, request, &source, patience)?;
    let upload = commit.upload.clone();
    if step != CommitStep::Join {
        // It goes on whatever becomes of the client.
        tokio::spawn(commit.run(source));
    }
    upload.outcome(patience).await
}

struct Commit {
    node: Arc<Node>,
    upload: Arc<Upload>,
    request: CommitRequest,
    target: Target,
    asker: Asker,
    epoch: u64,
    incarnation: u64,
    stamp: u64,
    deadline: Instant,
    /// The session whose content it shares.
    cites: Option<SessionId>,
    /// What was asked for, or holds in the folder.
    durability: Durability,
}

impl Commit {
    fn begin(
        node: Arc<Node>,
        user: &str,
        mut request: CommitRequest,
        source: &Source,
        patience: Duration,
    ) -> Result<(Commit, CommitStep)> {
        let id = SessionId::from_slice(&request.session)?;
        if id.is_made() {
            return Err(Error::bad_request("a session id of the name manager's kind"));
        }
        let missing = |what| Error::bad_request(format_args!("a commit without its {what}"));
        let target = request.target.take().ok_or_else(|| missing("target"))?;
        let asker = request.asker.take().ok_or_else(|| missing("asker"))?;
        if asker.user != user {
            return Err(Error::new(
                Code::Denied,
                "the commit is in another user's name",
                "sign in as that user",
            ));
        }
        let capability = node.capability(request.capability.as_ref(), user)?;
        capability.require(right::WRITE, target.pair, target.folder, target.file)?;
        // Before the epoch, so that a registration in between is noticed as one.
        let incarnation = node.serving.incarnation();
        let epoch = node.admit(target.pair, request.epoch)?;
        if let Source::Body(body) = source
            && (body.len() > INLINE_MAX || body.len() as u64 != request.size)
        {
            let what = format_args!("{} bytes in one request of {}", body.len(), request.size);
            return Err(Error::bad_request(what));
        }
        let held = node.store()?.lookup(id)?;
        if let Some(held) = &held {
            check_writer(held, &asker)?;
        }
        let open = || match &held {
            // In doubt, it may be: that a try fails does not make it less so (R10).
            Some(held) if held.state == State::Prepared => {
                WriteSession::found_prepared(boottime(), user, target.clone())
            }
            _ => WriteSession::open(boottime(), user, target.clone(), patience),
        };
        let upload = match node.sessions.get(id) {
            Some(upload) => upload,
            None if held.is_some() || !matches!(source, Source::Pieces) => {
                node.sessions.get_or_open(id, None, open)?
            }
            None => node.sessions.find(id)?,
        };
        let step = upload.commit(user, &target, asker.key())?;
        let deadline = Instant::now() + patience;
        let stamp = capability.stamp;
        let cites = if let Source::Cited(session, _) = source { Some(*session) } else { None };
        let durability = durability(&node, &request, target.folder)?;
        let commit = Commit {
            node,
            upload,
            request,
            target,
            asker,
            epoch,
            incarnation,
            stamp,
            deadline,
            cites,
            durability,
        };
        Ok((commit, step))
    }

    async fn run(self, source: Source) {
        let node = self.node.clone();
        let _under_way = node.sessions.begin_commit();
        let outcome = self.decide(source).await;
        if let Err(error) = &outcome {
            tracing::debug!(%error, session = %self.upload.id, "a write was not committed");
        }
        self.upload.ended(outcome);
    }

    async fn decide(&self, source: Source) -> Result<Receipt> {
        crash_point("commit.begin");
        let Ready { manifest, both, offered } = match self.prepare(source).await {
            Ok(ready) => ready,
            Err(error) => {
                self.upload.not_prepared();
                // Nothing came of this try; of an earlier one something still may.
                let is_in_doubt = self.upload.is_waiting_for_word();
                return Err(if is_in_doubt { error.outcome_unknown() } else { error });
            }
        };
        crash_point("commit.prepared");
        let (own, partner) = self.node.serving.bits();
        let durable_on = own | if both { partner } else { 0 };
        let write = self.write_complete(&manifest, durable_on)?;
        let answer = match self.node.completions.ask(write).await {
            Ok(answer) => answer,
            Err(error) => {
                self.upload.in_doubt();
                return Err(error);
            }
        };
        crash_point("commit.answered");
        match answer.into_result() {
            Ok(answer) if self.is_kept_by_none(&answer) => {
                let version = answer.version.unwrap_or_default();
                let file = answer.record.as_ref().map_or(0, |record| record.id);
                // Its word is what counts: no row will name this session.
                self.over(offered).await;
                Ok(Receipt { durable_on: version.durable_on, version: Some(version), file })
            }
            Ok(answer) => self.committed(answer, durable_on),
            Err(refusal) => {
                if self.upload.refused(refusal.code) == AfterRefusal::Over {
                    self.over(offered).await;
                }
                Err(refusal)
            }
        }
    }

    /// Whether what was asked was done before, under the same key, and no record keeps this session: it was done with another
    /// one that holds the same, as a user has repeated a command; or with this one, and was removed or overwritten before its
    /// client heard of it and brought it once more. No row will ever name it, and a rebuild would take it for a write of its own
    /// (I4).
    fn is_kept_by_none(&self, answer: &Answer) -> bool {
        let mut kept = answer.record.iter().flat_map(|record| &record.versions);
        answer.repeated && !kept.any(|version| version.session[..] == self.upload.id.0)
    }

    /// The session never becomes a version: it goes, here and at the partner.
    async fn over(&self, offered: Option<Offered>) {
        self.node.forget(&self.upload).await;
        let upload = self.upload.clone();
        self.node.partner.abort(self.upload.id, async move {
            if let Some(Offered::Told(told)) = offered {
                // Whatever it is: it is not on its way any more.
                let _ = told.await;
            }
            upload.passed().await;
        });
    }

    fn committed(&self, answer: Answer, durable_on: u32) -> Result<Receipt> {
        let file = answer.record.as_ref().map_or(0, |record| record.id);
        if let Some(record) = answer.record {
            // Readers see it before the writer hears of it (R22).
            self.node.store()?.install_head(record)?;
        }
        self.node.sessions.remove(&self.upload);
        if self.upload.sealed().is_none() {
            self.upload.end();
        }
        // The answer to an earlier try may know more than this one, which had nothing to do (R13).
        let told =
            answer.version.as_ref().filter(|_| answer.repeated).map_or(0, |version| version.durable_on);
        Ok(Receipt { version: answer.version, file, durable_on: durable_on | told })
    }

    fn write_complete(&self, manifest: &Manifest, durable_on: u32) -> Result<WriteComplete> {
        let (request, target) = (&self.request, &self.target);
        Ok(WriteComplete {
            asker: Some(self.asker.clone()),
            pair: target.pair,
            epoch: self.epoch,
            server: self.node.name().to_owned(),
            incarnation: self.incarnation,
            session: self.upload.id.0.to_vec(),
            folder: target.folder,
            name: target.name.clone(),
            file: target.file,
            stamp: self.stamp,
            size: manifest.size,
            digest_kind: manifest.digest_kind,
            sha256: manifest.sha256.to_vec(),
            if_epoch: request.if_epoch,
            if_number: request.if_number,
            create_only: request.create_only,
            durable_on,
            mode: request.mode,
            mtime_ms: request.mtime_ms,
            journal: self.node.store()?.journal_end(),
        })
    }

    /// Makes the content durable here, and on the partner if that has to be.
    async fn prepare(&self, source: Source) -> Result<Ready> {
        let store = self.node.store()?;
        let (manifest, offered) = match store.lookup(self.upload.id)? {
            Some(held) => {
                self.check(&held.manifest)?;
                if held.origin.asker.is_none()
                    && let Err(error) = self.check_decided().await
                {
                    // Nor does this try stand in the way of whoever may.
                    self.node.lose(&self.upload).await;
                    return Err(error);
                }
                // Decided already: the name manager repeats its answer, and there is nothing to wait for.
                let decided = held.state.is_decided();
                if !decided {
                    // Also what is prepared: for the partner it may have been buffered only.
                    self.make_durable(None).await?;
                }
                let needed = !decided && self.needs_both();
                (held.manifest.clone(), needed.then(|| self.offer_first(&held.manifest)))
            }
            None => {
                let content = self.content(source).await?;
                let manifest = Arc::new(content.manifest().clone());
                self.check(&manifest)?;
                // Both disks write at the same time.
                let offered = self.offer_first(&manifest);
                if let Err(error) = self.make_durable(Some(content)).await {
                    // The bytes are gone with it: the client has to send them again.
                    self.node.lose(&self.upload).await;
                    return Err(error);
                }
                (manifest, Some(offered))
            }
        };
        self.node.sessions.content_landed();
        let (both, offered) = match offered {
            Some(offered) if self.needs_both() => (self.on_both(&manifest, offered).await?, None),
            offered => (false, offered),
        };
        // From here on the log decides.
        self.upload.prepared();
        Ok(Ready { manifest, both, offered })
    }

    /// Asks whether the log has this session by this request: what came with a row does not say whose it was (R16).
    async fn check_decided(&self) -> Result<()> {
        let prepared = Prepared {
            session: self.upload.id.0.to_vec(),
            folder: self.target.folder,
            name: self.target.name.clone(),
            file: self.target.file,
            asker: Some(self.asker.clone()),
        };
        let server = self.node.name().to_owned();
        let cursor = u64::MAX; // a row does not say whose it was
        let request =
            ResolveRequest { server, incarnation: self.incarnation, sessions: vec![prepared], cursor };
        let reply = self.node.completions.resolve(&request).await?;
        // Also one that was removed since was theirs.
        let theirs = |resolution: &Resolution| resolution.committed || resolution.file != 0;
        let decided = reply.resolutions.first().is_some_and(theirs);
        if decided { Ok(()) } else { Err(not_theirs()) }
    }

    async fn make_durable(&self, content: Option<Content>) -> Result<()> {
        let prepare = Prepare {
            session: self.upload.id,
            target: self.target.clone(),
            asker: Some(self.asker.clone()),
            content,
            for_partner: false,
            lazy: false,
            lone: !self.needs_both() && self.node.sessions.commits() == 1,
            seen: self.node.store()?.newest_row(),
        };
        self.node.store()?.prepare(prepare).await.map(drop)
    }

    async fn content(&self, source: Source) -> Result<Content> {
        let store = self.node.store()?.clone();
        let (size, crc64) = (self.request.size, self.request.crc64);
        match source {
            // A copy: the slice would keep the whole receive buffer in memory.
            Source::Body(body) => return store.small(Bytes::copy_from_slice(&body), crc64),
            Source::Cited(_, manifest) => return Ok(Content::cited(&manifest)),
            Source::Pieces => {}
        }
        let (upload, sha256) = (self.upload.clone(), self.request.sha256.clone());
        let finished = self.node.pool.run(move || upload.finish(&store, size, crc64, &sha256)).await;
        if let Err(error) = &finished
            && !matches!(error.code, Code::NoSuchSession | Code::Busy)
        {
            // The bytes are gone with it: the client has to send them again.
            self.node.lose(&self.upload).await;
        }
        finished
    }

    /// Refuses a content other than the client meant (R17).
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let request = &self.request;
        let size = request.size == manifest.size && request.crc64 == manifest.crc64;
        if size && (request.sha256.is_empty() || request.sha256 == manifest.sha256) {
            return Ok(());
        }
        Err(Error::new(
            Code::BadRequest,
            "the session holds another content than the commit names",
            "open another session and send the content again",
        ))
    }

    // ---- the partner

    fn needs_both(&self) -> bool {
        let serving = &self.node.serving;
        match self.durability {
            Durability::Sync => !mutation::is(Mutation::SyncWithOne),
            Durability::SyncIfUp => !serving.degraded() || serving.both_first(),
            Durability::Unset | Durability::Async => serving.both_first(),
        }
    }

    /// Offers the content to the partner for the first time. A copy it only has to be told of: if it does not hold
    /// what is cited, the bytes go to it with the next offer, or with the row.
    fn offer_first(&self, manifest: &Arc<Manifest>) -> Offered {
        let Some(cites) = self.cites.filter(|_| !manifest.is_inline()) else { return self.offer(manifest) };
        self.upload.all_here(manifest.size);
        let mut passed = self.passed(manifest);
        passed.cites = cites.0.to_vec();
        if let Some(manifest) = &mut passed.manifest {
            manifest.chunks.clear();
        }
        Offered::Told(self.node.partner.offer(passed, self.epoch, self.needs_both(), false))
    }

    fn passed(&self, manifest: &Manifest) -> PassedSession {
        let seen = self.node.disk.get().map_or(0, |store| store.newest_row());
        PassedSession {
            seen,
            session: self.upload.id.0.to_vec(),
            target: Some(self.target.clone()),
            manifest: Some(manifest.clone()),
            asker: Some(self.asker.clone()),
            ..PassedSession::default()
        }
    }

    /// Offers the content to the partner; the receiver tells whether it is durable there, if that was asked.
    fn offer(&self, manifest: &Arc<Manifest>) -> Offered {
        let durable = self.needs_both();
        let mut passed = self.passed(manifest);
        if manifest.is_inline() {
            return Offered::Told(self.node.partner.offer(passed, self.epoch, durable, false));
        }
        if let Some(manifest) = &mut passed.manifest {
            manifest.chunks.clear();
        }
        self.upload.seal(manifest.clone(), Seal { passed, durable });
        if durable {
            passer::start(&self.node, &self.upload, self.epoch);
        }
        Offered::Passed
    }

    /// Waits until the partner has it durably; `false` if that is not needed any more.
    async fn on_both(&self, manifest: &Arc<Manifest>, mut offered: Offered) -> Result<bool> {
        let must = matches!(self.durability, Durability::Sync | Durability::SyncIfUp);
        let deadline = if must { self.deadline } else { self.deadline.min(Instant::now() + HANDOVER_WAIT) };
        while Instant::now() < deadline && self.needs_both() {
            match timeout_at(deadline, self.told(offered)).await {
                Ok(true) => return Ok(true),
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(_) => break,
            }
            offered = self.offer(manifest);
        }
        if must && self.needs_both() {
            // It is prepared here, and may be there: should the name manager be made anew now, it becomes a version (R19).
            return Err(Error::new(
                Code::Unavailable,
                "the partner did not take the write in time, and it was asked for on both",
                "repeat it when `pairfs status` shows both members, or ask for less",
            )
            .outcome_unknown());
        }
        Ok(false)
    }

    async fn told(&self, offered: Offered) -> bool {
        match offered {
            Offered::Told(told) => matches!(told.await, Ok(Ok(true))),
            Offered::Passed => {
                let mut prepared = self.upload.partner_watch();
                let told = prepared.wait_for(Option::is_some).await;
                told.is_ok_and(|told| *told == Some(true))
            }
        }
    }
}

/// How durable a write has to be: as it says itself, else as the nearest folder says, else `async` (R19).
fn durability(node: &Node, request: &CommitRequest, folder: u64) -> Result<Durability> {
    let asked = match request.durability() {
        Durability::Unset => inherited(node.store()?, folder)?.unwrap_or_else(|| request.inherited()),
        asked => asked,
    };
    Ok(if asked == Durability::Unset { Durability::Async } else { asked })
}

/// Refuses to commit what another user wrote, or this one under another key that is not decided (R13, R16).
fn check_writer(held: &Held, asker: &Asker) -> Result<()> {
    let Some(writer) = &held.origin.asker else { return Ok(()) };
    if writer.user != asker.user {
        return Err(not_theirs());
    }
    let same = (writer.key().client, writer.number) == (asker.key().client, asker.number);
    if held.state == State::Prepared && !same {
        return Err(Error::new(
            Code::KeyReused,
            "the write session is being committed under another request key",
            "repeat the commit with its first key",
        ));
    }
    Ok(())
}

fn not_theirs() -> Error {
    Error::new(Code::Denied, "the write session belongs to another user", "open one of your own")
}

/// A content that is durable.
struct Ready {
    manifest: Arc<Manifest>,
    /// Also on the partner.
    both: bool,
    /// An offer to the partner that nobody has waited for.
    offered: Option<Offered>,
}

/// How the partner answers.
enum Offered {
    /// To the request that carries the content, or names the one that it shares.
    Told(oneshot::Receiver<Result<bool>>),
    /// Through the task that passes the pieces on.
    Passed,
}
