//! Apply: rows of a feed beyond this server's cursor (R20–R22).

use crate::fetch::many::{self, BATCH_BYTES, SMALL_MAX};
use crate::fetch::{self, Wanted, bring};
use crate::node::Node;
use crate::store::{Content, Pin};
use log::crash_point;
use ss_core::apply::{Plan, fewest_copies, plan};
use ss_core::survey::record_of;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use types::ids::{Seq, SessionId};
use types::limits::{BATCH_COMMANDS, PAGE_ROWS};
use types::message::member::{ApplyReply, ApplyRequest, RowFailure};
use types::record::{Row, Version};
use types::{Code, Error, Result};

/// How long a page waits for large contents when it has no other news; the copies go on, and the next try finds them
/// further or done.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for them when it has.
const GRACE: Duration = Duration::from_millis(10);
/// How long one version may take while a page waits for it: longer than any page waits.
const ROW_PATIENCE: Duration = Duration::from_secs(60);
/// How long a page waits for small contents.
const BATCH_PATIENCE: Duration = Duration::from_secs(3);
/// Batches of small contents of one page under way at once.
const BATCHES: usize = 4;

/// Applies what can be applied, tells what cannot, and moves the cursor if asked to.
pub async fn run(node: Arc<Node>, request: ApplyRequest) -> Result<ApplyReply> {
    check(&node, &request)?;
    let (feed, collected) = (request.feed, request.collected);
    let rows = request.rows;
    // What a row keeps is not collected between the look and the row (R32).
    let _pins = pin(&node, &rows)?;
    let (ready, lacking) = if rows.is_empty() { Default::default() } else { sort(&node, rows).await? };
    let mut reply = ApplyReply::default();
    // What needs nothing does not wait for what does, nor what is small for what is large.
    let (small, mut large): (Vec<_>, Vec<_>) = lacking.into_iter().partition(|row| is_small(&node, row));
    let (applied, brought) = tokio::join!(
        apply(&node, feed, ready, collected, Vec::new()),
        bring_small(&node, feed, small, collected)
    );
    applied.tell(&mut reply);
    for applied in brought.applied {
        applied.tell(&mut reply);
    }
    reply.failed.extend(brought.late.into_iter().map(under_way));
    large.extend(brought.left);
    let news = !reply.applied.is_empty() || !reply.failed.is_empty();
    let (complete, failed) = bring_large(&node, large, if news { GRACE } else { PATIENCE }).await;
    if !complete.is_empty() {
        crash_point("apply.fetched");
    }
    apply(&node, feed, complete, collected, Vec::new()).await.tell(&mut reply);
    reply.failed.extend(failed);
    if feed != 0 && !reply.applied.is_empty() {
        crash_point("apply.rows");
    }
    let store = node.store()?;
    if request.advance > 0 {
        store.advance(request.generation, feed, request.advance).await?;
        crash_point("apply.advanced");
    }
    if let Err(error) = store.forget(feed, collected).await {
        tracing::debug!(%error, "tombstones stay for now");
    }
    let cursors = store.cursors();
    reply.journal = store.journal_end();
    reply.cursor = if feed == 0 { cursors.control } else { cursors.pair };
    (reply.copied_bytes, reply.partial_bytes) =
        (node.fetches.progress.copied(), node.fetches.progress.partial());
    Ok(reply)
}

fn pin(node: &Node, rows: &[Row]) -> Result<Vec<Pin>> {
    let store = node.store()?;
    let versions = rows.iter().filter_map(record_of).flat_map(|record| &record.versions);
    versions.filter_map(|version| version.session_id().ok()).map(|session| store.pin(session)).collect()
}

fn check(node: &Node, request: &ApplyRequest) -> Result<()> {
    check_registration(node, request.generation, request.incarnation)?;
    if request.feed != 0 {
        node.serving.check_pair(request.feed)?;
    }
    if request.rows.len() > PAGE_ROWS {
        return Err(Error::bad_request(format_args!("a page of {} rows", request.rows.len())));
    }
    Ok(())
}

/// Refuses what is meant for another generation of the feeds or another registration.
pub(super) fn check_registration(node: &Node, generation: u64, incarnation: u64) -> Result<()> {
    if generation != node.serving.generation() {
        return Err(Error::new(
            Code::WrongCluster,
            "the rows are of another generation of the feeds than this server was registered in",
            "register the server again",
        ));
    }
    if incarnation != node.serving.incarnation() {
        return Err(Error::new(
            Code::Unavailable,
            "the rows are meant for another registration of this server",
            "send them again to the present one",
        ));
    }
    Ok(())
}

