//! What befalls the hosts of a cluster and the ways between them; when it may, is the matter of [`crate::sky`].

use crate::cluster::{BACKUP, Cluster, NM, SS1};
use crate::host::{Condition, DiskPace};
use crate::network::{Latency, Tick};
use fastrand::Rng;
use log::sim::{Count, SimDisk};
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
    /// The host is suspended, and goes on.
    Suspend(usize),
    /// Nothing gets from one host to another.
    CutOneWay(usize, usize),
    /// Nothing gets from either to the other.
    Cut(usize, usize),
    /// All streams between two hosts break.
    Break(usize, usize),
    /// The same; the first is told at once, and what it had sent arrives at the other so many ms later.
    BreakLate(usize, usize, Tick),
    /// Some of what is sent takes long.
    SlowNetwork,
    /// Its disk is slow.
    SlowDisk(usize),
    /// The disk of a storage server has room for so many bytes more.
    FullDisk(usize, u64),
    /// A bit flips in a large content that both storage servers have; which one is drawn.
    FlipBit(usize, usize),
    /// A bit flips in the journal of a storage server: in a record that is proved to be durable, or in the header of a segment.
    FlipJournal(usize, usize),
    /// `kill -9`, and a bit flips in the index of a storage server, which it makes anew from its journal.
    FlipIndex(usize, usize),
    /// So many syncs of the disk of a storage server that does not act do nothing; it loses power at the end.
    LoseSyncs(usize, u64),
    /// A write of a storage server that does not act lands somewhere else on its disk.
    Misdirect(usize, usize),
    /// A second server of its name starts on a copy of its disk.
    Copy(usize),
    /// `kill -9`, and if nothing is lost by it, it gets another disk until its end: an old image of its own, or an empty one.
    Replace(usize, bool),
}

/// The longest that something sent on a broken connection is on its way, ms.
const LATEST: Tick = 3000;
/// Room of a disk that nobody fills, in bytes.
pub const ROOMY: u64 = 1 << 40;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |host: &usize| ["nm", "ss1", "ss1_backup"].get(*host).copied().unwrap_or("a client");
        match self {
            Fault::Kill(host) => write!(f, "kill -9 of {}", name(host)),
            Fault::PowerCut(host) => write!(f, "power cut of {}", name(host)),
            Fault::PowerCutAt(host, ops) => write!(f, "power cut of {} in {ops} disk operations", name(host)),
            Fault::Pause(host) => write!(f, "{} stopped", name(host)),
            Fault::Suspend(host) => write!(f, "{} suspended", name(host)),
            Fault::CutOneWay(from, to) => write!(f, "nothing gets from {} to {}", name(from), name(to)),
            Fault::Cut(one, other) => write!(f, "{} and {} cut off from each other", name(one), name(other)),
            Fault::Break(one, other) => {
                write!(f, "connections between {} and {} break", name(one), name(other))
            }
            Fault::BreakLate(from, to, late) => {
                let (from, to) = (name(from), name(to));
                write!(f, "connections of {from} to {to} break, and what it sent arrives {late} ms late")
            }
            Fault::SlowNetwork => f.write_str("the network is slow"),
            Fault::SlowDisk(host) => write!(f, "the disk of {} is slow", name(host)),
            Fault::FullDisk(host, room) => {
                write!(f, "the disk of {} has room for {} KiB", name(host), room / 1024)
            }
            Fault::FlipBit(host, _) => write!(f, "a bit flips on the disk of {}", name(host)),
            Fault::FlipJournal(host, _) => write!(f, "a bit flips in the journal of {}", name(host)),
            Fault::FlipIndex(host, _) => write!(f, "a bit flips in the index of {}", name(host)),
            Fault::LoseSyncs(host, syncs) => write!(f, "the disk of {} loses {syncs} syncs", name(host)),
            Fault::Misdirect(host, _) => write!(f, "a write of {} lands somewhere else", name(host)),
            Fault::Copy(host) => write!(f, "a copy of {} beside it", name(host)),
            Fault::Replace(host, true) => write!(f, "the disk of {} becomes an old image", name(host)),
            Fault::Replace(host, false) => write!(f, "the disk of {} becomes an empty one", name(host)),
        }
    }
}

impl Fault {
    /// Any of them; `victim` is the storage server whose disk may be replaced.
    pub fn draw(random: &mut Rng, hosts: usize, victim: usize) -> Fault {
        let server = [NM, SS1, SS1, BACKUP, BACKUP][random.usize(0..5)];
        let one = random.usize(0..hosts);
        let other = (one + random.usize(1..hosts)) % hosts;
        let member = [SS1, BACKUP][random.usize(0..2)];
        match random.u8(0..42) {
            0..5 => Fault::Kill(server),
            5..7 => Fault::PowerCut(server),
            7..10 => Fault::PowerCutAt(server, random.u64(1..60)),
            10..13 => Fault::Pause(random.usize(0..hosts)),
            13 => Fault::CutOneWay(one, other),
            14..16 => Fault::Cut(one, other),
            16 => Fault::Break(one, other),
            17 => Fault::SlowNetwork,
            // Less than the reserve; or what a few contents take.
            18 => Fault::FullDisk(member, random.u64(64 << 20..128 << 20)),
            19 => Fault::FullDisk(member, random.u64(0..2 << 20)),
            20..22 => Fault::FlipBit(member, random.usize(..)),
            22..24 => Fault::Replace(victim, random.bool()),
            24..26 => Fault::Suspend(random.usize(0..hosts)),
            26..28 => Fault::BreakLate(one, other, random.u64(1..LATEST)),
            28..31 => Fault::FlipJournal(member, random.usize(..)),
            31..33 => Fault::LoseSyncs(member, random.u64(1..12)),
            35..37 => Fault::Copy(member),
            33..35 => Fault::Misdirect(member, random.usize(..)),
            39..42 => Fault::FlipIndex(member, random.usize(..)),
            _ => Fault::SlowDisk(server),
        }
    }

