//! Contents that go from one member of a pair to the other through here, as the two cannot reach each other (or shall
//! not): a request is forwarded to the holder and its answer back. Nothing is kept; how much is under way is bounded.

use crate::manager::Manager;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use types::command::Op;
use types::limits::RELAY_INFLIGHT;
use types::record::{Event, Number, Pair, Server};
use types::{Code, Error, Result};

/// How long a request may wait for a place.
const PLACE_WAIT: Duration = Duration::from_secs(5);
/// Relaying has ended when nothing was relayed for so long.
const IDLE: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_secs(1);

/// What is relayed in one pair.
#[derive(Clone, Copy, Debug)]
struct Relayed {
    /// Bytes since this leader began.
    bytes: u64,
    /// Bytes when it began this time.
    before: u64,
    last: Instant,
    /// It goes on.
    on: bool,
}

/// What is relayed.
pub(crate) struct Relays {
    places: Semaphore,
    pairs: Mutex<BTreeMap<u32, Relayed>>,
}

impl Default for Relays {
    fn default() -> Relays {
        Relays { places: Semaphore::new(RELAY_INFLIGHT), pairs: Mutex::default() }
    }
}

impl Relays {
    fn pairs(&self) -> MutexGuard<'_, BTreeMap<u32, Relayed>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one request, which bounds what is in memory.
    ///
    /// # Errors
    /// `BUSY` if there is none in time.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>> {
        let busy = || Error::new(Code::Busy, "too much is relayed at once", "it is asked again");
        timeout(PLACE_WAIT, self.places.acquire()).await.map_err(|_| busy())?.map_err(Error::internal)
    }

    /// Whether something is relayed in a pair now, and the bytes since this leader began.
    pub(crate) fn of(&self, pair: u32) -> (bool, u64) {
        self.pairs().get(&pair).map_or((false, 0), |relayed| (relayed.on, relayed.bytes))
    }

    /// Counts an answer; whether it is the first.
    fn count(&self, pair: u32, bytes: u64) -> bool {
        let now = Instant::now();
        let mut pairs = self.pairs();
        let relayed = pairs.entry(pair).or_insert(Relayed { bytes: 0, before: 0, last: now, on: false });
        let is_first = !relayed.on;
        if is_first {
            relayed.before = relayed.bytes;
        }
        relayed.on = true;
        relayed.bytes += bytes;
        relayed.last = now;
        is_first
    }

    /// The bytes of this time, if it has ended.
    fn ended(&self, pair: u32) -> Option<u64> {
        let mut pairs = self.pairs();
        let relayed = pairs.get_mut(&pair).filter(|relayed| relayed.last.elapsed() >= IDLE)?;
        relayed.on = false;
        Some(relayed.bytes - relayed.before)
    }
}

impl Manager {
    /// Counts what was relayed to `server`; tells when it begins and when it has ended.
    pub(crate) fn relayed(self: &Arc<Self>, pair: &Pair, server: &Server, holder: &str, bytes: u64) {
        if !self.relays.count(pair.id, bytes) {
            return;
        }
        let manager = self.clone();
        let reason = format!("{} reaches {holder} through {}", server.name, self.settings.name);
        let event = Event {
            server: server.name.clone(),
            pair: pair.name.clone(),
            epoch: pair.epoch,
            reason,
            ..Event::default()
        };
        let pair = pair.id;
        tokio::spawn(async move {
            manager.note(Event { kind: "relay-began".to_owned(), ..event.clone() }).await;
            let bytes = loop {
                tokio::time::sleep(LOOK).await;
                if let Some(bytes) = manager.relays.ended(pair) {
                    break bytes;
                }
            };
            let numbers = vec![Number { name: "bytes".to_owned(), value: bytes }];
            manager.note(Event { kind: "relay-ended".to_owned(), numbers, ..event }).await;
        });
    }

    async fn note(&self, event: Event) {
        if let Err(error) = self.proposer.propose(Op::Note(event)).await {
            tracing::warn!(%error, "an event was not noted");
        }
    }
}
