//! The hosts of a cluster, and time.

use crate::host::{Condition, Machine};
use crate::network::{Network, Tick};
use crate::timeline::Timeline;
use clap::Parser;
use client::{Client, ClientConfig};
use fastrand::Rng;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use types::{Error, Result};

/// The name manager's place among the hosts.
pub const NM: usize = 0;
/// The preferred member's.
pub const SS1: usize = 1;
/// Its backup's.
pub const BACKUP: usize = 2;
/// The first client's.
pub const CLIENTS: usize = 3;

const NM_ADDR: &str = "10.0.0.1:7400";

#[derive(Parser)]
struct NmArgs {
    #[command(flatten)]
    config: nm::Config,
}

#[derive(Parser)]
struct SsArgs {
    #[command(flatten)]
    config: ss::Config,
}

/// A cluster of one pair, and hosts for clients.
pub struct Cluster {
    /// The hosts: [`NM`], [`SS1`], [`BACKUP`], then clients.
    pub hosts: Vec<Machine>,
    /// What is between them.
    pub network: Network,
    /// What happened.
    pub timeline: Timeline,
    now: Tick,
    random: Rng,
    folder: TempDir,
    /// Servers that ended by themselves, and why: nobody stops them, so each is a finding.
    pub ended: Vec<String>,
}

fn ip(number: usize) -> IpAddr {
    let [.., last] = number.to_be_bytes();
    Ipv4Addr::new(10, 0, 0, last + 1).into()
}

/// Where the servers' few small files are that are not on their disks. Made on a thread whose randomness is the system's:
/// what a name costs to find must not be drawn from the seed.
fn folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => TempDir::with_prefix_in("pairfs-sim-", memory),
        false => TempDir::with_prefix("pairfs-sim-"),
    }
}

impl Cluster {
    /// A cluster that was never started, with hosts for `clients` clients.
    ///
    /// # Errors
    /// When there is no temporary folder.
    pub fn new(seed: u64, clients: usize, timeline: Timeline) -> Result<Cluster> {
        let mut random = Rng::with_seed(seed);
        let network = Network::new(random.u64(..));
        let names = ["nm".to_owned(), "ss1".to_owned(), "ss1_backup".to_owned()];
        let clients = (0..clients).map(|number| format!("client{number}"));
        let hosts = names.into_iter().chain(clients).enumerate();
        let hosts = hosts
            .map(|(number, name)| {
                let host = Machine::new(&name, ip(number), &network, random.fork());
                network.turn_on(host.ip, Box::new(|| false));
                host
            })
            .collect();
        let folder = std::thread::spawn(folder).join().map_err(|_| Error::internal("no folder"))??;
        net::secret::read_or_create(&folder.path().join("cluster.secret"))?;
        Ok(Cluster { hosts, network, timeline, now: 0, random, folder, ended: Vec::new() })
    }

    /// Time since the beginning, ms.
    pub fn now(&self) -> Tick {
        self.now
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn argument(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Starts the server of a host.
    pub fn start(&mut self, host: usize) {
        let (data, secret) = (self.argument(&self.hosts[host].name), self.argument("cluster.secret"));
        let common = ["--data", &data, "--cluster-secret", &secret, "--insecure-plaintext"];
        self.timeline.note(self.now, &format!("start {}", self.hosts[host].name));
        self.timeline.at(self.now, &self.hosts[host].name);
        if host == NM {
            let key = self.argument("admin.key");
            let own = ["nm", "--listen", NM_ADDR, "--fast", "--admin-key", &key];
            let config = NmArgs::parse_from(own.into_iter().chain(common)).config;
            self.hosts[host].start(nm::run_until(config, std::future::pending()));
        } else {
            let (name, listen) = (self.hosts[host].name.clone(), format!("{}:7401", self.hosts[host].ip));
            let own = ["ss", "--name", &name, "--listen", &listen, "--nm", NM_ADDR];
            let config = SsArgs::parse_from(own.into_iter().chain(common)).config;
            self.hosts[host].start(ss::run_until(config, std::future::pending()));
        }
    }

    /// A client of the first account that waits so long for a lost server; call it on a client's host, once the name
    /// manager serves.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn client(&self, timeout: Duration) -> impl Future<Output = Result<Client>> + Send + 'static {
        let key = self.path("admin.key");
        async move {
            let config = ClientConfig::with_key_file(vec![NM_ADDR.to_owned()], &key)?.timeout(timeout);
            Client::connect(config).await
        }
    }

    /// A millisecond passes.
    pub fn tick(&mut self) {
        self.now += 1;
        self.network.deliver(self.now);
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        self.random.shuffle(&mut order);
        for host in order {
            self.timeline.at(self.now, &self.hosts[host].name);
            self.hosts[host].turn();
            if self.hosts[host].disk.frozen() && self.hosts[host].condition() == Condition::Runs {
                let seed = self.random.u64(..);
                self.timeline.note(self.now, &format!("power of {} is gone", self.hosts[host].name));
                self.hosts[host].cut_power(seed);
            }
            if let Some(ended) = self.hosts[host].ended() {
                let what = format!("{} has ended: {ended:?}", self.hosts[host].name);
                self.timeline.note(self.now, &what);
                if host < CLIENTS || ended.is_err() {
                    self.ended.push(what);
                }
            }
        }
    }

    /// So much time passes.
    pub fn pass(&mut self, ticks: Tick) {
        for _ in 0..ticks {
            self.tick();
        }
    }

    /// Time passes until `is_so`, at most `most`; whether it came to be so.
    pub fn wait(&mut self, most: Tick, mut is_so: impl FnMut(&mut Cluster) -> bool) -> bool {
        for _ in 0..most {
            if is_so(self) {
                return true;
            }
            self.tick();
        }
        is_so(self)
    }
}
