//! Repairs what does not check from the partner (I6). The partner's copy proves itself first: every byte of it is
//! compared with its SHA-256 here. It is written elsewhere, a durable record switches to it, and then it is read
//! once more from the disk.

use crate::fetch::{Wanted, copy_anew, range};
use crate::node::Node;
use crate::relay::is_no_way;
use crate::sessions::lock;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use types::content::sha256;
use types::ids::SessionId;
use types::limits::PIECE;
use types::record::{ChunkRef, Manifest, Version};
use types::{Code, Error, Result};

/// Repairs under way at once; each holds at most a chunk, or fetches one content.
const REPAIRS: usize = 2;
/// How long a read waits for the repair of what it needs; the repair goes on beyond that.
const READ_WAIT: Duration = Duration::from_secs(20);
/// How long a read goes on asking for a partner that cannot be reached: one that has just started may be there in a
/// moment; one that is gone for long is not worth more of a user's time.
const RETURN_WAIT: Duration = Duration::from_secs(3);
/// How long it waits before it asks again.
const RETURN_LOOK: Duration = Duration::from_millis(100);

/// What of a content is bad.
#[derive(Clone, Debug)]
pub enum Part {
    /// Its record, or inline bytes, or it is not there: it is copied anew.
    Whole,
    /// One chunk, and where in the content it begins.
    Chunk(ChunkRef, u64),
}

type Running = HashMap<(SessionId, Option<u64>), watch::Receiver<Option<Result<()>>>>;

/// Repairs under way; the same thing is repaired once.
pub struct Repairs {
    running: Mutex<Running>,
    slots: Arc<Semaphore>,
}

impl Default for Repairs {
    fn default() -> Repairs {
        Repairs { running: Mutex::default(), slots: Arc::new(Semaphore::new(REPAIRS)) }
    }
}

/// Whether an error of a look at the disk says that the bytes are bad (a sector that cannot be read is no better than
/// one with other bytes).
pub fn is_bad(error: &Error) -> bool {
    matches!(error.code, Code::Damaged | Code::Io | Code::UnknownFormat)
}

/// Repairs a part of a version that a record names, waiting at most `patience`; the repair goes on beyond that.
///
/// # Errors
/// Why there is no good copy, or why it could not be written.
pub async fn repair(node: &Arc<Node>, wanted: &Wanted, part: Part, patience: Duration) -> Result<()> {
    let waiting = async {
        let (running, joined) = start(node, wanted, &part);
        match end_of(running).await {
            // It may have waited for a partner that came back since it began.
            Err(_) if joined => end_of(start(node, wanted, &part).0).await,
            ended => ended,
        }
    };
    let ended = timeout(patience, waiting).await;
    ended.unwrap_or_else(|_| {
        Err(Error::new(Code::Unavailable, "the repair is still under way", "wait for it"))
    })
}

async fn end_of(mut running: watch::Receiver<Option<Result<()>>>) -> Result<()> {
    match running.wait_for(Option::is_some).await {
        Ok(ended) => ended.clone().unwrap_or(Ok(())),
        Err(_) => Err(Error::internal("a repair was forgotten")),
    }
}

/// The repair of the part, begun if there is none; whether there was one.
fn start(node: &Arc<Node>, wanted: &Wanted, part: &Part) -> (watch::Receiver<Option<Result<()>>>, bool) {
    let key = match part {
        Part::Whole => (wanted.session, None),
        Part::Chunk(_, offset) => (wanted.session, Some(*offset)),
    };
    let mut table = lock(&node.repairs.running);
    if let Some(running) = table.get(&key) {
        return (running.clone(), true);
    }
    let (ended, running) = watch::channel(None);
    table.insert(key, running.clone());
    let (node, wanted, part) = (node.clone(), wanted.clone(), part.clone());
    tokio::spawn(async move {
        let repaired = repair_now(&node, &wanted, part).await;
        match &repaired {
            Ok(()) => tracing::warn!(session = %wanted.session, "repaired from the partner"),
            Err(error) => tracing::error!(session = %wanted.session, %error, "not repaired"),
        }
        lock(&node.repairs.running).remove(&key);
        ended.send_replace(Some(repaired));
    });
    (running, false)
}

