//! The scrubber: reads what this server holds, compares every byte with its SHA-256, and has what is bad repaired from
//! the partner. A few chunks ahead, at a bounded rate, and behind whoever waits for the disk.

pub mod background;

use crate::fetch::Wanted;
use crate::node::Node;
use crate::pool::Pool;
use crate::repair::{Part, is_bad, repair};
use crate::sessions::lock;
use crate::store::Store;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until};
use types::ids::SessionId;
use types::limits::{BLOCK, CHUNK, SCRUB_AHEAD, SCRUB_FINDINGS, SCRUB_YIELD};
use types::message::member::ScrubState;
use types::message::store::{ScrubFinding, ScrubPlace, ScrubReply};
use types::record::{ChunkRef, Manifest, Record, Version, mark};
use types::{Code, Error, Result};

/// Records looked up at once.
const RECORDS: usize = 64;
/// Scrubs under way at once; one more waits.
const SCRUBS: usize = 2;
/// Runs whose chunks are remembered; one more forgets the oldest.
const RUNS: usize = 4;
/// Shared chunks that are remembered of a run, 8 bytes each.
const SEEN: usize = 256 << 10;
/// How long one repair is waited for; it goes on beyond that.
const REPAIR_WAIT: Duration = Duration::from_secs(60);
/// Between two looks whether the foreground has its way.
const LOOK: Duration = Duration::from_millis(5);

/// Threads of their own, so that nobody waits behind a scrub for one.
pub struct Scrubs {
    pool: Pool,
    slots: Semaphore,
    seen: Seen,
    /// How the one in the background is set.
    pub setting: Arc<background::Setting>,
    /// How far that is.
    state: Mutex<Option<ScrubState>>,
}

impl Scrubs {
    /// Starts the threads.
    pub fn new(setting: Arc<background::Setting>) -> Result<Scrubs> {
        let (slots, seen) = (Semaphore::new(SCRUBS), Seen::default());
        Ok(Scrubs { pool: Pool::new(SCRUB_AHEAD)?, slots, seen, setting, state: Mutex::default() })
    }

    /// Waits for a turn.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        self.slots.acquire().await.map_err(Error::internal)
    }
}

/// Chunks that were found well and that other contents have too, by run: those are not read again for each. What is bad
/// is looked at for each, so that every file it belongs to is named.
#[derive(Default)]
struct Seen {
    runs: Mutex<VecDeque<(u64, HashSet<u64>)>>,
}

impl Seen {
    fn has(&self, run: u64, chunk: &ChunkRef) -> bool {
        lock(&self.runs).iter().any(|(known, seen)| *known == run && seen.contains(&key(chunk)))
    }

    /// Remembers a chunk as long as there is room; what is not remembered is read again.
    fn add(&self, run: u64, chunk: &ChunkRef) {
        let mut runs = lock(&self.runs);
        if !runs.iter().any(|(known, _)| *known == run) {
            runs.truncate(RUNS - 1);
            runs.push_front((run, HashSet::new()));
        }
        if let Some((_, seen)) = runs.iter_mut().find(|(known, _)| *known == run)
            && seen.len() < SEEN
        {
            seen.insert(key(chunk));
        }
    }
}

