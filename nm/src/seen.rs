//! "Seen at once" (R23): a removal or a move is answered only when whoever serves reads has applied it.

use crate::manager::Manager;
use nm_core::state::State;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use types::Result;
use types::command::FeedPlace;
use types::mutation::{self, Mutation};
use types::record::{Pair, Server};

/// What a lease may last beyond its timeout as seen from here; then it has ended.
const SLACK: Duration = Duration::from_secs(1);
/// A lease may end meanwhile; look this often.
const LOOK: Duration = Duration::from_millis(50);

impl Manager {
    /// Waits until every acting member concerned has applied `rows`, or has surely no lease: at most for the
    /// time that a lease lasts.
    pub(crate) async fn seen(&self, rows: &[FeedPlace]) -> Result<()> {
        if mutation::is(Mutation::AnswerUnseen) {
            return Ok(());
        }
        let deadline = Instant::now() + self.settings.pace.timeout + SLACK;
        for row in rows {
            self.feeds.hurry(row.feed, row.seq);
        }
        for (pair, server) in self.acting(rows)? {
            let seen = async {
                for row in rows.iter().filter(|row| row.feed == 0 || row.feed == pair.id) {
                    self.seen_by(&pair, &server, row).await;
                }
            };
            if timeout_at(deadline, seen).await.is_err() {
                tracing::warn!(server = server.name, "slow to apply what was acknowledged");
            }
        }
        Ok(())
    }

    fn acting(&self, rows: &[FeedPlace]) -> Result<Vec<(Pair, Server)>> {
        let view = self.view()?;
        let state = State::new(&view);
        let everyone = rows.iter().any(|row| row.feed == 0);
        let mut acting = Vec::new();
        for pair in state.pairs()? {
            if (everyone || rows.iter().any(|row| row.feed == pair.id))
                && let Some(server) = state.server(&pair.acting)?
            {
                acting.push((pair, server));
            }
        }
        Ok(acting)
    }

    async fn seen_by(&self, pair: &Pair, server: &Server, row: &FeedPlace) {
        loop {
            {
                // A server that is merely silent may still serve; one that is gone has its lease taken.
                let live = self.live();
                if live.leases.ended(pair.id, self.now()) {
                    return;
                }
            }
            let member = self.members.get(server);
            match member.as_ref().and_then(|member| member.line(row.feed)) {
                Some(line) => {
                    if timeout_at(Instant::now() + LOOK, line.applied(row.seq)).await.is_ok() {
                        return;
                    }
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}