async fn repair_now(node: &Arc<Node>, wanted: &Wanted, part: Part) -> Result<()> {
    let _slot = node.repairs.slots.clone().acquire_owned().await.map_err(Error::internal)?;
    if check(node, wanted, &part).await?.is_ok() {
        return Ok(()); // by who was first
    }
    match &part {
        Part::Whole => copy_anew(node, wanted).await?,
        Part::Chunk(chunk, offset) => {
            let bytes = fetch(node, wanted.session, chunk, *offset).await?;
            node.store()?.replace_chunk(chunk, bytes).await?;
        }
    }
    check(node, wanted, &part).await?
}

/// What the disk has of the part: the inner error says what is wrong with it.
async fn check(node: &Arc<Node>, wanted: &Wanted, part: &Part) -> Result<Result<()>> {
    let (store, wanted, part) = (node.store()?.clone(), wanted.clone(), part.clone());
    let look = move || {
        Ok(match part {
            Part::Whole => store.content_on_disk(wanted.session).and_then(|held| match held {
                Some(held) if held.manifest.sha256 == wanted.sha256 => Ok(()),
                _ => Err(Error::new(Code::Damaged, "the content is not held", "run `pairfs scrub`")),
            }),
            Part::Chunk(chunk, _) => store.verify_chunk(&chunk),
        })
    };
    node.pool.run(look).await
}

/// A chunk from the partner, proved.
async fn fetch(node: &Arc<Node>, session: SessionId, chunk: &ChunkRef, offset: u64) -> Result<Bytes> {
    let end = offset + u64::from(chunk.len);
    let starts = (offset..end).step_by(PIECE);
    let pieces: Vec<_> =
        starts.map(|at| tokio::spawn(range(node.clone(), session, at..end.min(at + PIECE as u64)))).collect();
    let mut bytes = BytesMut::with_capacity(chunk.len as usize);
    for piece in pieces {
        bytes.extend_from_slice(&piece.await.map_err(Error::internal)??);
    }
    let bytes = bytes.freeze();
    if sha256(&bytes)[..] != chunk.sha256[..] {
        let what = "the partner's copy does not have its SHA-256 either";
        return Err(Error::new(Code::Damaged, what, "look for another copy of the file"));
    }
    Ok(bytes)
}

/// Repairs what a read of `len` bytes from `offset` on met, and says so if that cannot be: bad bytes are never
/// served. `manifest`: none if not even that can be read.
///
/// # Errors
/// `DAMAGED`.
pub async fn heal(
    node: &Arc<Node>,
    version: &Version,
    manifest: Option<&Manifest>,
    offset: u64,
    len: u32,
) -> Result<()> {
    let wanted = Wanted::version(version)?;
    let mut parts = Vec::new();
    match manifest.filter(|manifest| !manifest.is_inline()) {
        None => parts.push(Part::Whole),
        Some(manifest) => {
            let (mut start, last) = (0, offset.saturating_add(len.into()));
            for chunk in &manifest.chunks {
                let end = start + u64::from(chunk.len);
                if start < last && end > offset {
                    parts.push(Part::Chunk(chunk.clone(), start));
                }
                start = end;
            }
        }
    }
    for part in parts {
        repair_for_reader(node, &wanted, part).await.map_err(|error| {
            let what = format_args!(
                "the copy on {} is damaged, and its partner could not supply a good one ({})",
                node.name(),
                error.message
            );
            Error::new(Code::Damaged, what, "see `pairfs status`, then run `pairfs scrub`")
        })?;
    }
    Ok(())
}

/// Repairs a part that a read needs; a partner that cannot be reached is asked again for a while.
async fn repair_for_reader(node: &Arc<Node>, wanted: &Wanted, part: Part) -> Result<()> {
    let until = Instant::now() + RETURN_WAIT;
    loop {
        match repair(node, wanted, part.clone(), READ_WAIT).await {
            Err(error) if is_no_way(&error) && Instant::now() < until => sleep(RETURN_LOOK).await,
            ended => return ended,
        }
    }
}
