//! Starts a storage server and stops it in the right order.

use crate::completions::Completions;
use crate::config::Config;
use crate::fetch::Fetches;
use crate::heartbeat;
use crate::identity::Identity;
use crate::import::{self, Importer};
use crate::janitor;
use crate::keyring::ServerKeyring;
use crate::manager::Managers;
use crate::node::{Node, Stop};
use crate::partner::Partner;
use crate::pool::Pool;
use crate::registration::Registration;
use crate::relay::Relay;
use crate::repair::Repairs;
use crate::scrub::Scrubs;
use crate::scrub::background::{self, Setting};
use crate::service::NodeService;
use crate::serving::Serving;
use crate::sessions::{Sessions, lock};
use crate::sources::Sources;
use crate::store::{IndexDamage, StoreConfig};
use crate::tidier;
use crate::watch::Watch;
use crate::wire;
use bytes::Bytes;
use net::files::Places;
use net::settings::{Effective, Reread, Values, differences};
use net::{Credential, Reconnecting, Server, listen, telemetry};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use types::message::Method;
use types::message::member::{Leave, LeaveRequest, ReleaseLease};
use types::{Code, Error, Result};

/// How long the name manager may take to hand over before the server stops anyway.
const LEAVE: Duration = Duration::from_secs(12);
/// How long the release of the lease may take.
const RELEASE: Duration = Duration::from_secs(2);
/// Threads that wait for the disk.
const DISK_THREADS: usize = 8;

/// How often a server begins anew because its index was found damaged, before it ends.
const NEW_INDEXES: u32 = 3;

/// Runs a storage server until SIGTERM or SIGINT; told again while it stops, it ends at once. On SIGHUP it takes what
/// `reread` gives, as far as that can change while it runs. One whose index is found damaged begins anew, with an index made from
/// the journal.
///
/// # Errors
/// `ALREADY_RUNNING` when its data or its address is in use; `USAGE`; what keeps it from registering and
/// does not pass by itself.
pub fn run(config: Config, reread: Reread<Config>) -> Result<()> {
    let places = net::files::prepare()?;
    let mut left = NEW_INDEXES;
    loop {
        let damage = IndexDamage::default();
        let ended = run_once(config.clone(), places, &damage, &reread);
        if left == 0 || !damage.is_why(&ended) {
            return ended;
        }
        left -= 1;
        let why = damage.found().unwrap_or_default();
        tracing::warn!(why, "the server begins anew, with an index made from the journal");
    }
}

fn run_once(config: Config, places: Places, damage: &IndexDamage, reread: &Reread<Config>) -> Result<()> {
    let primary = config.primary()?;
    let import = asks_to_import(&config)?;
    let secret = net::secret::read(&config.cluster_secret)?;
    // Before anything else: two processes never share a data directory (R6).
    let identity = Identity::open(&config.data, &config.name)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::from)?;
    let serving = async {
        let mut term = signal(SignalKind::terminate()).map_err(Error::from)?;
        let mut int = signal(SignalKind::interrupt()).map_err(Error::from)?;
        let mut reload = signal(SignalKind::hangup()).map_err(Error::from)?;
        net::signals::exit_at_second_stop()?;
        let running = config.fixed();
        let settings = Arc::new(Effective::new(config.values(), &Config::known()));
        let scrub = Arc::new(Setting::default());
        let stop = async {
            loop {
                tokio::select! {
                    _ = term.recv() => return,
                    _ = int.recv() => return,
                    _ = reload.recv() => take_new_options(&settings, &scrub, &running, reread),
                }
            }
        };
        let store = StoreConfig {
            open_files: places.contents,
            index_damage: damage.clone(),
            ..StoreConfig::default()
        };
        let start = Start {
            config,
            primary,
            secret,
            identity,
            places,
            settings: settings.clone(),
            scrub: scrub.clone(),
            store,
            import,
        };
        serve(start, |_| (), stop).await
    };
    let ended = runtime.block_on(serving);
    runtime.shutdown_timeout(RELEASE);
    ended
}

/// Runs a storage server within the present runtime until `stop` is ready: for simulations. Signals and limits of the
/// process are their matter. Once it listens it gives a look at itself to `watched`; its store is as `store` says.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    config: Config,
    store: StoreConfig,
    watched: impl FnOnce(Watch),
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let primary = config.primary()?;
    let import = asks_to_import(&config)?;
    let secret = net::secret::read(&config.cluster_secret)?;
    let identity = Identity::open(&config.data, &config.name)?;
    let (settings, scrub) = (Arc::new(Effective::default()), Arc::default());
    let start =
        Start { config, primary, secret, identity, places: Places::MOST, settings, scrub, store, import };
    serve(start, watched, stop).await
}

fn asks_to_import(config: &Config) -> Result<bool> {
    config.import.as_deref().map_or(Ok(false), |folder| import::is_wanted(folder, &config.data))
}

/// What a server starts with.
struct Start {
    config: Config,
    primary: String,
    secret: Vec<u8>,
    identity: Identity,
    places: Places,
    settings: Arc<Effective>,
    scrub: Arc<Setting>,
    store: StoreConfig,
    /// Its registration is to ask for an import.
    import: bool,
}

