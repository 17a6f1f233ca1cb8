//! Has the store tidy itself, a slice at a time, off the hot path (R32): never more than a quarter of its thread's
//! time.

use crate::node::Node;
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::Code;

/// Between two slices, at least.
const PAUSE: Duration = Duration::from_millis(20);
/// When there is nothing to do.
const REST: Duration = Duration::from_millis(500);
/// After a slice that failed.
const TROUBLE: Duration = Duration::from_secs(5);
/// After a slice that met a bad part of the journal in which a content is found that has not been repaired.
const DAMAGE: Duration = Duration::from_secs(60);
/// Rest for so many times as long as a slice took.
const SHARE: u32 = 3;

/// Tidies until the server stops.
pub async fn run(node: Arc<Node>) {
    let mut pause = REST;
    loop {
        tokio::select! {
            () = node.stopped() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Ok(store) = node.store() else {
            pause = REST;
            continue;
        };
        let start = Instant::now();
        pause = match store.tidy().await {
            Ok(true) => PAUSE.max(start.elapsed() * SHARE),
            Ok(false) => REST,
            Err(error) if error.code == Code::Damaged => {
                let next = "run `pairfs scrub`; until then the journal only grows";
                tracing::error!(%error, next, "the journal cannot be compacted");
                DAMAGE
            }
            Err(error) => {
                tracing::debug!(%error, "the store cannot be tidied now");
                TROUBLE
            }
        };
    }
}
