//! The options of a name manager, the same for `pairfs nm` and for `nm` alone.

use clap::{Args, ValueEnum};
use net::options::{self, LogOptions};
use net::settings::{Known, Values};
use nm_core::flap::Damping;
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::Result;
use types::limits::{CAPABILITY_TTL, FAILURES_KEPT, FLAP_FAILURES, FLAP_WINDOW, Pace};

/// What a running name manager takes anew on SIGHUP.
const TUNABLE: [&str; 6] =
    ["failback", "fast-failover", "flap-failures", "flap-window", "relay", "log-level"];

/// A choice, as it is said on the command line.
fn word(choice: &impl ValueEnum) -> Option<String> {
    choice.to_possible_value().map(|value| value.get_name().to_owned())
}

/// When the preferred member takes its role back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Failback {
    /// By itself, as soon as it has caught up.
    #[default]
    Auto,
    /// When an operator says so.
    Manual,
}

/// A switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// When members take contents through the name manager rather than from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Relay {
    /// When they cannot reach each other.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to run a name manager.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Folder of its data; made if it is not there
    #[arg(long, value_name = "DIR", env = "PAIRFS_DATA")]
    pub data: PathBuf,
    /// Where it listens
    #[arg(long, value_name = "ADDR", env = "PAIRFS_LISTEN", default_value = "127.0.0.1:7400")]
    pub listen: String,
    /// Where others reach it, if not where it listens
    #[arg(long, value_name = "ADDR", env = "PAIRFS_ADVERTISE")]
    pub advertise: Option<String>,
    /// File with the secret that all servers of the cluster share; made if it is not there
    /// [default: DIR/cluster.secret]
    #[arg(long, value_name = "FILE", env = "PAIRFS_CLUSTER_SECRET")]
    pub cluster_secret: Option<PathBuf>,
    /// Where the key of the first account is written at the first start [default: DIR/admin.key]
    #[arg(long, value_name = "FILE", env = "PAIRFS_ADMIN_KEY")]
    pub admin_key: Option<PathBuf>,
    /// Accept that others on the network can read every byte
    #[arg(long, env = "PAIRFS_INSECURE_PLAINTEXT")]
    pub insecure_plaintext: bool,
    /// Find failures within about a second: for one machine, and for tests
    #[arg(long, env = "PAIRFS_FAST")]
    pub fast: bool,
    /// When the preferred member of a pair takes its role back
    #[arg(long, value_enum, default_value_t, env = "PAIRFS_FAILBACK")]
    pub failback: Failback,
    /// Whether a server whose process is known to be gone is failed at once
    #[arg(long, value_enum, default_value_t, env = "PAIRFS_FAST_FAILOVER")]
    pub fast_failover: Switch,
    /// Take a server for failed, though its heartbeats come, once its disk or its data port has not answered for so many
    /// seconds [default: 30, with --fast 10]
    #[arg(long, value_name = "SECONDS", env = "PAIRFS_HANG_TIMEOUT", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub hang_timeout: Option<u64>,
    /// A server that failed so often within --flap-window does not take its role back by itself before it was stable that
    /// long; 0: it always does [default: 3, with --fast 0]
    #[arg(long, value_name = "N", env = "PAIRFS_FLAP_FAILURES", value_parser = clap::value_parser!(u64).range(..=FAILURES_KEPT as u64))]
    pub flap_failures: Option<u64>,
    /// The time in which its failures are counted, and for which it has to be stable
    #[arg(long, value_name = "SECONDS", env = "PAIRFS_FLAP_WINDOW", default_value_t = FLAP_WINDOW.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub flap_window: u64,
    /// Run this command of the shell for each event: what happened is in its environment (PAIRFS_EVENT_KIND, _SERVER, _PAIR,
    /// _REASON, _TIME, _EPOCH, _SEQ) and, as JSON, on its input. It may take 10 s
    #[arg(long, value_name = "CMD", env = "PAIRFS_ON_EVENT")]
    pub on_event: Option<String>,
    /// Make the state durable, and let the log before it go, after so many entries
    #[arg(long, value_name = "N", env = "PAIRFS_CHECKPOINT_ENTRIES", value_parser = clap::value_parser!(u64).range(2..))]
    pub checkpoint_entries: Option<u64>,
    /// Let what a user may do be looked up again after so many seconds, at most 60: for tests, and where rights change often
    #[arg(long, value_name = "SECONDS", env = "PAIRFS_CAPABILITY_LIFE", default_value_t = CAPABILITY_TTL.as_secs(), value_parser = clap::value_parser!(u64).range(2..=CAPABILITY_TTL.as_secs()))]
    pub capability_life: u64,
    /// Its log, and the file with more options.
    #[command(flatten)]
    pub log: LogOptions,
    /// When the members of a pair get their contents through this name manager
    #[arg(long, value_enum, default_value_t, env = "PAIRFS_RELAY")]
    pub relay: Relay,
    /// Make a new index from what the storage servers hold: the data of the name manager is lost or damaged
    #[arg(long)]
    pub rebuild: bool,
    /// With --rebuild: one member of each pair is enough; what only the other holds cannot be compared
    #[arg(long, requires = "rebuild")]
    pub accept_one_member: bool,
    /// Its name
    #[arg(long, default_value = "nm", env = "PAIRFS_NAME")]
    pub name: String,
}

