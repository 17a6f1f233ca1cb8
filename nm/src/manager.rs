//! What every part of the name manager shares.

use crate::config::{Config, Failback, Relay, Switch};
use crate::feeds::Feeds;
use crate::live::Live;
use crate::machine::Machine;
use crate::members::Members;
use crate::proposer::Proposer;
use crate::pushes::{Board, Clients};
use crate::relay::Relays;
use crate::signals::Signals;
use crate::unseen::Unseen;
use net::clock;
use net::settings::Effective;
use nm_core::flap::Damping;
use nm_core::reach::Met;
use nm_core::state::{Cluster, State};
use nm_core::store::StoreError;
use nm_raft::{Raft, View};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use types::limits::Pace;
use types::message::manager::Setting;
use types::message::member::RelayMode;
use types::{Code, Error, Result};

/// What the options say, as far as it is needed after the start.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) addr: String,
    pub(crate) pace: Pace,
    pub(crate) tunable: Arc<Tunable>,
    /// How long a capability lives (R15).
    pub(crate) capability_life: Duration,
    /// The boot of this host; empty if the system does not tell.
    pub(crate) boot: String,
}

/// What can change while the name manager runs.
#[derive(Debug)]
pub(crate) struct Tunable {
    auto_failback: AtomicBool,
    fast_failover: AtomicBool,
    /// A [`RelayMode`].
    relay: AtomicI32,
    /// When a server is kept from its role: failures, ms.
    damping: (AtomicUsize, AtomicU64),
    /// All settings, for people.
    effective: Effective,
}

impl Tunable {
    pub(crate) fn new(config: &Config) -> Tunable {
        let (auto_failback, fast_failover) = (AtomicBool::new(true), AtomicBool::new(true));
        let effective = Effective::new(config.values(), &Config::known());
        let (relay, damping) = (AtomicI32::new(0), Default::default());
        let tunable = Tunable { auto_failback, fast_failover, relay, damping, effective };
        tunable.set(config);
        tunable
    }

    pub(crate) fn set(&self, config: &Config) {
        self.auto_failback.store(config.failback == Failback::Auto, Ordering::Relaxed);
        self.fast_failover.store(config.fast_failover == Switch::On, Ordering::Relaxed);
        let Damping { failures, window } = config.damping();
        self.damping.0.store(failures, Ordering::Relaxed);
        self.damping.1.store(window.as_millis() as u64, Ordering::Relaxed);
        let relay = match config.relay {
            Relay::Auto => RelayMode::Auto,
            Relay::Always => RelayMode::Always,
            Relay::Never => RelayMode::Never,
        };
        self.relay.store(relay.into(), Ordering::Relaxed);
        let fixed: Vec<&str> = config.fixed().into_iter().map(|(name, _)| name).collect();
        self.effective.reread(config.values(), &Config::known(), &fixed);
    }
}

impl Settings {
    pub(crate) fn auto_failback(&self) -> bool {
        self.tunable.auto_failback.load(Ordering::Relaxed)
    }

    pub(crate) fn fast_failover(&self) -> bool {
        self.tunable.fast_failover.load(Ordering::Relaxed)
    }

    /// When a server that fails again and again is kept from its role.
    pub(crate) fn damping(&self) -> Damping {
        let (failures, window) = &self.tunable.damping;
        let window = Duration::from_millis(window.load(Ordering::Relaxed));
        Damping { failures: failures.load(Ordering::Relaxed), window }
    }

    /// All of them, for people.
    pub(crate) fn shown(&self) -> Vec<Setting> {
        self.tunable.effective.list()
    }

    pub(crate) fn relay(&self) -> RelayMode {
        RelayMode::try_from(self.tunable.relay.load(Ordering::Relaxed)).unwrap_or(RelayMode::Auto)
    }

    pub(crate) fn new(config: &Config, addr: String, tunable: Arc<Tunable>) -> Settings {
        tunable.effective.fill("advertise", &addr);
        Settings {
            name: config.name.clone(),
            addr,
            pace: config.pace(),
            tunable,
            capability_life: config.capability_life(),
            boot: clock::boot_id().unwrap_or_default(),
        }
    }
}

