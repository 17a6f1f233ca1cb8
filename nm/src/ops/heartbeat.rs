//! A server is alive: notes it and answers with a lease, or why there is none (R2, R3).

use crate::live::Beat;
use crate::manager::Manager;
use crate::service::Call;
use nm_core::reach::Heard;
use nm_core::state::State;
use std::time::Duration;
use types::message::member::{GrantMessage, HeartbeatRequest, Reach};
use types::record::Server;
use types::{Code, Error, Result};

/// Whether the log knows what the server knows, as far as that is told; `false`: it has to register again. A log that has lost
/// something ends this process.
fn is_met(manager: &Manager, server: &Server, reach: Option<&Reach>) -> Result<bool> {
    let epoch = {
        let view = manager.view()?;
        State::new(&view).pair(server.pair)?.map_or(0, |pair| pair.epoch)
    };
    let heard = manager.live().met.hears(server, epoch, reach);
    match heard {
        Heard::Nothing => {}
        Heard::Fits => manager.note_met(),
        Heard::Unreported => return Ok(false),
        Heard::Ahead(what) => {
            manager.give_up(what.clone());
            let next = "start the name manager with --rebuild, or bring its newest data back";
            return Err(Error::new(Code::Unavailable, format_args!("the name manager's data: {what}"), next));
        }
    }
    Ok(true)
}

pub(crate) async fn run(call: Call, request: HeartbeatRequest) -> Result<GrantMessage> {
    call.require_server(&request.server)?;
    let manager = &call.manager;
    let arrival = manager.now();
    let known = manager.live().beats.get(&request.server).is_some_and(|beat| beat.trouble);
    match (known, request.trouble.is_empty()) {
        (false, false) => tracing::warn!(server = request.server, trouble = request.trouble, "in trouble"),
        (true, true) => tracing::info!(server = request.server, "out of trouble"),
        _ => {}
    }
    let beat = Beat {
        session: call.session.clone(),
        incarnation: request.incarnation,
        number: request.number,
        arrival,
        used_bytes: request.used_bytes,
        free_bytes: request.free_bytes,
        trouble: !request.trouble.is_empty(),
        short: request.short,
        set_aside: request.set_aside,
        oldest_io_ms: request.oldest_io_ms,
        last_sync_ms: request.last_sync_ms,
        scrub: request.scrub,
        broken: if request.broken {
            format!("its store is out of service: {}", request.trouble)
        } else {
            String::new()
        },
    };
    let server = {
        let view = manager.view()?;
        State::new(&view).server(&request.server)?
    };
    let present = server.filter(|server| server.incarnation == request.incarnation && !server.failed);
    if let Some(server) = &present {
        call.bind(&server.name, server.incarnation);
        let mut live = manager.live();
        let is_first = live.monitor.silence(server, arrival).is_none() || request.broken;
        live.monitor.heard(&server.name, server.incarnation, arrival);
        let oldest = Duration::from_millis(request.oldest_io_ms);
        live.gray.disk(&server.name, server.incarnation, oldest);
        live.beats.insert(server.name.clone(), beat.clone());
        drop(live);
        if is_first {
            manager.signals.wake(server.pair);
        }
    }
    manager.confirm_leader().await?;
    if let Some(server) = &present
        && !is_met(manager, server, request.reach.as_ref())?
    {
        // What it reports then tells the rest.
        let (number, incarnation) = (request.number, request.incarnation);
        return Ok(GrantMessage { number, incarnation, register_again: true, ..GrantMessage::default() });
    }
    let grant = {
        let mut live = manager.live();
        manager.grant(&mut live, &request.server, &beat)?
    };
    if let Some(server) = present
        && grant.serve
        && grant.placement.as_ref().is_some_and(|told| *told != *manager.board.watch(told.pair).borrow())
    {
        manager.signals.wake(server.pair);
    }
    Ok(grant)
}
