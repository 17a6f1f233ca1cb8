//! Asks the data port of a storage server, again and again, whether it answers: heartbeats come from a thread of their own
//! (R40), and tell nothing about the others.

use crate::manager::Manager;
use crate::members::Member;
use std::sync::Arc;
use std::time::Duration;
use types::limits::Pace;

/// How long one answer may take.
fn patience(pace: Pace) -> Duration {
    pace.timeout
}

/// Two answers, or their absence, are not further apart unless this process stood still.
pub(crate) fn apart(pace: Pace) -> Duration {
    2 * (pace.heartbeat + patience(pace))
}

/// Asks until its task is ended.
pub(crate) async fn ask(manager: Arc<Manager>, member: Arc<Member>) {
    let pace = manager.settings.pace;
    loop {
        let answered = member.answers(patience(pace)).await;
        let now = manager.now();
        manager.live().gray.port(&member.server, member.incarnation, now, answered);
        tokio::time::sleep(pace.heartbeat).await;
    }
}
