//! A start of a storage server registers itself: it fences the start before (R6, R7).

use crate::manager::Manager;
use crate::placement::placement;
use crate::service::Call;
use nm_core::state::State;
use types::command::{Op, Register};
use types::message::member::Registered;
use types::record::Server;
use types::{Error, Result};

pub(crate) async fn run(call: Call, mut request: Register) -> Result<Registered> {
    call.require_server(&request.server)?;
    let manager = &call.manager;
    // A listener for both families shows IPv4 as IPv6; a server is looked for where it listens (R5).
    request.ip = call.session.peer.addr.ip().to_canonical().to_string();
    if request.boot.is_empty() {
        request.boot.clone_from(&call.session.peer.host_boot);
    }
    if request.generation > manager.cluster.generation {
        tracing::error!(
            server = request.server,
            "this name manager is an old one: the cluster was rebuilt since"
        );
        // It sees from the generation whom it has met, and looks for the right one.
        return Ok(Registered {
            cluster_id: manager.cluster.cluster_id.clone(),
            generation: manager.cluster.generation,
            ..Registered::default()
        });
    }
    let before = {
        let view = manager.view()?;
        State::new(&view).server(&request.server)?
    };
    request.elsewhere = before.as_ref().is_some_and(|before| is_elsewhere(manager, before, &request));
    let boot = request.boot.clone();
    let answer = manager.proposer.propose(Op::Register(request)).await?;
    let server = answer.server.ok_or_else(|| Error::internal("a registration without a server"))?;
    call.bind(&server.name, server.incarnation);
    let same_boot = before.is_some_and(|before| !boot.is_empty() && before.boot == boot);
    tracing::info!(server = server.name, incarnation = server.incarnation, addr = server.addr, "registered");
    let now = manager.now();
    let mut live = manager.live();
    live.monitor.registered(&server.name, server.incarnation, now);
    live.registered(&server);
    live.leases.restarted(server.pair, &server.name, same_boot);
    let placement = match &answer.pair {
        Some(pair) => {
            let view = manager.view()?;
            Some(placement(State::new(&view), &live, pair, now)?)
        }
        None => None,
    };
    drop(live);
    manager.signals.wake(server.pair);
    let pace = manager.settings.pace;
    Ok(Registered {
        rebuilding: false,
        key: manager.cluster.master_key.for_server(&server.name).0.to_vec(),
        server: Some(server),
        cluster_id: manager.cluster.cluster_id.clone(),
        generation: manager.cluster.generation,
        heartbeat_ms: pace.heartbeat.as_millis() as u64,
        lease_ms: pace.lease().as_millis() as u64,
        now_ms: manager.proposer.time(),
        placement,
        relay: manager.settings.relay().into(),
    })
}

/// Whether the present registration is heard from another address: then this one is somebody else (R7).
fn is_elsewhere(manager: &Manager, before: &Server, request: &Register) -> bool {
    let live = manager.live();
    let heard = live.beat(before).is_some() && live.monitor.alive(before, manager.now());
    heard && (before.ip != request.ip || before.addr != request.addr)
}
