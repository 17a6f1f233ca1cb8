//! Uploads against a real store in a temporary folder, without any other server.

use crate::node::Node;
use crate::serving::Serving;
use crate::sessions::Piece;
use crate::store::Content;
use crate::test_bench;
use crate::upload::{Sender, Upload};
use bytes::Bytes;
use log::{Disk, DiskFile, RealDisk};
use net::buffers::charged;
use net::clock::boottime;
use ss_core::passing::Passing;
use ss_core::session::WriteSession;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use types::Code;
use types::content::{Digester, block_crcs, crc64, of_chunks};
use types::ids::SessionId;
use types::limits::{CHUNK, PIECE};
use types::message::store::{SessionState, Target};

fn node() -> (Arc<Node>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path().to_owned()).unwrap());
    (node_on(disk), dir)
}

fn node_on(disk: Arc<dyn Disk>) -> Arc<Node> {
    let serving = Arc::new(Serving::new("ss1", None));
    Arc::new(test_bench::node_on(disk, serving, vec![], [7; 32]))
}

/// A disk whose extent files panic on request, as a bug in a disk job would.
struct Panicky {
    disk: RealDisk,
    panics: Arc<AtomicBool>,
}

struct PanickyFile {
    file: Arc<dyn DiskFile>,
    panics: Option<Arc<AtomicBool>>,
}

