//! PassPrepare: makes what was passed on durable as prepared, so that it survives its server (R10, R18).

use crate::node::Node;
use crate::store::{Content, Pin, Prepare};
use net::clock::boottime;
use ss_core::session::WriteSession;
use std::sync::Arc;
use tokio::task::JoinSet;
use types::ids::SessionId;
use types::message::partner::{PassPrepareReply, PassPrepareRequest, PassedSession};
use types::record::Manifest;
use types::{Code, Error, Result};

/// Prepares each session; one that fails holds up no other.
pub async fn run(node: Arc<Node>, mut request: PassPrepareRequest) -> Result<PassPrepareReply> {
    node.serving.check_reign(request.epoch)?;
    let durable = request.durable;
    let lone = request.sessions.len() == 1;
    if lone
        && !durable
        && let Some(session) = request.sessions.pop()
    {
        // It is only buffered: done before another task would have begun with it.
        let prepared = vec![told(prepare(&node, session, durable, lone).await)];
        return Ok(PassPrepareReply { prepared });
    }
    let mut prepared = vec![false; request.sessions.len()];
    let mut works = JoinSet::new();
    for (at, session) in request.sessions.into_iter().enumerate() {
        let node = node.clone();
        works.spawn(async move { (at, prepare(&node, session, durable, lone).await) });
    }
    while let Some(ended) = works.join_next().await {
        match ended {
            Ok((at, outcome)) => prepared[at] = told(outcome),
            Err(error) => tracing::warn!(%error, "preparing for the partner failed"),
        }
    }
    Ok(PassPrepareReply { prepared })
}

/// Whether it is prepared.
fn told(outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        tracing::debug!(%error, "a session was not prepared for the partner");
    }
    outcome.is_ok()
}

async fn prepare(node: &Arc<Node>, passed: PassedSession, durable: bool, lone: bool) -> Result<()> {
    let id = SessionId::from_slice(&passed.session)?;
    let missing = |what| Error::bad_request(format_args!("a passed session without its {what}"));
    let target = passed.target.ok_or_else(|| missing("target"))?;
    let manifest = passed.manifest.ok_or_else(|| missing("manifest"))?;
    let asker = passed.asker.ok_or_else(|| missing("asker"))?;
    node.serving.check_pair(target.pair)?;
    let store = node.store()?.clone();
    let held = store.lookup(id)?;
    let held = held.filter(|held| held.manifest.sha256 == manifest.sha256);
    if held.as_ref().is_some_and(|held| held.state.is_decided()) {
        return Ok(());
    }
    if held.is_none() && passed.seen < store.forgotten(target.pair) {
        // Its file may have been removed meanwhile, and nobody here would know (I4).
        return Err(Error::new(
            Code::Changed,
            "the write was made before tombstones that are forgotten",
            "prepare it again; if it is a version, its row brings it",
        ));
    }
    let (content, _pin) = match held {
        // Prepared again: it may be open, or buffered only.
        Some(_) => (None, None),
        None => {
            if let Some(upload) = node.sessions.get(id) {
                upload.tell(passed.digests_from, &passed.digests);
            }
            let (content, pin) = content(node, id, &manifest, &passed.cites).await?;
            if content.manifest().sha256 != manifest.sha256 {
                return Err(Error::bad_request("the passed bytes do not fit their digest"));
            }
            (Some(content), pin)
        }
    };
    let user = asker.user.clone();
    let prepare = Prepare {
        session: id,
        target: target.clone(),
        asker: Some(asker),
        content,
        for_partner: true,
        lazy: !durable,
        lone,
        seen: passed.seen,
    };
    let came = prepare.content.is_some();
    if let Err(error) = store.prepare(prepare).await {
        if came && let Some(upload) = node.sessions.get(id) {
            // The bytes are gone with it: they are passed on again.
            node.lose(&upload).await;
        }
        return Err(error);
    }
    let found = || WriteSession::found_prepared(boottime(), &user, target.clone());
    node.sessions.get_or_open(id, None, found)?.prepared_for_partner(manifest.size);
    node.sessions.content_landed();
    Ok(())
}

/// The content that stands inline in the manifest, that is a copy of what is held here, or that came in pieces. The
/// pin keeps what is cited until it is prepared (R32).
async fn content(
    node: &Arc<Node>,
    id: SessionId,
    manifest: &Manifest,
    cites: &[u8],
) -> Result<(Content, Option<Pin>)> {
    let store = node.store()?.clone();
    if !cites.is_empty() {
        let cited = SessionId::from_slice(cites)?;
        let pin = store.pin(cited)?;
        let held = store.lookup(cited)?.ok_or_else(|| Error::bad_request("what is cited is not here"))?;
        return Ok((Content::cited(&held.manifest), Some(pin)));
    }
    if !manifest.inline.is_empty() || manifest.size == 0 {
        // A copy: the slice would keep the whole request in memory.
        let bytes = bytes::Bytes::copy_from_slice(&manifest.inline);
        return Ok((store.small(bytes, manifest.crc64)?, None));
    }
    let upload = node.sessions.find(id)?;
    let (size, crc64, sha256) = (manifest.size, manifest.crc64, manifest.sha256.clone());
    let passed = upload.clone();
    let finished = node.pool.run(move || passed.finish(&store, size, crc64, &sha256)).await;
    if let Err(error) = &finished
        && !matches!(error.code, Code::NoSuchSession | Code::Busy)
    {
        node.lose(&upload).await;
    }
    finished.map(|content| (content, None))
}