impl Config {
    /// The options, for a file that sets some of them.
    pub fn known() -> Vec<Known> {
        options::known::<Config>()
    }

    /// Starts the log as the options say; `verbosity` 0 is what a server logs unless asked.
    ///
    /// # Errors
    /// As [`LogOptions::start`].
    pub fn start_log(&self, verbosity: i8) -> Result<()> {
        self.log.start(verbosity)
    }

    /// Every option with its value. Of secrets only where they are.
    pub(crate) fn values(&self) -> Values {
        let Config {
            data,
            listen,
            advertise,
            cluster_secret: _,
            admin_key: _,
            insecure_plaintext,
            fast,
            failback,
            fast_failover,
            hang_timeout: _,
            on_event,
            flap_failures: _,
            flap_window,
            relay,
            checkpoint_entries,
            capability_life,
            log,
            rebuild,
            accept_one_member,
            name,
        } = self;
        let path = |path: &Path| Some(path.display().to_string());
        let mut values = vec![
            ("name", Some(name.clone())),
            ("data", path(data)),
            ("listen", Some(listen.clone())),
            ("advertise", advertise.clone()),
            ("cluster-secret", path(&self.cluster_secret())),
            ("admin-key", path(&self.admin_key())),
            ("insecure-plaintext", Some(insecure_plaintext.to_string())),
            ("fast", Some(fast.to_string())),
            ("failback", word(failback)),
            ("fast-failover", word(fast_failover)),
            ("hang-timeout", Some(self.pace().hang.as_secs().to_string())),
            ("flap-failures", Some(self.damping().failures.to_string())),
            ("flap-window", Some(flap_window.to_string())),
            ("on-event", on_event.clone()),
            ("relay", word(relay)),
            ("checkpoint-entries", checkpoint_entries.map(|entries| entries.to_string())),
            ("capability-life", Some(capability_life.to_string())),
            ("rebuild", Some(rebuild.to_string())),
            ("accept-one-member", Some(accept_one_member.to_string())),
        ];
        values.extend(log.values());
        values
    }

    /// What a running name manager cannot change, by name.
    pub(crate) fn fixed(&self) -> Values {
        let mut values = self.values();
        values.retain(|(name, _)| !TUNABLE.contains(name));
        values
    }

    /// How long a capability lives (R15).
    pub(crate) fn capability_life(&self) -> Duration {
        Duration::from_secs(self.capability_life).min(CAPABILITY_TTL)
    }

    /// The times of heartbeats and leases.
    pub fn pace(&self) -> Pace {
        let pace = if self.fast { Pace::FAST } else { Pace::NORMAL };
        Pace { hang: self.hang_timeout.map_or(pace.hang, Duration::from_secs), ..pace }
    }

    /// When a server that fails again and again is kept from its role. At the fast pace never, unless that is said: there
    /// servers fail because somebody tries what happens then.
    pub(crate) fn damping(&self) -> Damping {
        let default = if self.fast { 0 } else { FLAP_FAILURES as u64 };
        let failures = self.flap_failures.unwrap_or(default) as usize;
        Damping { failures, window: Duration::from_secs(self.flap_window) }
    }

    pub(crate) fn cluster_secret(&self) -> PathBuf {
        self.cluster_secret.clone().unwrap_or_else(|| self.data.join("cluster.secret"))
    }

    pub(crate) fn admin_key(&self) -> PathBuf {
        self.admin_key.clone().unwrap_or_else(|| self.data.join("admin.key"))
    }
}
