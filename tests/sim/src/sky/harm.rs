//! Damage to what one member has durably, which its partner has to make good: bits that flip in its journal, syncs that its
//! disk loses, a write that lands somewhere else.
//!
//! Such damage waits until the partner is well, and from then on until the damaged member is well again nothing befalls the
//! partner. Who acts alone with bad bytes holds the only copy of what it acknowledges then, and a server that finds damage
//! at its start cannot go on before its partner acts (R31): two failures at once are more than two copies can repair.

use super::{Happened, Sky};
use crate::cluster::{BACKUP, Cluster, SS1};
use crate::damage::{self, PAGE};
use crate::faults::Fault;
use crate::host::Condition;
use crate::network::Tick;
use fastrand::Rng;
use log::sim::{Count, SimDisk};
use log::{Disk, Open};

/// The longest that it waits for its moment, ms.
const PATIENCE: Tick = 4000;
/// How old the name manager's word may be that the partner is well, ms.
const NEWS: Tick = 300;
/// Places that are tried: not everything on one disk is on the other.
const TRIES: usize = 6;
/// Files of a store whose syncs and writes go wrong. Not its index: a block there that is whole, and as it was once, is not
/// noticed.
const FILES: [&str; 2] = ["journal/", "extents/"];

/// Such damage.
#[derive(Clone, Copy)]
pub(super) struct Harm {
    victim: usize,
    fault: Fault,
    number: usize,
}

/// How far it is.
pub(super) enum Stage {
    Waits {
        until: Tick,
        lasts: Tick,
    },
    /// The disk is the one to which it was done.
    Begun {
        end: Tick,
        disk: SimDisk,
        done: bool,
    },
    /// It was started on the bad disk, when there had been so many answers of the name manager.
    Mends {
        looks: u64,
    },
}

impl Harm {
    /// Damage that waits for its moment; none: the fault does none.
    pub(super) fn new(fault: Fault, number: usize, now: Tick, lasts: Tick) -> Option<(Harm, Stage)> {
        let (Fault::FlipJournal(victim, _) | Fault::LoseSyncs(victim, _) | Fault::Misdirect(victim, _)) =
            fault
        else {
            return None;
        };
        Some((Harm { victim, fault, number }, Stage::Waits { until: now + PATIENCE, lasts }))
    }

    fn partner(&self) -> usize {
        if self.victim == SS1 { BACKUP } else { SS1 }
    }
}

impl Sky {
    /// Whether a fault would befall somebody whom nothing may befall now: the partner; and, as long as the moment has not come,
    /// the member that waits for it, as it would never come otherwise.
    pub(super) fn spares(&self, fault: Fault) -> bool {
        self.harm.as_ref().is_some_and(|(harm, stage)| {
            let waits = matches!(stage, Stage::Waits { .. });
            fault.touches(harm.partner()) || waits && fault.touches(harm.victim)
        })
    }

    /// Does what is to be done about damage now.
    pub(super) fn tend(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        if self.observer.looks() > self.heard.0 {
            self.heard = (self.observer.looks(), now);
        }
        let Some((harm, stage)) = self.harm.take() else { return };
        let stage = match stage {
            Stage::Waits { until, .. } if now > until => return,
            Stage::Waits { lasts, .. }
                if self.may_begin(cluster, &harm) && self.begin_harm(cluster, &harm) =>
            {
                let Harm { fault, number, .. } = harm;
                cluster.timeline.note(now, &format!("fault: {fault}, for {lasts} ms"));
                self.hurt[harm.victim - SS1] = true;
                self.happened.push(Happened { number, begin: now, end: now + lasts, fault });
                // A power cut that was to come at an operation of its disk does not.
                cluster.hosts[harm.partner()].disk.freeze_at(Count::Ops, u64::MAX);
                let disk = cluster.hosts[harm.victim].disk.clone();
                Stage::Begun { end: now + lasts, disk, done: matches!(fault, Fault::FlipJournal(..)) }
            }
            Stage::Begun { end, disk, done } => {
                let done = done || self.is_done(cluster, &disk);
                let acts = cluster.serves(harm.victim).is_some();
                // What it acknowledges when it acts it may have alone: its disk has to be honest then.
                let honest = !done && acts;
                if honest || (now >= end && !done) {
                    disk.tell_the_truth();
                    cluster.timeline.note(now, &format!("it did not come to it: {}", harm.fault));
                    return;
                }
                if done && acts && matches!(harm.fault, Fault::LoseSyncs(..)) {
                    disk.tell_the_truth();
                    return;
                }
                if now < end {
                    Stage::Begun { end, disk, done }
                } else {
                    cluster.timeline.note(now, &format!("over: {}", harm.fault));
                    self.restart(cluster, &harm);
                    Stage::Mends { looks: self.observer.looks() }
                }
            }
            Stage::Mends { looks } => {
                let is_up = cluster.hosts[harm.victim].condition() == Condition::Runs;
                // One answer may have been under way.
                if is_up && self.observer.looks() > looks + 2 && self.observer.all_are_well() {
                    cluster.lied[harm.victim - SS1] = false;
                    return;
                }
                Stage::Mends { looks }
            }
            stage => stage,
        };
        self.harm = Some((harm, stage));
    }

