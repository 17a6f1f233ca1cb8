//! Collects tombstones that every member has applied (R24), feed by feed, slice by slice.

use crate::manager::Manager;
use nm_core::collect::floor;
use nm_core::state::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use types::command::{Collect, Op};
use types::limits::COLLECT_SLICE;

/// Rows that one slice looks at.
const LOOK: usize = 4096;
/// Between two slices, while there is more to look at.
const PAUSE: Duration = Duration::from_millis(20);

/// Collects until its task is ended.
pub(crate) async fn collect(manager: Arc<Manager>) {
    // Up to here a feed has been looked at: what stood there and was no tombstone has a later row if it is one now.
    let mut looked: BTreeMap<u32, u64> = BTreeMap::new();
    loop {
        tokio::time::sleep(manager.settings.pace.collect).await;
        if let Err(error) = round(&manager, &mut looked).await {
            tracing::warn!(%error, "tombstones could not be collected");
        }
    }
}

async fn round(manager: &Manager, looked: &mut BTreeMap<u32, u64>) -> types::Result<()> {
    let pairs: Vec<u32> = State::new(&manager.view()?).pairs()?.into_iter().map(|pair| pair.id).collect();
    for feed in std::iter::once(0).chain(pairs) {
        while slice(manager, feed, looked.entry(feed).or_default()).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Looks at a slice of a feed and collects what it may; whether there is more to look at.
async fn slice(manager: &Manager, feed: u32, looked: &mut u64) -> types::Result<bool> {
    let (tombstones, reach, upto) = {
        let view = manager.view()?;
        let state = State::new(&view);
        let Some(upto) = floor(&state.servers()?, feed, manager.proposer.time()) else { return Ok(false) };
        let after = (*looked).max(state.collected(feed)?);
        if after >= upto {
            return Ok(false);
        }
        let (tombstones, reach) = state.tombstones(feed, after, upto, COLLECT_SLICE, LOOK)?;
        (tombstones, reach, upto)
    };
    if let Some(last) = tombstones.last() {
        let count = tombstones.len();
        let command = Collect { feed, upto: *last, tombstones };
        manager.proposer.propose(Op::Collect(command)).await?;
        tracing::info!(feed, count, "tombstones were collected");
    }
    *looked = reach;
    Ok(reach < upto)
}
