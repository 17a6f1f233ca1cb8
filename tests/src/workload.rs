//! Writers and readers that go on whatever happens, and remember every byte that was acknowledged.
//!
//! What it talks to is a [`Store`]; the programs under test are not known here.

use crate::command::Shell;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many versions of one file are written at the most: all of them are kept, so all can be compared.
const WRITES_PER_FILE: u64 = 6;

/// What a write came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is there; this is its version.
    Acknowledged(String),
    /// It may or may not be there.
    Unknown(String),
    /// It failed.
    Failed(String),
}

/// What a read came to.
#[derive(Clone, Debug)]
pub enum Content {
    /// The bytes.
    Bytes(Vec<u8>),
    /// There is no such file.
    Missing,
    /// It failed.
    Failed(String),
}

/// What is written to and read from.
pub trait Store: Sync {
    /// Writes a whole file, making it and its folders if need be.
    fn write(&self, path: &str, content: &[u8]) -> Outcome;
    /// Reads a whole file, one version of it if that is given.
    fn read(&self, path: &str, version: Option<&str>) -> Content;
    /// The versions that are kept of a file, conflict and owed ones included.
    fn versions(&self, path: &str) -> Vec<String>;
}

/// Whoever runs the program's commands is talked to by them.
impl<Prompt: Shell> Store for Prompt {
    fn write(&self, path: &str, content: &[u8]) -> Outcome {
        let ran = self.run(&["--json", "write", path, "-", "-p"], content);
        match (ran.status, ran.code().as_deref()) {
            (0, _) => Outcome::Acknowledged(ran.json()["version"].as_str().unwrap_or_default().to_owned()),
            (_, Some("OUTCOME_UNKNOWN")) => Outcome::Unknown(ran.stderr),
            _ => Outcome::Failed(format!("status {}: {}", ran.status, ran.stderr)),
        }
    }

    fn read(&self, path: &str, version: Option<&str>) -> Content {
        let mut words = vec!["read", path];
        if let Some(version) = version {
            words.extend(["--version", version]);
        }
        let ran = self.run(&words, b"");
        match ran.status {
            0 => Content::Bytes(ran.stdout),
            3 => Content::Missing,
            _ => Content::Failed(format!("status {}: {}", ran.status, ran.stderr)),
        }
    }

    fn versions(&self, path: &str) -> Vec<String> {
        let info = self.run(&["--json", "info", path], b"").ok().json();
        let versions = info["versions"].as_array().cloned().unwrap_or_default();
        let name = |version: &Value| version["version"].as_str().map(str::to_owned);
        versions.iter().filter_map(name).collect()
    }
}

/// One content that was offered to the store.
#[derive(Clone, Debug)]
struct Write {
    content: Vec<u8>,
    /// Its version, once acknowledged.
    version: Option<String>,
}

/// What was written and read so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Its number in this process: each load has files of its own, so that none drops versions of another.
    number: u64,
    files: Mutex<HashMap<String, Vec<Write>>>,
    failures: Mutex<Vec<String>>,
    acknowledged: AtomicU64,
    reads: AtomicU64,
    unknown: AtomicU64,
    done: AtomicBool,
}

impl Ledger {
    fn new() -> Ledger {
        static LEDGERS: AtomicU64 = AtomicU64::new(0);
        Ledger { number: LEDGERS.fetch_add(1, Ordering::SeqCst), ..Ledger::default() }
    }

    fn folder(&self, writer: u64) -> String {
        format!("/load{}/w{writer}", self.number)
    }

