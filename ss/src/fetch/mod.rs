//! Copies versions from the partner (R20).
//!
//! | room | job |
//! |---|---|
//! | [`many`] | small contents, many in one request; they become durable with the rows that name them |
//! | [`large`] | one content: manifest by pages, bytes with several ranges in flight, from where a broken try ended |
//! | [`progress`] | how much was copied, for `status` |
//!
//! What comes is compared with its checksums and its digest before it counts. Both members hold copies back while clients feel them (R29, [`Node::pace`]).

mod large;
pub mod many;
mod progress;

use crate::node::Node;
use crate::sessions::lock;
pub use progress::Progress;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use types::ids::SessionId;
use types::record::Version;
use types::{Code, Error, Result};

pub(crate) use large::range;

/// Copies of large contents under way at once. Few: those that are complete are not begun again after a crash.
const COPIES: usize = 4;
/// Failures that nobody has asked for are kept of so many copies.
const FAILED_MAX: usize = 1024;
/// How long bytes that the partner passes on by itself may make no progress before they are fetched.
const PASSING_WAIT: Duration = Duration::from_secs(1);

/// What is wanted, by identity: session and digest (R11).
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Session it came from.
    pub session: SessionId,
    /// SHA-256 of the content.
    pub sha256: Vec<u8>,
    /// Its bytes, if known; else 0.
    pub size: u64,
}

impl Wanted {
    /// A version of a row.
    pub fn version(version: &Version) -> Result<Wanted> {
        Ok(Wanted { session: version.session_id()?, sha256: version.sha256.clone(), size: version.size })
    }
}

type Ended = watch::Receiver<Option<Result<()>>>;

/// Copies under way; the same version is copied once. One that failed stays until somebody has heard why.
pub struct Fetches {
    running: Mutex<HashMap<SessionId, Ended>>,
    slots: Arc<Semaphore>,
    /// How much was copied.
    pub progress: Progress,
}

impl Default for Fetches {
    fn default() -> Fetches {
        Fetches {
            running: Mutex::default(),
            slots: Arc::new(Semaphore::new(COPIES)),
            progress: Progress::default(),
        }
    }
}

/// Brings a version here and waits for it, at most `patience`; the copy goes on beyond that, and also when nobody
/// waits, so asking again later finds it further or done.
///
/// # Errors
/// `UNAVAILABLE` when the partner cannot supply it (now) or it takes longer; `DAMAGED` when what came does not fit its
/// manifest; `DISK_FULL`.
pub async fn bring(node: &Arc<Node>, wanted: Wanted, patience: Duration) -> Result<()> {
    let session = wanted.session;
    let mut running = start(node, wanted);
    let ended = match timeout(patience, running.wait_for(Option::is_some)).await {
        Ok(Ok(ended)) => ended.clone().unwrap_or(Ok(())),
        Ok(Err(_)) => Err(Error::internal("a copy was forgotten")),
        Err(_) => return Err(Error::new(Code::Unavailable, "the copy is still under way", "wait for it")),
    };
    // It is told: the next who asks begins anew.
    let mut table = lock(&node.fetches.running);
    if table.get(&session).is_some_and(|known| known.same_channel(&running)) {
        table.remove(&session);
    }
    ended
}

/// The copy of `wanted`, begun if there is none.
fn start(node: &Arc<Node>, wanted: Wanted) -> Ended {
    let mut table = lock(&node.fetches.running);
    if let Some(running) = table.get(&wanted.session) {
        return running.clone();
    }
    if table.len() >= FAILED_MAX {
        table.retain(|_, known| known.borrow().is_none());
    }
    let (ended, running) = watch::channel(None);
    table.insert(wanted.session, running.clone());
    let node = node.clone();
    tokio::spawn(async move {
        let session = wanted.session;
        let copied = copy(&node, wanted).await;
        if copied.is_ok() {
            lock(&node.fetches.running).remove(&session);
        }
        ended.send_replace(Some(copied));
    });
    running
}

/// Whether the bytes of a version are durable here, prepared sessions included.
pub fn holds(node: &Node, session: SessionId, sha256: &[u8]) -> bool {
    let held = node.store().and_then(|store| store.lookup(session));
    held.is_ok_and(|held| held.is_some_and(|held| held.manifest.sha256 == sha256))
}

async fn copy(node: &Arc<Node>, wanted: Wanted) -> Result<()> {
    let _slot = node.fetches.slots.clone().acquire_owned().await.map_err(Error::internal)?;
    wait_for_passing(node, &wanted).await;
    match node.store()?.lookup(wanted.session) {
        // Whatever state it is in: its row keeps it.
        Ok(Some(held)) if held.manifest.sha256 == wanted.sha256 => return Ok(()),
        // What is here cannot be read: the copy takes its place.
        Err(error) if error.code != Code::Damaged => return Err(error),
        _ => {}
    }
    copy_anew(node, &wanted).await
}

/// Copies a version from the partner, whatever is held of it here. All of it is compared with its digests before it
/// counts; then it takes the place of what is here.
pub(crate) async fn copy_anew(node: &Arc<Node>, wanted: &Wanted) -> Result<()> {
    tracing::debug!(session = %wanted.session, "copying from the partner");
    let content = large::content(node, wanted).await?;
    node.store()?.keep_fetched(wanted.session, content).await?;
    node.sessions.content_landed();
    Ok(())
}

/// Bytes that the partner is passing on by itself are on their way: no need to fetch them too.
async fn wait_for_passing(node: &Arc<Node>, wanted: &Wanted) {
    let Some(upload) = node.sessions.get(wanted.session) else { return };
    let (mut changes, mut landings) = (upload.changes(), node.sessions.landings());
    let mut end = Instant::now() + PASSING_WAIT;
    while !holds(node, wanted.session, &wanted.sha256) && !upload.is_over() {
        let before = upload.progress().held;
        let news = async {
            tokio::select! {
                _ = changes.changed() => {}
                _ = landings.changed() => {}
            }
        };
        if timeout_at(end, news).await.is_err() {
            return;
        }
        if upload.progress().held > before {
            end = Instant::now() + PASSING_WAIT;
        }
    }
}

/// The name manager tries again, and sends a newer row instead if there is one (R20).
fn away(error: Error) -> Error {
    if error.code == Code::Damaged { error } else { Error { code: Code::Unavailable, ..error } }
}

fn damaged(what: &str) -> Error {
    Error::new(
        Code::Damaged,
        format_args!("a copy from the partner failed: {what}"),
        "look at the partner's disk",
    )
}
