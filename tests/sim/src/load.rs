//! What clients ask for, and what they were answered.
//!
//! Each worker asks for one thing after the other. What it asks for and what it hears stands in the [`History`], in the
//! order in which it happened.

use client::{Client, Content, ReadOptions, RemoveOptions, WriteOptions};
use fastrand::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use types::ids::VersionNumber;
use types::message::store::Durability;
use types::{Code, Effect, Error, Result};

/// Number of a content; each is written once.
pub type Value = u64;

/// Files that several workers write, read and remove, durably on both members at once.
pub const SHARED: usize = 3;
/// The largest content, in bytes.
const LARGEST: usize = 40_000;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Write a content, over what is there; `sync`: answered once both members have it.
    Write {
        /// The content.
        value: Value,
        /// On both at once.
        sync: bool,
    },
    /// Read the file.
    Read,
    /// Remove the file.
    Remove,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// Written, as this version; whether both members had it.
    Written(VersionNumber, bool),
    /// This content; none: no such file.
    Read(Option<Value>),
    /// Removed; `false`: there was nothing.
    Removed(bool),
    /// Refused for sure: nothing was done.
    Nothing(Code),
    /// Not known whether it was done.
    Unknown(Code),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asked.
    pub worker: usize,
    /// The file.
    pub path: String,
    /// What for.
    pub ask: Ask,
    /// When it was begun, ms.
    pub at: u64,
    /// Its place among all begins and ends.
    pub begun: usize,
    /// The place of its end, and what came of it; none: it has not ended.
    pub ended: Option<(usize, Came)>,
}

/// All requests; clones are the same list.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    places: usize,
    values: Value,
    /// What must never be answered.
    wrong: Vec<String>,
}

impl History {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, worker: usize, path: &str, ask: Ask) -> usize {
        let mut state = self.state();
        state.places += 1;
        let begun = state.places;
        let at = crate::tape::now().as_millis().try_into().unwrap_or(u64::MAX);
        state.requests.push(Request { worker, path: path.to_owned(), ask, at, begun, ended: None });
        state.requests.len() - 1
    }

    fn end(&self, number: usize, came: Came) {
        let mut state = self.state();
        state.places += 1;
        let place = state.places;
        if let Some(request) = state.requests.get_mut(number) {
            request.ended = Some((place, came));
        }
    }

    fn new_value(&self) -> Value {
        let mut state = self.state();
        state.values += 1;
        state.values
    }

    /// Notes an answer that may never be.
    pub fn wrong(&self, what: String) {
        self.state().wrong.push(what);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Answers that may never be.
    pub fn wrongs(&self) -> Vec<String> {
        self.state().wrong.clone()
    }

    /// A number that differs between two histories that are not the same.
    pub fn print(&self) -> u64 {
        let text = format!("{:?}", self.state().requests);
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, text.as_bytes())
    }
}

/// The bytes of a content: they tell its number and their own length, and none can stand in another's place.
pub fn bytes_of(value: Value) -> Vec<u8> {
    let mut random = Rng::with_seed(value);
    let len = match random.u8(0..4) {
        0 => 16,
        1 => random.usize(16..4096),
        _ => random.usize(16..LARGEST),
    };
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes[..8].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// The content that these bytes are, whole.
pub fn value_of(bytes: &[u8]) -> Option<Value> {
    let value = u64::from_be_bytes(*bytes.first_chunk()?);
    (bytes_of(value) == bytes).then_some(value)
}

/// How clients behave.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Workers of each client.
    pub workers: usize,
    /// The longest pause between two requests, ms.
    pub pause: u64,
    /// How long a request waits for a lost server.
    pub timeout: Duration,
}

