//! What an operation costs each process: processor time and voluntary context switches, from `/proc`.
//!
//! Unlike a rate it hardly depends on what else the machine does.

use crate::local::cluster::Cluster;
use crate::local::process::Running;
use std::path::PathBuf;

/// Of one process: all its threads, since it started or for one operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    /// `client` or the member's name.
    pub(super) process: String,
    /// Processor time, us.
    pub(super) micros: f64,
    /// Times a thread went to sleep.
    pub(super) sleeps: f64,
}

/// Reads what the processes of a cluster and this one have used.
pub(super) struct Meter {
    processes: Vec<(String, PathBuf)>,
}

impl Meter {
    pub(super) fn new(cluster: &Cluster) -> Meter {
        let mut processes = vec![("client".to_owned(), PathBuf::from("/proc/self/task"))];
        for member in cluster.members() {
            if let Some(running) = Running::find(cluster, &member.name) {
                processes.push((member.name.clone(), format!("/proc/{}/task", running.pid()).into()));
            }
        }
        Meter { processes }
    }

    /// What was used so far; a process of which the system does not tell is left out.
    pub(super) fn read(&self) -> Vec<Cost> {
        self.processes.iter().filter_map(|(process, tasks)| used(process, tasks)).collect()
    }

    /// What each of `operations` has used since `before`.
    pub(super) fn since(&self, before: &[Cost], operations: usize) -> Vec<Cost> {
        let count = operations.max(1) as f64;
        let mut costs = self.read();
        costs.retain_mut(|cost| {
            let Some(before) = before.iter().find(|before| before.process == cost.process) else {
                return false;
            };
            cost.micros = (cost.micros - before.micros) / count;
            cost.sleeps = (cost.sleeps - before.sleeps) / count;
            true
        });
        costs
    }
}

fn used(process: &str, tasks: &PathBuf) -> Option<Cost> {
    let mut cost = Cost { process: process.to_owned(), micros: 0.0, sleeps: 0.0 };
    for task in std::fs::read_dir(tasks).ok()? {
        let task = task.ok()?.path();
        // A thread may end meanwhile.
        let Ok(scheduled) = std::fs::read_to_string(task.join("schedstat")) else { continue };
        cost.micros += scheduled.split(' ').next()?.parse::<f64>().ok()? / 1e3;
        let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        cost.sleeps += sleeps.and_then(|count| count.trim().parse::<f64>().ok()).unwrap_or(0.0);
    }
    Some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_between_two_readings_is_seen() {
        let tasks = PathBuf::from("/proc/self/task");
        let before = used("client", &tasks).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 30 {}
        let after = used("client", &tasks).unwrap();
        assert!(after.micros > before.micros, "{before:?} {after:?}");
    }
}