    /// The path of a writer's file; both count from 0.
    pub fn path(&self, writer: u64, file: u64) -> String {
        format!("{}/f{file}", self.folder(writer))
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How many reads succeeded.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many writes ended without a known outcome.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::SeqCst)
    }

    /// Waits until `more` writes have been acknowledged from now on.
    pub fn wait_writes(&self, more: u64, most: Duration) {
        let wanted = self.acknowledged() + more;
        let fine = || self.acknowledged() >= wanted || self.has_failed();
        crate::until(most, &format!("{more} more acknowledged writes"), fine);
    }

    fn has_failed(&self) -> bool {
        !self.failures.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Write>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self, store: &dyn Store, number: u64) {
        for round in 0.. {
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            let path = self.path(number, round / WRITES_PER_FILE);
            let content = content(number, round);
            self.files()
                .entry(path.clone())
                .or_default()
                .push(Write { content: content.clone(), version: None });
            match store.write(&path, &content) {
                Outcome::Acknowledged(version) => {
                    if let Some(write) = self.files().get_mut(&path).and_then(|writes| writes.last_mut()) {
                        write.version = Some(version);
                    }
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Outcome::Unknown(_) => {
                    self.unknown.fetch_add(1, Ordering::SeqCst);
                }
                Outcome::Failed(why) => self.fail(format!("write {path}: {why}")),
            }
        }
    }

    fn reader(&self, store: &dyn Store, number: u64, writers: u64) {
        for round in 0u64.. {
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            let prefix = format!("{}/", self.folder((number + round) % writers));
            let known = |(path, writes): (&String, &Vec<Write>)| {
                let written = writes.iter().any(|write| write.version.is_some());
                (written && path.starts_with(&prefix)).then(|| path.clone())
            };
            let mut paths: Vec<String> = self.files().iter().filter_map(known).collect();
            if paths.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            paths.sort();
            let path = &paths[usize::try_from(round).unwrap_or(0) % paths.len()];
            match store.read(path, None) {
                Content::Bytes(bytes) => {
                    // Whole, whatever happens meanwhile; which one, a failover may decide.
                    if !self.files()[path].iter().any(|write| write.content == bytes) {
                        self.fail(format!("read {path}: {} bytes that nobody wrote", bytes.len()));
                    }
                    self.reads.fetch_add(1, Ordering::SeqCst);
                }
                // Acknowledged, but owed by a server that is away: allowed while it is.
                Content::Failed(why) if why.contains("only copy") => {}
                Content::Missing => self.fail(format!("read {path}: it is missing, but was acknowledged")),
                Content::Failed(why) => self.fail(format!("read {path}: {why}")),
            }
        }
    }

    /// Compares every acknowledged byte with what the store keeps now.
    ///
    /// # Panics
    /// With everything that failed meanwhile, and everything that is not there.
    pub fn verify(&self, store: &dyn Store) {
        for (path, writes) in &*self.files() {
            let acknowledged: Vec<&Write> = writes.iter().filter(|write| write.version.is_some()).collect();
            if acknowledged.is_empty() {
                continue;
            }
            let kept = store.versions(path);
            for write in acknowledged {
                let version = write.version.as_deref().unwrap_or_default();
                if !kept.iter().any(|known| known == version) {
                    self.fail(format!(
                        "{path}: version {version} was acknowledged and is not kept ({kept:?})"
                    ));
                    continue;
                }
                match store.read(path, Some(version)) {
                    Content::Bytes(bytes) if bytes == write.content => {}
                    Content::Bytes(_) => self.fail(format!("{path}: version {version} holds other bytes")),
                    other => self.fail(format!("{path}: version {version}: {other:?}")),
                }
            }
        }
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = &failures[..failures.len().min(20)];
        assert!(failures.is_empty(), "{} failures, such as {shown:#?}", failures.len());
    }
}

/// Runs `writers` and `readers` on `store` while `script` runs; then they finish what they are at.
pub fn under_load(store: &dyn Store, writers: u64, readers: u64, script: impl FnOnce(&Ledger)) -> Ledger {
    let ledger = Ledger::new();
    std::thread::scope(|scope| {
        let stop = StopAtEnd(&ledger);
        for number in 0..writers {
            let ledger = &ledger;
            scope.spawn(move || ledger.writer(store, number));
        }
        for number in 0..readers {
            let ledger = &ledger;
            scope.spawn(move || ledger.reader(store, number, writers));
        }
        script(&ledger);
        drop(stop);
    });
    ledger
}

/// Also when the script fails.
struct StopAtEnd<'a>(&'a Ledger);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::SeqCst);
    }
}

/// A content that no other write has: mostly small, sometimes over the bound of what stands inline.
pub fn content(writer: u64, round: u64) -> Vec<u8> {
    let length = match round % 8 {
        7 => 300_000,
        3 => 20_000,
        other => 50 + 700 * other,
    };
    filled(writer << 32 | round, usize::try_from(length).unwrap_or(50))
}

/// `length` bytes that begin with `seed` in words and go on by it.
pub fn filled(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = format!("content {seed:016x}\n").into_bytes();
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length.max(25));
    bytes
}
