//! When to try again, how soon, and what to do first.

use crate::bounds::{BACKOFF_MAX, BACKOFF_MIN};
use std::time::Duration;
use tokio::time::Instant;
use types::ids::RequestKey;
use types::mutation::{self, Mutation};
use types::{Code, Effect, Error};

/// What has to be done before another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Ask the name manager who acts now.
    Seek,
    /// Look the path up again.
    Relocate,
    /// Only wait a moment.
    Pause,
    /// Nothing helps.
    GiveUp,
}

/// The remedy for an error with this code.
pub(crate) const fn remedy(code: Code) -> Remedy {
    match code {
        Code::StaleCapability | Code::WrongPair | Code::BadCapability | Code::Moved => Remedy::Relocate,
        Code::NotActing
        | Code::PastEpoch
        | Code::NoActingMember
        | Code::Handover
        | Code::Unavailable
        | Code::RegisterAgain
        // The server's patience is over; with the same key it may be asked again.
        | Code::OutcomeUnknown
        // Of one attempt; whether the whole request is late, its own deadline says.
        | Code::Timeout => Remedy::Seek,
        code if code.is_retryable() => Remedy::Pause,
        _ => Remedy::GiveUp,
    }
}

/// Pauses between attempts: 5 ms, doubling up to 200 ms, each between half of it and all of it so that
/// clients that lost the same server do not come back at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(BACKOFF_MIN)
    }
}

impl Backoff {
    /// The next pause; `random` is any byte.
    pub(crate) fn next(&mut self, random: u8) -> Duration {
        let pause = self.0.mul_f64(0.5 + f64::from(random) / 510.0);
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        pause
    }
}

/// The attempts of one request.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    timeout: Duration,
    deadline: Instant,
    backoff: Backoff,
    /// An attempt may have had its effect.
    unknown: bool,
    /// Why the last attempt that was answered came to nothing.
    last: Option<Error>,
}

