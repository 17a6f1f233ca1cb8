//! Who has reported for a rebuild, and for whom it waits (R26): pure values; the shell collects and tells the time.

use crate::merge;
use std::collections::BTreeMap;
use types::rebuild::StandReport;
use types::record::{Pair, Row, Subject};
use types::{Code, Error, Result};

/// What is known of the members before anything is taken in.
#[derive(Clone, Debug, Default)]
pub struct Gathering {
    reports: BTreeMap<String, StandReport>,
    pairs: BTreeMap<u32, (u64, Pair)>,
}

/// Whether taking in may begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Not yet: for these servers; nobody is named while no server has reported.
    Wait {
        /// Their names.
        servers: Vec<String>,
    },
    /// Yes, with these.
    Begin {
        /// Their reports.
        members: Vec<StandReport>,
        /// Members that have not reported: what only they hold cannot be compared.
        absent: Vec<String>,
    },
}

impl Gathering {
    /// A server stands. New disks, which hold nothing, are not counted.
    ///
    /// # Errors
    /// `WRONG_CLUSTER` when its data belongs to another cluster than that of those before it.
    pub fn stand(&mut self, report: StandReport) -> Result<()> {
        if report.generation == 0 || report.cluster_id.len() != 16 {
            return Ok(());
        }
        if self.cluster_id().is_some_and(|id| id != report.cluster_id) {
            return Err(Error::new(
                Code::WrongCluster,
                format_args!(
                    "the data of {} belongs to another cluster than that of the others",
                    report.server
                ),
                "check its --data and its --nm",
            ));
        }
        self.reports.insert(report.server.clone(), report);
        Ok(())
    }

    /// A server is gone again.
    pub fn leave(&mut self, server: &str) {
        self.reports.remove(server);
    }

    /// What a server knows of pairs.
    pub fn learn(&mut self, rows: &[Row]) {
        for row in rows {
            let Some(Subject::Pair(pair)) = &row.subject else { continue };
            let known = self.pairs.get(&pair.id);
            if known.is_none_or(|(seq, known)| merge::pair_is_newer(pair, row.seq, known, *seq)) {
                self.pairs.insert(pair.id, (row.seq, pair.clone()));
            }
        }
    }

    /// The cluster, once a server with data stands.
    pub fn cluster_id(&self) -> Option<&[u8]> {
        self.reports.values().next().map(|report| &report.cluster_id[..])
    }

    /// The highest generation that was reported.
    pub fn generation(&self) -> u64 {
        self.reports.values().map(|report| report.generation).max().unwrap_or(0)
    }

    /// Those that stand.
    pub fn names(&self) -> Vec<String> {
        self.reports.keys().cloned().collect()
    }

    /// The pairs that are known.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.values().map(|(_, pair)| pair)
    }

    /// Whether all is there that is needed: both members of each pair, or one of them if `accept_one`.
    pub fn verdict(&self, accept_one: bool) -> Verdict {
        let (mut wait, mut absent) = (Vec::new(), Vec::new());
        for pair in self.pairs() {
            let members = [&pair.primary, &pair.backup].into_iter().filter(|name| !name.is_empty());
            let (there, missing): (Vec<_>, Vec<_>) =
                members.partition(|name| self.reports.contains_key(*name));
            let missing = missing.into_iter().cloned();
            match accept_one && !there.is_empty() {
                true => absent.extend(missing),
                false => wait.extend(missing),
            }
        }
        if self.pairs.is_empty() || !wait.is_empty() {
            return Verdict::Wait { servers: wait };
        }
        Verdict::Begin { members: self.reports.values().cloned().collect(), absent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(server: &str, generation: u64) -> StandReport {
        StandReport { server: server.into(), cluster_id: vec![1; 16], generation, ..StandReport::default() }
    }

    fn row(id: u32, seq: u64) -> Row {
        let (primary, backup) = (format!("ss{id}"), format!("ss{id}_backup"));
        let pair = Pair { id, name: primary.clone(), primary, backup, epoch: 1, ..Pair::default() };
        Row { seq, subject: Some(Subject::Pair(pair)) }
    }

    fn waits(gathering: &Gathering, accept_one: bool) -> Vec<String> {
        match gathering.verdict(accept_one) {
            Verdict::Wait { servers } => servers,
            Verdict::Begin { .. } => panic!("it does not wait"),
        }
    }

    #[test]
    fn a_rebuild_waits_for_both_members_of_each_pair_and_says_for_whom() {
        let mut gathering = Gathering::default();
        assert!(waits(&gathering, true).is_empty(), "nobody knows yet for whom");
        gathering.stand(report("ss1", 5)).unwrap();
        gathering.learn(&[row(1, 3), row(2, 4)]);
        assert_eq!(waits(&gathering, false), ["ss1_backup", "ss2", "ss2_backup"]);
        for name in ["ss1_backup", "ss2"] {
            gathering.stand(report(name, 5)).unwrap();
        }
        assert_eq!(waits(&gathering, false), ["ss2_backup"]);
        gathering.stand(report("ss2_backup", 7)).unwrap();
        let Verdict::Begin { members, absent } = gathering.verdict(false) else { panic!("all are there") };
        assert_eq!((members.len(), absent.len(), gathering.generation()), (4, 0, 7));
    }

    #[test]
    fn with_the_switch_one_member_of_each_pair_is_enough_and_the_others_are_named() {
        let mut gathering = Gathering::default();
        gathering.stand(report("ss1_backup", 5)).unwrap();
        gathering.learn(&[row(1, 3), row(2, 4)]);
        assert_eq!(waits(&gathering, true), ["ss2", "ss2_backup"], "of the second there is none");
        gathering.stand(report("ss2", 5)).unwrap();
        let Verdict::Begin { absent, .. } = gathering.verdict(true) else { panic!("one each is there") };
        assert_eq!(absent, ["ss1", "ss2_backup"]);
        gathering.leave("ss2");
        assert_eq!(waits(&gathering, true), ["ss2", "ss2_backup"]);
    }

    #[test]
    fn a_server_of_another_cluster_is_refused_and_an_empty_disk_does_not_count() {
        let mut gathering = Gathering::default();
        gathering.stand(StandReport { server: "ss1".into(), ..StandReport::default() }).unwrap();
        assert!(gathering.names().is_empty());
        gathering.stand(report("ss1", 5)).unwrap();
        let foreign = StandReport { cluster_id: vec![2; 16], ..report("ss1_backup", 5) };
        assert_eq!(gathering.stand(foreign).unwrap_err().code, Code::WrongCluster);
    }
}
