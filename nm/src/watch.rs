//! The monitor's clock: looks for silent servers once each check.

use crate::manager::Manager;
use nm_core::monitor::Finding;
use nm_core::state::State;
use std::sync::Arc;
use types::command::Op;
use types::record::Event;

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
    let (findings, servers) = {
        let view = manager.view()?;
        let servers = State::new(&view).servers()?;
        (manager.live().monitor.tick(manager.now(), &servers), servers)
    };
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