/// The name manager. Its parts are in files of their own; here is what they share.
pub(crate) struct Manager {
    pub(crate) settings: Settings,
    pub(crate) cluster: Cluster,
    pub(crate) cluster_id: [u8; 16],
    pub(crate) secret: Vec<u8>,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
    pub(crate) feeds: Feeds,
    /// The log has changed a pair or a server.
    pub(crate) roles: Arc<Notify>,
    /// A server was met.
    met: watch::Sender<()>,
    pub(crate) members: Members,
    pub(crate) clients: Clients,
    pub(crate) board: Board,
    /// What goes from member to member through here.
    pub(crate) relays: Relays,
    /// Removals and moves that not every reader goes by yet.
    pub(crate) unseen: Unseen,
    /// Wakes the duties of a pair.
    pub(crate) signals: Signals,
    live: Mutex<Live>,
    stopping: watch::Sender<bool>,
}

/// What a [`Manager`] is made of.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) cluster: Cluster,
    pub(crate) secret: Vec<u8>,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
    pub(crate) feeds: Feeds,
    pub(crate) roles: Arc<Notify>,
}

impl Manager {
    pub(crate) fn new(parts: Parts) -> Result<Arc<Manager>> {
        let Parts { settings, cluster, secret, raft, proposer, feeds, roles } = parts;
        let cluster_id = cluster.cluster_id[..]
            .try_into()
            .map_err(|_| Error::new(Code::Damaged, "the cluster's id is not 16 bytes", "restore the data"))?;
        let view = raft.view()?;
        let state = State::new(&view);
        let (pairs, servers) = (state.pairs()?, state.servers()?);
        let met = Met::new(cluster.generation, state.feed_end(0)?, &pairs);
        let live = Live::new(settings.pace, clock::boottime(), &pairs, &servers, met);
        drop(view);
        Ok(Arc::new(Manager {
            settings,
            cluster,
            cluster_id,
            secret,
            raft,
            proposer,
            feeds,
            roles,
            met: watch::Sender::new(()),
            members: Members::default(),
            clients: Clients::default(),
            board: Board::default(),
            relays: Relays::default(),
            unseen: Unseen::default(),
            signals: Signals::default(),
            live: Mutex::new(live),
            stopping: watch::Sender::new(false),
        }))
    }

    /// The leader's monotonic clock.
    pub(crate) fn now(&self) -> Duration {
        clock::boottime()
    }

    /// The state as applied by now.
    pub(crate) fn view(&self) -> Result<View, StoreError> {
        self.raft.view()
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that this member still leads (R3).
    pub(crate) async fn confirm_leader(&self) -> Result<()> {
        self.raft
            .read_index()
            .await
            .map_err(|_| Error::new(Code::NotLeader, "this name manager does not lead", "ask the leader"))
    }

    /// A server has said that the log has all that it knows of.
    pub(crate) fn note_met(&self) {
        // Rows are sent to it from now on.
        self.roles.notify_one();
        self.met.send_replace(());
    }

    /// Waits until this registration is met: what it asks to be decided is decided after all that it knows of. Its first heartbeat
    /// tells, so it is a matter of a moment behind a restart, and of nothing later.
    pub(crate) async fn until_met(&self, server: &str, incarnation: u64) -> Result<()> {
        let mut met = self.met.subscribe();
        let knows = |_: &()| self.live().met.knows(server, incarnation);
        if knows(&()) || !self.holds(server, incarnation)? {
            return Ok(());
        }
        let deadline = Instant::now() + self.settings.pace.timeout;
        if self.wait(deadline, met.wait_for(knows)).await {
            return Ok(());
        }
        Err(Error::new(
            Code::Unavailable,
            format_args!("{server} has not yet said how far it is"),
            "it does so by itself",
        ))
    }

    /// Whether this registration holds by the log; else the log refuses what is asked in it.
    fn holds(&self, server: &str, incarnation: u64) -> Result<bool> {
        let view = self.view()?;
        let known = State::new(&view).server(server)?;
        Ok(known.is_some_and(|known| known.incarnation == incarnation && !known.failed))
    }

    /// The log has lost what a server knows of: this name manager decides nothing more (R24).
    pub(crate) fn give_up(&self, what: String) {
        self.raft.give_up(what);
        self.stop_waiting();
    }

    /// Ends every long wait: the process stops.
    pub(crate) fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits for `news` until `deadline`; `false` if none came, or the process stops.
    pub(crate) async fn wait<T>(&self, deadline: Instant, news: impl Future<Output = T>) -> bool {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            news = timeout_at(deadline, news) => news.is_ok(),
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }
}