type Lacking = (Row, Vec<Version>);

/// Tells the rows that can be applied at once from those whose bytes are missing.
async fn sort(node: &Arc<Node>, rows: Vec<Row>) -> Result<(Vec<Row>, Vec<Lacking>)> {
    let (node, store) = (node.clone(), node.store()?.clone());
    let pool = node.pool.clone();
    let look = move || {
        let (mut ready, mut lacking) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            // What is known may have been decided without its row being here: that row is still news.
            let known = match record_of(&row) {
                Some(record) => store.record(record.id)?.map(|known| Seq(known.seq.saturating_sub(1))),
                None => None,
            };
            let holds = |version: &Version| {
                version.session_id().is_ok_and(|session| fetch::holds(&node, session, &version.sha256))
            };
            match plan(&row, known, holds) {
                Plan::Apply { fetch } if !fetch.is_empty() => lacking.push((row, fetch)),
                Plan::Apply { .. } | Plan::Known => ready.push(row),
            }
        }
        Ok((ready, lacking))
    };
    pool.run(look).await
}

/// Whether everything that a row lacks comes with others in one request. What the partner is passing on is waited for.
fn is_small(node: &Node, (_, versions): &Lacking) -> bool {
    let passed = |version: &Version| version.session_id().is_ok_and(|id| node.sessions.get(id).is_some());
    versions.iter().all(|version| version.size <= SMALL_MAX && !passed(version))
}

/// What became of rows whose contents are small.
#[derive(Default)]
struct Brought {
    applied: Vec<Applied>,
    /// Something of these did not come: it is asked for alone.
    left: Vec<Lacking>,
    /// These had no answer in time.
    late: Vec<u64>,
}

/// Brings small contents and applies their rows, a batch of them with one sync.
async fn bring_small(node: &Arc<Node>, feed: u32, rows: Vec<Lacking>, collected: u64) -> Brought {
    let (mut works, mut brought) = (JoinSet::new(), Brought::default());
    let mut waiting: HashSet<u64> = rows.iter().map(|(row, _)| row.seq).collect();
    let mut batches = batches(rows).into_iter();
    let end = Instant::now() + BATCH_PATIENCE;
    loop {
        while works.len() < BATCHES
            && let Some(batch) = batches.next()
        {
            let node = node.clone();
            works.spawn(async move { bring_batch(&node, feed, batch, collected).await });
        }
        match timeout_at(end, works.join_next()).await {
            Ok(None) => return brought,
            Ok(Some(Ok((applied, left)))) => {
                for seq in applied.seqs.iter().copied().chain(left.iter().map(|(row, _)| row.seq)) {
                    waiting.remove(&seq);
                }
                brought.applied.push(applied);
                brought.left.extend(left);
            }
            // Neither applied nor failed: it is sent again.
            Ok(Some(Err(error))) => tracing::warn!(%error, "bringing small contents failed"),
            Err(_) => {
                brought.late.extend(waiting);
                return brought;
            }
        }
    }
}

/// Cuts rows into what fits one answer each; a row whose versions are more than that is alone.
fn batches(rows: Vec<Lacking>) -> Vec<Vec<Lacking>> {
    let mut batches: Vec<Vec<Lacking>> = Vec::new();
    let (mut bytes, mut count) = (0, 0);
    for row in rows {
        let size: u64 = row.1.iter().map(|version| version.size).sum();
        (bytes, count) = (bytes + size, count + row.1.len());
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH_BYTES as u64 && count <= BATCH_COMMANDS => batch.push(row),
            _ => {
                (bytes, count) = (size, row.1.len());
                batches.push(vec![row]);
            }
        }
    }
    batches
}

