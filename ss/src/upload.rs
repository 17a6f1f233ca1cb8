//! One upload: its state, the pieces on their way to the disk and to the partner, and how a commit ended.

use crate::node::Node;
use crate::sessions::{Piece, Writer, lock, writer};
use crate::store::{Content, Store};
use bytes::Bytes;
use net::clock::boottime;
use ss_core::passing::Passing;
use ss_core::session::{AfterRefusal, CommitStep, PieceStep, WriteSession};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::timeout;
use types::ids::{RequestKey, SessionId};
use types::limits::{PIECE, SERVER_WINDOW};
use types::message::partner::PassedSession;
use types::message::store::{Receipt, SessionState, Target};
use types::record::Manifest;
use types::{Code, Error, Result};

/// How long a piece waits for those before it, for memory, or for the partner.
const PIECE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of pieces kept for passing on; what does not fit is read back from the disk.
const RECENT: u64 = ss_core::passing::IN_FLIGHT;

struct Queued {
    piece: Piece,
    memory: Arc<OwnedSemaphorePermit>,
    done: oneshot::Sender<Result<u64>>,
}

/// What the partner has to prepare once it has all the bytes.
#[derive(Clone)]
pub(crate) struct Seal {
    /// Goes into the request.
    pub passed: PassedSession,
    /// Wait until it is durable there.
    pub durable: bool,
}

struct State {
    session: WriteSession,
    /// Bytes from the start that are here.
    held: u64,
    /// Bytes from the start that are here or queued.
    accepted: u64,
    queue: VecDeque<Queued>,
    writing: bool,
    passing: Passing,
    passer: bool,
    recent: VecDeque<(u64, Bytes, Arc<OwnedSemaphorePermit>)>,
    /// Set by the commit.
    manifest: Option<Arc<Manifest>>,
    seal: Option<Seal>,
    over: bool,
    /// How far the pair's rows must be applied before what is durable of it may be dropped (decision 0007).
    mark: u64,
}

/// One upload. See the module.
pub struct Upload {
    /// Its id.
    pub id: SessionId,
    size_hint: Option<u64>,
    /// Never held while `progress` is read or changed, whose waiters take it.
    state: Mutex<State>,
    /// Taken only on disk threads.
    writer: Writer,
    progress: watch::Sender<SessionState>,
    outcome: watch::Sender<Option<Result<Receipt>>>,
    /// Whether the partner has prepared it; none: not known (yet).
    partner: watch::Sender<Option<bool>>,
}

impl Upload {
    pub(crate) fn new(id: SessionId, size_hint: Option<u64>, session: WriteSession) -> Upload {
        Upload {
            id,
            size_hint,
            state: Mutex::new(State {
                session,
                held: 0,
                accepted: 0,
                queue: VecDeque::new(),
                writing: false,
                passing: Passing::new(false),
                passer: false,
                recent: VecDeque::new(),
                manifest: None,
                seal: None,
                over: false,
                mark: 0,
            }),
            writer: Mutex::new(None),
            progress: watch::channel(SessionState::default()).0,
            outcome: watch::channel(None).0,
            partner: watch::channel(None).0,
        }
    }

    /// The client is there (again).
    pub fn again(&self, user: &str, target: &Target) -> Result<SessionState> {
        lock(&self.state).session.again(boottime(), user, target)?;
        Ok(self.progress.borrow().clone())
    }

    /// Where it stands.
    pub fn progress(&self) -> SessionState {
        self.progress.borrow().clone()
    }

    /// Every change of where it stands, its end included.
    pub(crate) fn changes(&self) -> watch::Receiver<SessionState> {
        self.progress.subscribe()
    }

    /// What is written to, and who writes.
    pub fn whose(&self) -> (Target, String) {
        let state = lock(&self.state);
        (state.session.target().clone(), state.session.user().to_owned())
    }

    /// Bytes to come, if the client said.
    pub fn size_hint(&self) -> Option<u64> {
        self.size_hint
    }

    pub(crate) fn is_expired(&self, now: Duration) -> bool {
        let state = lock(&self.state);
        state.session.is_expired(now) && !state.writing
    }

    /// Whether rows applied up to `cursor` would have told of it, if it were a version.
    pub(crate) fn is_told_by(&self, cursor: u64) -> bool {
        lock(&self.state).mark <= cursor
    }

    pub(crate) fn is_forgotten(&self, now: Duration, after: Duration) -> bool {
        lock(&self.state).session.is_forgotten(now, after)
    }

