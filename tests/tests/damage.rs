//! One file of a stopped server is damaged, each in each way. The server may do without it, or end with a word that says what
//! to do, which then works; nothing wrong is ever served, and in the end everything is there again on both.
//!
//! Where in a file is drawn by a seed. By hand, any number of others: `PAIRFS_DAMAGE_SEED=N PAIRFS_DAMAGE_ROUNDS=N cargo test
//! -p pairfs-tests --test damage`.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, all_active, is_gone, pair};
use pairfs_tests::command::Started;
use pairfs_tests::wait::within;
use pairfs_tests::workload::filled;
use std::path::{Path, PathBuf};

/// What there is, and the length of it.
const FILES: [(&str, usize); 4] =
    [("/docs/small", 60), ("/docs/inline", 3_000), ("/docs/chunk", 60_000), ("/docs/large", 1_500_000)];
/// What was removed and must stay so.
const GONE: [&str; 2] = ["/removed", "/trashed"];
/// A case that needs more repairs than this does not end.
const REPAIRS: usize = 4;

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn fill(cluster: &Cluster) {
    for (path, length) in FILES {
        cluster.write(path, b"an old version");
        cluster.write(path, &filled(7, length));
    }
    for path in GONE {
        cluster.write(path, b"removed");
    }
    cluster.pairfs(&["rm", "--now", GONE[0]]).ok();
    cluster.pairfs(&["rm", GONE[1]]).ok();
    cluster.wait_settled();
}

/// What can be read is right: whatever is damaged, nothing else is ever answered.
fn check_answers(cluster: &Cluster) {
    for (path, length) in FILES {
        let ran = cluster.pairfs(&["read", path, "--timeout", "1"]);
        match ran.status {
            0 => assert!(ran.stdout == filled(7, length), "{path} is read with other bytes"),
            // Nobody serves it now, or the good copy is not there.
            6 | 7 => {}
            // The key is made anew with the name manager.
            5 if ran.stderr.contains("key") => {}
            other => panic!("{path}: status {other}: {}", ran.stderr),
        }
    }
}

/// Everything is there, on both. What nobody has read since it went bad is found by a scrub.
fn check_all(cluster: &Cluster) {
    cluster.wait_settled();
    cluster.pairfs(&["scrub"]).ok();
    for (path, length) in FILES {
        assert!(cluster.read(path) == filled(7, length), "{path}");
        assert_eq!(cluster.info(path)["versions"].as_array().map(Vec::len), Some(2), "{path}");
    }
    for path in GONE {
        cluster.pairfs(&["read", path]).exits(3);
    }
    cluster.assert_copies_equal();
}

/// A way to damage a file.
#[derive(Clone, Copy, Debug)]
enum Hurt {
    /// One bit, in what was written first, as a vote or a head.
    FlipFirst,
    /// One bit anywhere.
    Flip,
    /// One bit of what was written last.
    FlipLast,
    /// 64 bytes of something else.
    Noise,
    /// Cut off somewhere.
    Truncate,
    /// No byte is left.
    Empty,
    /// It is not there.
    Delete,
}

const ALL: [Hurt; 7] =
    [Hurt::FlipFirst, Hurt::Flip, Hurt::FlipLast, Hurt::Noise, Hurt::Truncate, Hurt::Empty, Hurt::Delete];

impl Hurt {
    fn apply(self, path: &Path, random: &mut fastrand::Rng) {
        if matches!(self, Hurt::Delete) {
            return std::fs::remove_file(path).unwrap();
        }
        let mut bytes = std::fs::read(path).unwrap();
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let some =
            |random: &mut fastrand::Rng, from: usize, to: usize| used[random.usize(from..to.max(from + 1))];
        let (length, edge) = (used.len(), 100.min(used.len()));
        let at = match self {
            Hurt::FlipFirst => some(random, 0, edge),
            Hurt::FlipLast => some(random, length - edge, length),
            _ => some(random, 0, length),
        };
        match self {
            Hurt::Noise => {
                let end = bytes.len().min(at + 64);
                bytes[at..end].iter_mut().for_each(|byte| *byte = random.u8(..));
            }
            Hurt::Truncate => bytes.truncate(at),
            Hurt::Empty => bytes.clear(),
            _ => bytes[at] ^= 1 << random.u32(0..8),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// The file of a folder that is used most; others may be kept ready.
fn fullest(folder: PathBuf) -> PathBuf {
    let there = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let used = |path: &PathBuf| std::fs::read(path).unwrap().iter().filter(|byte| **byte != 0).count();
    there.max_by_key(used).expect("there is one")
}

/// Starts members again, and does what they say when one ends.
struct Operator<'a> {
    cluster: &'a Cluster,
    /// Started with more than its usual words: it keeps running as long as this is there.
    replaced: Vec<Started>,
    repairs: usize,
}

impl Operator<'_> {
    fn start(&mut self, member: &str) {
        let ran = self.cluster.pairfs(&["node", "start", member]);
        if ran.status != 0 {
            self.follow(member, ran.status, &ran.stderr);
        }
    }

    /// What it said when it ended is a way out.
    fn follow(&mut self, member: &str, status: i32, said: &str) {
        self.repairs += 1;
        assert!(self.repairs <= REPAIRS, "{member} still ends after {REPAIRS} repairs: {said}");
        assert!([5, 7].contains(&status), "{member} ended with {status}: {said}");
        if said.contains("--replace-disk") {
            self.move_away(member);
            let started =
                self.cluster.start_on_disk(member, &self.cluster.disk(member), false, &["--replace-disk"]);
            self.replaced.push(started);
        } else if said.contains("--rebuild") {
            if self.runs("nm") {
                self.cluster.kill9("nm");
                // One whose own data opens is only replaced when that is taken away.
                self.move_away("nm");
            }
            self.cluster.pairfs(&["node", "start", "nm", "--rebuild"]).ok();
            if member != "nm" {
                self.start(member);
            }
        } else {
            panic!("{member} ended and does not say what to do: {said}");
        }
    }

    fn move_away(&self, member: &str) {
        let mut asides = (1..).map(|number| self.cluster.dir().join(format!("{member}.aside{number}")));
        let aside = asides.find(|path| !path.exists()).expect("a free name");
        std::fs::rename(self.cluster.disk(member), aside).unwrap();
    }

    fn runs(&self, member: &str) -> bool {
        let text =
            std::fs::read_to_string(self.cluster.dir().join(format!("{member}.pid"))).unwrap_or_default();
        let pid = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| !is_gone(pid))
    }

