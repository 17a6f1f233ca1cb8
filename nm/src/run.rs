//! Starts the name manager and runs it to its end.

use crate::config::Config;
use crate::feeds::Feeds;
use crate::keyring::NameKeyring;
use crate::machine::Machine;
use crate::manager::{Manager, Parts, Settings, Tunable};
use crate::proposer::Proposer;
use crate::service::NameService;
use crate::{bootstrap, collector, duties, hook, janitor, rebuild, watch};
use net::settings::{self, Reread, Values};
use net::{Server, folder, secret, telemetry};
use nm_core::state::State;
use nm_raft::{Failure, Raft, RaftConfig, RaftError};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use types::{Code, Error, Result};

/// The one member of a group of one.
const NODE_ID: u64 = 1;

/// Runs a name manager until it is told to stop (SIGTERM, SIGINT) or cannot go on; told again while it stops, it ends
/// at once. On SIGHUP it takes what `reread` gives, as far as that can change while it runs.
///
/// # Errors
/// `ALREADY_RUNNING` if its folder or its address is in use; `DAMAGED` (exit status 7) if its data cannot
/// be read back; what the system says.
pub async fn run(config: Config, reread: Reread<Config>) -> Result<()> {
    // Before anything is awaited: a signal that comes early must not kill it half started.
    let mut signals = Signals::new()?;
    let tunable = Arc::new(Tunable::new(&config));
    let reload = Reload { running: config.fixed(), reread, tunable: tunable.clone() };
    net::signals::exit_at_second_stop()?;
    let data = config.data.clone();
    let ended = serve(config, tunable, |_| (), signals.stop(&reload)).await;
    if let Err(error) = &ended
        && error.code == Code::Damaged
    {
        rebuild::folder::mark_damaged(&data, error);
    }
    ended
}

/// Runs a name manager within the present runtime until `stop` is ready: for simulations. Signals are their matter.
///
/// # Errors
/// As [`run`].
pub async fn run_until(config: Config, stop: impl Future<Output = ()> + Send) -> Result<()> {
    let tunable = Arc::new(Tunable::new(&config));
    serve(config, tunable, |_| (), stop).await
}

