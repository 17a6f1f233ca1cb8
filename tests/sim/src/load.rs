//! What clients ask for, and what they were answered.
//!
//! Each worker asks for one thing after the other. What it asks for and what it hears stands in the [`History`], in the
//! order in which it happened.

use crate::oracle::trees::Tree;
use crate::repeat::{REPEATS, until_known};
use crate::trees::{Gardener, Grown};
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
/// The largest of most contents, in bytes.
const LARGEST: usize = 40_000;
/// A few are as large as this: written in pieces, read in several ranges.
const BIG: std::ops::Range<usize> = 280_000..560_000;

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
    /// How long it may wait for a lost server, ms.
    pub most: u64,
    /// How long it took, ms; none: it has not ended.
    pub took: Option<u64>,
}

/// What a reader was given, or a writer told.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The file.
    pub path: String,
    /// The version, as it was called.
    pub version: VersionNumber,
    /// The version's own id.
    pub session: Vec<u8>,
    /// Its content; none: bytes that nobody wrote so.
    pub value: Option<Value>,
    /// Bytes.
    pub len: usize,
    /// Whether they have the digest that the version says.
    pub digest_fits: bool,
}

/// All requests; clones are the same list.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    places: usize,
    values: Value,
    seen: Vec<Seen>,
    /// What must never be answered.
    wrong: Vec<String>,
    /// Trees that one worker each changes.
    trees: Vec<Grown>,
    /// What nobody knows the outcome of is asked again under its key.
    repeats: bool,
    /// Bits have flipped on one copy: a reader may be told that only the other is sound, and away.
    damaged: bool,
}

fn now() -> u64 {
    crate::tape::awake().as_millis().try_into().unwrap_or(u64::MAX)
}

impl History {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, worker: usize, path: &str, ask: Ask, most: Duration) -> usize {
        let mut state = self.state();
        state.places += 1;
        let (begun, path) = (state.places, path.to_owned());
        // A repeated command waits anew each time.
        let times = if state.repeats && ask != Ask::Read { 2 + u64::from(REPEATS) } else { 1 };
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).saturating_mul(times);
        let number = state.requests.len();
        tracing::info!(number, worker, %path, ?ask, "asks");
        state.requests.push(Request { worker, path, ask, at: now(), begun, ended: None, most, took: None });
        number
    }

    pub(crate) fn end(&self, number: usize, came: Came) {
        let mut state = self.state();
        state.places += 1;
        let place = state.places;
        if let Some(request) = state.requests.get_mut(number) {
            tracing::info!(number, path = %request.path, ?came, "is answered");
            request.ended = Some((place, came));
            request.took = Some(now().saturating_sub(request.at));
        }
    }

    /// A content that was not written yet.
    pub fn new_value(&self) -> Value {
        let mut state = self.state();
        state.values += 1;
        state.values
    }

    /// One that is written in pieces and read in several ranges.
    pub fn new_big_value(&self) -> Value {
        loop {
            let value = self.new_value();
            if bytes_of(value).len() >= BIG.start {
                return value;
            }
        }
    }

    /// Notes an answer that may never be.
    pub fn wrong(&self, what: String) {
        self.state().wrong.push(what);
    }

    /// A tree begins; its place.
    pub fn plant(&self, root: String) -> usize {
        let mut state = self.state();
        state.trees.push(Grown { root, may_be: vec![Tree::new()], in_doubt: Vec::new() });
        state.trees.len() - 1
    }

    /// What may be in a tree now.
    pub fn grow(&self, place: usize, may_be: Vec<Tree>) {
        if let Some(tree) = self.state().trees.get_mut(place) {
            tree.may_be = may_be;
        }
    }

    /// Nobody knows whether that was written to a tree, or it was not.
    pub fn doubt(&self, place: usize, value: Option<Value>) {
        if let Some(tree) = self.state().trees.get_mut(place) {
            tree.in_doubt.extend(value);
        }
    }

    /// A tree.
    pub fn tree(&self, place: usize) -> Grown {
        let empty = || Grown { root: String::new(), may_be: Vec::new(), in_doubt: Vec::new() };
        self.state().trees.get(place).cloned().unwrap_or_else(empty)
    }

    /// All of them.
    pub fn trees(&self) -> Vec<Grown> {
        self.state().trees.clone()
    }

    /// From now on what nobody knows the outcome of is asked again under its key.
    pub fn set_repeats(&self) {
        self.state().repeats = true;
    }

    /// Whether it is.
    pub fn repeats(&self) -> bool {
        self.state().repeats
    }

    /// Bits have flipped on one copy.
    pub fn set_damaged(&self) {
        self.state().damaged = true;
    }

    /// Whether they have.
    pub fn is_damaged(&self) -> bool {
        self.state().damaged
    }

    /// A large content that is known to be on both members, written to a shared file; one after the other as `number` says.
    pub fn large_on_both(&self, number: usize) -> Option<Value> {
        let state = self.state();
        let large = state.requests.iter().filter_map(|request| match (&request.ask, &request.ended) {
            (Ask::Write { value, sync: true }, Some((_, Came::Written(_, true)))) => Some(*value),
            _ => None,
        });
        let large: Vec<Value> = large.filter(|value| bytes_of(*value).len() >= BIG.start).collect();
        large.get(number.checked_rem(large.len())?).copied()
    }

    /// What readers were given.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
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
        let state = self.state();
        let text = format!("{:?} {:?}", state.requests, state.trees);
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, text.as_bytes())
    }
}

