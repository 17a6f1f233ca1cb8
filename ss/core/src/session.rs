//! A write session (R10, R28): open → receiving → preparing → prepared → committing, and then a version,
//! or open again. The bytes themselves are the shell's; this says what may be done with them when.

use std::time::Duration;
use types::ids::RequestKey;
use types::limits::{CHUNK, CLIENT_TIMEOUT_MAX, FILE_MAX, PIECE, SESSION_IDLE};
use types::message::store::Target;
use types::{Code, Error, Result};

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    Open,
    /// A commit makes it durable.
    Preparing(RequestKey),
    /// Durable here, outcome open: ends only by the name manager's word (R10).
    Prepared,
    /// Durable here, and the name manager has been asked.
    Committing(RequestKey),
}

/// What to do with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceStep {
    /// Append it, without its first so many bytes.
    Take {
        /// Bytes of the piece that are here already.
        skip: u64,
    },
    /// All of it is here already.
    Have,
}

/// What to do with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitStep {
    /// Make it durable, then ask the name manager.
    Prepare,
    /// It is durable: ask the name manager.
    Ask,
    /// The same commit is under way: wait for its outcome.
    Join,
}

/// What a refusal means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// It is open again: the same commit may come again, under another epoch or capability (R10, R14).
    OpenAgain,
    /// It may be a version: its client had an answer to this request, perhaps through the other member, and the name manager
    /// has forgotten which. It stays prepared until a row or a resolution tells (R10).
    InDoubt,
    /// It never becomes a version: drop it.
    Over,
}

/// One write session on one member.
#[derive(Clone, Debug)]
pub struct WriteSession {
    user: String,
    target: Target,
    patience: Duration,
    touched: Duration,
    state: State,
}

impl WriteSession {
    /// A new session of `user`, whose client waits `timeout` for a lost server.
    pub fn open(now: Duration, user: &str, target: Target, timeout: Duration) -> WriteSession {
        WriteSession {
            user: user.to_owned(),
            target,
            patience: timeout.min(CLIENT_TIMEOUT_MAX) + SESSION_IDLE,
            touched: now,
            state: State::Open,
        }
    }

    /// A session that was found prepared: after a restart, or passed on by the partner.
    pub fn found_prepared(now: Duration, user: &str, target: Target) -> WriteSession {
        let session = WriteSession::open(now, user, target, Duration::ZERO);
        WriteSession { state: State::Prepared, ..session }
    }

    /// Who writes.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What is written to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether bytes may still come.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether it is durable here and its outcome is not known.
    pub fn is_prepared(&self) -> bool {
        matches!(self.state, State::Prepared | State::Committing(_))
    }

    /// Whether it is durable here, and nobody asks for its outcome now.
    pub fn is_idle_prepared(&self) -> bool {
        self.state == State::Prepared
    }

    /// The client is there (again) and asks where the session stands.
    ///
    /// # Errors
    /// `DENIED` to anyone but the user who opened it, `BAD_REQUEST` for another target (R15: a session
    /// belongs to user and target, not to one capability).
    pub fn again(&mut self, now: Duration, user: &str, target: &Target) -> Result<()> {
        self.check(user, target)?;
        self.touched = now;
        Ok(())
    }

    /// A piece of `len` bytes at `offset` while `held` bytes from the start are here.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a piece beyond its bounds or behind a gap; `LOCKED` once the session is being
    /// committed.
    pub fn piece(&mut self, now: Duration, offset: u64, len: usize, held: u64) -> Result<PieceStep> {
        check_piece(offset, len)?;
        let end = offset + len as u64;
        if end <= held {
            self.touched = now;
            return Ok(PieceStep::Have);
        }
        if self.state != State::Open {
            return Err(Error::new(
                Code::Locked,
                "the write session is being committed",
                "send no more pieces, or open another session",
            ));
        }
        if offset > held {
            return Err(Error::bad_request(format_args!(
                "a piece at {offset} while only {held} bytes are here"
            )));
        }
        self.touched = now;
        Ok(PieceStep::Take { skip: held - offset })
    }

    /// A commit with `key`.
    ///
    /// # Errors
    /// As [`WriteSession::again`]; `KEY_REUSED` while a commit with another key is under way.
    pub fn commit(
        &mut self,
        now: Duration,
        user: &str,
        target: &Target,
        key: RequestKey,
    ) -> Result<CommitStep> {
        self.check(user, target)?;
        self.touched = now;
        match self.state {
            State::Open => {
                self.state = State::Preparing(key);
                Ok(CommitStep::Prepare)
            }
            State::Prepared => {
                self.state = State::Committing(key);
                Ok(CommitStep::Ask)
            }
            State::Preparing(running) | State::Committing(running) if same(running, key) => {
                Ok(CommitStep::Join)
            }
            State::Preparing(_) | State::Committing(_) => Err(Error::new(
                Code::KeyReused,
                "the write session is being committed under another request key",
                "repeat the commit with its first key",
            )),
        }
    }

