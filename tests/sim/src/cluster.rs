//! The hosts of a cluster, and time.

mod twin;

use crate::faults::ROOMY;
use crate::host::{Condition, Machine};
use crate::network::{Network, Tick};
use crate::oracle::Violation;
use crate::oracle::i1_one_acting_member::Reigns;
use crate::oracle::i9_bounded;
use crate::timeline::Timeline;
use clap::Parser;
use client::{Client, ClientConfig};
use fastrand::Rng;
use log::sim::SimDisk;
use ss::Watch;
use ss::store::{IndexDamage, StoreConfig};
use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use twin::Twin;
use types::{Code, Error, Result};

/// The name manager's place among the hosts.
pub const NM: usize = 0;
/// The preferred member's.
pub const SS1: usize = 1;
/// Its backup's.
pub const BACKUP: usize = 2;
/// The first client's.
pub const CLIENTS: usize = 3;

/// The name manager's address.
pub const NM_ADDR: &str = "10.0.0.1:7400";
/// Entries after which the name manager makes its state durable and purges its log: few, so that it happens.
const CHECKPOINT_ENTRIES: &str = "300";
/// Length of a journal segment, in bytes: short, so that journals are compacted.
const SEGMENT_BYTES: u32 = 512 << 10;

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
    /// What was seen of the cluster that may not be.
    pub violations: Vec<Violation>,
    /// Storage servers, as they are watched.
    watches: [Watched; 3],
    /// What they find in their indexes.
    damages: [IndexDamage; 3],
    /// A second server on a copy of a disk.
    twin: Twin,
    reigns: Reigns,
    /// Storage servers whose disks were replaced: they are started with the operator's word for it.
    replaced: [bool; 2],
    /// Storage servers whose disks lied: the head of their last segment may be among what was lost. Nothing else says which
    /// segments there are, so a server ends then, and its operator does what it says.
    pub lied: [bool; 2],
    /// Names of the data folders of the name manager that were given up.
    generations: usize,
}