async fn serve(start: Start, watched: impl FnOnce(Watch), stop: impl Future<Output = ()>) -> Result<()> {
    let Start { config, primary, secret, identity, places, settings, scrub, store, import } = start;
    let damage = store.index_damage.clone();
    let listener = listen(&config.listen, config.insecure_plaintext).await?;
    let addr = net::transport::advertised(listener.local_addr(), config.advertise.as_deref())?;
    settings.fill("advertise", &addr);
    config.set_scrub(&scrub);
    let serving = Arc::new(Serving::new(&config.name, identity.cluster_id()));
    let credential = Credential::Node { name: config.name.clone(), secret: secret.clone() };
    let managers = Managers::new(config.nm, credential, serving.clone());
    let link = managers.connect();
    let node = node(serving.clone(), &link, managers.clone(), secret.clone(), (settings, scrub))?;
    watched(Watch::new(Arc::downgrade(&node)));
    lock(&node.pace).set_most(config.resync_rate);
    tracing::info!(server = %config.name, %addr, "listening");

    let (close, closed) = oneshot::channel::<()>();
    let keyring = Arc::new(ServerKeyring { secret, serving });
    let service = Arc::new(NodeService(node.clone()));
    let server = tokio::spawn(Server::run_within(places.connections, listener, keyring, service, async {
        // Also when the sender is gone.
        let _ = closed.await;
    }));
    let heartbeats = heartbeat::start(node.clone(), managers.clone())?;
    tokio::spawn(janitor::run(node.clone()));
    tokio::spawn(tidier::run(node.clone()));
    tokio::spawn(background::run(node.clone(), config.data.clone()));
    let registered = watch::Sender::new(None);
    if let Some(folder) = config.import {
        let (node, link, registered) = (node.clone(), link.clone(), registered.subscribe());
        let data = config.data.clone();
        tokio::spawn(Importer { node, link, folder, data, registered }.run());
    }
    let registration = Registration {
        node: node.clone(),
        link: link.clone(),
        managers,
        identity,
        backup_of: primary,
        addr,
        replace_disk: config.replace_disk,
        import,
        store,
        registered,
    };
    // Pinned here: it owns the lock of the data directory, which is the last thing to let go.
    let life = registration.live();
    tokio::pin!(life, stop);
    let ended = tokio::select! {
        ended = &mut life => ended,
        () = &mut stop => Ok(()),
        what = damage.wait() => Err(damaged_index(&what)),
    };
    if ended.is_ok() {
        leave(&node, &link).await;
    }
    node.serving.stop();
    release(&node, &link).await;
    node.stop.stop();
    // Whoever is gone needs no word.
    let _ = close.send(());
    let _ = server.await;
    heartbeats.ended().await;
    link.stop();
    if let Some(store) = node.disk.get().cloned() {
        threads::run(move || store.close()).await.map_err(Error::internal)?;
    }
    ended
}

/// What was read of the index is not what was written to it: nothing more is answered out of it.
fn damaged_index(what: &str) -> Error {
    Error::new(
        Code::Damaged,
        format_args!("the index is damaged ({what})"),
        "start the server again: it makes the index anew from its journal",
    )
}

/// Takes the options as they are now, and says what of them a running server cannot take; with bad ones nothing
/// changes.
fn take_new_options(settings: &Effective, scrub: &Setting, running: &Values, reread: &Reread<Config>) {
    if let Err(error) = telemetry::reopen() {
        tracing::warn!(%error, "the log file cannot be opened anew");
    }
    let taken = reread().and_then(|config| {
        telemetry::set_level(config.log.log_level.as_deref())?;
        config.set_scrub(scrub);
        let fixed: Vec<&str> = running.iter().map(|(name, _)| *name).collect();
        settings.reread(config.values(), &Config::known(), &fixed);
        Ok(config.fixed())
    });
    match taken {
        Ok(now) => {
            tracing::info!("reloaded");
            for name in differences(running, &now) {
                tracing::warn!(option = name, "reload: a change of this option needs a restart");
            }
        }
        Err(error) => tracing::error!(%error, "reload: every setting stays as it was"),
    }
}

fn node(
    serving: Arc<Serving>,
    link: &Reconnecting,
    managers: Managers,
    secret: Vec<u8>,
    (settings, scrub): (Arc<Effective>, Arc<Setting>),
) -> Result<Arc<Node>> {
    let stop = Stop::new();
    let relay = Arc::new(Relay::new(serving.clone(), managers, stop.clone()));
    let partner = Arc::new(Partner::start(serving.clone(), secret, relay.clone(), stop.clone()));
    Ok(Arc::new(Node {
        disk: OnceLock::new(),
        pool: Pool::new(DISK_THREADS)?,
        sessions: Sessions::default(),
        sources: Sources::new(partner.clone(), serving.clone(), relay),
        partner,
        fetches: Fetches::default(),
        repairs: Repairs::default(),
        scrubs: Scrubs::new(scrub)?,
        pace: Default::default(),
        completions: Completions::start(link.clone(), serving.clone(), stop.clone()),
        serving,
        settings,
        stop,
    }))
}

/// Lets the name manager hand over first, if this server acts (R6).
async fn leave(node: &Node, link: &Reconnecting) {
    if node.serving.epoch().is_some() {
        tracing::info!(server = %node.name(), "stopping: handing over first");
        tell::<Leave>(node, link, LEAVE).await;
    }
}

/// Gives the lease up, so that nobody has to wait until it has run out (R6).
async fn release(node: &Node, link: &Reconnecting) {
    if node.serving.incarnation() != 0 {
        tell::<ReleaseLease>(node, link, RELEASE).await;
    }
}

async fn tell<M: Method<Request = LeaveRequest>>(node: &Node, link: &Reconnecting, patience: Duration) {
    let request = LeaveRequest { server: node.name().to_owned(), incarnation: node.serving.incarnation() };
    let Some(connection) = link.current() else { return };
    let told = timeout(patience, wire::call::<M>(&connection, &request, Bytes::new(), patience)).await;
    if let Ok(Err(error)) = told {
        tracing::warn!(%error, request = M::NAME, "the name manager did not answer");
    }
}