    /// It could not be made durable, or not where it has to be: open again, nothing was promised and nobody was
    /// asked. What was durable and in doubt before stays so (R10).
    pub fn not_prepared(&mut self, now: Duration) {
        match self.state {
            State::Preparing(_) => self.reopen(now),
            State::Committing(_) => self.state = State::Prepared,
            State::Open | State::Prepared => {}
        }
    }

    /// It is durable here as prepared; a commit that made it so goes on to ask.
    pub fn prepared(&mut self) {
        self.state = match self.state {
            State::Preparing(key) | State::Committing(key) => State::Committing(key),
            State::Open | State::Prepared => State::Prepared,
        };
    }

    /// Nobody waits for the outcome any more, and it is not known: prepared it stays (R10).
    pub fn in_doubt(&mut self) {
        if let State::Committing(_) = self.state {
            self.state = State::Prepared;
        }
    }

    /// The name manager's refusal. Those that changed nothing (R13) leave the session to be committed
    /// again, a key whose answer is forgotten says nothing of it, and all others end it.
    pub fn refused(&mut self, now: Duration, code: Code) -> AfterRefusal {
        if code == Code::KeyReused {
            self.in_doubt();
            return AfterRefusal::InDoubt;
        }
        if !changed_nothing(code) {
            return AfterRefusal::Over;
        }
        self.reopen(now);
        AfterRefusal::OpenAgain
    }

    /// A resolution after a fence: it is not in the log, so it is open again and its clock starts (R10).
    pub fn reopen(&mut self, now: Duration) {
        self.state = State::Open;
        self.touched = now;
    }

    /// The client gives the session up.
    ///
    /// # Errors
    /// `DENIED` to others than its user; `LOCKED` once it is prepared or on the way there: then the log
    /// decides (R10).
    pub fn abort(&self, user: &str) -> Result<()> {
        if self.user != user {
            return Err(not_yours());
        }
        match self.state {
            State::Open => Ok(()),
            _ => Err(Error::new(
                Code::Locked,
                "the write session is being committed",
                "wait for the outcome of the commit",
            )),
        }
    }

    /// Whether it has been prepared for so long that it is worth asking what became of it.
    pub fn is_forgotten(&self, now: Duration, after: Duration) -> bool {
        self.is_idle_prepared() && now.saturating_sub(self.touched) >= after
    }

    /// When it ends without progress; none while that must not happen (R10).
    pub fn expires(&self) -> Option<Duration> {
        matches!(self.state, State::Open).then(|| self.touched.saturating_add(self.patience))
    }

    /// Whether it may be dropped at `now`.
    pub fn is_expired(&self, now: Duration) -> bool {
        self.expires().is_some_and(|end| end <= now)
    }

    fn check(&self, user: &str, target: &Target) -> Result<()> {
        if self.user != user {
            return Err(not_yours());
        }
        if self.target.pair != target.pair {
            return Err(other_target());
        }
        // A name may be given by file once it is known; the log checks both.
        let same_name = self.target.folder == target.folder && self.target.name == target.name;
        let same_file = self.target.file != 0 && self.target.file == target.file;
        if same_name || same_file { Ok(()) } else { Err(other_target()) }
    }
}

/// Whether a refusal left no trace in the log, so that the same key may be tried again (R13).
pub fn changed_nothing(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        StaleCapability
            | BadCapability
            | WrongPair
            | PastEpoch
            | Handover
            | NotActing
            | NoActingMember
            | RegisterAgain
            | Unavailable
            | NotLeader
            | Busy
            | Timeout
    )
}

/// Refuses a piece beyond its bounds.
///
/// # Errors
/// `BAD_REQUEST`.
pub fn check_piece(offset: u64, len: usize) -> Result<()> {
    if len == 0 || len > PIECE {
        return Err(Error::bad_request(format_args!("a piece of {len} bytes (1 to {PIECE} are taken)")));
    }
    let end = offset.checked_add(len as u64).filter(|end| *end <= FILE_MAX);
    let Some(end) = end else {
        return Err(Error::bad_request(format_args!("content beyond {FILE_MAX} bytes")));
    };
    let chunk = CHUNK as u64;
    if offset / chunk != (end - 1) / chunk {
        return Err(Error::bad_request("a piece that crosses a chunk's end"));
    }
    Ok(())
}

/// The lowest unanswered number moves on between two tries of one request.
fn same(a: RequestKey, b: RequestKey) -> bool {
    a.client == b.client && a.number == b.number
}

fn not_yours() -> Error {
    Error::new(Code::Denied, "the write session belongs to another user", "open one of your own")
}

fn other_target() -> Error {
    Error::bad_request("the write session was opened for another file")
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
