//! Commands on their way into the log: all that wait at a moment share one entry (R36).
//!
//! Whoever has something to propose puts it into the queue. While fewer than [`IN_FLIGHT`] entries are on
//! their way a task takes all that waits, proposes it and hands out the answers. So one command alone goes
//! at once, and under load entries grow by themselves.

use crate::feeds::Feeds;
use crate::machine::Machine;
use net::clock;
use nm_raft::{ProposeError, Raft};
use prost::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use types::command::{Answer, Answers, BATCH_FORMAT, Batch, Command, Op};
use types::limits::{BATCH_BYTES, BATCH_COMMANDS};
use types::{Code, Error, Result};

/// Entries on their way at once.
const IN_FLIGHT: usize = 3;
/// Commands that wait; one more is refused.
const WAITING_MAX: usize = 65_536;
/// How often an entry of unknown outcome is repeated, if all of it is recognised by its keys.
const REPEATS: usize = 3;

/// Commands that must stand in one entry, side by side, and who waits for their answers.
struct Waiting {
    commands: Vec<Command>,
    bytes: usize,
    answer: oneshot::Sender<Result<Vec<Answer>>>,
}

/// Log time as it was told last. While the wall clock is behind it, because somebody set that back, it goes on by the
/// clock that nobody sets: tickets and sessions still expire.
struct LogTime {
    /// ms since 1970.
    reached: u64,
    /// Time since the machine started, then.
    at: Duration,
}

impl LogTime {
    fn next(&mut self, wall_ms: u64, now: Duration) -> u64 {
        let since = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        let reached = wall_ms.max(self.reached.saturating_add(since));
        if reached > self.reached {
            (self.reached, self.at) = (reached, now);
        }
        reached
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    commands: usize,
    in_flight: usize,
}

struct Inner {
    raft: Raft<Machine>,
    queue: Mutex<Queue>,
    log_time: Mutex<LogTime>,
    feeds: Feeds,
    /// The log has changed a pair or a server.
    roles: Arc<Notify>,
}

/// Proposes commands; clones share the queue.
#[derive(Clone)]
pub(crate) struct Proposer {
    inner: Arc<Inner>,
}

impl Proposer {
    /// A proposer whose log time does not go back behind `log_time`. `feeds` hears of every new row, `roles`
    /// of every change of a pair or a server.
    pub(crate) fn new(raft: Raft<Machine>, log_time: u64, feeds: Feeds, roles: Arc<Notify>) -> Proposer {
        let log_time = Mutex::new(LogTime { reached: log_time, at: clock::boottime() });
        let inner = Inner { raft, queue: Mutex::default(), log_time, feeds, roles };
        Proposer { inner: Arc::new(inner) }
    }

    /// Log time now, ms since 1970: the clock, but never going back (R13), nor standing still.
    pub(crate) fn time(&self) -> u64 {
        let mut time = self.inner.log_time.lock().unwrap_or_else(PoisonError::into_inner);
        time.next(clock::wall_millis(), clock::boottime())
    }

    /// Proposes one command and gives its answer; a refusal is an error.
    pub(crate) async fn propose(&self, op: Op) -> Result<Answer> {
        let answers = self.propose_all(vec![op]).await?;
        answers.into_iter().next().ok_or_else(unknown)?.into_result()
    }

    /// Proposes commands that stand side by side in one entry; gives each its answer.
    ///
    /// # Errors
    /// `BUSY` if too many wait; `NOT_LEADER`; `OUTCOME_UNKNOWN`.
    pub(crate) async fn propose_all(&self, ops: Vec<Op>) -> Result<Vec<Answer>> {
        let commands: Vec<Command> = ops.into_iter().map(|op| Command { op: Some(op) }).collect();
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = commands.iter().map(|command| command.encoded_len() + 8).sum();
        let (answer, answered) = oneshot::channel();
        self.enter(Waiting { commands, bytes, answer })?;
        answered.await.unwrap_or_else(|_| Err(unknown()))
    }

