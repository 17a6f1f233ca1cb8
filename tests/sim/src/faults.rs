//! What befalls the hosts of a cluster and the ways between them.
//!
//! The limit of what two copies can repair is kept here: bytes that were durable on both are never destroyed on both. A
//! host that loses power loses only what it had not made durable. Disks of one storage server alone are damaged or replaced
//! in a seed ([`Sky::victim`]): bits flip in what the other has, too, and a disk goes only while the other serves, and
//! nothing is owed by the one that goes.

use crate::cluster::{BACKUP, CLIENTS, Cluster, Image, NM, SS1};
use crate::host::{Condition, DiskPace};
use crate::load::{History, bytes_of};
use crate::network::{Latency, Tick};
use crate::observer::Observer;
use fastrand::Rng;
use log::sim::{Count, SimDisk};
use std::collections::BTreeSet;
use std::fmt;

/// Something that happens to a cluster, and ends after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; started again at its end.
    Kill(usize),
    /// The host loses power; started again at its end.
    PowerCut(usize),
    /// It loses power in the middle of a step, after so many operations of its disk.
    PowerCutAt(usize, u64),
    /// SIGSTOP and SIGCONT.
    Pause(usize),
    /// Nothing gets from one host to another.
    CutOneWay(usize, usize),
    /// Nothing gets from either to the other.
    Cut(usize, usize),
    /// All streams between two hosts break.
    Break(usize, usize),
    /// Some of what is sent takes long.
    SlowNetwork,
    /// Its disk is slow.
    SlowDisk(usize),
    /// The disk of a storage server has room for so many bytes more.
    FullDisk(usize, u64),
    /// A bit flips in a large content that both storage servers have; which one is drawn.
    FlipBit(usize, usize),
    /// `kill -9`, and if nothing is lost by it, it gets another disk until its end: an old image of its own, or an empty one.
    Replace(usize, bool),
}

/// Room of a disk that nobody fills, in bytes.
pub const ROOMY: u64 = 1 << 40;

/// How often what happens.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The longest time between two faults, ms.
    pub calm: Tick,
    /// The longest that one lasts, ms.
    pub longest: Tick,
    /// Faults at the same time.
    pub at_once: usize,
    /// Clocks go wrong by up to so many millionths.
    pub drift_ppm: i64,
}

impl Default for Weather {
    fn default() -> Weather {
        Weather { calm: 3000, longest: 4000, at_once: 2, drift_ppm: 500 }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |host: &usize| ["nm", "ss1", "ss1_backup"].get(*host).copied().unwrap_or("a client");
        match self {
            Fault::Kill(host) => write!(f, "kill -9 of {}", name(host)),
            Fault::PowerCut(host) => write!(f, "power cut of {}", name(host)),
            Fault::PowerCutAt(host, ops) => write!(f, "power cut of {} in {ops} disk operations", name(host)),
            Fault::Pause(host) => write!(f, "{} stopped", name(host)),
            Fault::CutOneWay(from, to) => write!(f, "nothing gets from {} to {}", name(from), name(to)),
            Fault::Cut(one, other) => write!(f, "{} and {} cut off from each other", name(one), name(other)),
            Fault::Break(one, other) => {
                write!(f, "connections between {} and {} break", name(one), name(other))
            }
            Fault::SlowNetwork => f.write_str("the network is slow"),
            Fault::SlowDisk(host) => write!(f, "the disk of {} is slow", name(host)),
            Fault::FullDisk(host, room) => {
                write!(f, "the disk of {} has room for {} KiB", name(host), room / 1024)
            }
            Fault::FlipBit(host, _) => write!(f, "a bit flips on the disk of {}", name(host)),
            Fault::Replace(host, true) => write!(f, "the disk of {} becomes an old image", name(host)),
            Fault::Replace(host, false) => write!(f, "the disk of {} becomes an empty one", name(host)),
        }
    }
}

impl Fault {
    /// Any of them; `victim` is the one whose disk may be damaged.
    pub fn draw(random: &mut Rng, hosts: usize, victim: usize) -> Fault {
        let server = [NM, SS1, SS1, BACKUP, BACKUP][random.usize(0..5)];
        let one = random.usize(0..hosts);
        let other = (one + random.usize(1..hosts)) % hosts;
        match random.u8(0..26) {
            0..5 => Fault::Kill(server),
            5..7 => Fault::PowerCut(server),
            7..10 => Fault::PowerCutAt(server, random.u64(1..60)),
            10..13 => Fault::Pause(random.usize(0..hosts)),
            13 => Fault::CutOneWay(one, other),
            14..16 => Fault::Cut(one, other),
            16 => Fault::Break(one, other),
            17 => Fault::SlowNetwork,
            // Less than the reserve; or what a few contents take.
            18 => Fault::FullDisk([SS1, BACKUP][random.usize(0..2)], random.u64(64 << 20..128 << 20)),
            19 => Fault::FullDisk([SS1, BACKUP][random.usize(0..2)], random.u64(0..2 << 20)),
            20..22 => Fault::FlipBit(victim, random.usize(..)),
            22..24 => Fault::Replace(victim, random.bool()),
            _ => Fault::SlowDisk(server),
        }
    }