impl Disk for Panicky {
    fn open(&self, name: &str, how: log::Open) -> io::Result<Arc<dyn DiskFile>> {
        let panics = name.starts_with("extents/").then(|| self.panics.clone());
        Ok(Arc::new(PanickyFile { file: self.disk.open(name, how)?, panics }))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
    fn salt(&self) -> u64 {
        self.disk.salt()
    }
}

impl DiskFile for PanickyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let panics = self.panics.as_ref().is_some_and(|panics| panics.load(Ordering::Acquire));
        assert!(!panics, "as a bug would");
        self.file.write_all_at(data, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.start_writeback(offset, len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch_hole(offset, len)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_job_that_panics_ends_its_upload_at_once_and_the_client_may_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let panics = Arc::new(AtomicBool::new(false));
    let disk = Panicky { disk: RealDisk::new(dir.path().to_owned()).unwrap(), panics: panics.clone() };
    let node = node_on(Arc::new(disk));
    let bytes = content(3 * PIECE);
    let piece = |number: usize| bytes.slice(number * PIECE..(number + 1) * PIECE);
    let first = upload(&node);
    send(&node, &first, 0, block_crcs(&piece(0)), piece(0)).await.unwrap();
    panics.store(true, Ordering::Release);
    // Several at once: the one that panics, and those that wait behind it.
    let sending = (1..3).map(|number| {
        let (node, first, piece) = (node.clone(), first.clone(), piece(number));
        tokio::spawn(
            async move { send(&node, &first, (number * PIECE) as u64, block_crcs(&piece), piece).await },
        )
    });
    let sending: Vec<_> = sending.collect();
    let begun = std::time::Instant::now();
    for sent in sending {
        let error = sent.await.unwrap().unwrap_err();
        assert!(matches!(error.code, Code::Internal | Code::NoSuchSession), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "nobody waits for what never comes");
    assert!(node.sessions.get(first.id).is_none(), "nothing is left to expire");
    assert!(send(&node, &first, PIECE as u64, block_crcs(&piece(1)), piece(1)).await.is_err());
    panics.store(false, Ordering::Release);
    // The same session again, as a client does that repeats with its key.
    let again = upload(&node);
    for number in 0..3 {
        let offset = (number * PIECE) as u64;
        send(&node, &again, offset, block_crcs(&piece(number)), piece(number)).await.unwrap();
    }
    let store = node.store().unwrap().clone();
    let size = bytes.len() as u64;
    let finished = again.finish(&store, size, crc64(&bytes), &[]).unwrap();
    assert_eq!(finished.manifest().size, size);
}

fn upload(node: &Node) -> Arc<Upload> {
    let target = Target { pair: 1, folder: 5, name: "a".into(), file: 0 };
    let open = || WriteSession::open(boottime(), "ann", target, Duration::from_secs(60));
    node.sessions.get_or_open(SessionId::from_random([9; 16]), None, open).unwrap()
}

async fn send(
    node: &Arc<Node>,
    upload: &Arc<Upload>,
    offset: u64,
    crcs: Vec<u64>,
    bytes: Bytes,
) -> types::Result<SessionState> {
    upload.piece(node, Sender::Client, Piece { offset, bytes, crcs }).await
}

fn content(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_overtake_each_other_become_the_file_that_was_sent() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let bytes = content(CHUNK + 3 * PIECE + 17);
    let mut sends = tokio::task::JoinSet::new();
    let offsets: Vec<usize> = (0..bytes.len()).step_by(PIECE).collect();
    for offset in offsets.into_iter().rev() {
        let piece = bytes.slice(offset..bytes.len().min(offset + PIECE));
        let (node, upload) = (node.clone(), upload.clone());
        sends.spawn(async move { send(&node, &upload, offset as u64, block_crcs(&piece), piece).await });
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap().unwrap();
    }
    let (store, size) = (node.store().unwrap().clone(), bytes.len() as u64);
    let whole = crc64(&bytes);
    let made = node.pool.run(move || upload.finish(&store, size, whole, &[])).await.unwrap();
    let mut digester = Digester::default();
    digester.update(&bytes);
    assert_eq!(made.manifest().digest().unwrap(), digester.finish());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_changed_on_the_way_is_refused_and_can_be_sent_again() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let piece = content(PIECE);
    let wrong = vec![1; block_crcs(&piece).len()];
    assert!(send(&node, &upload, 0, wrong, piece.clone()).await.is_err());
    assert_eq!(upload.progress().held, 0);
    let sent = send(&node, &upload, 0, block_crcs(&piece), piece.clone()).await.unwrap();
    assert_eq!(sent.held, PIECE as u64);
    let again = send(&node, &upload, 0, block_crcs(&piece), piece).await.unwrap();
    assert_eq!(again.held, PIECE as u64, "sent twice, held once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_before_all_bytes_are_here_says_so_and_leaves_the_upload_as_it_is() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let piece = content(1000);
    send(&node, &upload, 0, block_crcs(&piece), piece.clone()).await.unwrap();
    let (ended, store) = (upload.clone(), node.store().unwrap().clone());
    let early = node.pool.run(move || ended.finish(&store, 2000, 0, &[])).await;
    assert_eq!(early.err().unwrap().code, Code::NoSuchSession);
    let (ended, store) = (upload.clone(), node.store().unwrap().clone());
    let whole = crc64(&piece);
    assert!(node.pool.run(move || ended.finish(&store, 1000, whole, &[])).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_given_up_gives_its_memory_and_its_place_back() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let budget = Arc::new(Semaphore::new(PIECE));
    let share = budget.clone().try_acquire_many_owned(PIECE as u32).unwrap();
    let piece = charged(content(PIECE), share);
    // As if there were a partner that takes nothing: the piece is kept for it.
    upload.passing_changed(|passing| *passing = Passing::new(true));
    send(&node, &upload, 0, block_crcs(&piece), piece).await.unwrap();
    assert_eq!(budget.available_permits(), 0);
    node.forget(&upload).await;
    assert!(node.sessions.get(upload.id).is_none() && upload.is_over());
    // Once the thread that hashes has let go of it, too.
    drop(timeout(Duration::from_secs(60), budget.acquire_many(PIECE as u32)).await.unwrap().unwrap());
}

/// What the acting member sends of `bytes`: pieces, each with the digests that are complete before it.
async fn pass(node: &Arc<Node>, upload: &Arc<Upload>, bytes: &Bytes, until: usize, told: &[[u8; 32]]) {
    for offset in (0..until).step_by(PIECE) {
        let bytes = bytes.slice(offset..until.min(offset + PIECE));
        let complete = offset / CHUNK;
        let new = if offset.is_multiple_of(CHUNK) && complete > 0 { complete - 1..complete } else { 0..0 };
        let digests = told.get(new.clone()).unwrap_or_default().concat().into();
        let sender = Sender::Acting(new.start as u32, digests);
        let piece = Piece { offset: offset as u64, crcs: block_crcs(&bytes), bytes };
        upload.piece(node, sender, piece).await.unwrap();
    }
}

fn chunks_of(bytes: &Bytes) -> Vec<[u8; 32]> {
    let mut digester = Digester::default();
    digester.update(bytes);
    digester.chunks()
}

async fn finish(
    node: &Arc<Node>,
    upload: &Arc<Upload>,
    bytes: &Bytes,
    sha256: Vec<u8>,
) -> types::Result<Content> {
    let (upload, store) = (upload.clone(), node.store().unwrap().clone());
    let (size, whole) = (bytes.len() as u64, crc64(bytes));
    node.pool.run(move || upload.finish(&store, size, whole, &sha256)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_was_told_the_digests_prepares_without_hashing() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let bytes = content(2 * CHUNK + PIECE + 17);
    // Told wrong, to see that they are taken as they are; the commit's own digest is what they have to fit.
    let mut told = chunks_of(&bytes);
    told[0][0] ^= 1;
    pass(&node, &upload, &bytes, bytes.len(), &told).await;
    upload.tell(1, &told[1..].concat());
    let expected = of_chunks(&told);
    let made = finish(&node, &upload, &bytes, expected.sha256.to_vec()).await.unwrap();
    assert_eq!(made.manifest().digest().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_what_was_told_must_fit_the_digest_of_the_whole() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let bytes = content(2 * CHUNK + 17);
    let mut told = chunks_of(&bytes);
    let expected = of_chunks(&told);
    told[1][0] ^= 1;
    pass(&node, &upload, &bytes, bytes.len(), &told).await;
    upload.tell(1, &told[1..].concat());
    let refused = finish(&node, &upload, &bytes, expected.sha256.to_vec()).await;
    assert_eq!(refused.err().unwrap().code, Code::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_partner_that_has_to_act_goes_on_from_the_digests_it_was_told() {
    let (node, _dir) = node();
    let upload = upload(&node);
    let bytes = content(3 * CHUNK + 17);
    let split = 2 * CHUNK + 2 * PIECE;
    pass(&node, &upload, &bytes, split, &chunks_of(&bytes)).await;
    for offset in (split..bytes.len()).step_by(PIECE) {
        let piece = bytes.slice(offset..bytes.len().min(offset + PIECE));
        send(&node, &upload, offset as u64, block_crcs(&piece), piece).await.unwrap();
    }
    let made = finish(&node, &upload, &bytes, Vec::new()).await.unwrap();
    assert_eq!(made.manifest().digest().unwrap(), of_chunks(&chunks_of(&bytes)));
}
