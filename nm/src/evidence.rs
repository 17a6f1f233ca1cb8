//! A dead process at once (R5): a connection that closed, and a port that refuses.
//!
//! Only the server's own host can refuse in its name. So this goes for servers of this host alone: those
//! that registered from the same boot, or over loopback. For the others silence decides.

use crate::manager::Manager;
use net::probe::{ProbeResult, probe_refused};
use nm_core::state::State;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use types::record::Server;

/// How long one look may take.
const LOOK: Duration = Duration::from_millis(300);
/// Pauses between looks: a dying process closes its sockets one after the other.
const PAUSES_MS: [u64; 9] = [0, 1, 2, 5, 10, 20, 50, 100, 300];

impl Manager {
    /// A connection of this registration has ended: finds out whether its process has.
    pub(crate) fn connection_lost(self: &Arc<Self>, server: &str, incarnation: u64) {
        if self.settings.fast_failover {
            tokio::spawn(look(self.clone(), server.to_owned(), incarnation));
        }
    }

    fn present(&self, name: &str, incarnation: u64) -> Option<Server> {
        let view = self.view().ok()?;
        let server = State::new(&view).server(name).ok()??;
        (server.incarnation == incarnation && !server.failed).then_some(server)
    }

    fn declare_gone(&self, server: &Server) {
        let now = self.now();
        let mut live = self.live();
        if live.monitor.verdict(server).is_none() {
            tracing::warn!(server = server.name, incarnation = server.incarnation, "its process is gone");
        }
        live.monitor.gone(&server.name, server.incarnation, now, "its process ended");
        live.leases.release(server.pair, &server.name, server.incarnation);
        drop(live);
        self.signals.wake(server.pair);
    }
}

async fn look(manager: Arc<Manager>, name: String, incarnation: u64) {
    for pause in PAUSES_MS {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let Some(server) = manager.present(&name, incarnation) else { return };
        let reached =
            manager.members.get(&server).is_some_and(|member| member.reached.load(Ordering::Acquire));
        let Ok(addr) = server.addr.parse::<SocketAddr>() else { return };
        let same_host =
            addr.ip().is_loopback() || (!server.boot.is_empty() && server.boot == manager.settings.boot);
        if !reached || !same_host {
            return;
        }
        if probe_refused(addr, LOOK).await == ProbeResult::Refused {
            return manager.declare_gone(&server);
        }
    }
}