async fn bring_batch(
    node: &Arc<Node>,
    feed: u32,
    rows: Vec<Lacking>,
    collected: u64,
) -> (Applied, Vec<Lacking>) {
    let nothing = Applied { seqs: Vec::new(), outcome: Ok(()) };
    let wanted = rows.iter().flat_map(|(_, versions)| versions).filter_map(|it| Wanted::version(it).ok());
    let contents = match many::get(node, wanted.take(BATCH_COMMANDS).collect()).await {
        Ok(contents) => contents,
        Err(error) => {
            // Each is asked for alone and says for itself what is wrong with it.
            tracing::debug!(%error, "small contents did not come together");
            return (nothing, rows);
        }
    };
    let came: HashSet<SessionId> = contents.iter().map(|(session, _)| *session).collect();
    let has_come = |version: &Version| version.session_id().is_ok_and(|session| came.contains(&session));
    let (complete, left): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, versions)| versions.iter().all(has_come));
    let rows = complete.into_iter().map(|(row, _)| row).collect();
    if !contents.is_empty() {
        crash_point("apply.fetched");
    }
    (apply(node, feed, rows, collected, contents).await, left)
}

/// Brings what is large, many rows at a time; gives the rows that are complete, and why others are not. Waits at most
/// so long, and once some are complete no longer: what goes on is asked for again.
async fn bring_large(
    node: &Arc<Node>,
    mut lacking: Vec<Lacking>,
    patience: Duration,
) -> (Vec<Row>, Vec<RowFailure>) {
    lacking.sort_by_key(|(row, versions)| (fewest_copies(versions), row.seq));
    let (mut works, mut seqs) = (JoinSet::new(), HashSet::new());
    let mut end = Instant::now() + patience;
    for (row, versions) in lacking {
        seqs.insert(row.seq);
        let node = node.clone();
        works.spawn(async move { (row.seq, bring_row(&node, &versions).await.map(|()| row)) });
    }
    let (mut complete, mut failed) = (Vec::new(), Vec::new());
    while let Ok(Some(ended)) = timeout_at(end, works.join_next()).await {
        end = end.min(Instant::now() + GRACE);
        match ended {
            Ok((seq, brought)) => {
                seqs.remove(&seq);
                match brought {
                    Ok(row) => complete.push(row),
                    Err(error) => failed.push(failure(seq, error)),
                }
            }
            // Neither applied nor failed: it is sent again.
            Err(error) => tracing::warn!(%error, "bringing the bytes of a row failed"),
        }
    }
    failed.extend(seqs.into_iter().map(under_way));
    complete.sort_unstable_by_key(|row| row.seq);
    (complete, failed)
}

/// One version after the other.
async fn bring_row(node: &Arc<Node>, versions: &[Version]) -> Result<()> {
    for version in versions {
        bring(node, Wanted::version(version)?, ROW_PATIENCE).await?;
    }
    Ok(())
}

fn failure(seq: u64, error: Error) -> RowFailure {
    RowFailure { seq, code: error.code.number(), message: error.message, under_way: false }
}

fn under_way(seq: u64) -> RowFailure {
    let (code, message) = (Code::Unavailable.number(), "its bytes are on their way".to_owned());
    RowFailure { seq, code, message, under_way: true }
}

/// What became of some rows.
struct Applied {
    seqs: Vec<u64>,
    outcome: Result<()>,
}

impl Applied {
    fn tell(self, reply: &mut ApplyReply) {
        match self.outcome {
            Ok(()) => reply.applied.extend(self.seqs),
            Err(error) => reply.failed.extend(self.seqs.into_iter().map(|seq| failure(seq, error.clone()))),
        }
    }
}

/// Applies rows, and keeps the contents that came for them.
async fn apply(
    node: &Arc<Node>,
    feed: u32,
    rows: Vec<Row>,
    collected: u64,
    contents: Vec<(SessionId, Content)>,
) -> Applied {
    let seqs = rows.iter().map(|row| row.seq).collect();
    // Contents without a row to keep them are asked for again with it.
    if rows.is_empty() {
        return Applied { seqs, outcome: Ok(()) };
    }
    let brought = !contents.is_empty();
    let settled: Vec<SessionId> = rows
        .iter()
        .filter_map(record_of)
        .flat_map(|record| &record.versions)
        .filter_map(|version| version.session_id().ok())
        .collect();
    let outcome = match node.store() {
        Ok(store) => store.apply_brought(feed, rows, collected, contents).await.map(drop),
        Err(error) => Err(error),
    };
    if outcome.is_ok() {
        settled.into_iter().for_each(|session| node.sessions.settled(session));
        if brought {
            node.sessions.content_landed();
        }
    }
    Applied { seqs, outcome }
}
