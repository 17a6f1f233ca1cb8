//! Empties the trash: what has lain there for its time, slice by slice (R25), and, where a member is short of room,
//! the oldest first until it has some again.

use crate::manager::Manager;
use nm_core::state::State;
use std::sync::Arc;
use std::time::Duration;
use types::command::{Op, Purge};
use types::limits::{PURGE_SLICE, TRASH_TIME};

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// Between two slices of what is due anyway.
const PAUSE: Duration = Duration::from_millis(50);
/// What a purge freed shows in a member's heartbeats after about this long.
const SETTLE: Duration = Duration::from_millis(1500);

/// What is to be purged now.
enum Want {
    Nothing,
    /// What has lain there for its time.
    Due,
    /// The oldest, for this pair.
    Short(u32),
}

/// Purges until its task is ended.
pub(crate) async fn tidy(manager: Arc<Manager>) {
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = match slice(&manager).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "the trash could not be purged");
                LOOK
            }
        };
    }
}

/// Purges one slice, if there is anything to purge; gives the pause after it.
async fn slice(manager: &Manager) -> types::Result<Duration> {
    let (short_pair, pause) = match want(manager)? {
        Want::Nothing => return Ok(LOOK),
        Want::Due => (0, PAUSE),
        // Not more than is needed: the member says so in its next heartbeat but one.
        Want::Short(pair) => (pair, 2 * manager.settings.pace.heartbeat + SETTLE),
    };
    let purge = Purge { limit: PURGE_SLICE as u32, short_pair };
    let answer = manager.proposer.propose(Op::Purge(purge)).await?;
    if answer.rows.is_empty() {
        return Ok(LOOK);
    }
    log::crash_point("nm.trash-purged");
    tracing::info!(purged = answer.rows.len(), short_pair, "the trash was purged");
    Ok(pause)
}

fn want(manager: &Manager) -> types::Result<Want> {
    let view = manager.view()?;
    let state = State::new(&view);
    let Some((time, _)) = state.trash(None, 1)?.pop() else { return Ok(Want::Nothing) };
    let due = manager.proposer.time().saturating_sub(TRASH_TIME.as_millis() as u64);
    if time <= due {
        return Ok(Want::Due);
    }
    let servers = state.servers()?;
    let live = manager.live();
    let short = |server: &&types::record::Server| live.beat(server).is_some_and(|beat| beat.short);
    Ok(servers.iter().find(short).map_or(Want::Nothing, |server| Want::Short(server.pair)))
}
