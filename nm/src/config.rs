//! The options of a name manager, the same for `pairfs nm` and for `nm` alone.

use clap::{Args, ValueEnum};
use std::path::PathBuf;
use types::limits::Pace;

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
    /// Its name
    #[arg(long, default_value = "nm", env = "PAIRFS_NAME")]
    pub name: String,
}

impl Config {
    /// The times of heartbeats and leases.
    pub fn pace(&self) -> Pace {
        if self.fast { Pace::FAST } else { Pace::NORMAL }
    }

    pub(crate) fn cluster_secret(&self) -> PathBuf {
        self.cluster_secret.clone().unwrap_or_else(|| self.data.join("cluster.secret"))
    }

    pub(crate) fn admin_key(&self) -> PathBuf {
        self.admin_key.clone().unwrap_or_else(|| self.data.join("admin.key"))
    }
}
