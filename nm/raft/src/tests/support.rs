//! A machine that remembers what it was told, a redb file that can lose power, and a group that can be
//! killed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use log::sim::SimDisk;
use nm_core::store::{Store, StoreError, StoreMut, Table};
use redb::StorageBackend;
use tokio::runtime::Runtime;

use crate::{Applied, Machine, ProposeError, Raft, RaftConfig, RaftError, start, store};

/// How long a test waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps every payload under its log index.
pub(crate) struct Journal;

/// A payload at which the machine panics.
pub(crate) const POISON: &[u8] = b"poison";

const COUNT: &[u8] = b"count";

impl Machine for Journal {
    fn apply(&self, index: u64, payload: &[u8], store: &mut dyn StoreMut) -> Result<Applied, StoreError> {
        assert_ne!(payload, POISON);
        let key = index.to_be_bytes();
        assert_eq!(store.get(Table::Events, &key)?, None, "entry {index} applied twice");
        store.put(Table::Events, &key, payload)?;
        let count = store.get(Table::Meta, COUNT)?.map_or(0, |value| number(&value)) + 1;
        store.put(Table::Meta, COUNT, &count.to_be_bytes())?;
        Ok(Applied { reply: Bytes::from(count.to_be_bytes().to_vec()) })
    }
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

/// All payloads the machine was told, by index.
pub(crate) fn journal(store: &dyn Store) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    store
        .scan(Table::Events, &[], &[], &mut |key, value| {
            all.insert(number(key), value.to_vec());
            true
        })
        .expect("a readable state");
    let count = store.get(Table::Meta, COUNT).expect("a readable state").map_or(0, |value| number(&value));
    assert_eq!(count, all.len() as u64, "an entry was applied more than once or partly");
    all
}

/// Numbers that repeat with their seed (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn make(&self, image: &mut Vec<u8>) {
        match self {
            Change::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                if image.len() < to {
                    image.resize(to, 0);
                }
                image[from..to].copy_from_slice(data);
            }
            Change::Length(length) => image.resize(*length as usize, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Images {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    dead: bool,
    /// So many changes and syncs are still made; none: all.
    left: Option<u64>,
}

impl Images {
    /// One more change or sync.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => {
                self.dead = true;
                return Err(io::Error::other("the power is gone"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

/// A redb file in memory: what was synced survives a power cut, the rest in part.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateFile(Arc<Mutex<Images>>);

impl StateFile {
    fn images(&self) -> MutexGuard<'_, Images> {
        self.0.lock().expect("no panic while held")
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Images>> {
        let images = self.images();
        if images.dead { Err(io::Error::other("the process is dead")) } else { Ok(images) }
    }

    /// The power goes at its `at`th change or sync, which is not made.
    pub(crate) fn die_at(&self, at: u64) {
        self.images().left = Some(at - 1);
    }

    /// From now on the process that has it open gets nothing done. Returns the file that `kill -9` leaves.
    fn kill(&self) -> StateFile {
        let mut images = self.images();
        images.dead = true;
        let live = images.live.clone();
        StateFile(Arc::new(Mutex::new(Images { durable: live.clone(), live, ..Images::default() })))
    }

    /// The same for a power cut: of what was not synced, some is there, in any order.
    fn cut(&self, random: &mut Random) -> StateFile {
        let mut images = self.images();
        images.dead = true;
        let mut left = images.durable.clone();
        for change in &images.unsynced {
            if random.below(2) == 0 {
                change.make(&mut left);
            }
        }
        StateFile(Arc::new(Mutex::new(Images { durable: left.clone(), live: left, ..Images::default() })))
    }
}

impl StorageBackend for StateFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let images = self.alive()?;
        let from = offset as usize;
        let found = images.live.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut images = self.alive()?;
        images.step()?;
        images.durable = images.live.clone();
        images.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }
}

impl StateFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut images = self.alive()?;
        images.step()?;
        change.make(&mut images.live);
        images.unsynced.push(change);
        Ok(())
    }
}

/// Small bounds, so that a few hundred entries roll, commit durably and purge many times.
pub(crate) fn small() -> RaftConfig {
    RaftConfig {
        cache_bytes: 1 << 20,
        segment_bytes: 8 << 10,
        dirty_entries: 16,
        keep_entries: 4,
        ..RaftConfig::new(1, "127.0.0.1:0")
    }
}

/// Both of a member's media.
#[derive(Clone, Default)]
pub(crate) struct Media {
    pub(crate) log: SimDisk,
    pub(crate) state: StateFile,
}

/// A running member on a runtime of its own.
pub(crate) struct Member {
    pub(crate) raft: Raft<Journal>,
    runtime: Runtime,
    media: Media,
}

impl Member {
    pub(crate) fn start(media: &Media) -> Result<Member, RaftError> {
        Member::start_with(small(), media)
    }

    pub(crate) fn start_with(config: RaftConfig, media: &Media) -> Result<Member, RaftError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (disk, file) = (Arc::new(media.log.clone()), media.state.clone());
        let inner = runtime.block_on(start::start_with(config, disk, Arc::new(Journal), |config, _| {
            store::open_backend(file, config.cache_bytes)
        }))?;
        Ok(Member { raft: Raft::from_inner(inner), runtime, media: media.clone() })
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn try_propose(&self, payload: &str) -> Result<u64, ProposeError> {
        let payload = Bytes::from(payload.to_string());
        self.run(self.raft.propose(payload)).map(|(index, _)| index)
    }

    pub(crate) fn propose(&self, payload: &str) -> u64 {
        self.try_propose(payload).expect("a leader")
    }

    pub(crate) fn journal(&self) -> BTreeMap<u64, Vec<u8>> {
        journal(&self.raft.view().expect("a readable state"))
    }

    /// Has a snapshot built and waits until the log is purged behind it.
    pub(crate) fn purge(&self) {
        let core = &self.raft.inner().core;
        let applied = self.raft.metrics().applied;
        self.run(async {
            core.trigger().snapshot().await.expect("a running member");
            let purged = |metrics: &openraft::RaftMetrics<crate::types::Types>| {
                metrics.purged.is_some_and(|id| id.index + 2 * small().keep_entries > applied)
            };
            core.wait(Some(PATIENCE)).metrics(purged, "purged").await.expect("a purge");
        });
    }

    /// A stop in order.
    pub(crate) fn shutdown(self) -> Media {
        let Member { raft, runtime, media } = self;
        runtime.block_on(raft.shutdown());
        drop(runtime);
        Media { log: media.log.restart(), state: media.state.kill() }
    }

    /// `kill -9`.
    pub(crate) fn kill(self) -> Media {
        let left = Media { state: self.media.state.kill(), log: self.media.log.restart() };
        self.end();
        left
    }

    /// A power cut. The state goes first: it is never durable beyond the log.
    pub(crate) fn cut(self, random: &mut Random) -> Media {
        let state = self.media.state.cut(random);
        let left = Media { state, log: self.media.log.crash(random.below(u64::MAX)) };
        self.end();
        left
    }

    fn end(self) {
        let Member { raft, runtime, .. } = self;
        let threads = std::mem::take(&mut *raft.inner().threads.lock().expect("no panic while held"));
        drop(runtime);
        drop(raft);
        for thread in threads {
            thread();
        }
    }
}
