//! Starts the name manager and runs it to its end.

use crate::config::Config;
use crate::feeds::Feeds;
use crate::keyring::NameKeyring;
use crate::machine::Machine;
use crate::manager::{Manager, Parts, Settings};
use crate::proposer::Proposer;
use crate::service::NameService;
use crate::{bootstrap, duties, folder, janitor, watch};
use net::{Server, secret};
use nm_core::state::State;
use nm_raft::{Failure, Raft, RaftConfig, RaftError};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use types::{Code, Error, Result};

/// The one member of a group of one.
const NODE_ID: u64 = 1;

/// Runs a name manager until it is told to stop (SIGTERM, SIGINT) or cannot go on.
///
/// # Errors
/// `ALREADY_RUNNING` if its folder or its address is in use; `DAMAGED` (exit status 7) if its data cannot
/// be read back; what the system says.
pub async fn run(config: Config) -> Result<()> {
    // Before anything is awaited: a signal that comes early must not kill it half started.
    let mut signals = Signals::new()?;
    run_until(config, |_| (), signals.stop()).await
}

/// [`run`] until `stop` is ready; tells where it listens once it serves.
pub(crate) async fn run_until(
    config: Config,
    serving: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    let _lock = folder::lock(&config.data)?;
    let secret = secret::read_or_create(&config.cluster_secret())?;
    let listener = net::listen(&config.listen, config.insecure_plaintext).await?;
    let local = listener.local_addr();
    let addr = net::transport::advertised(local, config.advertise.as_deref())?;
    let raft = start_raft(&config.data, &addr).await?;
    let (feeds, roles) = (Feeds::default(), Arc::new(Notify::new()));
    let log_time = {
        let view = raft.view()?;
        State::new(&view).log_time()?
    };
    let proposer = Proposer::new(raft.clone(), log_time, feeds.clone(), roles.clone());
    let cluster = bootstrap::cluster(&config, &raft, &proposer).await?;
    let settings = Settings::new(&config, addr);
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
    Server::run(listener, keyring, Arc::new(NameService(manager.clone())), stop).await;
    tasks.shutdown().await;
    manager.members.close();
    drop(manager);
    raft.shutdown().await;
    tracing::info!("stopped");
    failure.map_or(Ok(()), |failure| Err(broken(&failure)))
}

async fn start_raft(data: &Path, addr: &str) -> Result<Raft<Machine>> {
    let disk = log::RealDisk::new(data.to_owned())?;
    let config = RaftConfig::new(NODE_ID, addr, data);
    Raft::start(config, Arc::new(disk), Arc::new(Machine)).await.map_err(|error| refused(&error))
}

fn refused(error: &RaftError) -> Error {
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

fn broken(failure: &Failure) -> Error {
    let code = if failure.exit_code == nm_raft::EXIT_DAMAGED { Code::Damaged } else { Code::Failed };
    Error { code, message: failure.message.clone(), effect: types::Effect::None }
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

    /// Waits for the one to stop; a wish to reload is granted by having nothing that could be reloaded.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reload.recv() => tracing::info!("reload: every option stays as it was at the start"),
            }
        }
    }
}
