//! Compares what a member's disk holds with the index (R24): the member is told, range by range, what there is, and
//! sets aside what is not listed. Its rows are sent by the feeds meanwhile.

use crate::manager::Manager;
use crate::members::Member;
use nm_core::state::State;
use std::sync::Arc;
use std::time::Duration;
use types::command::{Compared, Op};
use types::limits::{COMPARE_PAGE, NAMES_TOLD};
use types::message::member::{Compare, CompareReply, CompareRequest};
use types::{Code, Result};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// After one that failed, and while there is no connection.
const REST: Duration = Duration::from_millis(200);

/// Compares both feeds of a member, then logs that it is done.
pub(crate) async fn compare(manager: Arc<Manager>, member: Arc<Member>) {
    let mut told = CompareReply::default();
    for feed in [0, member.pair] {
        let mut after = 0;
        while after < u64::MAX {
            match page(&manager, &member, feed, after).await {
                Ok((reply, upto)) => {
                    told.set_aside += reply.set_aside;
                    told.names.extend(reply.names);
                    told.names.truncate(NAMES_TOLD);
                    after = upto;
                }
                Err(error) => {
                    tracing::debug!(server = member.server, feed, %error, "not compared");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
    let done = Compared {
        server: member.server.clone(),
        incarnation: member.incarnation,
        set_aside: told.set_aside,
        names: told.names,
    };
    tracing::info!(server = member.server, set_aside = done.set_aside, "compared with the index");
    loop {
        match manager.proposer.propose(Op::Compared(done.clone())).await {
            Ok(_) => return manager.signals.wake(member.pair),
            // The next registration is compared by its own task.
            Err(error) if error.code == Code::RegisterAgain => return,
            Err(error) => {
                tracing::debug!(server = member.server, %error, "not logged as compared");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// One range of ids; gives up to where it goes.
async fn page(manager: &Manager, member: &Member, feed: u32, after: u64) -> Result<(CompareReply, u64)> {
    let (ids, upto, end) = {
        let view = manager.view()?;
        let state = State::new(&view);
        let (ids, upto) = state.ids_after(feed, after, COMPARE_PAGE)?;
        (ids, upto, state.feed_end(feed)?)
    };
    let request = CompareRequest {
        generation: manager.cluster.generation,
        incarnation: member.incarnation,
        feed,
        after,
        upto,
        ids,
        end,
    };
    Ok((member.call::<Compare>(request, PATIENCE).await?, upto))
}
