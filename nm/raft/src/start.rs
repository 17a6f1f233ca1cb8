//! From files to a running member.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::Disk;
use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;
use redb::Database;
use tokio::sync::watch;

use crate::applier::{self, OpenState};
use crate::config::RaftConfig;
use crate::error::{Failures, Leader, RaftError};
use crate::logstore::LogStore;
use crate::machine::Machine;
use crate::network::NoPeers;
use crate::raft::{Core, Inner, Leadership, report_end};
use crate::statemachine::StateMachine;
use crate::store;
use crate::types::LogId;
use crate::writer::{self, OpenLog};

/// How long a group of one may take to elect itself: one vote, one sync.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(30);

struct Opened {
    db: Arc<Database>,
    state: OpenState,
    log: OpenLog,
}

pub(crate) async fn start<M: Machine>(
    config: RaftConfig,
    disk: Arc<dyn Disk>,
    machine: Arc<M>,
) -> Result<Inner, RaftError> {
    let state = disk.clone();
    let open =
        move |config: &RaftConfig, failures: &Failures| store::open(&*state, config.cache_bytes, failures);
    start_with(config, disk, machine, open).await
}

pub(crate) async fn start_with<M: Machine>(
    config: RaftConfig,
    disk: Arc<dyn Disk>,
    machine: Arc<M>,
    open_state: impl FnOnce(&RaftConfig, &Failures) -> Result<Database, RaftError> + Send + 'static,
) -> Result<Inner, RaftError> {
    config.check()?;
    let settings = Arc::new(config.openraft()?);
    let (node_id, addr, max_payload) = (config.node_id, config.addr.clone(), config.max_payload());
    let failures = Failures::new();
    let opened = {
        let failures = failures.clone();
        threads::run(move || open(&config, disk, machine, failures, open_state)).await.map_err(unopened)??
    };
    let Opened { db, state, log } = opened;

    let log_store = LogStore::new(
        log.entries,
        log.reader,
        log.ops.clone(),
        state.shared.durable.clone(),
        failures.clone(),
    );
    let under_way = log_store.under_way();
    let machine = StateMachine::new(&state);
    let core = Core::new(node_id, settings, NoPeers, log_store, machine).await;
    // A thread that failed says better what it was.
    let core = core.map_err(|fatal| explain(&failures, fatal))?;

    let leadership = watch::Sender::new(Leadership::default());
    let watched = leadership.subscribe();
    let helpers = vec![
        tokio::spawn(follow(core.clone(), leadership, failures.clone())).abort_handle(),
        tokio::spawn(snapshots(core.clone(), state.shared.wanted.clone())).abort_handle(),
    ];
    let inner = Inner {
        core,
        db,
        shared: state.shared,
        tasks: state.tasks,
        ops: log.ops,
        under_way,
        max_payload,
        failures,
        leadership: watched,
        helpers,
        threads: Mutex::new(vec![state.thread, log.thread]),
    };
    if let Err(error) = join(&inner, addr).await {
        // Lets go of the files; a core that panicked has nothing to add.
        let _ = inner.core.shutdown().await;
        return Err(explain(&inner.failures, error));
    }
    Ok(inner)
}

/// redb believes most of what it reads: damage can make it panic where it has not noticed.
fn unopened(error: tokio::task::JoinError) -> RaftError {
    match error.is_panic() {
        true => RaftError::Damaged("reading it panicked".to_string()),
        false => RaftError::Io(format!("opening the data folder: {error}")),
    }
}

fn explain(failures: &Failures, error: impl ToString) -> RaftError {
    failures.get().map_or_else(|| RaftError::Raft(error.to_string()), RaftError::Failed)
}

/// Opens the files. The state first: its lock keeps a second process away from the log as well.
fn open<M: Machine>(
    config: &RaftConfig,
    disk: Arc<dyn Disk>,
    machine: Arc<M>,
    failures: Failures,
    open_state: impl FnOnce(&RaftConfig, &Failures) -> Result<Database, RaftError>,
) -> Result<Opened, RaftError> {
    let db = Arc::new(open_state(config, &failures)?);
    let state = applier::open(config, db.clone(), machine, failures.clone())?;
    let log = writer::open(config, disk, failures)?;
    let (purged, last) = {
        let entries = writer::lock(&log.entries);
        (entries.purged(), entries.last())
    };
    check(state.shared.applied().last, state.installed, purged, last)?;
    Ok(Opened { db, state, log })
}

/// Whether log and state fit together: a log that begins after the durable state leaves a hole that nothing
/// fills; one that ends before it has lost what was acknowledged. A snapshot from elsewhere may be ahead of
/// the log.
fn check(
    applied: Option<LogId>,
    installed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
) -> Result<(), RaftError> {
    let next = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
    if next(purged) > next(applied) {
        return Err(RaftError::Damaged(format!(
            "the Raft log begins with entry {}, but the state reaches only to entry {} (exclusive)",
            next(purged),
            next(applied)
        )));
    }
    if next(last) < next(applied) && applied != installed {
        return Err(RaftError::Damaged(format!(
            "the Raft log ends before entry {}, but the state has applied all before entry {}",
            next(last),
            next(applied)
        )));
    }
    Ok(())
}

/// Makes a group of one on the first start; a group of one elects itself and catches up.
async fn join(inner: &Inner, addr: String) -> Result<(), String> {
    let core = &inner.core;
    let node_id = *core.node_id();
    if !core.is_initialized().await.map_err(text)? {
        let members = BTreeMap::from([(node_id, BasicNode { addr })]);
        core.initialize(members).await.map_err(text)?;
    }
    // From openraft's core: its metrics may still be those of the moment before.
    let alone = core
        .with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([node_id]))
        .await
        .map_err(text)?;
    if alone {
        core.trigger().elect(false).await.map_err(text)?;
        let leads = |leadership: &Leadership| leadership.here;
        let mut leadership = inner.leadership.clone();
        let mut failed = inner.failures.watch();
        let elected = async {
            tokio::select! {
                result = leadership.wait_for(leads) => result.map(drop).map_err(text),
                result = failed.wait_for(Option::is_some) => Err(format!("{:?}", result.map(|failure| failure.clone()))),
            }
        };
        tokio::time::timeout(ELECTION_TIMEOUT, elected).await.map_err(text)??;
        core.ensure_linearizable(openraft::ReadPolicy::ReadIndex).await.map_err(text)?;
    }
    Ok(())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Tells who leads, from openraft's metrics, and when openraft has ended.
async fn follow(core: Core, leadership: watch::Sender<Leadership>, failures: Failures) {
    let mut metrics = core.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_watched();
            let term = metrics.vote.leader_id.term;
            // openraft calls the maker of a group its leader in term 0; nobody was elected for that term.
            let leader = metrics.current_leader.filter(|_| term > 0).map(|id| Leader {
                id,
                addr: metrics
                    .membership_config
                    .get_node(&id)
                    .map_or_else(String::new, |node| node.addr.clone()),
            });
            Leadership { term, leader, here: term > 0 && metrics.state.is_leader() }
        };
        leadership.send_if_modified(|known| {
            let news = *known != now;
            *known = now;
            news
        });
        if metrics.changed().await.is_err() {
            break;
        }
    }
    leadership.send_modify(|known| known.here = false);
    report_end(&core, &failures);
}

/// Has openraft build a snapshot, which commits durably and lets it purge, when the state asks for it.
async fn snapshots(core: Core, wanted: Arc<tokio::sync::Notify>) {
    loop {
        wanted.notified().await;
        if core.trigger().snapshot().await.is_err() {
            return;
        }
    }
}