    /// Nothing is wrong any more, but for what was damaged: that is started on its bad disk.
    pub(super) fn end_harm(&mut self, cluster: &mut Cluster) {
        let Some((harm, stage)) = self.harm.take() else { return };
        if let Stage::Begun { disk, done, .. } = &stage {
            if *done || self.is_done(cluster, disk) {
                self.restart(cluster, &harm);
            } else {
                disk.tell_the_truth();
            }
        }
    }

    /// Whether the partner is well, and known to be; and, where what is written next goes wrong, has everything.
    fn may_begin(&self, cluster: &Cluster, harm: &Harm) -> bool {
        let (victim, other) = (harm.victim, harm.partner());
        let runs = |host: usize| cluster.hosts[host].condition() == Condition::Runs;
        let is_touched = self.present.iter().any(|(_, fault)| fault.touches(other));
        let is_news = cluster.now() - self.heard.1 <= NEWS;
        let serves = cluster.serves(other);
        let has_all = serves.is_some() && self.observer.owes_nothing(&cluster.hosts[other].name, serves);
        let is_enough =
            has_all || matches!(harm.fault, Fault::FlipJournal(..)) && cluster.serves(victim).is_some();
        runs(victim) && runs(other) && !is_touched && is_news && self.observer.all_are_well() && is_enough
    }

    /// Damages the disk, or has it go wrong from now on; whether it could.
    fn begin_harm(&mut self, cluster: &mut Cluster, harm: &Harm) -> bool {
        let (disk, other) = (cluster.hosts[harm.victim].disk.clone(), &cluster.hosts[harm.partner()].disk);
        match harm.fault {
            Fault::FlipJournal(_, number) => {
                let mut random = Rng::with_seed(number as u64);
                let place = (0..TRIES).find_map(|_| {
                    let (name, at) = damage::in_journal(&disk, &mut random)?;
                    let mask = 1 << random.u8(0..8);
                    damage::is_covered(&disk, other, |copy| {
                        copy.flip(&name, at, mask);
                    })
                    .then(|| {
                        disk.flip(&name, at, mask);
                        format!("a bit flips at {at} of {name}")
                    })
                });
                if let Some(place) = &place {
                    cluster.timeline.note(cluster.now(), place);
                    self.history.set_damaged();
                }
                place.is_some()
            }
            Fault::LoseSyncs(_, n) => {
                disk.lose_syncs(&FILES, n);
                true
            }
            Fault::Misdirect(_, number) => {
                let mut random = Rng::with_seed(number as u64);
                (0..TRIES).any(|_| {
                    let Some((name, at)) = damage::page(&disk, &mut random) else { return false };
                    let most = PAGE << random.u32(0..5);
                    let is_covered = damage::is_covered(&disk, other, |copy| {
                        drop(overwrite(copy, &name, at, most + PAGE))
                    });
                    if is_covered {
                        disk.misdirect(&FILES, most as usize, &name, at);
                    }
                    is_covered
                })
            }
            _ => false,
        }
    }

    /// Whether damage was done by now to a disk that goes wrong.
    fn is_done(&self, cluster: &Cluster, disk: &SimDisk) -> bool {
        if let Some(astray) = disk.gone_astray() {
            let log::sim::Astray { meant, is, len } = astray;
            let what = format!("{len} bytes for {} of {} land at {} of {}", meant.1, meant.0, is.1, is.0);
            cluster.timeline.note(cluster.now(), &what);
            self.history.set_damaged();
            return true;
        }
        disk.lost_syncs() > 0
    }

    /// The damaged member is started on its bad disk; what was not synced is lost where that is the damage.
    fn restart(&mut self, cluster: &mut Cluster, harm: &Harm) {
        let loses = matches!(harm.fault, Fault::LoseSyncs(..)) || self.random.bool();
        cluster.lied[harm.victim - SS1] |= !matches!(harm.fault, Fault::FlipJournal(..));
        // What is lost in a segment that others follow is found by whoever reads it.
        self.history.set_damaged();
        let machine = &mut cluster.hosts[harm.victim];
        match machine.condition() {
            // Whoever took it down starts it.
            Condition::Down | Condition::Off => return,
            Condition::Runs if loses => machine.cut_power(self.random.u64(..)),
            _ => machine.kill(),
        }
        cluster.start(harm.victim);
    }
}

/// Puts something else where a write may land.
fn overwrite(disk: &SimDisk, name: &str, at: u64, len: u64) -> std::io::Result<()> {
    let file = disk.open(name, Open::Existing)?;
    let len = len.min(file.len()?.saturating_sub(at));
    file.write_all_at(&vec![0xa5; len as usize], at)
}
