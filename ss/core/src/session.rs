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
    /// again, all others end it.
    pub fn refused(&mut self, now: Duration, code: Code) -> AfterRefusal {
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use types::ids::ClientId;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn key(number: u64) -> RequestKey {
        RequestKey { client: ClientId { issued: 1, random: 2 }, number, lowest: number }
    }

    fn target() -> Target {
        Target { pair: 1, folder: 5, name: "a".into(), file: 0 }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn session() -> WriteSession {
        WriteSession::open(s(0), "ann", target(), TIMEOUT)
    }

    #[test]
    fn an_upload_goes_on_where_it_was_after_its_client_came_back() {
        let mut session = session();
        assert_eq!(session.piece(s(1), 0, PIECE, 0), Ok(PieceStep::Take { skip: 0 }));
        assert!(!session.is_expired(s(120)));
        session.again(s(119), "ann", &target()).unwrap();
        assert_eq!(session.piece(s(119), 0, PIECE, PIECE as u64), Ok(PieceStep::Have), "sent twice");
        let half = PIECE as u64 / 2;
        assert_eq!(session.piece(s(119), half, PIECE, PIECE as u64), Ok(PieceStep::Take { skip: half }));
        assert!(!session.is_expired(s(238)));
        assert!(session.is_expired(s(239)));
    }

    #[test]
    fn nobody_continues_or_ends_the_upload_of_somebody_else() {
        let mut session = session();
        assert_eq!(session.again(s(1), "bob", &target()).unwrap_err().code, Code::Denied);
        assert_eq!(session.commit(s(1), "bob", &target(), key(1)).unwrap_err().code, Code::Denied);
        assert_eq!(session.abort("bob").unwrap_err().code, Code::Denied);
        let elsewhere = Target { name: "b".into(), ..target() };
        assert_eq!(session.commit(s(1), "ann", &elsewhere, key(1)).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn r10_a_prepared_write_is_never_dropped_by_time_or_by_its_client() {
        let mut session = session();
        assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
        session.prepared();
        assert!(session.is_prepared());
        session.in_doubt();
        assert!(session.is_prepared());
        assert!(!session.is_expired(s(1_000_000)));
        assert_eq!(session.abort("ann").unwrap_err().code, Code::Locked);
        assert_eq!(session.piece(s(2), 0, 10, 0).unwrap_err().code, Code::Locked);
        session.reopen(s(1_000_000));
        assert!(!session.is_expired(s(1_000_100)), "its clock starts when it is open again");
        assert!(session.is_expired(s(1_000_120)));
    }

    #[test]
    fn r13_a_repeated_commit_waits_for_the_first_and_another_key_is_refused() {
        let mut session = session();
        assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
        assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Join));
        let later = RequestKey { lowest: 0, ..key(1) };
        assert_eq!(session.commit(s(1), "ann", &target(), later), Ok(CommitStep::Join));
        assert_eq!(session.commit(s(1), "ann", &target(), key(2)).unwrap_err().code, Code::KeyReused);
        session.prepared();
        assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Join));
    }

    #[test]
    fn a_commit_refused_for_its_epoch_is_taken_again_in_the_next() {
        for code in [Code::StaleCapability, Code::WrongPair, Code::PastEpoch, Code::Handover, Code::NotActing]
        {
            let mut session = session();
            session.commit(s(1), "ann", &target(), key(1)).unwrap();
            session.prepared();
            assert_eq!(session.refused(s(2), code), AfterRefusal::OpenAgain);
            assert_eq!(session.commit(s(3), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
        }
        for code in [Code::Changed, Code::Exists, Code::Denied, Code::QuotaReached, Code::KeyReused] {
            let mut session = session();
            session.commit(s(1), "ann", &target(), key(1)).unwrap();
            assert_eq!(session.refused(s(2), code), AfterRefusal::Over);
        }
    }

    #[test]
    fn a_failover_commits_what_the_partner_had_prepared_without_sending_it_again() {
        let mut session = WriteSession::found_prepared(s(1), "ann", target());
        assert_eq!(session.commit(s(2), "ann", &target(), key(1)), Ok(CommitStep::Ask));
        assert_eq!(session.commit(s(2), "ann", &target(), key(1)), Ok(CommitStep::Join));
    }

    #[test]
    fn a_full_disk_at_commit_leaves_the_session_to_be_committed_later() {
        let mut session = session();
        session.commit(s(1), "ann", &target(), key(1)).unwrap();
        session.not_prepared(s(2));
        assert_eq!(session.commit(s(3), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
    }

    #[test]
    fn r10_a_failed_try_to_commit_what_is_in_doubt_leaves_it_in_doubt() {
        let mut session = WriteSession::found_prepared(s(1), "ann", target());
        session.not_prepared(s(2));
        assert!(session.is_idle_prepared());
        assert_eq!(session.commit(s(2), "ann", &target(), key(1)), Ok(CommitStep::Ask));
        session.not_prepared(s(3));
        assert!(session.is_idle_prepared() && session.expires().is_none());
        assert_eq!(
            session.commit(s(4), "ann", &target(), key(1)),
            Ok(CommitStep::Ask),
            "and can be repeated"
        );
    }

    #[test]
    fn what_was_prepared_for_the_partner_is_asked_about_after_a_while() {
        let mut session = WriteSession::found_prepared(s(1), "ann", target());
        assert!(!session.is_forgotten(s(60), s(60)) && session.is_forgotten(s(61), s(60)));
        session.commit(s(61), "ann", &target(), key(1)).unwrap();
        assert!(!session.is_forgotten(s(200), s(60)), "somebody asks already");
    }

    proptest! {
        /// I9: whatever a client claims about a piece, what is taken continues what is held and ends
        /// within its chunk.
        #[test]
        fn i9_no_piece_leaves_a_hole_or_crosses_a_chunk(offset: u64, len in 0..2 * PIECE, held in 0..1u64 << 41) {
            let mut session = session();
            if let Ok(step) = session.piece(s(1), offset, len, held) {
                prop_assert!(len > 0 && len <= PIECE);
                let end = offset + len as u64;
                prop_assert!(end <= FILE_MAX);
                prop_assert_eq!(offset / CHUNK as u64, (end - 1) / CHUNK as u64);
                match step {
                    PieceStep::Have => prop_assert!(end <= held),
                    PieceStep::Take { skip } => {
                        prop_assert_eq!(offset + skip, held);
                        prop_assert!(skip < len as u64);
                    }
                }
            }
        }

        /// R10 in any order: between prepared and an answer, nothing makes a session expire.
        #[test]
        fn r10_only_the_name_manager_ends_a_prepared_session(steps in prop::collection::vec(0..8u8, 1..40)) {
            let mut session = session();
            let mut prepared = false;
            for (at, step) in steps.into_iter().enumerate() {
                let now = s(at as u64 * 1000);
                match step {
                    0 => drop(session.commit(now, "ann", &target(), key(1))),
                    1 => {
                        session.prepared();
                        prepared = true;
                    }
                    2 => session.in_doubt(),
                    3 => drop(session.piece(now, 0, 1, 0)),
                    4 => drop(session.again(now, "ann", &target())),
                    5 => drop(session.abort("ann")),
                    6 => session.not_prepared(now),
                    _ => {
                        session.reopen(now);
                        prepared = false;
                    }
                }
                prop_assert!(!prepared || session.is_prepared());
                prop_assert!(!prepared || session.expires().is_none());
            }
        }
    }
}
