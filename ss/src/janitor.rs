//! Drops uploads whose clients have gone (I9), here and what of them is in the store.

use crate::node::Node;
use crate::resolution;
use crate::store::Held;
use net::clock::boottime;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use types::Result;
use types::ids::SessionId;

/// How often to look.
const ROUND: Duration = Duration::from_secs(5);
/// What the partner has said nothing of for so long is asked about, so often.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A copy that no row has named for so long is given up, if none is to come.
const UNNAMED: Duration = Duration::from_secs(600);

/// Looks until the server stops.
pub async fn run(node: Arc<Node>) {
    let mut asked = Instant::now();
    let mut unnamed = Unnamed::default();
    while !node.is_stopped() {
        tokio::select! {
            () = node.stopped() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        expire(&node, boottime()).await;
        if let Ok(store) = node.store() {
            let tidied = async {
                store.note_what_is_over().await?;
                store.forget_held_back().await
            };
            if let Err(error) = tidied.await {
                tracing::debug!(%error, "what is over cannot be noted yet");
            }
        }
        if asked.elapsed() >= FORGOTTEN {
            asked = Instant::now();
            if let Err(error) = ask_for_forgotten(&node, FORGOTTEN).await {
                tracing::debug!(%error, "what became of passed sessions is not known yet");
            }
            if let Err(error) = drop_unnamed(&node, &mut unnamed, UNNAMED).await {
                tracing::debug!(%error, "copies that no row names stay for now");
            }
        }
    }
}

/// Drops what has made no progress.
pub(crate) async fn expire(node: &Arc<Node>, now: Duration) {
    let cursor = node.disk.get().map_or(0, |store| store.cursors().pair);
    for upload in node.sessions.expire(now, cursor) {
        tracing::info!(session = %upload.id, "an upload made no progress and is dropped");
        node.forget(&upload).await;
        if node.serving.epoch().is_some() {
            let ended = upload.clone();
            node.partner.abort(upload.id, async move { ended.passed().await });
        }
    }
}

/// Asks what became of prepared sessions that nobody commits here, and of which neither a row nor an abort has told: a
/// version that was removed or overwritten before its row went out is named by none. The partner may still commit one,
/// so the answer is not final, and it only starts a clock.
pub(crate) async fn ask_for_forgotten(node: &Node, after: Duration) -> Result<()> {
    if node.serving.incarnation() == 0 {
        return Ok(());
    }
    let forgotten = |id: SessionId| node.sessions.is_forgotten(id, after);
    // An import ends its own.
    let is_asked = |held: &Held| held.origin.asker.is_some() && forgotten(held.session);
    let held: Vec<Held> = node.store()?.prepared()?.into_iter().filter(is_asked).collect();
    for page in held.chunks(resolution::PAGE) {
        let request = resolution::request(node, node.serving.incarnation(), page);
        let reply = node.completions.resolve(&request).await?;
        resolution::follow(node, page, reply, forgotten).await?;
    }
    Ok(())
}

/// Copies from the partner that no row has named yet: since when they were seen, and the end of the feed as of the
/// question, once they are old.
pub(crate) type Unnamed = HashMap<SessionId, (Instant, Option<u64>)>;

/// Gives up copies whose row was replaced before it was applied. Rows up to the end of the feed as of the question could
/// name them; those made later name nothing that is not on the acting member.
pub(crate) async fn drop_unnamed(node: &Node, seen: &mut Unnamed, after: Duration) -> Result<()> {
    let store = node.store()?;
    let fetched: Vec<SessionId> = store.fetched()?.into_iter().map(|held| held.session).collect();
    seen.retain(|session, _| fetched.contains(session));
    let cursor = store.cursors().pair;
    let mut over = Vec::new();
    for session in fetched {
        let (since, mark) = *seen.entry(session).or_insert_with(|| (Instant::now(), None));
        match mark {
            Some(mark) if mark <= cursor => over.push(session),
            Some(_) => {}
            None if since.elapsed() >= after => {
                let request = resolution::request(node, node.serving.incarnation(), &[]);
                let end = node.completions.resolve(&request).await?.pair_end;
                seen.insert(session, (since, Some(end)));
            }
            None => {}
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    // Its state says that no row has named it; before bytes go, the records are asked as well.
    let (looking, sessions) = (store.clone(), over.clone());
    let named = node.pool.run(move || looking.named(&sessions)).await?;
    for session in over.into_iter().filter(|session| !named.contains(session)) {
        tracing::info!(%session, "a copy that no version needs is dropped");
        store.drop_fetched(session).await?;
    }
    Ok(())
}