/// What a client's host runs: workers, until `stop`.
pub async fn run(
    client: impl Future<Output = Result<Client>>,
    number: usize,
    plan: Plan,
    mut random: Rng,
    history: History,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let client = client.await?;
    for folder in ["/shared", "/own"] {
        match client.mkdir(folder, true, None).await {
            Ok(_) => {}
            Err(error) if error.code == Code::Exists => {}
            Err(error) => return Err(error),
        }
    }
    let workers = (0..plan.workers).map(|worker| {
        let worker = Worker {
            client: client.clone(),
            number: number * plan.workers + worker,
            random: random.fork(),
            history: history.clone(),
        };
        tokio::spawn(worker.run(plan.pause, stop.clone()))
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.map_err(Error::internal)?;
    }
    Ok(())
}

struct Worker {
    client: Client,
    number: usize,
    random: Rng,
    history: History,
}

impl Worker {
    async fn run(mut self, pause: u64, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let shared = self.random.u8(0..3) > 0;
            let path = match shared {
                true => format!("/shared/{}", self.random.usize(0..SHARED)),
                false => format!("/own/{}", self.number),
            };
            match self.random.u8(0..20) {
                0..9 => self.write(&path, shared).await,
                9..11 if shared => self.remove(&path).await,
                _ => read(&self.client, self.number, &path, &self.history).await,
            }
            let pause = self.random.u64(0..=pause);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn write(&mut self, path: &str, sync: bool) {
        let value = self.history.new_value();
        let request = self.history.begin(self.number, path, Ask::Write { value, sync });
        let durability = if sync { Durability::Sync } else { Durability::Async };
        let options = WriteOptions { durability, ..WriteOptions::default() };
        let written = self.client.write(path, Content::from(bytes_of(value)), &options).await;
        let came = match written {
            Ok(receipt) => Came::Written(receipt.version, receipt.both),
            Err(error) => failed(&self.history, path, &error, &[]),
        };
        self.history.end(request, came);
    }

    async fn remove(&mut self, path: &str) {
        let request = self.history.begin(self.number, path, Ask::Remove);
        let came = match self.client.remove(path, &RemoveOptions::default()).await {
            Ok(()) => Came::Removed(true),
            Err(error) if error.code == Code::NotFound => Came::Removed(false),
            Err(error) => failed(&self.history, path, &error, &[]),
        };
        self.history.end(request, came);
    }
}

/// Reads a file once.
pub async fn read(client: &Client, worker: usize, path: &str, history: &History) {
    let request = history.begin(worker, path, Ask::Read);
    let read = async {
        let mut reader = client.read(path, &ReadOptions::default()).await?;
        reader.to_end(2 * LARGEST as u64).await
    };
    let came = match read.await {
        Ok(bytes) => match value_of(&bytes) {
            Some(value) => Came::Read(Some(value)),
            None => {
                history.wrong(format!("{path} was read as {} bytes that nobody wrote so", bytes.len()));
                Came::Unknown(Code::Damaged)
            }
        },
        Err(error) if error.code == Code::NotFound => Came::Read(None),
        // What it had begun to read is not kept any more, or only where nobody serves.
        Err(error) => failed(history, path, &error, &[Code::NoSuchVersion, Code::OnlyCopyAway]),
    };
    history.end(request, came);
}

/// What an error leaves open. Others than those of a lost server, and `also`, are not to be seen.
fn failed(history: &History, path: &str, error: &Error, also: &[Code]) -> Came {
    let may_be = matches!(
        error.code,
        Code::Unavailable | Code::Timeout | Code::NoActingMember | Code::OutcomeUnknown | Code::Busy
    );
    if !may_be && !also.contains(&error.code) {
        history.wrong(format!("{path}: {} ({})", error.message, error.code.name()));
    }
    match error.effect {
        Effect::None if error.code != Code::OutcomeUnknown => Came::Nothing(error.code),
        _ => Came::Unknown(error.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_known_only_whole() {
        for value in 1..50 {
            let bytes = bytes_of(value);
            assert_eq!(value_of(&bytes), Some(value));
            assert_eq!(value_of(&bytes[..bytes.len() - 1]), None);
            let mut other = bytes.clone();
            *other.last_mut().unwrap() ^= 1;
            assert_eq!(value_of(&other), None);
        }
        assert_eq!(value_of(b"short"), None);
    }
}