    /// Whether it can happen now.
    fn is_possible(self, cluster: &Cluster) -> bool {
        let runs = |host: usize| cluster.hosts[host].condition() == Condition::Runs;
        match self {
            Fault::Kill(host)
            | Fault::PowerCut(host)
            | Fault::PowerCutAt(host, _)
            | Fault::Pause(host)
            | Fault::Replace(host, _) => runs(host),
            _ => true,
        }
    }

    fn begin(self, cluster: &mut Cluster, random: &mut Rng) {
        let ip = |cluster: &Cluster, host: usize| cluster.hosts[host].ip;
        match self {
            Fault::Kill(host) | Fault::Replace(host, _) => cluster.hosts[host].kill(),
            Fault::PowerCut(host) => cluster.hosts[host].cut_power(random.u64(..)),
            Fault::PowerCutAt(host, ops) => {
                let disk = &cluster.hosts[host].disk;
                disk.freeze_at(Count::Ops, disk.count(Count::Ops) + ops);
            }
            Fault::Pause(host) => cluster.hosts[host].pause(),
            Fault::CutOneWay(from, to) => cluster.network.cut(ip(cluster, from), ip(cluster, to)),
            Fault::Cut(one, other) => {
                let (one, other) = (ip(cluster, one), ip(cluster, other));
                cluster.network.cut(one, other);
                cluster.network.cut(other, one);
            }
            Fault::Break(one, other) => {
                cluster.network.break_streams(ip(cluster, one), ip(cluster, other));
            }
            Fault::SlowNetwork => {
                cluster.network.set_latency(Latency { jitter: 5, slow_one_in: 20, slow: 400 });
            }
            Fault::SlowDisk(host) => cluster.hosts[host].set_pace(DiskPace { jitter: 60 }),
            Fault::FullDisk(host, room) => cluster.hosts[host].disk.set_full(room),
            // The sky knows what both have.
            Fault::FlipBit(..) => {}
        }
    }

    fn end(self, cluster: &mut Cluster) {
        match self {
            Fault::Kill(host)
            | Fault::PowerCut(host)
            | Fault::PowerCutAt(host, _)
            | Fault::Replace(host, _) => {
                if matches!(cluster.hosts[host].condition(), Condition::Down | Condition::Off) {
                    cluster.start(host);
                }
            }
            Fault::Pause(host) => cluster.hosts[host].go_on(),
            Fault::CutOneWay(..) | Fault::Cut(..) => cluster.network.mend(),
            Fault::Break(..) | Fault::FlipBit(..) => {}
            Fault::SlowNetwork => cluster.network.set_latency(Latency::default()),
            Fault::SlowDisk(host) => cluster.hosts[host].set_pace(DiskPace { jitter: 1 }),
            Fault::FullDisk(host, _) => cluster.hosts[host].disk.set_full(ROOMY),
        }
    }
}

/// Has faults happen to a cluster as time passes.
pub struct Sky {
    weather: Weather,
    random: Rng,
    next: Tick,
    present: Vec<(Tick, Fault)>,
    /// Faults that are left out, by their numbers.
    without: BTreeSet<usize>,
    /// Faults that were drawn.
    drawn: usize,
    /// The storage server whose disk may be damaged or replaced: never both in one seed.
    victim: usize,
    /// How its disk was when it was killed first.
    image: Option<Image>,
    /// What the name manager says of the cluster.
    observer: Observer,
    /// What clients were told: what both members have.
    history: History,
    /// What has happened.
    pub happened: Vec<Happened>,
}

/// A fault that has happened.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// Its number among those that were drawn.
    pub number: usize,
    /// When it began.
    pub begin: Tick,
    /// When it was to end.
    pub end: Tick,
    /// What it was.
    pub fault: Fault,
}

impl Sky {
    /// Nothing has happened yet.
    pub fn new(
        weather: Weather,
        without: BTreeSet<usize>,
        mut random: Rng,
        observer: Observer,
        history: History,
        now: Tick,
    ) -> Sky {
        let next = now + random.u64(0..=weather.calm);
        let victim = [SS1, BACKUP][random.usize(0..2)];
        Sky {
            weather,
            random,
            next,
            present: Vec::new(),
            without,
            drawn: 0,
            victim,
            image: None,
            observer,
            history,
            happened: Vec::new(),
        }
    }

