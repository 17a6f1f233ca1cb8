//! A dead process at once (R5): a connection that closed, and a port that refuses.
//!
//! Nobody can refuse over loopback, or on the host of this process, in the name of another. Elsewhere a
//! firewall could, so the server's partner has to see the same; without a partner silence decides.

use crate::live::Leaving;
use crate::manager::Manager;
use net::probe::{ProbeResult, probe_refused};
use nm_core::state::State;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use types::message::member::{LookAt, LookAtRequest};
use types::mutation::{self, Mutation};
use types::record::Server;

/// How long one look may take.
const LOOK: Duration = Duration::from_millis(300);
/// Pauses between looks: a dying process closes its sockets one after the other.
const PAUSES_MS: [u64; 9] = [0, 1, 2, 5, 10, 20, 50, 100, 300];

impl Manager {
    /// A connection of this registration has ended: finds out whether its process has.
    pub(crate) fn connection_lost(self: &Arc<Self>, server: &str, incarnation: u64) {
        if self.settings.fast_failover() {
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
        let stopped = live.leaving(server) == Some(Leaving::Released);
        let why = if stopped { "it was stopped" } else { "its process ended" };
        live.monitor.gone(&server.name, server.incarnation, now, why);
        live.leases.release(server.pair, &server.name, server.incarnation);
        drop(live);
        self.signals.wake(server.pair);
    }
}

async fn look(manager: Arc<Manager>, name: String, incarnation: u64) {
    for pause in PAUSES_MS {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let Some(server) = manager.present(&name, incarnation) else { return };
        // Reached in this registration: an address that never answered proves nothing by refusing.
        if !manager.members.get(&server).is_some_and(|member| member.reached.load(Ordering::Acquire)) {
            return;
        }
        let Some(addr) = registered_address(&server).await else { return };
        let refuses = probe_refused(addr, LOOK).await == ProbeResult::Refused;
        if refuses && manager.is_confirmed(&server, addr).await || mutation::is(Mutation::SilenceIsDeath) {
            return manager.declare_gone(&server);
        }
    }
}

/// Where the server listens, if that is at the IP address it registered from.
async fn registered_address(server: &Server) -> Option<SocketAddr> {
    let found = net::transport::resolve(&server.addr).await.ok()?;
    found.into_iter().find(|addr| addr.ip().to_canonical().to_string() == server.ip)
}

impl Manager {
    /// Whether a refusal at `addr` can be believed: on this host at once, else if the partner is refused too.
    async fn is_confirmed(&self, server: &Server, addr: SocketAddr) -> bool {
        if addr.ip().is_loopback() || (!server.boot.is_empty() && server.boot == self.settings.boot) {
            return true;
        }
        let partner = || -> Option<Server> {
            let view = self.view().ok()?;
            let state = State::new(&view);
            let pair = state.pair(server.pair).ok()??;
            state.server(pair.partner_of(&server.name)).ok()?
        };
        let Some(member) = partner().and_then(|partner| self.members.get(&partner)) else { return false };
        let request = LookAtRequest { addr: addr.to_string() };
        member.call::<LookAt>(request, 2 * LOOK).await.is_ok_and(|seen| seen.refused)
    }
}
