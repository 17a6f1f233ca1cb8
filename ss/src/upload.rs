//! One upload: its state and the pieces on their way to the disk.
//!
//! | room | job |
//! |---|---|
//! | [`hashing`] | the digests of its chunks, beside the writing |
//! | [`passing`] | what of it goes to the partner |
//! | [`committing`] | its commit, and how that ended |

mod committing;
mod hashing;
mod passing;

use crate::node::Node;
use crate::pool::Pool;
use crate::sessions::{Piece, Writer, lock, writer};
use crate::store::Store;
use bytes::Bytes;
use hashing::{Hashing, Offered};
use net::clock::boottime;
use ss_core::passing::Passing;
use ss_core::session::{PieceStep, WriteSession};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use types::ids::SessionId;
use types::message::partner::PassedSession;
use types::message::store::{Receipt, SessionState, Target};
use types::record::Manifest;
use types::{Code, Error, Result};

pub(crate) use passing::DIGESTS;

/// How long a piece waits for those before it, or for the partner.
const PIECE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of pieces kept for passing on; what does not fit is read back from the disk.
const RECENT: u64 = ss_core::passing::IN_FLIGHT;

/// Who sends a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The client, or this member on its behalf: it is hashed here.
    Client,
    /// The acting member, which hashes; with the digests of chunks from one on that it has (decision 0017).
    Acting(u32, Bytes),
}

struct Queued {
    piece: Piece,
    hashed_here: bool,
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
    recent: VecDeque<Piece>,
    /// Chunks whose digests the partner was told.
    told: usize,
    /// Set by the commit.
    manifest: Option<Arc<Manifest>>,
    seal: Option<Seal>,
    over: bool,
    /// A job of its has panicked: what is held of it is not to be trusted.
    broken: bool,
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
    hashing: Hashing,
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
                told: 0,
                manifest: None,
                seal: None,
                over: false,
                broken: false,
                mark: 0,
            }),
            writer: Mutex::new(None),
            hashing: Hashing::default(),
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
    /// `BAD_REQUEST`, `LOCKED`; `DAMAGED` for a wrong checksum; `DISK_FULL`.
    pub(crate) async fn piece(
        self: &Arc<Self>,
        node: &Arc<Node>,
        sender: Sender,
        piece: Piece,
    ) -> Result<SessionState> {
        ss_core::session::check_piece(piece.offset, piece.bytes.len())?;
        let store = node.store()?.clone();
        self.wait_for(piece.offset).await?;
        // Before the piece is queued: so they are taken in the order of the pieces they came with.
        if let Sender::Acting(from, digests) = &sender {
            self.hashing.tell(*from, digests);
        }
        let (done, written) = oneshot::channel();
        let hashed_here = sender == Sender::Client;
        match self.queue(Queued { piece, hashed_here, done })? {
            None => {}
            Some(start) => {
                if start {
                    let (upload, pool) = (self.clone(), node.pool.clone());
                    node.pool.start(move || upload.write(&store, &pool)).await?;
                }
                match written.await {
                    Ok(written) => drop(written?),
                    Err(_) => return Err(self.give_up(node).await),
                }
            }
        }
        Ok(self.answered().await)
    }

    /// A job of this upload has panicked: it ends here and now, and its client begins anew.
    async fn give_up(self: &Arc<Self>, node: &Arc<Node>) -> Error {
        self.break_off();
        tracing::error!(session = %self.id, "a job of the upload has panicked: it is given up");
        node.lose(self).await;
        broken()
    }

    /// Everybody who waits for something of this upload is told that nothing comes any more.
    fn break_off(&self) {
        {
            let mut state = lock(&self.state);
            (state.broken, state.writing) = (true, false);
        }
        self.not_written(&broken());
        self.end();
    }

    /// Whether it can only be given up.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.state).broken
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
        if state.broken {
            return Err(broken());
        }
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
    fn write(self: &Arc<Self>, store: &Store, pool: &Pool) {
        let _breaks = BreaksOff(self);
        loop {
            let queued = {
                let mut state = lock(&self.state);
                match state.queue.pop_front() {
                    Some(queued) => queued,
                    None => {
                        state.writing = false;
                        return;
                    }
                }
            };
            let Queued { piece, hashed_here, done } = queued;
            let written = {
                let mut slot = lock(&self.writer);
                writer(&mut slot, store, self.size_hint).push(piece.offset, &piece.bytes, &piece.crcs)
            };
            match &written {
                Ok(held) => {
                    if hashed_here {
                        self.hash(&piece, store, pool);
                    }
                    self.wrote(*held, piece);
                }
                Err(error) => self.not_written(error),
            }
            // Whoever sent it may have gone.
            let _ = done.send(written);
        }
    }

    /// Has a piece hashed that was written; on a disk thread.
    fn hash(self: &Arc<Self>, piece: &Piece, store: &Store, pool: &Pool) {
        match self.hashing.offer(piece.offset, piece.bytes.clone()) {
            Offered::Running => {}
            Offered::Start => {
                let (upload, store) = (self.clone(), store.clone());
                // Without a thread for it, it is done at the end.
                pool.try_start(move || {
                    let _breaks = BreaksOff(&upload);
                    while matches!(upload.hash_more(&store), Ok(true)) {}
                });
            }
            Offered::Help => {
                // What cannot be read back now is read at the end.
                let _ = self.hash_more(store);
            }
        }
    }

    /// Hashes a piece more of what is here; `false` if all of it is hashed. On a disk thread.
    fn hash_more(&self, store: &Store) -> Result<bool> {
        self.hashing.step(|| lock(&self.state).held, |range| self.read_back(store, range))
    }

    /// Takes digests that the acting member has computed (decision 0017).
    pub(crate) fn tell(&self, from: u32, digests: &[u8]) {
        self.hashing.tell(from, digests);
    }

    fn wrote(&self, held: u64, piece: Piece) {
        let mut state = lock(&self.state);
        state.held = held;
        let kept: u64 = state.recent.iter().map(|piece| piece.bytes.len() as u64).sum();
        if state.passing.is_on() && kept < RECENT {
            state.recent.push_back(piece);
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
}

/// Breaks an upload off if the job that holds this panics.
struct BreaksOff<'a>(&'a Upload);

impl Drop for BreaksOff<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.break_off();
        }
    }
}

fn broken() -> Error {
    let next = "send the content again; a bug of the server, see its log";
    Error::new(Code::Internal, "the upload was given up, because writing it has panicked", next)
}