    /// Lets the clocks of all hosts go wrong.
    pub fn set_clocks(&mut self, cluster: &mut Cluster) {
        let most = self.weather.drift_ppm;
        for host in &mut cluster.hosts {
            host.drift_ppm = self.random.i64(-most..=most);
        }
    }

    /// What begins or ends now, does.
    pub fn look(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        let ended: Vec<Fault> =
            self.present.extract_if(.., |(end, _)| *end <= now).map(|(_, fault)| fault).collect();
        for fault in ended {
            cluster.timeline.note(now, &format!("over: {fault}"));
            self.replace(cluster, fault);
            fault.end(cluster);
        }
        if now < self.next {
            return;
        }
        self.next = now + self.random.u64(1..=self.weather.calm);
        let fault = Fault::draw(&mut self.random, cluster.hosts.len(), self.victim);
        let lasts = self.random.u64(1..=self.weather.longest);
        let number = self.drawn;
        self.drawn += 1;
        if self.without.contains(&number) {
            return;
        }
        if self.present.len() < self.weather.at_once && fault.is_possible(cluster) {
            cluster.timeline.note(now, &format!("fault: {fault}, for {lasts} ms"));
            fault.begin(cluster, &mut self.random);
            match fault {
                Fault::Kill(host) | Fault::Replace(host, _)
                    if host == self.victim && self.image.is_none() =>
                {
                    self.image = cluster.image(host).ok();
                }
                Fault::FlipBit(host, number) => self.flip(cluster, host, number),
                _ => {}
            }
            self.present.push((now + lasts, fault));
            self.happened.push(Happened { number, begin: now, end: now + lasts, fault });
        }
    }

    /// Everything that is wrong is mended, and what is down is started.
    pub fn clear(&mut self, cluster: &mut Cluster) {
        cluster.timeline.note(cluster.now(), "everything is mended");
        for (_, fault) in std::mem::take(&mut self.present) {
            self.replace(cluster, fault);
            fault.end(cluster);
        }
        cluster.network.mend();
        for host in 0..CLIENTS {
            // One that was to lose power at an operation which never came, does not.
            cluster.hosts[host].disk.freeze_at(Count::Ops, u64::MAX);
            if matches!(cluster.hosts[host].condition(), Condition::Down | Condition::Off) {
                cluster.start(host);
            }
        }
    }

    /// Flips a bit of a content that was acknowledged as being on both, if both have it still.
    fn flip(&self, cluster: &mut Cluster, host: usize, number: usize) {
        let Some(content) = self.history.large_on_both(number).map(bytes_of) else { return };
        let other = if host == SS1 { BACKUP } else { SS1 };
        if find(&cluster.hosts[other].disk, &content).is_none() {
            return;
        }
        if let Some((name, at)) = find(&cluster.hosts[host].disk, &content) {
            cluster
                .timeline
                .note(cluster.now(), &format!("a bit flips in {name} of {}", cluster.hosts[host].name));
            cluster.hosts[host].disk.flip(&name, at, 1 << (number % 8));
            self.history.set_damaged();
        }
    }

    /// A server that is down gets another disk, if its partner serves and nothing is owed by the one that goes.
    fn replace(&mut self, cluster: &mut Cluster, fault: Fault) {
        let Fault::Replace(host, old) = fault else { return };
        let other = if host == SS1 { BACKUP } else { SS1 };
        let serves = cluster.serves(other);
        let is_down = cluster.hosts[host].condition() == Condition::Down;
        if !is_down || serves.is_none() || !self.observer.owes_nothing(&cluster.hosts[other].name, serves) {
            cluster.timeline.note(cluster.now(), "its disk stays: it may be needed");
            return;
        }
        let image = self.image.as_ref().filter(|_| old);
        if let Err(error) = cluster.change_disk(host, image) {
            cluster.timeline.note(cluster.now(), &format!("its disk stays: {error}"));
        }
    }
}

/// Where a content stands on a disk, whole enough to tell: the place of its middle.
pub fn find(disk: &SimDisk, content: &[u8]) -> Option<(String, u64)> {
    let part = &content[content.len() / 2..content.len().min(content.len() / 2 + 64)];
    disk.image().into_iter().find_map(|(name, bytes)| {
        let at = bytes.windows(part.len()).position(|window| window == part)?;
        Some((name, at as u64))
    })
}
