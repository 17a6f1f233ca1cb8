//! The state of servers and pairs: computed here, once, for everyone who shows it.

use crate::duties::Roles;
use crate::live::Live;
use crate::manager::Manager;
use crate::placement;
use crate::service::Call;
use nm_core::feeder::Moved;
use nm_core::pair_state::{PairView, ServerState, between_reigns, pair_state, server_state};
use nm_core::state::State;
use nm_core::store::StoreError;
use std::time::Duration;
use tokio::task::JoinSet;
use types::limits::{HANDOVER_BYTES, HANDOVER_ROWS};
use types::message::manager::{
    ManagerStatus, PairStatus, ServerSettings, ServerStatus, StatusReply, StatusRequest,
};
use types::message::member::{Probe, ProbeRequest};
use types::record::{Damage, Pair, Server, Subject};
use types::{Code, Error, Result};

/// Up to this lag files at risk are counted one by one; beyond it each row counts as one.
const AT_RISK_LOOK: u64 = 1024;

/// How long a server may take to tell its settings.
const SETTINGS: Duration = Duration::from_secs(2);

pub(crate) async fn run(call: Call, request: StatusRequest) -> Result<StatusReply> {
    let settings = if request.settings { settings(&call).await? } else { Vec::new() };
    Ok(StatusReply { settings, ..status(&call)? })
}

/// The settings of this name manager, then those of all servers, by name.
async fn settings(call: &Call) -> Result<Vec<ServerSettings>> {
    call.require_admin()?;
    let manager = &call.manager;
    let name = manager.settings.name.clone();
    let own =
        ServerSettings { server: name, settings: manager.settings.shown(), ..ServerSettings::default() };
    let servers = State::new(&manager.view()?).servers()?;
    let mut asked = JoinSet::new();
    for server in servers {
        let member = manager.members.get(&server);
        asked.spawn(async move {
            let told = match member {
                Some(member) => member.call::<Probe>(ProbeRequest { settings: true }, SETTINGS).await,
                None => Err(Error::new(Code::Unavailable, "it is not there", "start it")),
            };
            let (settings, trouble) = match told {
                Ok(reply) => (reply.settings, String::new()),
                Err(error) => (Vec::new(), error.message),
            };
            ServerSettings { server: server.name, settings, trouble }
        });
    }
    let mut all = asked.join_all().await;
    all.sort_unstable_by(|a, b| a.server.cmp(&b.server));
    all.insert(0, own);
    Ok(all)
}

fn status(call: &Call) -> Result<StatusReply> {
    let manager = &call.manager;
    let view = manager.view()?;
    let state = State::new(&view);
    let (servers, pairs) = (state.servers()?, state.pairs()?);
    let live = manager.live();
    let now = manager.now();
    let leads = manager.raft.is_leader();
    let metrics = manager.raft.metrics();
    let (name, addr) = (manager.settings.name.clone(), manager.settings.addr.clone());
    let mut reply = StatusReply {
        leader: if leads { name.clone() } else { String::new() },
        nms: vec![ManagerStatus {
            name,
            addr,
            role: if leads { "leader" } else { "follower" }.to_owned(),
            term: metrics.term,
            applied: metrics.applied,
        }],
        cluster_id: manager.cluster.cluster_id.clone(),
        ..StatusReply::default()
    };
    for server in &servers {
        reply.servers.push(server_status(&live, server, &pairs, now));
    }
    let placements: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let members: Vec<Server> = members(&servers, pair).into_iter().flatten().cloned().collect();
            let acting_alive =
                members.iter().any(|server| server.name == pair.acting && live.alive(server, now));
            (placement::of(&live, pair, &members, now).acting, acting_alive)
        })
        .collect();
    // Counting a lag takes a while; heartbeats need the lock.
    drop(live);
    for (pair, (acting, acting_alive)) in pairs.iter().zip(placements) {
        let serving = !acting.is_empty() || between_reigns(pair, acting_alive);
        let members = members(&servers, pair);
        let known = members.into_iter().flatten().cloned().collect();
        let damped = manager.damped(&Roles { pair: pair.clone(), servers: known });
        let auto_failback = manager.settings.auto_failback() && damped.is_none();
        let word = pair_state(PairView { pair, members, serving, auto_failback });
        let mut status = pair_status(manager, state, pair, members, now)?;
        (status.acting, status.state) = (acting, word.name().to_owned());
        (status.verified_ms, status.bad_files) = verified(&reply.servers, pair);
        status.damped_ms = damped.map(|left| left.as_millis() as u64);
        reply.pairs.push(status);
    }
    Ok(reply)
}