/// The disk of a storage server as it was once: what its store wrote, and the small files that say which disk it is.
pub struct Image {
    store: SimDisk,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// A look at a storage server, once it runs.
type Watched = Arc<Mutex<Option<Watch>>>;

/// How storage servers use their disks: as always, but that what happens seldom happens often.
pub(crate) fn store() -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT_BYTES,
        extent_file_bytes: 16 << 20,
        index_commit_bytes: 256 << 10,
        index_commit_records: 200,
        ..StoreConfig::default()
    }
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
        let twin = Twin::new(&network, random.fork());
        let folder = std::thread::spawn(folder).join().map_err(|_| Error::internal("no folder"))??;
        net::secret::read_or_create(&folder.path().join("cluster.secret"))?;
        Ok(Cluster {
            hosts,
            network,
            timeline,
            now: 0,
            random,
            folder,
            ended: Vec::new(),
            violations: Vec::new(),
            watches: Default::default(),
            damages: Default::default(),
            twin,
            reigns: Reigns::default(),
            replaced: [false; 2],
            lied: [false; 2],
            generations: 0,
        })
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
        self.start_with(host, &[]);
    }

    /// The same with more options.
    pub fn start_with(&mut self, host: usize, more: &[&str]) {
        if self.is_held(host) {
            return;
        }
        let folder = match (host, self.generations) {
            (NM, generation) if generation > 0 => format!("nm-{generation}"),
            _ => self.hosts[host].name.clone(),
        };
        let (data, secret) = (self.argument(&folder), self.argument("cluster.secret"));
        let common = ["--data", &data, "--cluster-secret", &secret, "--insecure-plaintext"];
        self.timeline.note(self.now, &format!("start {}", self.hosts[host].name));
        self.timeline.at(self.now, &self.hosts[host].name);
        if host == NM {
            let key = self.argument("admin.key");
            let own = ["nm", "--listen", NM_ADDR, "--fast", "--admin-key", &key];
            let small = ["--checkpoint-entries", CHECKPOINT_ENTRIES];
            let words = own.into_iter().chain(small).chain(common).chain(more.iter().copied());
            let config = NmArgs::parse_from(words).config;
            self.hosts[host].start(nm::run_until(config, std::future::pending()));
        } else {
            let (folder, addr) = (self.hosts[host].name.clone(), self.hosts[host].ip);
            let main = self.storage_server(host, &folder, addr, host - SS1, more);
            self.hosts[host].start(main);
        }
    }

    /// What a storage server does, with its small files in `folder`, at `addr`; it is watched in `slot`.
    fn storage_server(
        &mut self,
        host: usize,
        folder: &str,
        addr: IpAddr,
        slot: usize,
        more: &[&str],
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (data, secret) = (self.argument(folder), self.argument("cluster.secret"));
        let (name, listen) = (self.hosts[host].name.clone(), format!("{addr}:7401"));
        let own = ["ss", "--name", &name, "--listen", &listen, "--nm", NM_ADDR];
        let common = ["--data", &data, "--cluster-secret", &secret, "--insecure-plaintext"];
        let replaced = (self.replaced[host - SS1] && slot < 2).then_some("--replace-disk");
        let words = own.into_iter().chain(common).chain(more.iter().copied()).chain(replaced);
        let config = SsArgs::parse_from(words).config;
        let watched = self.watches[slot].clone();
        let watch = move |watch| *watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        self.damages[slot] = IndexDamage::default();
        let store = StoreConfig { index_damage: self.damages[slot].clone(), ..store() };
        ss::run_until(config, store, watch, std::future::pending())
    }

    /// The name manager's disk is gone: the next start of it is on an empty one. It must be down.
    pub fn lose_name_manager(&mut self) {
        self.hosts[NM].disk = SimDisk::new();
        self.generations += 1;
    }

    /// The disk of a storage server is an empty one from now on, also what it knew itself by. It must be down.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub fn replace_disk(&mut self, host: usize) -> Result<()> {
        self.hosts[host].disk = SimDisk::new();
        std::fs::remove_dir_all(self.path(&self.hosts[host].name)).map_err(Error::from)
    }

    /// The disk of a storage server as it is now. It must be down.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn image(&self, host: usize) -> Result<Image> {
        let folder = self.path(&self.hosts[host].name);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::from)? {
            let path = entry.map_err(Error::from)?.path();
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(Error::from)?;
                files.push((path, bytes));
            }
        }
        Ok(Image { store: self.hosts[host].disk.restart(), files })
    }

    /// The disk of a storage server is another one from now on: `image`, an old one of its own, or an empty one. It is
    /// started with an operator's word for it. It must be down.
    ///
    /// # Errors
    /// As [`replace_disk`](Self::replace_disk); when its files cannot be written.
    pub fn change_disk(&mut self, host: usize, image: Option<&Image>) -> Result<()> {
        self.replace_disk(host)?;
        if let Some(Image { store, files }) = image {
            self.hosts[host].disk = store.restart();
            // It may be of a time when the disk was full.
            self.hosts[host].disk.set_full(ROOMY);
            let mine = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
            let folder = self.path(&self.hosts[host].name);
            std::fs::create_dir(&folder).and_then(|()| mine(&folder, 0o700)).map_err(Error::from)?;
            for (path, bytes) in files {
                std::fs::write(path, bytes).and_then(|()| mine(path, 0o600)).map_err(Error::from)?;
            }
        }
        self.timeline.note(self.now, &format!("{} has another disk", self.hosts[host].name));
        self.replaced[host - SS1] = true;
        Ok(())
    }

    /// The epoch in which a storage server would serve a request now, if it would.
    pub fn serves(&self, host: usize) -> Option<u64> {
        self.watched(host - SS1, &self.hosts[host])
    }

    fn watched(&self, slot: usize, machine: &Machine) -> Option<u64> {
        let watch = self.watches[slot].lock().unwrap_or_else(PoisonError::into_inner);
        let runs = machine.condition() == Condition::Runs;
        watch.as_ref().filter(|_| runs).and_then(|watch| machine.see(|| watch.serves()))
    }

    /// The same of the server on a copy of a disk.
    pub fn twin_serves(&self) -> Option<u64> {
        self.watched(2, &self.twin.machine)
    }

    /// Who would serve a request now.
    pub fn acting(&self) -> Option<usize> {
        [SS1, BACKUP].into_iter().find(|host| self.serves(*host).is_some())
    }

    /// The admin's key file.
    pub fn key_file(&self) -> PathBuf {
        self.path("admin.key")
    }

    fn watch(&mut self) {
        let members = [SS1, BACKUP].map(|host| (host, self.serves(host)));
        // By its name it is the server that it is a copy of.
        let twin = self.twin.of.map(|of| (of, self.twin_serves()));
        let members = members.into_iter().chain(twin);
        let members: Vec<_> = members.map(|(host, epoch)| (self.hosts[host].name.as_str(), epoch)).collect();
        let found = self.reigns.look(self.now, &members);
        if let Some(found) = found {
            self.timeline.note(self.now, &found.what);
            self.violations.push(found);
        }
        if self.now.is_multiple_of(100) {
            self.violations.extend(i9_bounded::streams(self.now, self.network.load()));
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
                if self.operate(host, &ended) {
                    continue;
                }
                let is_told = self.twin.of == Some(host) && Twin::may_end(&ended);
                if [SS1, BACKUP].contains(&host) && self.damages[host - SS1].is_why(&ended) {
                    // As `ss::run` does, with all that ran for it gone.
                    self.start(host);
                    continue;
                }
                if !is_told && (host < CLIENTS || ended.is_err()) {
                    self.ended.push(what);
                }
            }
        }
        self.turn_twin();
        self.watch();
    }

    /// What an operator does about a storage server that cannot start on a disk that lied (exit 7), while its partner acts: it
    /// gets an empty disk. Whether that was done.
    fn operate(&mut self, host: usize, ended: &Result<()>) -> bool {
        let lied = [SS1, BACKUP].contains(&host) && self.lied[host - SS1];
        let is_damaged = matches!(ended, Err(error) if error.code == Code::Damaged);
        let partner = if host == SS1 { BACKUP } else { SS1 };
        if !lied || !is_damaged || self.serves(partner).is_none() || self.change_disk(host, None).is_err() {
            return false;
        }
        self.lied[host - SS1] = false;
        self.start(host);
        true
    }

    fn turn_twin(&mut self) {
        self.timeline.at(self.now, &self.twin.machine.name);
        self.twin.machine.turn();
        if let Some(ended) = self.twin.machine.ended() {
            let what = format!("the copy has ended: {ended:?}");
            self.timeline.note(self.now, &what);
            if self.damages[2].is_why(&ended) {
                self.start_on_copy();
            } else if !Twin::may_end(&ended) {
                self.ended.push(what);
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