    pub(crate) fn is_committing(&self) -> bool {
        let state = lock(&self.state);
        !state.session.is_open() && !state.session.is_idle_prepared()
    }

    pub(crate) fn is_waiting_for_word(&self) -> bool {
        lock(&self.state).session.is_idle_prepared()
    }

    /// Refuses anybody but its user.
    pub fn check_user(&self, user: &str) -> Result<()> {
        if lock(&self.state).session.user() == user {
            return Ok(());
        }
        Err(Error::new(Code::Denied, "the write session belongs to another user", "open one of your own"))
    }

    /// Refuses anybody but its user, and an upload that is being committed.
    pub fn abort(&self, user: &str) -> Result<()> {
        lock(&self.state).session.abort(user)
    }

    /// Nothing goes on for it any more.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        state.over = true;
        state.recent.clear();
        drop(state);
        self.progress.send_modify(|_| {});
    }

    /// Takes one piece: writes it, offers it to the passing on, and gives where the upload stands. Pieces
    /// that come at once must be begun in their order; one that overtook another waits for it.
    ///
    /// # Errors
    /// `BAD_REQUEST`, `LOCKED`; `DAMAGED` for a wrong checksum; `DISK_FULL`; `BUSY`.
    pub async fn piece(
        self: &Arc<Self>,
        node: &Arc<Node>,
        offset: u64,
        crcs: Vec<u64>,
        body: Bytes,
    ) -> Result<SessionState> {
        ss_core::session::check_piece(offset, body.len())?;
        let store = node.store()?.clone();
        let memory = u32::try_from(body.len().min(SERVER_WINDOW)).unwrap_or(u32::MAX);
        let memory = timeout(PIECE_WAIT, node.sessions.budget.clone().acquire_many_owned(memory));
        let memory = memory.await.ok().and_then(Result::ok).ok_or_else(too_much)?;
        self.wait_for(offset).await?;
        let (done, written) = oneshot::channel();
        let queued = Queued { piece: Piece { offset, bytes: body, crcs }, memory: Arc::new(memory), done };
        match self.queue(queued)? {
            None => {}
            Some(start) => {
                if start {
                    let upload = self.clone();
                    node.pool.run(move || upload.write(&store)).await?;
                }
                written.await.map_err(|_| Error::internal("a piece was forgotten"))??;
            }
        }
        Ok(self.answered().await)
    }

    /// Waits for the pieces before `offset`.
    async fn wait_for(&self, offset: u64) -> Result<()> {
        if offset <= lock(&self.state).accepted {
            return Ok(());
        }
        let mut changes = self.progress.subscribe();
        let before = changes.wait_for(|_| {
            let state = lock(&self.state);
            state.accepted >= offset || state.over
        });
        // Too late: the session says what is missing.
        let _ = timeout(PIECE_WAIT, before).await;
        Ok(())
    }

    /// Queues a piece; says whether to start writing, or that it is here already.
    fn queue(&self, queued: Queued) -> Result<Option<bool>> {
        let mut state = lock(&self.state);
        let State { session, accepted, .. } = &mut *state;
        let piece = &queued.piece;
        match session.piece(boottime(), piece.offset, piece.bytes.len(), *accepted)? {
            PieceStep::Have => return Ok(None),
            // What is held already the writer passes over.
            PieceStep::Take { .. } => {}
        }
        *accepted = queued.piece.offset + queued.piece.bytes.len() as u64;
        state.queue.push_back(queued);
        let start = !std::mem::replace(&mut state.writing, true);
        drop(state);
        // Those that wait for this one to be queued.
        self.progress.send_modify(|_| {});
        Ok(Some(start))
    }

    /// Writes what is queued, on a disk thread.
    fn write(&self, store: &Store) -> Result<()> {
        loop {
            let queued = {
                let mut state = lock(&self.state);
                match state.queue.pop_front() {
                    Some(queued) => queued,
                    None => {
                        state.writing = false;
                        return Ok(());
                    }
                }
            };
            let Queued { piece, memory, done } = queued;
            let written = {
                let mut slot = lock(&self.writer);
                writer(&mut slot, store, self.size_hint).push(piece.offset, &piece.bytes, &piece.crcs)
            };
            match &written {
                Ok(held) => self.wrote(*held, piece, memory),
                Err(error) => self.not_written(error),
            }
            // Whoever sent it may have gone.
            let _ = done.send(written);
        }
    }

    fn wrote(&self, held: u64, piece: Piece, memory: Arc<OwnedSemaphorePermit>) {
        let mut state = lock(&self.state);
        state.held = held;
        let kept: u64 = state.recent.iter().map(|(_, bytes, _)| bytes.len() as u64).sum();
        if state.passing.is_on() && kept < RECENT {
            state.recent.push_back((piece.offset, piece.bytes, memory));
        }
        drop(state);
        self.progress.send_modify(|progress| progress.held = held);
    }

    /// What comes behind a piece that failed cannot be written either; the client sends it again.
    fn not_written(&self, error: &Error) {
        let behind = {
            let mut state = lock(&self.state);
            state.accepted = state.held;
            std::mem::take(&mut state.queue)
        };
        for queued in behind {
            let _ = queued.done.send(Err(error.clone()));
        }
    }

    /// Where the upload stands, once the partner is near enough (R18).
    async fn answered(&self) -> SessionState {
        let mut changes = self.progress.subscribe();
        let near = changes.wait_for(|_| {
            let state = lock(&self.state);
            state.over || state.passing.may_answer(state.held)
        });
        // A partner this slow is told apart by its own deadline.
        let _ = timeout(PIECE_WAIT, near).await;
        self.progress()
    }

    // ---- committing

    /// A commit; see [`WriteSession::commit`].
    pub fn commit(&self, user: &str, target: &Target, key: RequestKey) -> Result<CommitStep> {
        let step = lock(&self.state).session.commit(boottime(), user, target, key)?;
        if step != CommitStep::Join {
            self.outcome.send_replace(None);
        }
        Ok(step)
    }

    /// How the commit ended, when it has.
    pub async fn outcome(&self, patience: Duration) -> Result<Receipt> {
        let mut outcome = self.outcome.subscribe();
        let ended = timeout(patience, outcome.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(ended)) => ended.clone().unwrap_or_else(|| Err(Error::internal("no outcome"))),
            _ => Err(Error::new(
                Code::OutcomeUnknown,
                "the write was not decided in time",
                "repeat it with its request key",
            )
            .outcome_unknown()),
        }
    }

    /// Tells those that wait how the commit ended.
    pub fn ended(&self, outcome: Result<Receipt>) {
        self.outcome.send_replace(Some(outcome));
    }

    /// The content of `size` bytes that was uploaded, made whole; on a disk thread.
    ///
    /// # Errors
    /// `NO_SUCH_SESSION` when bytes are missing, `BUSY` while somebody else makes it durable: the upload stays as it
    /// is. After any other error the bytes are gone.
    pub(crate) fn finish(&self, store: &Store, size: u64, crc64: u64, sha256: &[u8]) -> Result<Content> {
        let mut slot = lock(&self.writer);
        let held = lock(&self.state).held;
        if held != size {
            return Err(Error::new(
                Code::NoSuchSession,
                format_args!("{held} of {size} bytes are here"),
                "open the session again, then send what is missing",
            ));
        }
        if slot.is_none() && size == 0 {
            return store.small(Bytes::new(), crc64);
        }
        let Some(writer) = slot.take() else {
            return Err(Error::new(
                Code::Busy,
                "the content is being made durable just now",
                "ask again in a moment",
            ));
        };
        writer.finish(size, Some(crc64), (!sha256.is_empty()).then_some(sha256))
    }

    /// It could not be made durable.
    pub fn not_prepared(&self) {
        lock(&self.state).session.not_prepared(boottime());
    }

    /// It is durable here.
    pub fn prepared(&self) {
        lock(&self.state).session.prepared();
    }

    /// It is durable here for the partner, as `size` bytes.
    pub(crate) fn prepared_for_partner(&self, size: u64) {
        let mut state = lock(&self.state);
        state.session.prepared();
        (state.held, state.accepted) = (size, size);
        drop(state);
        self.progress.send_modify(|progress| progress.held = size);
    }

    /// All of it is here, though it did not come in pieces.
    pub(crate) fn all_here(&self, size: u64) {
        {
            let mut state = lock(&self.state);
            (state.held, state.accepted) = (size, size);
        }
        self.progress.send_modify(|progress| progress.held = size);
    }

    /// Lets the bytes go that are in no content yet; on a disk thread.
    pub(crate) fn discard(&self) {
        drop(lock(&self.writer).take());
    }

    /// Nobody knows what became of it.
    pub fn in_doubt(&self) {
        lock(&self.state).session.in_doubt();
    }

    /// The name manager has refused it.
    pub fn refused(&self, code: Code) -> AfterRefusal {
        lock(&self.state).session.refused(boottime(), code)
    }

    /// Open again though it was to be dropped: it expires later.
    pub(crate) fn reopen(&self) {
        lock(&self.state).session.reopen(boottime());
    }

    /// Open again, with `size` bytes durable here, which may be dropped once rows up to `mark` are applied. Nothing
    /// happens if somebody commits it now.
    pub(crate) fn undecided(&self, now: Duration, size: u64, mark: u64) {
        let mut state = lock(&self.state);
        if !state.session.is_open() && !state.session.is_idle_prepared() {
            return;
        }
        state.session.reopen(now);
        state.mark = state.mark.max(mark);
        state.accepted = state.accepted.max(size);
        state.held = state.held.max(size);
        drop(state);
        self.progress.send_modify(|progress| progress.held = progress.held.max(size));
    }

    // ---- passing on

    /// Whether the caller shall start the task that passes on.
    pub(crate) fn start_passer(&self) -> bool {
        let mut state = lock(&self.state);
        !state.over && !std::mem::replace(&mut state.passer, true)
    }

    /// Waits until nothing is passed on any more.
    pub(crate) async fn passed(&self) {
        // The sender lives as long as this does.
        let _ = self.progress.subscribe().wait_for(|_| !lock(&self.state).passer).await;
    }

    pub(crate) fn passer_ended(&self) {
        lock(&self.state).passer = false;
        self.passing_changed(Passing::broken);
    }

    /// Changes how far passing on is, and tells those that wait.
    pub(crate) fn passing_changed(&self, change: impl FnOnce(&mut Passing)) {
        let (partner_held, passing) = {
            let mut state = lock(&self.state);
            change(&mut state.passing);
            let partner = state.passing.partner_held();
            if !state.passing.is_on() {
                state.recent.clear();
            }
            (partner, state.passing.is_on())
        };
        self.progress.send_modify(|progress| {
            progress.partner_held = partner_held;
            progress.passing = passing;
        });
    }

    /// The next bytes for the partner, marked as sent; the bytes themselves if they are in memory.
    pub(crate) fn next_to_pass(&self) -> Option<(Range<u64>, Option<Bytes>)> {
        let mut state = lock(&self.state);
        let range = state.passing.next(state.held)?;
        while state
            .recent
            .front()
            .is_some_and(|(offset, bytes, _)| offset + bytes.len() as u64 <= range.start)
        {
            state.recent.pop_front();
        }
        let bytes = match state.recent.front() {
            Some((offset, bytes, _))
                if *offset == range.start && offset + bytes.len() as u64 == range.end =>
            {
                state.recent.pop_front().map(|(_, bytes, _)| bytes)
            }
            _ => None,
        };
        state.passing.sent(range.end);
        Some((range, bytes))
    }

    /// Reads bytes back for passing on; on a disk thread.
    pub(crate) fn read_back(&self, store: &Store, range: Range<u64>) -> Result<Bytes> {
        let len = u32::try_from(range.end - range.start).unwrap_or(PIECE as u32);
        let manifest = lock(&self.state).manifest.clone();
        if let Some(manifest) = manifest {
            return store.read(&manifest, range.start, len).map(|(bytes, _)| bytes);
        }
        match lock(&self.writer).as_ref() {
            Some(writer) => writer.read(range.start, len),
            None => Err(Error::internal("an upload without its bytes")),
        }
    }

    /// All bytes are here as `manifest`, and the partner shall prepare them when it has them.
    pub(crate) fn seal(&self, manifest: Arc<Manifest>, seal: Seal) {
        {
            let mut state = lock(&self.state);
            state.manifest = Some(manifest);
            state.seal = Some(seal);
        }
        self.partner.send_replace(None);
        self.progress.send_modify(|_| {});
    }

    /// What the partner has to prepare, once it has all the bytes.
    pub(crate) fn sealed(&self) -> Option<Seal> {
        lock(&self.state).seal.clone()
    }

    /// Whether nothing goes on for it any more.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).over
    }

    /// Whether the partner has prepared it.
    pub(crate) fn partner_prepared(&self, prepared: bool) {
        self.partner.send_replace(Some(prepared));
    }

    /// Whether the partner has prepared it, and every change of that.
    pub(crate) fn partner_watch(&self) -> watch::Receiver<Option<bool>> {
        self.partner.subscribe()
    }
}

fn too_much() -> Error {
    Error::new(Code::Busy, "too many bytes are on their way to the disk", "send them again in a moment")
}
