//! A store on a simulated disk, and short ways to fill it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use log::sim::SimDisk;
use redb::StorageBackend;
use types::command::Asker;
use types::content::{block_crcs, crc64};
use types::ids::SessionId;
use types::limits::PIECE;
use types::message::store::Target;
use types::record::{Kind, Record, Version};

use super::super::*;
use types::record::{Row, Subject};

/// The medium of an index: what was written, and what was synced.
#[derive(Clone, Debug, Default)]
pub struct SimIndex(Arc<Mutex<Images>>);

#[derive(Debug, Default)]
struct Images {
    live: Vec<u8>,
    durable: Vec<u8>,
    broken: bool,
}

impl SimIndex {
    /// Lets every sync fail, or work again.
    pub fn set_broken(&self, broken: bool) {
        lock(&self.0).broken = broken;
    }

    /// The medium as a power cut leaves it.
    pub fn crash(&self) -> SimIndex {
        let durable = lock(&self.0).durable.clone();
        SimIndex(Arc::new(Mutex::new(Images { live: durable.clone(), durable, broken: false })))
    }
}

impl StorageBackend for SimIndex {
    fn len(&self) -> std::io::Result<u64> {
        Ok(lock(&self.0).live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let images = lock(&self.0);
        let from = images.live.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        lock(&self.0).live.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let mut images = lock(&self.0);
        if images.broken {
            return Err(std::io::Error::other("simulated failure of the index"));
        }
        images.durable = images.live.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        lock(&self.0).live[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// A disk with a store's journal and extents, and the medium of its index.
#[derive(Clone, Default)]
pub struct Place {
    pub disk: SimDisk,
    pub index: SimIndex,
}

impl Place {
    pub fn open(&self) -> Result<Store> {
        self.open_with(config())
    }

    pub fn open_with(&self, config: StoreConfig) -> Result<Store> {
        let medium = self.index.clone();
        Store::open_with(
            Arc::new(self.disk.clone()),
            &mut |fresh| {
                if fresh {
                    *lock(&medium.0) = Images::default();
                }
                Index::open_on(medium.clone(), 1 << 20)
            },
            config,
        )
    }

    /// As the power cut `seed` leaves it.
    pub fn crash(&self, seed: u64) -> Place {
        Place { disk: self.disk.crash(seed), index: self.index.crash() }
    }

    /// As the end of the process leaves it.
    pub fn restart(&self) -> Place {
        Place { disk: self.disk.restart(), index: self.index.crash() }
    }

    pub fn without_index(self) -> Place {
        Place { index: SimIndex::default(), ..self }
    }

    pub fn open_read_only(&self) -> Result<Store> {
        Store::open_read_only(Arc::new(self.disk.clone()), config())
    }
}

pub fn config() -> StoreConfig {
    let forever = Duration::from_secs(3600);
    StoreConfig {
        segment_bytes: 256 << 10,
        extent_file_bytes: 12 << 20,
        background_fill: false,
        index_commit_records: 4,
        index_cache_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        keep_free_bytes: 0,
        compact_idle: Duration::ZERO,
        bounds: log::Bounds { lazy: forever, idle: forever, ..log::Bounds::default() },
        ..StoreConfig::default()
    }
}

pub fn session(n: u8) -> SessionId {
    SessionId::from_random([n; 16])
}

/// `len` bytes that differ from one `seed` to the next, and from block to block.
pub fn bytes(len: usize, seed: u64) -> Bytes {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

pub fn push(writer: &mut ContentWriter, offset: u64, bytes: &Bytes) -> Result<u64> {
    writer.push(offset, bytes, &block_crcs(bytes))
}

/// Uploads in pieces as a client sends them.
pub fn upload(store: &Store, bytes: &Bytes, hint: bool) -> Result<Content> {
    let mut writer = store.writer(hint.then_some(bytes.len() as u64));
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        push(&mut writer, (number * PIECE) as u64, &bytes.slice_ref(piece))?;
    }
    writer.finish(bytes.len() as u64, Some(crc64(bytes)), None)
}

pub fn content(store: &Store, bytes: &Bytes) -> Result<Content> {
    match bytes.len() <= types::limits::INLINE_MAX {
        true => store.small(bytes.clone(), crc64(bytes)),
        false => upload(store, bytes, true),
    }
}

pub fn target() -> Target {
    Target { pair: 1, folder: 1, name: "a.txt".into(), file: 0 }
}

pub async fn prepare_as(store: &Store, session: SessionId, bytes: &Bytes, lazy: bool) -> Result<Position> {
    let content = Some(content(store, bytes)?);
    let asker = Some(Asker { user: "ann".into(), number: 7, ..Asker::default() });
    store
        .prepare(Prepare {
            session,
            target: target(),
            asker,
            content,
            for_partner: false,
            lazy,
            lone: true,
            seen: 0,
        })
        .await
}

pub async fn prepare(store: &Store, session: SessionId, bytes: &Bytes) -> Result<Position> {
    prepare_as(store, session, bytes, false).await
}

/// Prepares what is held.
pub async fn prepare_again(store: &Store, session: SessionId) -> Result<Position> {
    let (target, asker) = (target(), None);
    store
        .prepare(Prepare {
            session,
            target,
            asker,
            content: None,
            for_partner: false,
            lazy: false,
            lone: false,
            seen: 0,
        })
        .await
}

/// A row of a file with these versions.
pub fn row(inode: u64, seq: u64, sessions: &[SessionId]) -> Row {
    let version = |(number, s): (usize, &SessionId)| Version {
        session: s.0.to_vec(),
        epoch: 1,
        number: number as u64 + 1,
        size: 1,
        ..Version::default()
    };
    let record = Record {
        id: inode,
        parent: 1,
        name: format!("file-{inode}"),
        kind: Kind::File as i32,
        pair: 1,
        seq,
        versions: sessions.iter().enumerate().map(version).collect(),
        ..Record::default()
    };
    Row { seq, subject: Some(Subject::Record(record)) }
}

pub fn record(row: &Row) -> Record {
    match &row.subject {
        Some(Subject::Record(record)) => record.clone(),
        _ => panic!("not a record"),
    }
}

/// All of a content, read as a client does.
pub fn read_all(store: &Store, held: &Held) -> Result<Bytes> {
    let mut out = Vec::new();
    while (out.len() as u64) < held.manifest.size {
        let (part, crc) = store.read(&held.manifest, out.len() as u64, PIECE as u32)?;
        assert_eq!(crc64(&part), crc);
        assert!(!part.is_empty());
        out.extend_from_slice(&part);
    }
    Ok(out.into())
}

pub fn held_bytes(store: &Store, session: SessionId) -> Bytes {
    let held = store.lookup(session).unwrap().expect("held");
    read_all(store, &held).unwrap()
}

pub fn state(store: &Store, session: SessionId) -> Option<State> {
    store.lookup(session).unwrap().map(|held| held.state)
}

/// All that a store holds, for comparing.
#[derive(Debug, PartialEq)]
pub struct Dump {
    /// Digest, references and place of each chunk.
    pub chunks: Vec<String>,
    pub contents: Vec<(SessionId, State, Bytes)>,
    pub records: Vec<Record>,
    pub cursors: Cursors,
    pub aside: Vec<Record>,
    pub forgotten: [u64; 2],
}

pub fn dump(store: &Store) -> Dump {
    let held = store.contents_after(None, usize::MAX).unwrap();
    let chunks = store.shared.index.chunks().unwrap();
    Dump {
        chunks: chunks
            .iter()
            .map(|(sha, c)| format!("{:?} {} {:?}", &sha[..4], c.refs, c.location))
            .collect(),
        contents: held.iter().map(|h| (h.session, h.state, read_all(store, h).unwrap())).collect(),
        records: store.records_after(0, 1000).unwrap().iter().map(|r| Record::clone(r)).collect(),
        cursors: store.cursors(),
        aside: (0..1000).filter_map(|inode| store.aside(inode).unwrap()).collect(),
        forgotten: [0, 1].map(|feed| store.shared.index.forgotten(feed).unwrap()),
    }
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Waits until what was answered is also cleared up behind: the thread does one thing after another.
pub async fn settle(store: &Store) {
    store.drop_session(session(254)).await.unwrap();
}

/// Closes the store; what it is stands after a restart, with its index and without.
pub fn assert_survives_restarts(place: &Place, store: Store) {
    let before = dump(&store);
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        assert_eq!(dump(&store), before);
        store.close();
    }
}
