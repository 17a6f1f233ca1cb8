//! A copy of a disk on which a second server of the same name starts, beside the first one or in its place (R7).
//!
//! In the end only one of the two disks stays: the one of the server that is registered, which has everything that was
//! acknowledged; the name manager is asked which that is, while both are stopped. Until then no disk is damaged or replaced.

use super::Sky;
use crate::cluster::Cluster;
use crate::network::Tick;

/// Answers of the name manager after which one is sure to be of now.
const ANSWERS: u64 = 3;
/// How long the name manager may take to answer when everything is mended, ms.
const LONG: Tick = 60_000;

/// How far it is.
pub(super) enum Copy {
    /// A server runs on it, until then.
    Runs { end: Tick },
    /// It is asked for which one is the newest, since there had been so many answers.
    Asks { looks: u64 },
}

impl Sky {
    /// Starts a server on a copy, until `end`; whether it could.
    pub(super) fn begin_copy(&mut self, cluster: &mut Cluster, of: usize, end: Tick) -> bool {
        if self.copy.is_some() || self.harm.is_some() {
            return false;
        }
        if let Err(error) = cluster.start_twin(of) {
            cluster.timeline.note(cluster.now(), &format!("there is no copy: {error}"));
            return false;
        }
        self.copy = Some(Copy::Runs { end });
        true
    }

    /// Does what is to be done about a copy now.
    pub(super) fn tend_copy(&mut self, cluster: &mut Cluster) {
        match self.copy.take() {
            Some(Copy::Runs { end }) if cluster.now() >= end || !cluster.twin_runs() => {
                if cluster.twin_runs() {
                    cluster.stop_twins();
                }
                self.copy = Some(Copy::Asks { looks: self.observer.looks() });
            }
            Some(Copy::Asks { looks }) if self.observer.looks() >= looks + ANSWERS => {
                let Some(of) = cluster.twin_of() else { return };
                let addr = self.observer.address(&cluster.hosts[of].name);
                let is_newest = addr.starts_with(&format!("{}:", cluster.twin_ip()));
                if is_newest {
                    // The image may be of what the other one did since.
                    self.image = None;
                }
                if let Err(error) = cluster.end_twin(is_newest) {
                    cluster
                        .timeline
                        .note(cluster.now(), &format!("the copy cannot be put in place: {error}"));
                }
            }
            other => self.copy = other,
        }
    }

    /// Everything is mended: one of the two disks stays.
    pub(super) fn end_copy(&mut self, cluster: &mut Cluster) {
        if let Some(Copy::Runs { .. }) = self.copy {
            self.copy = Some(Copy::Runs { end: cluster.now() });
        }
        let begin = cluster.now();
        while self.copy.is_some() && cluster.now() < begin + LONG {
            self.tend_copy(cluster);
            cluster.tick();
        }
    }
}