/// [`run`] until `stop` is ready; tells where it listens once it serves.
pub(crate) async fn serve(
    config: Config,
    tunable: Arc<Tunable>,
    serving: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    let places = net::files::prepare()?;
    let _lock = folder::take(&config.data, folder::NAME_MANAGER)?;
    let secret = secret::read_or_create(&config.cluster_secret())?;
    let listener = net::listen(&config.listen, config.insecure_plaintext).await?;
    let local = listener.local_addr();
    let addr = net::transport::advertised(local, config.advertise.as_deref())?;
    tokio::pin!(stop);
    let mut listener = listener;
    if config.rebuild {
        rebuild::folder::clear(&config, &addr).await?;
    }
    let raft = start_raft(&config, &addr).await.map_err(|error| refused(&error))?;
    let (feeds, roles) = (Feeds::default(), Arc::new(Notify::new()));
    let new_proposer = || -> Result<Proposer> {
        let log_time = State::new(&raft.view()?).log_time()?;
        Ok(Proposer::new(raft.clone(), log_time, feeds.clone(), roles.clone()))
    };
    if config.rebuild {
        let account = rebuild::folder::new_account(&config)?;
        let (raft, proposer) = (raft.clone(), new_proposer()?);
        let parts = rebuild::Parts {
            addr: addr.clone(),
            secret: secret.clone(),
            account,
            raft: raft.clone(),
            proposer,
        };
        let rebuilt = rebuild::run(&config, parts, listener, &mut stop).await;
        if !matches!(rebuilt, Ok(true)) {
            raft.shutdown().await;
            return rebuilt.map(drop);
        }
        listener = net::listen(&local.to_string(), config.insecure_plaintext).await?;
    }
    let proposer = new_proposer()?;
    let cluster = bootstrap::cluster(&config, &raft, &proposer).await?;
    rebuild::folder::mark_sound(&config.data, &cluster)?;
    let settings = Settings::new(&config, addr, tunable);
    let manager = Manager::new(Parts {
        settings,
        cluster,
        secret: secret.clone(),
        raft: raft.clone(),
        proposer,
        feeds,
        roles,
    })?;
    let keyring = Arc::new(NameKeyring {
        raft: raft.clone(),
        cluster_id: manager.cluster_id,
        secret,
        name: manager.settings.name.clone(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(watch::watch(manager.clone()));
    tasks.spawn(duties::supervise(manager.clone()));
    tasks.spawn(janitor::tidy(manager.clone()));
    tasks.spawn(collector::collect(manager.clone()));
    if let Some(command) = config.on_event.clone() {
        tasks.spawn(hook::follow(manager.clone(), command, config.data.clone()));
    }
    tracing::info!(addr = manager.settings.addr, name = manager.settings.name, "serving");
    let mut failure = None;
    serving(local);
    let stop = async {
        tokio::select! {
            () = stop => {}
            failed = raft.failed() => failure = Some(failed),
        }
        manager.stop_waiting();
    };
    Server::run_within(places.connections, listener, keyring, Arc::new(NameService(manager.clone())), stop)
        .await;
    tasks.shutdown().await;
    manager.members.close();
    drop(manager);
    raft.shutdown().await;
    tracing::info!("stopped");
    failure.map_or(Ok(()), |failure| Err(broken(&failure)))
}

/// The Raft group of one in the data folder.
pub(crate) async fn start_raft(config: &Config, addr: &str) -> std::result::Result<Raft<Machine>, RaftError> {
    let disk = log::disk_of(&config.data).map_err(|error| RaftError::Io(error.to_string()))?;
    let mut raft = RaftConfig::new(NODE_ID, addr);
    if let Some(entries) = config.checkpoint_entries {
        raft.dirty_entries = entries;
        raft.keep_entries = raft.keep_entries.min(entries);
    }
    Raft::start(raft, disk, Arc::new(Machine)).await
}

pub(crate) fn refused(error: &RaftError) -> Error {
    let code = match error {
        RaftError::Config(_) => Code::Usage,
        RaftError::Busy(_) => Code::AlreadyRunning,
        RaftError::Damaged(_) => Code::Damaged,
        RaftError::Format(_) => Code::UnknownFormat,
        RaftError::Io(_) => Code::Io,
        RaftError::Failed(failure) => return broken(failure),
        RaftError::Raft(_) => Code::Failed,
    };
    Error { code, message: error.to_string(), effect: types::Effect::None }
}

pub(crate) fn broken(failure: &Failure) -> Error {
    if failure.exit_code == nm_raft::EXIT_DAMAGED {
        return Error { code: Code::Damaged, message: failure.message.clone(), effect: types::Effect::None };
    }
    let next = "check its disk, then start the name manager again: it has all that it acknowledged";
    Error::new(Code::Failed, &failure.message, next)
}

/// What is read again on SIGHUP.
struct Reload {
    /// What cannot change, as it is.
    running: Values,
    reread: Reread<Config>,
    tunable: Arc<Tunable>,
}

impl Reload {
    /// Takes the options as they are now, and says what of them it cannot take; with bad ones nothing changes.
    fn reload(&self) {
        if let Err(error) = telemetry::reopen() {
            tracing::warn!(%error, "the log file cannot be opened anew");
        }
        let config = match (self.reread)().and_then(|config| {
            telemetry::set_level(config.log.log_level.as_deref())?;
            Ok(config)
        }) {
            Ok(config) => config,
            Err(error) => {
                return tracing::error!(%error, "reload: every setting stays as it was");
            }
        };
        self.tunable.set(&config);
        tracing::info!(failback = ?config.failback, fast_failover = ?config.fast_failover, "reloaded");
        for name in settings::differences(&self.running, &config.fixed()) {
            tracing::warn!(option = name, "reload: a change of this option needs a restart");
        }
    }
}

/// The signals a server heeds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the one to stop.
    async fn stop(&mut self, reload: &Reload) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reload.recv() => reload.reload(),
            }
        }
    }
}