    /// Whether it may keep this host from being there when it is needed.
    pub(crate) fn touches(self, host: usize) -> bool {
        match self {
            Fault::Kill(one)
            | Fault::PowerCut(one)
            | Fault::PowerCutAt(one, _)
            | Fault::Pause(one)
            | Fault::Suspend(one)
            | Fault::SlowDisk(one)
            | Fault::FullDisk(one, _)
            | Fault::FlipBit(one, _)
            | Fault::FlipJournal(one, _)
            | Fault::FlipIndex(one, _)
            | Fault::LoseSyncs(one, _)
            | Fault::Misdirect(one, _)
            | Fault::Copy(one)
            | Fault::Replace(one, _) => one == host,
            Fault::CutOneWay(one, other) | Fault::Cut(one, other) => [one, other].contains(&host),
            // They are known to be no failure: whoever is asked answers, on another connection.
            Fault::Break(..) | Fault::BreakLate(..) => false,
            Fault::SlowNetwork => true,
        }
    }

    /// Whether it can happen now.
    pub(crate) fn is_possible(self, cluster: &Cluster) -> bool {
        let runs = |host: usize| cluster.hosts[host].condition() == Condition::Runs;
        match self {
            Fault::Kill(host)
            | Fault::PowerCut(host)
            | Fault::PowerCutAt(host, _)
            | Fault::Pause(host)
            | Fault::Suspend(host)
            | Fault::FlipIndex(host, _)
            | Fault::Replace(host, _) => runs(host),
            _ => true,
        }
    }

    /// It begins.
    pub(crate) fn begin(self, cluster: &mut Cluster, random: &mut Rng) {
        let ip = |cluster: &Cluster, host: usize| cluster.hosts[host].ip;
        match self {
            Fault::Kill(host) | Fault::FlipIndex(host, _) | Fault::Replace(host, _) => {
                cluster.hosts[host].kill();
            }
            Fault::PowerCut(host) => cluster.hosts[host].cut_power(random.u64(..)),
            Fault::PowerCutAt(host, ops) => {
                let disk = &cluster.hosts[host].disk;
                disk.freeze_at(Count::Ops, disk.count(Count::Ops) + ops);
            }
            Fault::Pause(host) => cluster.hosts[host].pause(),
            Fault::Suspend(host) => cluster.hosts[host].suspend(),
            Fault::CutOneWay(from, to) => cluster.network.cut(ip(cluster, from), ip(cluster, to)),
            Fault::Cut(one, other) => {
                let (one, other) = (ip(cluster, one), ip(cluster, other));
                cluster.network.cut(one, other);
                cluster.network.cut(other, one);
            }
            Fault::Break(one, other) => {
                cluster.network.break_streams(ip(cluster, one), ip(cluster, other));
            }
            Fault::BreakLate(from, to, late) => {
                cluster.network.break_streams_late(ip(cluster, from), ip(cluster, to), late);
            }
            Fault::SlowNetwork => {
                cluster.network.set_latency(Latency { jitter: 5, slow_one_in: 20, slow: 400 });
            }
            Fault::SlowDisk(host) => cluster.hosts[host].set_pace(DiskPace { jitter: 60 }),
            Fault::FullDisk(host, room) => cluster.hosts[host].disk.set_full(room),
            // The sky knows what both have.
            Fault::FlipBit(..) | Fault::FlipJournal(..) | Fault::LoseSyncs(..) | Fault::Misdirect(..) => {}
            Fault::Copy(_) => {}
        }
    }

    /// It is over.
    pub(crate) fn end(self, cluster: &mut Cluster) {
        match self {
            Fault::Kill(host)
            | Fault::PowerCut(host)
            | Fault::PowerCutAt(host, _)
            | Fault::FlipIndex(host, _)
            | Fault::Replace(host, _) => {
                if matches!(cluster.hosts[host].condition(), Condition::Down | Condition::Off) {
                    cluster.start(host);
                }
            }
            Fault::Pause(host) => cluster.hosts[host].go_on(),
            Fault::CutOneWay(..) | Fault::Cut(..) => cluster.network.mend(),
            Fault::Suspend(host) => cluster.hosts[host].resume(),
            Fault::Break(..) | Fault::BreakLate(..) | Fault::FlipBit(..) => {}
            Fault::FlipJournal(..) | Fault::LoseSyncs(..) | Fault::Misdirect(..) | Fault::Copy(_) => {}
            Fault::SlowNetwork => cluster.network.set_latency(Latency::default()),
            Fault::SlowDisk(host) => cluster.hosts[host].set_pace(DiskPace { jitter: 1 }),
            Fault::FullDisk(host, _) => cluster.hosts[host].disk.set_full(ROOMY),
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
