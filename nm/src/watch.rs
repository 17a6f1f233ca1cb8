//! The monitor's clock: looks for silent servers once each check.

use crate::duties::Roles;
use crate::manager::Manager;
use nm_core::gray::News;
use nm_core::monitor::Finding;
use nm_core::state::State;
use std::sync::Arc;
use types::command::Op;
use types::record::{Event, Pair, Server};

/// Looks until its task is ended.
pub(crate) async fn watch(manager: Arc<Manager>) {
    let mut ticks = tokio::time::interval(manager.settings.pace.check);
    // A process that stood still must see one late tick, not many at once.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = look(&manager).await {
            tracing::warn!(%error, "the monitor could not look");
        }
    }
}

async fn look(manager: &Manager) -> types::Result<()> {
    let damped: Vec<Event>;
    let (findings, news, servers) = {
        let view = manager.view()?;
        let state = State::new(&view);
        let (servers, pairs) = (state.servers()?, state.pairs()?);
        damped = pairs.into_iter().filter_map(|pair| newly_damped(manager, pair, &servers)).collect();
        let mut live = manager.live();
        (live.monitor.tick(manager.now(), &servers), live.gray.tick(&servers), servers)
    };
    for event in damped {
        manager.proposer.propose(Op::Note(event)).await?;
    }
    for news in news {
        tell(manager, &servers, news).await?;
    }
    for finding in findings {
        match finding {
            Finding::Suspect { server, silence } => {
                tracing::warn!(server, ?silence, "suspect");
                let event = Event {
                    kind: "suspect".into(),
                    server,
                    reason: format!("no heartbeat for {:.1} s", silence.as_secs_f64()),
                    ..Event::default()
                };
                manager.proposer.propose(Op::Note(event)).await?;
            }
            Finding::Silent { server, silence } => {
                tracing::warn!(server, ?silence, "silent");
                if let Some(server) = servers.iter().find(|known| known.name == server) {
                    manager.signals.wake(server.pair);
                }
            }
        }
    }
    Ok(())
}

/// Tells people that a server that is heard does no work, or works again; who stands in for it is its pair's duty.
async fn tell(manager: &Manager, servers: &[Server], news: News) -> types::Result<()> {
    let (kind, reason) = match news.illness {
        Some(illness) => ("unwell", illness.to_string()),
        None => ("well", "its disk and its data port answer again".to_owned()),
    };
    tracing::warn!(server = news.server, reason, "{kind}");
    if let Some(server) = servers.iter().find(|known| known.name == news.server) {
        manager.signals.wake(server.pair);
    }
    let event = Event { kind: kind.into(), server: news.server, reason, ..Event::default() };
    manager.proposer.propose(Op::Note(event)).await.map(drop)
}

/// The word that the preferred member of a pair is kept from its role, if that is news.
fn newly_damped(manager: &Manager, pair: Pair, servers: &[Server]) -> Option<Event> {
    let members = servers.iter().filter(|server| pair.has(&server.name)).cloned().collect();
    let roles = Roles { pair, servers: members };
    let left = manager.damped(&roles);
    let pair = roles.pair;
    let mut live = manager.live();
    let Some(left) = left else {
        live.damped.remove(&pair.id);
        return None;
    };
    live.damped.insert(pair.id).then(|| Event {
        kind: "damped".into(),
        reason: format!(
            "it {}: it takes its role back in {} s if nothing happens to it",
            manager.settings.damping(),
            left.as_secs()
        ),
        server: pair.preferred,
        pair: pair.name,
        epoch: pair.epoch,
        ..Event::default()
    })
}
