//! Asks the name manager to decide prepared writes: all that wait go in one call, a few calls are under
//! way at once (R36), and a call whose answer was lost is repeated, which is harmless by its keys (R13).

use crate::node::Stop;
use crate::serving::Serving;
use crate::wire;
use bytes::Bytes;
use net::Reconnecting;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use types::command::{Answer, WriteComplete};
use types::limits::{BATCH_BYTES, BATCH_COMMANDS, KIB};
use types::message::member::{
    Complete, CompleteRequest, DamageReport, ReportDamage, Resolve, ResolveReply, ResolveRequest,
};
use types::{Code, Error, Result};

/// Calls under way at once.
const IN_FLIGHT: usize = 4;
/// Writes that wait for a call; one more is refused as busy.
const QUEUE: usize = 16 * KIB;
/// How long one call may take before it is repeated.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between two tries: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Room that a write takes in a call beside its own bytes.
const FRAMING: usize = 8;

struct Waiting {
    write: WriteComplete,
    answer: oneshot::Sender<Result<Answer>>,
}

/// The queue of writes that wait for their decision.
#[derive(Clone)]
pub struct Completions {
    queue: mpsc::Sender<Waiting>,
    link: Reconnecting,
}

impl Completions {
    /// Starts asking over `link`. Needs a runtime.
    pub fn start(link: Reconnecting, serving: Arc<Serving>, stop: Stop) -> Completions {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(work(waiting, Asker { link: link.clone(), serving, stop }));
        Completions { queue, link }
    }

    /// Asks for `write` and waits for the decision: `Ok` is the log's word, also a refusal; `Err` means that
    /// there is none (yet), and the session stays prepared.
    pub async fn ask(&self, write: WriteComplete) -> Result<Answer> {
        let (answer, decided) = oneshot::channel();
        self.queue.try_send(Waiting { write, answer }).map_err(|_| {
            Error::new(Code::Busy, "too many writes wait for the name manager", "try again in a moment")
        })?;
        decided.await.unwrap_or_else(|_| Err(stopping()))
    }
}

impl Completions {
    /// Asks once what became of prepared sessions.
    pub async fn resolve(&self, request: &ResolveRequest) -> Result<ResolveReply> {
        let connection = self.link.get(Instant::now() + PATIENCE).await?;
        Ok(wire::call::<Resolve>(&connection, request, Bytes::new(), PATIENCE).await?.0)
    }

    /// Tells of bad bytes, for people. Best effort: the log of this server tells, too.
    pub fn report_damage(&self, report: DamageReport) {
        let link = self.link.clone();
        tokio::spawn(async move {
            let told = match link.get(Instant::now() + PATIENCE).await {
                Ok(connection) => {
                    wire::call::<ReportDamage>(&connection, &report, Bytes::new(), PATIENCE).await.map(drop)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                tracing::debug!(%error, "the name manager was not told of bad bytes");
            }
        });
    }
}

#[derive(Clone)]
struct Asker {
    link: Reconnecting,
    serving: Arc<Serving>,
    stop: Stop,
}

async fn work(mut waiting: mpsc::Receiver<Waiting>, asker: Asker) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut left: Option<Waiting> = None;
    // The slot first: what comes while all are taken goes together in the next call.
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let first = match left.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut bytes = first.write.encoded_len() + FRAMING;
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.write.encoded_len() + FRAMING;
            if bytes > BATCH_BYTES / 2 {
                left = Some(next);
                break;
            }
            batch.push(next);
        }
        let asker = asker.clone();
        tokio::spawn(async move {
            asker.decide(batch).await;
            drop(slot);
        });
    }
}

impl Asker {
    async fn decide(&self, batch: Vec<Waiting>) {
        let (writes, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.write, waiting.answer)).unzip();
        let request = CompleteRequest { writes };
        let decided = tokio::select! {
            () = self.stop.stopped() => Err(stopping()),
            decided = self.until_answered(&request) => decided,
        };
        match decided {
            // Whoever asked may have gone.
            Ok(decided) => answers.into_iter().zip(decided).for_each(|(answer, decided)| {
                let _ = answer.send(Ok(decided));
            }),
            Err(error) => answers.into_iter().for_each(|answer| {
                let _ = answer.send(Err(error.clone()));
            }),
        }
    }

    async fn until_answered(&self, request: &CompleteRequest) -> Result<Vec<Answer>> {
        let incarnation = request.writes.first().map_or(0, |write| write.incarnation);
        let mut pause = PAUSES.0;
        loop {
            let error = match self.once(request).await {
                Ok(answers) if answers.len() == request.writes.len() => {
                    let rows = answers.iter().filter_map(|answer| answer.record.as_ref());
                    self.serving
                        .decided(incarnation, rows.map(|record| record.seq).max().unwrap_or_default());
                    return Ok(answers);
                }
                Ok(_) => return Err(Error::internal("the name manager answered another number of writes")),
                Err(error) => error,
            };
            if error.code == Code::RegisterAgain {
                self.serving.fenced(incarnation);
                // The resolution that follows the new registration decides, or the repeated commit (R10).
                return Err(Error { code: Code::NotActing, ..error });
            }
            if !wire::passes(&error) {
                return Err(error);
            }
            tracing::debug!(%error, writes = request.writes.len(), "not decided yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn once(&self, request: &CompleteRequest) -> Result<Vec<Answer>> {
        let connection = self.link.get(Instant::now() + PATIENCE).await?;
        let call = wire::call::<Complete>(&connection, request, Bytes::new(), PATIENCE);
        let (answers, _) = log::crash_point_waiting("commit.sent", call).await?;
        Ok(answers.answers)
    }
}

fn stopping() -> Error {
    Error::new(Code::Unavailable, "the server is stopping", "repeat the request with its key")
        .outcome_unknown()
}