fn members<'a>(servers: &'a [Server], pair: &Pair) -> [Option<&'a Server>; 2] {
    let find = |name: &str| servers.iter().find(|server| server.name == name);
    [find(&pair.primary), find(&pair.backup)]
}

fn server_status(live: &Live, server: &Server, pairs: &[Pair], now: Duration) -> ServerStatus {
    let silence = live.monitor.silence(server, now);
    let state = server_state(server, silence.is_some(), live.monitor.suspect(server, now));
    let is_primary = pairs.iter().any(|pair| pair.primary == server.name);
    let beat = live.beats.get(&server.name);
    ServerStatus {
        name: server.name.clone(),
        role: if is_primary { "primary" } else { "backup" }.to_owned(),
        state: state.name().to_owned(),
        addr: server.addr.clone(),
        last_heartbeat_ms: silence.map(|silence| silence.as_millis() as u64),
        used_bytes: beat.map_or(0, |beat| beat.used_bytes),
        free_bytes: beat.map_or(0, |beat| beat.free_bytes),
        fresh: server.fresh,
        incarnation: server.incarnation,
        set_aside: beat.map_or(0, |beat| beat.set_aside),
        trouble: trouble(live, server),
        oldest_io_ms: beat.map_or(0, |beat| beat.oldest_io_ms),
        last_sync_ms: beat.and_then(|beat| beat.last_sync_ms),
        // What its last start was at, nobody knows of the present one.
        scrub: beat.filter(|beat| beat.incarnation == server.incarnation).and_then(|beat| beat.scrub.clone()),
    }
}

/// What is wrong with a server's data or disk, or with the way to it.
fn trouble(live: &Live, server: &Server) -> String {
    let word = match server.damage() {
        Damage::None => {
            let broken = live.beats.get(&server.name).map_or("", |beat| &beat.broken);
            let illness = live.gray.illness(server).filter(|_| broken.is_empty());
            return illness.map_or(broken.to_owned(), |illness| illness.to_string());
        }
        Damage::Waits => "it waits for its partner, who knows what stood there",
        Damage::GoesOn => "what stood there comes from its partner, and all is compared",
        Damage::Hopeless => "nobody can tell what stood there; its log says what to do",
    };
    format!("a part of its journal cannot be read: {word}")
}

fn pair_status(
    manager: &Manager,
    state: State<'_>,
    pair: &Pair,
    members: [Option<&Server>; 2],
    now: Duration,
) -> Result<PairStatus, StoreError> {
    let other = members.into_iter().flatten().find(|server| server.name != pair.acting);
    let member = other.and_then(|other| manager.members.get(other));
    let (cursor, rate, byte_rate, partial, paces) = match &member {
        Some(member) => {
            let feeder = member.own.feeder();
            let paces = (feeder.pace(now), feeder.byte_pace(now));
            (feeder.watermark(), feeder.rate(now), feeder.byte_rate(now), feeder.partial(), paces)
        }
        None => (other.map_or(0, |other| other.pair_cursor), 0, 0, 0, Default::default()),
    };
    let (lag_rows, lag_bytes) = match cursor < pair.feed_end {
        true => state.feed_count(pair.id, cursor)?,
        false => (0, 0),
    };
    let (relaying, relayed_bytes) = manager.relays.of(pair.id);
    let lag_bytes = lag_bytes.saturating_sub(partial);
    Ok(PairStatus {
        relaying,
        relayed_bytes,
        name: pair.name.clone(),
        primary: pair.primary.clone(),
        backup: pair.backup.clone(),
        preferred: pair.preferred.clone(),
        epoch: pair.epoch,
        lag_rows,
        lag_bytes,
        at_risk_files: at_risk(state, pair, cursor, lag_rows)?,
        owed_versions: pair.owed,
        lost_versions: pair.lost,
        files: pair.files,
        id: pair.id,
        rows_per_second: rate,
        bytes_per_second: byte_rate,
        left_ms: time_left((lag_rows, paces.0), (lag_bytes, paces.1)),
        ..PairStatus::default()
    })
}

