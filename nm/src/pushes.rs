//! What the name manager says unasked (R39): who acts in a pair, to clients; a grant, to servers.

use crate::manager::Manager;
use bytes::Bytes;
use net::Session;
use prost::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use types::message::manager::{PUSH_PLACEMENT, Placement};
use types::message::member::PUSH_GRANT;
use types::record::Server;

/// The clients that are attached.
#[derive(Default)]
pub(crate) struct Clients {
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
}

impl Clients {
    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self, session: &Arc<Session>) {
        self.sessions().insert(session.id, session.clone());
        // It may have gone meanwhile, and nobody would take it out again.
        if session.is_closed() {
            self.detach(session);
        }
    }

    pub(crate) fn detach(&self, session: &Session) {
        self.sessions().remove(&session.id);
    }

    fn tell(&self, placement: &Placement) {
        let head = Bytes::from(placement.encode_to_vec());
        let sessions: Vec<_> = self.sessions().values().cloned().collect();
        for session in sessions {
            // One that does not read loses its connection, and looks afresh.
            let _ = session.push(PUSH_PLACEMENT, head.clone());
        }
    }
}

/// The last placement of each pair that was told, for those that wait for the next.
#[derive(Default)]
pub(crate) struct Board {
    pairs: Mutex<HashMap<u32, watch::Sender<Placement>>>,
}

impl Board {
    fn pairs(&self) -> MutexGuard<'_, HashMap<u32, watch::Sender<Placement>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self, pair: u32) -> watch::Receiver<Placement> {
        self.pairs().entry(pair).or_default().subscribe()
    }

    fn put(&self, placement: &Placement) -> bool {
        self.pairs().entry(placement.pair).or_default().send_if_modified(|known| {
            let news = known != placement;
            if news {
                known.clone_from(placement);
            }
            news
        })
    }
}

impl Manager {
    /// Tells everyone concerned if the placement is not what they were told last. Gives the members that
    /// should hear of it by a grant.
    pub(crate) fn publish(&self, placement: &Placement) -> bool {
        let news = self.board.put(placement);
        if news {
            tracing::info!(
                pair = placement.name,
                epoch = placement.epoch,
                acting = placement.acting,
                reason = placement.reason,
                "placement"
            );
            self.clients.tell(placement);
        }
        news
    }

    /// Answers the newest heartbeat of `server` once more. Whether it got a lease by that.
    pub(crate) async fn push_grant(&self, server: &Server) -> bool {
        if self.confirm_leader().await.is_err() {
            return false;
        }
        let (session, grant) = {
            let mut live = self.live();
            let Some(beat) = live.beat(server).cloned() else { return false };
            match self.grant(&mut live, &server.name, &beat) {
                Ok(grant) => (beat.session, grant),
                Err(error) => {
                    tracing::warn!(server = server.name, %error, "no grant");
                    return false;
                }
            }
        };
        session.push(PUSH_GRANT, grant.encode_to_vec().into()).is_ok() && grant.serve
    }
}