    fn enter(&self, waiting: Waiting) -> Result<()> {
        let mut queue = self.queue();
        if queue.commands + waiting.commands.len() > WAITING_MAX {
            return Err(Error::new(Code::Busy, "too many changes wait for the log", "try again shortly"));
        }
        queue.commands += waiting.commands.len();
        queue.waiting.push_back(waiting);
        if queue.in_flight < IN_FLIGHT {
            queue.in_flight += 1;
            tokio::spawn(self.clone().drive());
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proposes entries until nothing waits.
    async fn drive(self) {
        while let Some(taken) = self.take() {
            self.propose_entry(taken).await;
        }
    }

    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let (mut taken, mut commands, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = queue.waiting.front() {
            commands += next.commands.len();
            bytes += next.bytes;
            if !taken.is_empty() && (commands > BATCH_COMMANDS || bytes > BATCH_BYTES) {
                break;
            }
            taken.extend(queue.waiting.pop_front());
        }
        if taken.is_empty() {
            queue.in_flight -= 1;
            return None;
        }
        queue.commands -= taken.iter().map(|waiting| waiting.commands.len()).sum::<usize>();
        Some(taken)
    }

    async fn propose_entry(&self, mut taken: Vec<Waiting>) {
        let counts: Vec<usize> = taken.iter().map(|waiting| waiting.commands.len()).collect();
        let commands = taken.iter_mut().flat_map(|waiting| std::mem::take(&mut waiting.commands)).collect();
        match self.log(commands).await {
            Ok(answers) => {
                self.tell(&answers);
                let mut answers = answers.into_iter();
                for (waiting, count) in taken.into_iter().zip(counts) {
                    // Whoever asked may have gone.
                    let _ = waiting.answer.send(Ok(answers.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                for waiting in taken {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Wakes those that follow the log before whoever asked goes on.
    fn tell(&self, answers: &[Answer]) {
        for place in answers.iter().flat_map(|answer| &answer.rows) {
            self.inner.feeds.grew(place.feed, place.seq);
        }
        if answers.iter().any(|answer| answer.pair.is_some() || answer.server.is_some()) {
            self.inner.roles.notify_one();
        }
    }

    /// One log entry. An entry of unknown outcome is repeated only if each of its commands is recognised by
    /// its request key.
    async fn log(&self, commands: Vec<Command>) -> Result<Vec<Answer>> {
        let count = commands.len();
        let repeatable = commands.iter().all(is_keyed);
        let mut batch = Batch { format: BATCH_FORMAT, time_ms: 0, commands };
        let mut repeats = 0;
        loop {
            batch.time_ms = self.time();
            match self.inner.raft.propose(batch.encode_to_vec().into()).await {
                Ok((_, reply)) => {
                    let answers = Answers::decode(reply).map_err(Error::internal)?.answers;
                    if answers.len() != count {
                        return Err(
                            Error::internal("an entry has not as many answers as commands").outcome_unknown()
                        );
                    }
                    return Ok(answers);
                }
                Err(ProposeError::Unknown) if repeatable && repeats < REPEATS => repeats += 1,
                Err(error) => return Err(refusal(&error)),
            }
        }
    }
}

fn is_keyed(command: &Command) -> bool {
    match &command.op {
        Some(Op::WriteComplete(write)) => write.asker.is_some(),
        Some(Op::Make(make)) => make.asker.is_some(),
        Some(Op::Remove(remove)) => remove.asker.is_some(),
        Some(Op::Move(rename)) => rename.asker.is_some(),
        // Known again by its number.
        Some(Op::Import(_)) => true,
        _ => false,
    }
}

fn refusal(error: &ProposeError) -> Error {
    match error {
        ProposeError::NotLeader { .. } => {
            Error::new(Code::NotLeader, "this name manager does not lead", "ask the leader")
        }
        ProposeError::Unknown => unknown(),
        ProposeError::TooLarge { .. } => Error::bad_request(error),
        ProposeError::Stopped(_) => Error::new(Code::Unavailable, error, "look at the name manager's log"),
    }
}

fn unknown() -> Error {
    Error::new(
        Code::OutcomeUnknown,
        "the name manager stopped before the outcome was known",
        "repeat the request under the same key",
    )
    .outcome_unknown()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_time_follows_the_clock_forth_goes_not_back_with_it_and_never_stands_still_r13() {
        let s = Duration::from_secs;
        let mut time = LogTime { reached: 5_000, at: s(100) };
        assert_eq!(time.next(9_000, s(101)), 9_000);
        assert_eq!(time.next(3_000, s(101)), 9_000, "the clock was set back");
        assert_eq!(time.next(4_000, s(103)), 11_000, "and time passes");
        assert_eq!(time.next(5_000, s(104)), 12_000);
        assert_eq!(time.next(90_000, s(105)), 90_000, "and forth");
        assert_eq!(time.next(90_000, s(90)), 90_000);
    }
}
