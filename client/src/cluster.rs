//! The state of the cluster, what happened in it, and who shall act.

use crate::bounds::REACHED_AT_ONCE;
use crate::core::Core;
use crate::retry::Retry;
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use types::message::manager::{
    Events, EventsRequest, ForcePromote, ForcePromoteReply, ForcePromoteRequest, MemberAddr, Placement,
    ServerSettings, ServerStatus, Status, StatusReply, StatusRequest, Switchover, SwitchoverRequest,
    Whereabouts, WhereaboutsRequest,
};
use types::record::Event;
use types::{Code, Error, Result};

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

pub(crate) async fn status(core: &Core) -> Result<StatusReply> {
    core.manager.call::<Status>(StatusRequest::default, &mut core.retry()).await
}

/// How long a connection to each of these storage servers takes from here, at most `patience` each.
pub(crate) async fn reach(
    core: &Core,
    servers: &[ServerStatus],
    patience: Duration,
) -> Vec<Result<Duration>> {
    let asked = servers.iter().map(|server| reach_one(core, server, patience));
    stream::iter(asked).buffered(REACHED_AT_ONCE).collect().await
}

async fn reach_one(core: &Core, server: &ServerStatus, patience: Duration) -> Result<Duration> {
    let (begun, name) = (Instant::now(), &server.name);
    let member = MemberAddr { name: name.clone(), addr: server.addr.clone(), ..MemberAddr::default() };
    let deadline = begun + patience;
    let opened = timeout_at(deadline, core.servers.get(&core.manager, &member, deadline)).await;
    opened.unwrap_or_else(|_| {
        let what = format_args!("{name} does not answer at {} (waited {patience:?})", server.addr);
        Err(Error::new(Code::Timeout, what, "check the network between this machine and it"))
    })?;
    Ok(begun.elapsed())
}

pub(crate) async fn settings(core: &Core) -> Result<Vec<ServerSettings>> {
    let request = || StatusRequest { settings: true };
    Ok(core.manager.call::<Status>(request, &mut core.retry()).await?.settings)
}

pub(crate) async fn events(core: &Core, after: u64, limit: u32, wait: Duration) -> Result<Vec<Event>> {
    let request = || EventsRequest { after, limit, wait_ms: millis(wait) };
    let mut retry = Retry::new(core.timeout + wait);
    Ok(core.manager.call::<Events>(request, &mut retry).await?.events)
}

pub(crate) async fn whereabouts(core: &Core, pair: u32) -> Result<Placement> {
    let request = || WhereaboutsRequest { pair, ..WhereaboutsRequest::default() };
    let placement = core.manager.call::<Whereabouts>(request, &mut core.retry()).await?;
    core.manager.places().learn(placement.clone());
    Ok(placement)
}

pub(crate) async fn switchover(core: &Core, pair: &str, to: &str) -> Result<Placement> {
    // Named before it is asked for: asked again without a name it would hand the pair back.
    let to = match to {
        "" => other_member(&status(core).await?, pair),
        to => to.to_owned(),
    };
    let mut retry = core.retry();
    let wait_ms = millis(Duration::from_millis(retry.left_for_server()));
    let request = || SwitchoverRequest { pair: pair.to_owned(), wait_ms, to: to.clone() };
    let placement = core.manager.call::<Switchover>(request, &mut retry).await?;
    core.manager.places().learn(placement.clone());
    Ok(placement)
}

pub(crate) async fn force_promote(core: &Core, pair: &str, accept_loss: bool) -> Result<ForcePromoteReply> {
    let mut retry = core.retry();
    let wait_ms = millis(Duration::from_millis(retry.left_for_server()));
    let request = || ForcePromoteRequest { pair: pair.to_owned(), accept_loss, wait_ms };
    let reply = core.manager.call::<ForcePromote>(request, &mut retry).await?;
    if let Some(placement) = &reply.placement {
        core.manager.places().learn(placement.clone());
    }
    Ok(reply)
}

/// The member of `pair` that does not act; empty if there is no telling.
fn other_member(status: &StatusReply, pair: &str) -> String {
    let found = status.pairs.iter().find(|found| found.name == pair);
    let other = found.map(|found| match &found.acting {
        acting if acting.is_empty() => "",
        acting if *acting == found.primary => found.backup.as_str(),
        _ => found.primary.as_str(),
    });
    other.unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::message::manager::PairStatus;

    #[test]
    fn a_repeated_switchover_does_not_switch_back() {
        let pair = |acting: &str| StatusReply {
            pairs: vec![PairStatus {
                name: "ss1".into(),
                primary: "ss1".into(),
                backup: "ss1_backup".into(),
                acting: acting.into(),
                ..PairStatus::default()
            }],
            ..StatusReply::default()
        };
        assert_eq!(other_member(&pair("ss1"), "ss1"), "ss1_backup");
        assert_eq!(other_member(&pair("ss1_backup"), "ss1"), "ss1");
        assert_eq!(other_member(&pair(""), "ss1"), "");
        assert_eq!(other_member(&pair("ss1"), "ss9"), "");
    }
}
