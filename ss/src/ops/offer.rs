//! What this server holds, for a name manager that is made anew from it (R26). Only while it stands for that.

use crate::node::Node;
use crate::store::{Held, JournalPosition, Store};
use prost::Message;
use std::sync::Arc;
use types::ids::SessionId;
use types::limits::{PAGE_BYTES, PAGE_ROWS};
use types::message::rebuild::{
    KnowsWritesReply, KnowsWritesRequest, OfferControlReply, OfferControlRequest, OfferRecordsReply,
    OfferRecordsRequest, OfferWritesReply, OfferWritesRequest,
};
use types::mutation::{self, Mutation};
use types::rebuild::PreparedWrite;
use types::record::{Row, Subject};
use types::{Error, Result};

async fn look<T: Send + 'static>(
    node: &Arc<Node>,
    look: impl FnOnce(&Store) -> Result<T> + Send + 'static,
) -> Result<T> {
    node.serving.check_standing()?;
    let store = node.store()?.clone();
    node.pool.run(move || look(&store)).await
}

/// A page of records, decided ones whose rows have not come included.
pub async fn records(node: Arc<Node>, request: OfferRecordsRequest) -> Result<OfferRecordsReply> {
    look(&node, move |store| {
        let records = store.records_after(request.after, PAGE_ROWS)?;
        let mut reply = OfferRecordsReply { end: records.len() < PAGE_ROWS, ..OfferRecordsReply::default() };
        let mut bytes = 0;
        for record in records {
            if record.is_folder() && mutation::is(Mutation::KeepFoldersBack) {
                continue;
            }
            bytes += record.encoded_len();
            if bytes > PAGE_BYTES && !reply.rows.is_empty() {
                reply.end = false;
                break;
            }
            let subject = Some(Subject::Record((*record).clone()));
            reply.rows.push(Row { seq: record.seq, subject });
        }
        Ok(reply)
    })
    .await
}

/// A page of pairs and users.
pub async fn control(node: Arc<Node>, request: OfferControlRequest) -> Result<OfferControlReply> {
    look(&node, move |store| {
        const EACH: usize = PAGE_ROWS / 2;
        let rows = store.control_after(request.after_pair, &request.after_user, EACH)?;
        let pairs = rows.iter().filter(|row| matches!(row.subject, Some(Subject::Pair(_)))).count();
        let end = pairs < EACH && rows.len() - pairs < EACH;
        Ok(OfferControlReply { rows, end })
    })
    .await
}

/// A page of prepared writes.
pub async fn writes(node: Arc<Node>, request: OfferWritesRequest) -> Result<OfferWritesReply> {
    look(&node, move |store| {
        let (held, next) = store.prepared_after(JournalPosition(request.after), PAGE_ROWS)?;
        let writes = held.into_iter().filter_map(write).collect();
        Ok(OfferWritesReply { writes, next: next.map_or(0, |position| position.0) })
    })
    .await
}

fn write(held: Held) -> Option<PreparedWrite> {
    let target = held.origin.target.clone()?;
    // What an import brought along nobody was told to be written; its server still has it.
    let asker = held.origin.asker.clone()?;
    Some(PreparedWrite {
        session: held.session.0.to_vec(),
        pair: target.pair,
        folder: target.folder,
        name: target.name,
        file: target.file,
        asker: Some(asker),
        size: held.manifest.size,
        digest_kind: held.manifest.digest_kind,
        sha256: held.manifest.sha256.to_vec(),
        seen: held.origin.seen,
    })
}

/// Which of these writes a row has named.
pub async fn knows(node: Arc<Node>, request: KnowsWritesRequest) -> Result<KnowsWritesReply> {
    if request.sessions.len() > PAGE_ROWS {
        return Err(Error::bad_request(format_args!("a page of {} sessions", request.sessions.len())));
    }
    look(&node, move |store| {
        let mut known = Vec::new();
        for session in request.sessions {
            if store.is_decided(SessionId::from_slice(&session)?)? {
                known.push(session);
            }
        }
        Ok(KnowsWritesReply { known })
    })
    .await
}