/// The bytes of a content: they tell its number and their own length, and none can stand in another's place.
pub fn bytes_of(value: Value) -> Vec<u8> {
    let mut random = Rng::with_seed(value);
    let len = match random.u8(0..40) {
        0..10 => 16,
        10..20 => random.usize(16..4096),
        20..38 => random.usize(16..LARGEST),
        _ => random.usize(BIG),
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
        let gardener =
            Gardener::new(client.clone(), number * plan.workers + worker, history.clone(), random.fork());
        let worker = Worker {
            gardener,
            client: client.clone(),
            number: number * plan.workers + worker,
            random: random.fork(),
            history: history.clone(),
            most: plan.timeout,
        };
        tokio::spawn(worker.run(plan.pause, stop.clone()))
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.map_err(Error::internal)?;
    }
    Ok(())
}

struct Worker {
    gardener: Gardener,
    client: Client,
    number: usize,
    random: Rng,
    history: History,
    most: Duration,
}

impl Worker {
    async fn run(mut self, pause: u64, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let shared = self.random.u8(0..3) > 0;
            let path = match shared {
                true => format!("/shared/{}", self.random.usize(0..SHARED)),
                false => format!("/own/{}", self.number),
            };
            match self.random.u8(0..24) {
                20.. => self.gardener.work().await,
                0..9 => self.write(&path, shared).await,
                9..11 if shared => {
                    let now = self.random.bool();
                    remove(&self.client, self.number, &path, now, &self.history, self.most).await;
                }
                _ => {
                    read(&self.client, self.number, &path, &self.history, self.most).await;
                }
            }
            let pause = self.random.u64(0..=pause);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn write(&mut self, path: &str, sync: bool) {
        write(&self.client, self.number, path, sync, &self.history, self.most).await;
    }
}

/// Writes a file once, with a content of its own; the content, if it is known to be done.
pub async fn write(
    client: &Client,
    worker: usize,
    path: &str,
    sync: bool,
    history: &History,
    most: Duration,
) -> Option<Value> {
    let value = history.new_value();
    write_value(client, worker, path, value, sync, history, most).await.then_some(value)
}

/// Writes a content that nobody has written; whether that is known to be done.
pub async fn write_value(
    client: &Client,
    worker: usize,
    path: &str,
    value: Value,
    sync: bool,
    history: &History,
    most: Duration,
) -> bool {
    let request = history.begin(worker, path, Ask::Write { value, sync }, most);
    let durability = if sync { Durability::Sync } else { Durability::Async };
    let ask = async |request_key| {
        let options = WriteOptions { durability, request_key, ..WriteOptions::default() };
        client.write(path, Content::from(bytes_of(value)), &options).await
    };
    let written = until_known(history, path, ask, |one, other| one.version == other.version).await;
    let done = written.is_ok();
    let came = match written {
        Ok(receipt) => Came::Written(receipt.version, receipt.both),
        Err(error) => failed(history, path, &error, &[]),
    };
    history.end(request, came);
    done
}

/// Removes a file once, past the trash or into it; whether that is known to be done.
pub async fn remove(
    client: &Client,
    worker: usize,
    path: &str,
    now: bool,
    history: &History,
    most: Duration,
) -> bool {
    let request = history.begin(worker, path, Ask::Remove, most);
    let ask = async |request_key| {
        let options = RemoveOptions { now, request_key, ..RemoveOptions::default() };
        client.remove(path, &options).await
    };
    let came = match until_known(history, path, ask, |(), ()| true).await {
        Ok(()) => Came::Removed(true),
        Err(error) if error.code == Code::NotFound => Came::Removed(false),
        Err(error) => failed(history, path, &error, &[]),
    };
    let done = matches!(came, Came::Removed(_));
    history.end(request, came);
    done
}

/// Reads a file once; the content, if that is known.
pub async fn read(
    client: &Client,
    worker: usize,
    path: &str,
    history: &History,
    most: Duration,
) -> Option<Option<Value>> {
    let request = history.begin(worker, path, Ask::Read, most);
    let read = async {
        let mut reader = client.read(path, &ReadOptions::default()).await?;
        let bytes = reader.to_end(4 << 20).await?;
        Ok::<_, Error>((reader.version().clone(), bytes))
    };
    let came = match read.await {
        Ok((version, bytes)) => {
            let value = value_of(&bytes);
            history.state().seen.push(Seen {
                path: path.to_owned(),
                version: version.version(),
                session: version.session.clone(),
                value,
                len: bytes.len(),
                digest_fits: types::content::sha256(&bytes)[..] == version.sha256[..],
            });
            value.map_or(Came::Unknown(Code::Damaged), |value| Came::Read(Some(value)))
        }
        Err(error) if error.code == Code::NotFound => Came::Read(None),
        // What it had begun to read is not kept any more, or only where nobody serves.
        Err(error) => failed(history, path, &error, &[Code::NoSuchVersion, Code::OnlyCopyAway]),
    };
    let known = if let Came::Read(value) = &came { Some(*value) } else { None };
    history.end(request, came);
    known
}

/// What an error leaves open. Others than those of a lost server, and `also`, are not to be seen.
pub fn failed(history: &History, path: &str, error: &Error, also: &[Code]) -> Came {
    let may_be = matches!(
        error.code,
        Code::Unavailable
            | Code::Timeout
            | Code::NoActingMember
            | Code::OutcomeUnknown
            | Code::Busy
            | Code::DiskFull
    );
    let may_be = may_be || (error.code == Code::Damaged && history.is_damaged());
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