/// A part of a chunk's SHA-256: that two of them agree in it costs one look at one chunk in one run, at worst.
fn key(chunk: &ChunkRef) -> u64 {
    chunk.sha256.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// One pass over what a server holds of a pair. Its place is its caller's, so that it survives a restart.
pub struct Scrubber {
    node: Arc<Node>,
    store: Store,
    pair: u32,
    /// Bytes a second, at most; 0: no bound.
    rate: u64,
    /// Which run this is a page of.
    run: u64,
    /// When the bytes that were read are paid for.
    paid: Instant,
    /// Bytes read since the foreground had its way; a small file counts as a block.
    unyielded: u64,
    /// The partner was away for a repair: the next page asks it again.
    away: Option<Error>,
}

impl Scrubber {
    /// A page of the run `run` (0: of none) at `rate` bytes a second, 0: as fast as it goes.
    ///
    /// # Errors
    /// `NOT_ACTING` while the server recovers its store.
    pub fn new(node: Arc<Node>, pair: u32, rate: u64, run: u64) -> Result<Scrubber> {
        let store = node.store()?.clone();
        Ok(Scrubber { node, store, pair, rate, run, paid: Instant::now(), unyielded: 0, away: None })
    }

    /// Looks at what stands from `from` on, all or only `files` (ascending), until `time` is over or a page is full.
    ///
    /// # Errors
    /// `IO` and the like; what is found is no error.
    pub async fn page(&mut self, from: ScrubPlace, files: &[u64], time: Duration) -> Result<ScrubReply> {
        let until = Instant::now() + time;
        let (mut place, mut reply) = (from, ScrubReply::default());
        self.away = None;
        'pages: loop {
            let records = self.records(place.file, files)?;
            if records.is_empty() {
                reply.end = true;
                break;
            }
            for record in records {
                if place.file != record.id {
                    place = ScrubPlace { file: record.id, ..ScrubPlace::default() };
                }
                if let Some(stopped) = self.file(&record, place, &mut reply, until).await? {
                    place = stopped;
                    break 'pages;
                }
                reply.files += u64::from(record.is_file() && record.pair == self.pair);
                place = ScrubPlace { file: record.id + 1, ..ScrubPlace::default() };
                if is_over(&reply, until) {
                    break 'pages;
                }
            }
        }
        reply.next = Some(place);
        reply.used_bytes = self.store.used_bytes();
        Ok(reply)
    }

    /// Some records with ids from `first` on.
    fn records(&self, first: u64, files: &[u64]) -> Result<Vec<Arc<Record>>> {
        if files.is_empty() {
            return self.store.records_after(first.saturating_sub(1), RECORDS);
        }
        let mut found = Vec::new();
        for file in files.iter().filter(|file| **file >= first) {
            found.extend(self.store.record(*file)?);
            if found.len() >= RECORDS {
                break;
            }
        }
        Ok(found)
    }

    /// The versions of a file from `from` on; where it stopped if the page is over.
    async fn file(
        &mut self,
        record: &Record,
        from: ScrubPlace,
        reply: &mut ScrubReply,
        until: Instant,
    ) -> Result<Option<ScrubPlace>> {
        if record.pair != self.pair {
            return Ok(None);
        }
        let here = |version: &&Version| is_here(version) && version.number >= from.number;
        let mut versions: Vec<&Version> = record.versions.iter().filter(here).collect();
        versions.sort_by_key(|version| version.number);
        for version in versions {
            let number = version.number;
            let first = if number == from.number { from.chunk } else { 0 };
            if let Some(chunk) = self.version(record, version, first, reply, until).await? {
                return Ok(Some(ScrubPlace { file: record.id, number, chunk }));
            }
            if is_over(reply, until) {
                return Ok(Some(ScrubPlace { file: record.id, number: number + 1, chunk: 0 }));
            }
        }
        Ok(None)
    }

    /// A version from a chunk on; where it stopped if the page is over.
    async fn version(
        &mut self,
        record: &Record,
        version: &Version,
        first: u32,
        reply: &mut ScrubReply,
        until: Instant,
    ) -> Result<Option<u32>> {
        let wanted = Wanted::version(version)?;
        let session = wanted.session;
        // Being collected: nobody keeps it.
        let Ok(_pin) = self.store.pin(session) else { return Ok(None) };
        let (store, sha256) = (self.store.clone(), wanted.sha256.clone());
        let look = move || Ok(store.content_on_disk(session));
        let what = match self.node.scrubs.pool.run(look).await? {
            Ok(Some(held)) if held.manifest.sha256 == sha256 => {
                if held.manifest.is_inline() {
                    self.pace(held.manifest.size, reply).await;
                    return Ok(None);
                }
                return self.chunks(record, version, &held.manifest, first, reply, until).await;
            }
            Ok(Some(_)) => "another content is held in its place".to_owned(),
            Ok(None) => "its content is not there".to_owned(),
            Err(error) if is_bad(&error) || error.code == Code::NoSuchVersion => error.message,
            Err(error) => return Err(error),
        };
        self.damage(record, version, Part::Whole, what, reply).await?;
        self.pace(version.size, reply).await;
        Ok(None)
    }

    async fn chunks(
        &mut self,
        record: &Record,
        version: &Version,
        manifest: &Manifest,
        first: u32,
        reply: &mut ScrubReply,
        until: Instant,
    ) -> Result<Option<u32>> {
        let chunks = &manifest.chunks;
        let (mut flying, mut stopped) = (VecDeque::new(), None);
        let mut next = first as usize;
        let mut offset: u64 = chunks[..next.min(chunks.len())].iter().map(|chunk| u64::from(chunk.len)).sum();
        loop {
            while flying.len() < SCRUB_AHEAD && stopped.is_none() && next < chunks.len() {
                // Always at least one, lest a page get nowhere.
                if next > first as usize && is_over(reply, until) {
                    stopped = Some(next as u32);
                    break;
                }
                let chunk = &chunks[next];
                let shared = self.run != 0 && self.store.is_shared(chunk)?;
                if !shared || !self.node.scrubs.seen.has(self.run, chunk) {
                    self.pace(chunk.len.into(), reply).await;
                    flying.push_back((offset, chunk, shared, self.look_at(chunk)));
                }
                offset += u64::from(chunk.len);
                next += 1;
            }
            let Some((begin, chunk, shared, looked)) = flying.pop_front() else { return Ok(stopped) };
            let what = match looked.await.map_err(Error::internal)?? {
                Ok(()) => {
                    if shared {
                        self.node.scrubs.seen.add(self.run, chunk);
                    }
                    continue;
                }
                Err(error) if is_bad(&error) || error.code == Code::NoSuchVersion => error.message,
                Err(error) => return Err(error),
            };
            self.damage(record, version, Part::Chunk(chunk.clone(), begin), what, reply).await?;
        }
    }

    fn look_at(&self, chunk: &ChunkRef) -> tokio::task::JoinHandle<Result<Result<()>>> {
        let (pool, store, chunk) = (self.node.scrubs.pool.clone(), self.store.clone(), chunk.clone());
        tokio::spawn(async move { pool.run(move || Ok(store.verify_chunk(&chunk))).await })
    }

    /// Has it repaired and notes it, unless nobody keeps that version any more.
    async fn damage(
        &mut self,
        record: &Record,
        version: &Version,
        part: Part,
        what: String,
        reply: &mut ScrubReply,
    ) -> Result<()> {
        let wanted = Wanted::version(version)?;
        if !self.is_kept(record.id, wanted.session)? {
            return Ok(());
        }
        tracing::warn!(file = record.id, name = record.name, what, "a copy is damaged");
        let repaired = match &self.away {
            Some(error) => Err(error.clone()),
            None => repair(&self.node, &wanted, part, REPAIR_WAIT).await,
        };
        if let Err(error) = &repaired {
            if !self.is_kept(record.id, wanted.session)? {
                return Ok(());
            }
            if self.node.partner.way(false).is_none() {
                self.away.get_or_insert_with(|| error.clone());
            }
        }
        reply.findings.push(ScrubFinding {
            file: record.id,
            folder: record.parent,
            name: record.name.clone(),
            epoch: version.epoch,
            number: version.number,
            what,
            repaired: repaired.is_ok(),
            why_not: repaired.err().map_or(String::new(), |error| error.message),
        });
        Ok(())
    }

    fn is_kept(&self, file: u64, session: SessionId) -> Result<bool> {
        let record = self.store.record(file)?;
        Ok(record.is_some_and(|record| {
            record.versions.iter().any(|version| is_here(version) && version.session[..] == session.0)
        }))
    }

    /// Counts bytes that are read next; waits for its share of the disk, and for whoever is in front.
    async fn pace(&mut self, bytes: u64, reply: &mut ScrubReply) {
        reply.bytes += bytes;
        self.unyielded += bytes.max(BLOCK as u64);
        if self.unyielded >= CHUNK as u64 {
            self.unyielded = 0;
            let most = Instant::now() + SCRUB_YIELD;
            while !self.node.pool.is_idle() && Instant::now() < most {
                sleep(LOOK).await;
            }
        }
        if self.rate > 0 {
            self.paid = self.paid.max(Instant::now() - LOOK * 20) + price(bytes, self.rate);
            sleep_until(self.paid).await;
        }
    }
}

/// Time that `bytes` take at `rate` bytes a second.
fn price(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

fn is_over(reply: &ScrubReply, until: Instant) -> bool {
    Instant::now() >= until || reply.findings.len() >= SCRUB_FINDINGS
}

/// Whether this server should hold the bytes of a version.
fn is_here(version: &Version) -> bool {
    !version.is_empty() && !version.is(mark::OWED) && !version.is(mark::LOST)
}
