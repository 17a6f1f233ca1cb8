//! What became of prepared sessions (R10): the question, and what follows from the answer.

use crate::node::Node;
use crate::store::Held;
use std::collections::HashMap;
use types::Result;
use types::ids::SessionId;
use types::message::member::{Prepared, ResolveReply, ResolveRequest};
use types::mutation::{self, Mutation};

/// Sessions asked about in one request.
pub(crate) const PAGE: usize = 500;

/// The question, in the registration `incarnation`.
pub(crate) fn request(node: &Node, incarnation: u64, page: &[Held]) -> ResolveRequest {
    ResolveRequest {
        server: node.name().to_owned(),
        incarnation,
        sessions: page.iter().map(question).collect(),
        // Read before it is sent: a row beyond it may name what is asked about.
        cursor: node.disk.get().map_or(0, |store| store.cursors().pair),
    }
}

fn question(held: &Held) -> Prepared {
    let target = held.origin.target.clone().unwrap_or_default();
    Prepared {
        session: held.session.0.to_vec(),
        folder: target.folder,
        name: target.name,
        file: target.file,
        asker: held.origin.asker.clone(),
    }
}

/// In the log it is kept, its row comes; else it is open again, if nobody has taken it up meanwhile (`still`). The
/// log may have it all the same, under a name that was changed since: the feed's rows up to now tell.
pub(crate) async fn follow(
    node: &Node,
    page: &[Held],
    reply: ResolveReply,
    still: impl Fn(SessionId) -> bool,
) -> Result<()> {
    let asked: HashMap<SessionId, &Held> = page.iter().map(|held| (held.session, held)).collect();
    for resolution in reply.resolutions {
        let id = SessionId::from_slice(&resolution.session)?;
        let forget = mutation::is(Mutation::ForgetPrepared);
        if let (false, Some(held)) = (resolution.committed && !forget, asked.get(&id))
            && still(id)
        {
            if forget {
                node.store()?.drop_session(id).await?;
                continue;
            }
            node.store()?.unprepare(id).await?;
            reopen(node, held, reply.pair_end);
        }
    }
    Ok(())
}

/// A content that nobody waits for: its clock starts, and it may go once rows up to `mark` are applied.
pub(crate) fn reopen(node: &Node, held: &Held, mark: u64) {
    let user = held.origin.asker.as_ref().map_or("", |asker| &asker.user);
    let target = held.origin.target.clone().unwrap_or_default();
    node.sessions.reopen(held.session, user, &target, held.manifest.size, mark);
}
