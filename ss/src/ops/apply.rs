//! Apply: rows of a feed beyond this server's cursor (R20–R22).

use crate::fetch::{self, Wanted, bring};
use crate::node::Node;
use crate::store::Pin;
use log::crash_point;
use ss_core::apply::{Plan, plan};
use ss_core::survey::record_of;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use types::ids::{Seq, SessionId};
use types::limits::PAGE_ROWS;
use types::message::member::{ApplyReply, ApplyRequest, RowFailure};
use types::record::{Row, Version};
use types::{Code, Error, Result};

/// How long a row waits for its bytes; the copy goes on, and the next try finds it further or done.
const PATIENCE: Duration = Duration::from_secs(1);

/// Applies what can be applied, tells what cannot, and moves the cursor if asked to.
pub async fn run(node: Arc<Node>, request: ApplyRequest) -> Result<ApplyReply> {
    check(&node, &request)?;
    let (feed, collected) = (request.feed, request.collected);
    let rows = request.rows;
    // What a row keeps is not collected between the look and the row (R32).
    let _pins = pin(&node, &rows)?;
    let (ready, lacking) = if rows.is_empty() { Default::default() } else { sort(&node, rows).await? };
    let mut reply = ApplyReply::default();
    // What needs nothing does not wait for what does.
    let (applied, brought) = tokio::join!(apply(&node, feed, ready, collected), bring_all(&node, lacking));
    applied.tell(&mut reply);
    let (complete, failed) = brought;
    if !complete.is_empty() {
        crash_point("apply.fetched");
    }
    apply(&node, feed, complete, collected).await.tell(&mut reply);
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

/// Brings the missing bytes, many rows at a time; gives the rows that are complete, and why others are not.
async fn bring_all(node: &Arc<Node>, lacking: Vec<Lacking>) -> (Vec<Row>, Vec<RowFailure>) {
    let mut works = JoinSet::new();
    for (row, versions) in lacking {
        let node = node.clone();
        works.spawn(async move {
            for version in versions {
                match Wanted::version(&version) {
                    Ok(wanted) => {
                        bring(&node, wanted, PATIENCE).await.map_err(|error| failure(row.seq, error))?
                    }
                    Err(error) => return Err(failure(row.seq, error)),
                }
            }
            Ok(row)
        });
    }
    let (mut complete, mut failed) = (Vec::new(), Vec::new());
    while let Some(ended) = works.join_next().await {
        match ended {
            Ok(Ok(row)) => complete.push(row),
            Ok(Err(failure)) => failed.push(failure),
            // Neither applied nor failed: it is sent again.
            Err(error) => tracing::warn!(%error, "bringing the bytes of a row failed"),
        }
    }
    complete.sort_unstable_by_key(|row| row.seq);
    (complete, failed)
}

fn failure(seq: u64, error: Error) -> RowFailure {
    RowFailure { seq, code: error.code.number(), message: error.message }
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

async fn apply(node: &Arc<Node>, feed: u32, rows: Vec<Row>, collected: u64) -> Applied {
    let seqs = rows.iter().map(|row| row.seq).collect();
    if rows.is_empty() {
        return Applied { seqs, outcome: Ok(()) };
    }
    let settled: Vec<SessionId> = rows
        .iter()
        .filter_map(record_of)
        .flat_map(|record| &record.versions)
        .filter_map(|version| version.session_id().ok())
        .collect();
    let outcome = match node.store() {
        Ok(store) => store.apply_page(feed, rows, collected).await.map(drop),
        Err(error) => Err(error),
    };
    if outcome.is_ok() {
        settled.into_iter().for_each(|session| node.sessions.settled(session));
    }
    Applied { seqs, outcome }
}