    /// Until the pair is whole, doing what has to be done meanwhile.
    fn until_whole(&mut self) {
        let whole = |cluster: &Cluster| {
            let status = cluster.try_status().ok_or("no name manager answers")?;
            let pair = pair(&status);
            let rest = [&pair["lag_rows"], &pair["at_risk_files"], &pair["owed_versions"]];
            let is_whole = all_active(&status) && rest.iter().all(|count| **count == 0);
            if is_whole { Ok(()) } else { Err("it is not whole") }
        };
        loop {
            let cluster = self.cluster;
            let (gone, _) = within(LATER, "the pair to be whole, or a server to end", || {
                let gone = cluster.members().into_iter().find(|member| !self.runs(member));
                match gone {
                    Some(member) => Ok(Some(member)),
                    None => whole(cluster).map(|()| None),
                }
            });
            let Some(member) = gone else { return };
            let log =
                std::fs::read_to_string(cluster.dir().join(format!("{member}.log"))).unwrap_or_default();
            let last = log.lines().rfind(|line| line.starts_with("error[")).unwrap_or_default().to_owned();
            self.follow(&member, if last.starts_with("error[DAMAGED]") { 7 } else { 5 }, &last);
        }
    }
}

/// Damages `file` of `member` in one way after the other.
fn damage(member: &str, name: &str, ways: &[Hurt], file: impl Fn(&Cluster) -> PathBuf) {
    let seed = from_environment("PAIRFS_DAMAGE_SEED", 1);
    let rounds = from_environment("PAIRFS_DAMAGE_ROUNDS", 1);
    let cluster = Cluster::start(true);
    fill(&cluster);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        for hurt in ways.iter().copied() {
            eprintln!("{member}: {name}: {hurt:?}, round {round} of seed {seed}");
            cluster.kill9(member);
            hurt.apply(&file(&cluster), &mut random);
            let mut operator = Operator { cluster: &cluster, replaced: Vec::new(), repairs: 0 };
            operator.start(member);
            check_answers(&cluster);
            operator.until_whole();
            check_all(&cluster);
            for started in operator.replaced {
                started.kill();
                cluster.wait(LATER, "it to be missed", |status| !all_active(status));
                cluster.node_start(member);
                cluster.wait_settled();
            }
        }
    }
}

#[test]
fn a_damaged_log_of_the_name_manager_loses_no_file() {
    damage("nm", "log", &ALL, |cluster| fullest(cluster.disk("nm").join("raft")));
}

#[test]
fn a_damaged_state_of_the_name_manager_loses_no_file() {
    damage("nm", "state", &ALL, |cluster| cluster.disk("nm").join("state.redb"));
}

#[test]
fn a_damaged_journal_of_a_primary_loses_no_file() {
    damage("ss1", "journal", &ALL, |cluster| fullest(cluster.disk("ss1").join("store/journal")));
}

#[test]
fn a_damaged_index_of_a_backup_loses_no_file() {
    damage("ss1_backup", "index", &ALL, |cluster| cluster.disk("ss1_backup").join("store/index.redb"));
}

#[test]
fn damaged_contents_of_a_primary_lose_no_file() {
    damage("ss1", "extents", &ALL, |cluster| fullest(cluster.disk("ss1").join("store/extents")));
}

#[test]
fn a_damaged_identity_of_a_backup_loses_no_file() {
    damage("ss1_backup", "identity", &ALL, |cluster| cluster.disk("ss1_backup").join("identity"));
}
