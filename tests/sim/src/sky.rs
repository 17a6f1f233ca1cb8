//! Has faults happen, and sees to it that two copies can repair what they do.
//!
//! The limit is kept here: bytes that were durable on both are never destroyed on both. A host that loses power loses only
//! what it had not made durable. Bits flip, on both members, only in what the other one has whole; the disk of one of them
//! ([`Sky::victim`]) is replaced only while the other serves, all that stands on that one's disk can be read, and nothing is owed
//! by the one that goes; and what else is damaged (`harm`) waits until the other member is well, and then lets that one be.

mod copy;
mod harm;

use crate::cluster::{BACKUP, CLIENTS, Cluster, Image, SS1};
use crate::damage;
use crate::faults::{Fault, find};
use crate::host::Condition;
use crate::load::{History, bytes_of};
use crate::network::Tick;
use crate::observer::Observer;
use copy::Copy;
use fastrand::Rng;
use harm::{Harm, Stage};
use log::sim::Count;
use std::collections::BTreeSet;

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
    /// The storage server whose disk may be replaced: never both in one seed.
    victim: usize,
    /// Whether the disk of a storage server was damaged so far.
    hurt: [bool; 2],
    /// How its disk was when it was killed first.
    image: Option<Image>,
    /// What the name manager says of the cluster.
    observer: Observer,
    /// What clients were told: what both members have.
    history: History,
    /// Damage that the other member is to make good.
    harm: Option<(Harm, Stage)>,
    /// A copy of a disk that a server runs on.
    copy: Option<Copy>,
    /// Answers of the name manager so far, and when the last one was heard.
    heard: (u64, Tick),
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
            hurt: [false; 2],
            image: None,
            observer,
            history,
            harm: None,
            copy: None,
            heard: (0, now),
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
            self.flip_index(cluster, fault);
            fault.end(cluster);
        }
        self.tend(cluster);
        self.tend_copy(cluster);
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
        if let Some(harm) = Harm::new(fault, number, now, lasts) {
            if self.copy.is_none() {
                self.harm.get_or_insert(harm);
            }
            return;
        }
        if self.spares(fault) {
            return;
        }
        if self.present.len() < self.weather.at_once && fault.is_possible(cluster) {
            if let Fault::Copy(host) = fault
                && !self.begin_copy(cluster, host, now + lasts)
            {
                return;
            }
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
            self.flip_index(cluster, fault);
            fault.end(cluster);
        }
        cluster.network.mend();
        self.end_harm(cluster);
        for host in 0..CLIENTS {
            // One that was to lose power at an operation which never came, does not.
            cluster.hosts[host].disk.freeze_at(Count::Ops, u64::MAX);
            if matches!(cluster.hosts[host].condition(), Condition::Down | Condition::Off) {
                cluster.start(host);
            }
        }
        self.end_copy(cluster);
    }

    /// Flips a bit of a content that was acknowledged as being on both, if both have it still.
    fn flip(&mut self, cluster: &mut Cluster, host: usize, number: usize) {
        let Some(content) = self.history.large_on_both(number).map(bytes_of) else { return };
        let other = if host == SS1 { BACKUP } else { SS1 };
        if !damage::holds(cluster.hosts[other].disk.durable(), &content) {
            return;
        }
        if let Some((name, at)) = find(&cluster.hosts[host].disk, &content) {
            cluster
                .timeline
                .note(cluster.now(), &format!("a bit flips in {name} of {}", cluster.hosts[host].name));
            cluster.hosts[host].disk.flip(&name, at, 1 << (number % 8));
            self.hurt[host - SS1] = true;
            self.history.set_damaged();
        }
    }

    /// A bit flips in the index of a server that is down: what it has in memory, and what it writes next, would hide it. The index
    /// is made anew from the journal, so that must be as it was written.
    fn flip_index(&mut self, cluster: &mut Cluster, fault: Fault) {
        let Fault::FlipIndex(host, number) = fault else { return };
        let is_down = cluster.hosts[host].condition() == Condition::Down;
        if !is_down || self.hurt[host - SS1] || self.harm.is_some() {
            return;
        }
        let disk = &cluster.hosts[host].disk;
        if let Some(at) = damage::in_index(disk, &mut Rng::with_seed(number as u64)) {
            let what = format!("a bit flips at {at} of the index of {}", cluster.hosts[host].name);
            cluster.timeline.note(cluster.now(), &what);
            disk.flip(damage::INDEX, at, 1 << (number % 8));
            self.hurt[host - SS1] = true;
        }
    }

    /// A server that is down gets another disk, if its partner serves and nothing is owed by the one that goes.
    fn replace(&mut self, cluster: &mut Cluster, fault: Fault) {
        let Fault::Replace(host, old) = fault else { return };
        let other = if host == SS1 { BACKUP } else { SS1 };
        let serves = cluster.serves(other);
        let is_down = cluster.hosts[host].condition() == Condition::Down && self.copy.is_none();
        if !is_down || serves.is_none() || !self.observer.owes_nothing(&cluster.hosts[other].name, serves) {
            cluster.timeline.note(cluster.now(), "its disk stays: it may be needed");
            return;
        }
        // What is bad on the other and was not met yet has its good copy here.
        if self.hurt[other - SS1] && !damage::is_sound(&cluster.hosts[other].disk) {
            cluster.timeline.note(cluster.now(), "its disk stays: not all of the other one can be read");
            return;
        }
        let image = self.image.as_ref().filter(|_| old);
        if let Err(error) = cluster.change_disk(host, image) {
            cluster.timeline.note(cluster.now(), &format!("its disk stays: {error}"));
        }
    }
}