impl Retry {
    pub(crate) fn new(timeout: Duration) -> Retry {
        let timeout = if mutation::is(Mutation::EndlessWait) { timeout * 1000 } else { timeout };
        let deadline = Instant::now() + timeout;
        Retry { timeout, deadline, backoff: Backoff::default(), unknown: false, last: None }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What a server may take: a little less than what is left, so that its own answer still arrives.
    pub(crate) fn left_for_server(&self) -> u64 {
        let left = self.left();
        let answer = (left / 10).min(Duration::from_millis(500));
        u64::try_from((left - answer).as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Something went well: the wait for a lost server begins anew.
    pub(crate) fn progress(&mut self) {
        self.deadline = Instant::now() + self.timeout;
        self.backoff = Backoff::default();
    }

    /// A part of the request has until `deadline`, so the whole of it has at least that long.
    pub(crate) fn wait_until(&mut self, deadline: Instant) {
        self.deadline = self.deadline.max(deadline);
    }

    /// Whether an attempt may have had its effect.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Takes an attempt's failure: what to do and how long to wait before the next one.
    ///
    /// # Errors
    /// The error to end with.
    pub(crate) fn failed(&mut self, error: Error) -> Result<(Remedy, Duration), Error> {
        let remedy = remedy(error.code);
        self.unknown |= error.effect == Effect::Unknown || error.code == Code::OutcomeUnknown;
        if remedy == Remedy::GiveUp {
            // A refusal that the log decided is the answer to every attempt with this key.
            self.unknown &= !is_decided(error.code);
            return Err(error);
        }
        let left = self.left();
        if left.is_zero() {
            // The last attempt had no time left to be answered; why those before it failed is what keeps this one waiting.
            let error = match self.last.take() {
                Some(last) if error.code == Code::Timeout => Error { effect: error.effect, ..last },
                _ => error,
            };
            return Err(given_up(error, self.timeout));
        }
        // That a path has to be looked up again says nothing of why nobody answers then.
        if error.code != Code::Timeout && remedy != Remedy::Relocate {
            self.last = Some(error);
        }
        let [random] = net::secret::random::<1>().unwrap_or([255]);
        Ok((remedy, self.backoff.next(random).min(left)))
    }

    /// The error a keyed request ends with: that of the last attempt, or that nobody knows.
    pub(crate) fn outcome(&self, error: Error, key: RequestKey) -> Error {
        if !self.unknown {
            return error;
        }
        Error::new(
            Code::OutcomeUnknown,
            format_args!("it is not known whether it was done ({})", what(&error)),
            format_args!("repeat the same command with --request-key {key}, it will not be done twice"),
        )
        .outcome_unknown()
    }
}

/// Codes that the state machine answers and stores with the key.
const fn is_decided(code: Code) -> bool {
    matches!(
        code,
        Code::Exists
            | Code::Changed
            | Code::NotFound
            | Code::NotEmpty
            | Code::IsAFolder
            | Code::NotAFolder
            | Code::Locked
            | Code::KeyReused
            | Code::QuotaReached
    )
}

fn what(error: &Error) -> &str {
    error.message.rsplit_once(": ").map_or(error.message.as_str(), |(what, _)| what)
}

/// The error of a request whose time is over. Codes between servers are put in a user's words.
fn given_up(error: Error, timeout: Duration) -> Error {
    let code = match error.code {
        Code::NotActing | Code::PastEpoch | Code::Handover | Code::RegisterAgain => Code::NoActingMember,
        code => code,
    };
    let text = format_args!("{} (gave up after {timeout:?})", what(&error));
    // Whoever does not answer this client may well answer the name manager.
    let look = if matches!(code, Code::Unavailable | Code::Timeout) { "doctor" } else { "status" };
    let fix = format_args!("see `pairfs {look}`, or wait longer with --timeout");
    Error { effect: error.effect, ..Error::new(code, text, fix) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ids::ClientId;

    #[test]
    fn whatever_may_be_tried_again_is_tried_again() {
        for code in Code::ALL.iter().filter(|code| code.is_retryable()) {
            assert_ne!(remedy(*code), Remedy::GiveUp, "{}", code.name());
        }
        for code in [Code::Denied, Code::NotFound, Code::Changed, Code::Damaged, Code::OnlyCopyAway] {
            assert_eq!(remedy(code), Remedy::GiveUp);
        }
    }

    #[test]
    fn pauses_grow_from_5_to_200_ms_with_jitter() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next(255).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 200, 200]);
        assert_eq!(backoff.next(0).as_millis(), 100);
    }

    fn key() -> RequestKey {
        RequestKey { client: ClientId { issued: 1, random: 2 }, number: 3, lowest: 3 }
    }

    #[test]
    fn an_unknown_outcome_tells_the_key_that_answers_it() {
        let mut retry = Retry::new(Duration::ZERO);
        let lost = Error::new(Code::Unavailable, "ss1 is lost", "wait").outcome_unknown();
        let error = retry.failed(lost).unwrap_err();
        let error = retry.outcome(error, key());
        assert_eq!(error.code, Code::OutcomeUnknown);
        assert!(error.message.contains("--request-key 1-2-3"), "{}", error.message);
    }

    #[test]
    fn a_servers_unknown_outcome_gets_the_key_too() {
        let mut retry = Retry::new(Duration::ZERO);
        let error =
            retry.failed(Error::new(Code::OutcomeUnknown, "not decided in time", "repeat it")).unwrap_err();
        assert!(retry.outcome(error, key()).message.contains("--request-key 1-2-3"));
    }

    #[test]
    fn a_refusal_by_the_log_is_known_and_one_by_a_server_is_not() {
        let lost = Error::new(Code::Unavailable, "ss1 is lost", "wait").outcome_unknown();
        for (code, known) in [(Code::Changed, true), (Code::DiskFull, false)] {
            let mut retry = Retry::new(Duration::from_secs(60));
            retry.failed(lost.clone()).unwrap();
            let error = retry.failed(Error::new(code, "a", "b")).unwrap_err();
            let code = if known { code } else { Code::OutcomeUnknown };
            assert_eq!(retry.outcome(error, key()).code, code);
        }
    }

    #[test]
    fn who_gives_up_says_what_the_servers_said_not_that_the_last_attempt_was_short() {
        let mut retry = Retry::new(Duration::from_secs(60));
        retry.failed(Error::new(Code::NoActingMember, "nobody acts for ss1", "wait")).unwrap();
        retry.deadline = Instant::now();
        let error = retry.failed(Error::new(Code::Timeout, "not answered in time", "wait")).unwrap_err();
        assert_eq!(error.code, Code::NoActingMember);
        assert!(error.message.contains("nobody acts for ss1"), "{}", error.message);
        let error = retry.failed(Error::new(Code::Timeout, "not answered in time", "wait")).unwrap_err();
        assert_eq!(error.code, Code::Timeout);
    }

    #[test]
    fn a_name_manager_that_falls_silent_is_not_told_as_a_file_that_is_not_there() {
        let mut retry = Retry::new(Duration::from_secs(60));
        retry.failed(Error::new(Code::Moved, "a does not exist", "look again")).unwrap();
        retry.deadline = Instant::now();
        let error = retry.failed(Error::new(Code::Timeout, "not answered in time", "wait")).unwrap_err();
        assert_eq!(error.code, Code::Timeout);
    }

    #[test]
    fn nothing_sent_means_nothing_done() {
        let mut retry = Retry::new(Duration::ZERO);
        let error = retry.failed(Error::new(Code::NotActing, "ss1 does not act", "wait")).unwrap_err();
        assert_eq!(retry.outcome(error, key()).code, Code::NoActingMember);
    }
}