/// Since when both copies of everything that is replicated are known to be good, and how many files have a copy that is
/// not. What came later was compared with its digest when it came. None while a member is away or stale.
fn verified(servers: &[ServerStatus], pair: &Pair) -> (Option<u64>, u64) {
    let members =
        [&pair.primary, &pair.backup].map(|name| servers.iter().find(|server| server.name == *name));
    let scrub = |server: &ServerStatus| server.scrub.clone().unwrap_or_default();
    let bad = members.into_iter().flatten().map(|server| scrub(server).bad_files).sum();
    let at = |server: Option<&ServerStatus>| {
        let server = server.filter(|server| server.fresh && server.state != ServerState::Failed.name())?;
        Some(scrub(server).verified_ms).filter(|at| *at > 0)
    };
    let [primary, backup] = members.map(at);
    (primary.zip(backup).map(|(one, other)| one.min(other)), bad)
}

/// How long rows and bytes that are left still take at their paces, ms: the slower of the two, as far as that can be said.
/// Of a lag that is always there under writes nothing is: it could be handed over at once (R27), and most of its bytes are
/// there before their rows, so that the few that are copied say nothing of it.
fn time_left(rows: (u64, Moved), bytes: (u64, Moved)) -> Option<u64> {
    if rows.0 <= HANDOVER_ROWS && bytes.0 <= HANDOVER_BYTES {
        return None;
    }
    let left = |(left, pace): (u64, Moved)| pace.time_for(left);
    left(rows).max(left(bytes)).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Files whose present content may have one copy only ([`Record::is_alone`](types::record::Record::is_alone)). With a long
/// lag: rows, as an upper bound.
fn at_risk(state: State<'_>, pair: &Pair, cursor: u64, lag_rows: u64) -> Result<u64, StoreError> {
    if lag_rows == 0 || lag_rows > AT_RISK_LOOK {
        return Ok(lag_rows.min(pair.files));
    }
    let rows = state.feed_rows(pair.id, cursor, AT_RISK_LOOK as usize, usize::MAX)?;
    let alone = |subject: &Option<Subject>| match subject {
        Some(Subject::Record(record)) => record.is_alone(cursor),
        _ => false,
    };
    Ok(rows.iter().filter(|row| alone(&row.subject)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_what_takes_longer() {
        const MIB: u64 = 1 << 20;
        let pace = |count| Moved { count, span: Duration::from_secs(1) };
        assert_eq!(time_left((0, pace(5)), (0, pace(5))), None, "nothing is left");
        assert_eq!(time_left((1000, pace(0)), (1000, pace(0))), None, "nothing moves");
        assert_eq!(time_left((100, pace(50)), (100 * MIB, pace(10 * MIB))), Some(10_000));
        assert_eq!(time_left((1000, pace(5)), (10, pace(0))), Some(200_000), "rows without bytes");
        assert_eq!(time_left((1, pace(0)), (30 * MIB, pace(15 * MIB))), Some(2000), "one large file");
    }

    #[test]
    fn of_a_lag_that_is_always_there_and_of_what_hardly_began_no_time_is_told() {
        let pace = |count, ms| Moved { count, span: Duration::from_millis(ms) };
        // What was once shown as "4 d left".
        assert_eq!(time_left((3, pace(90, 1000)), (350_000, pace(1, 1000))), None);
        assert_eq!(time_left((HANDOVER_ROWS, pace(1, 1000)), (HANDOVER_BYTES, pace(1, 1000))), None);
        assert_eq!(time_left((10_000, pace(1, 100)), (0, pace(0, 0))), None, "measured for a moment");
        assert_eq!(
            time_left((10_000, pace(1, 1000)), (0, pace(0, 0))),
            None,
            "too long for what was measured"
        );
        assert_eq!(time_left((10_000, pace(60, 60_000)), (0, pace(0, 0))), Some(10_000_000));
    }
}
