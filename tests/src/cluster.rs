//! A cluster of real processes in a temporary folder.

use crate::command::{self, Ran, Started};
use crate::turns::Turn;
use crate::wait::{until, within};
use crate::workload::Ledger;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

/// What should happen soon, on a machine that may be busy.
pub const SOON: Duration = Duration::from_secs(30);
/// What takes the time of a normal-pace failure, and some.
pub const LATER: Duration = Duration::from_secs(60);

/// How to start a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Failures are found within 1.5 s rather than 20.
    pub fast: bool,
    /// Pairs.
    pub pairs: u32,
    /// No other cluster of this test program runs meanwhile: for tests that measure time.
    pub alone: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { fast: true, pairs: 1, alone: false }
    }
}

/// A running cluster. When dropped, also by a failed test, everything is killed and removed; a failed test
/// prints the ends of the servers' logs first.
pub struct Cluster {
    // In the order of dropping: the processes are gone before their folder, the turn goes last.
    up: Mutex<Option<Started>>,
    folder: TempDir,
    _turn: Turn,
}

impl Cluster {
    /// Starts a name manager and one pair; every pair is active when this returns.
    pub fn start(fast: bool) -> Cluster {
        Cluster::with(Options { fast, ..Options::default() })
    }

    /// Starts a cluster; every pair is active when this returns.
    pub fn with(options: Options) -> Cluster {
        let cluster = Cluster::empty(options.alone);
        let pairs = options.pairs.to_string();
        let mut words = vec!["up", "--pairs", pairs.as_str()];
        words.extend(options.fast.then_some("--fast"));
        cluster.up(&words);
        cluster
    }

    /// A place for a cluster that does not run.
    pub fn empty(alone: bool) -> Cluster {
        let _turn = Turn::take(alone);
        let folder = tempfile::Builder::new().prefix("pairfs-test-").tempdir().expect("a temporary folder");
        Cluster { up: Mutex::new(None), folder, _turn }
    }

    /// Runs `up` and waits until it says that the cluster serves.
    pub fn up(&self, words: &[&str]) {
        let mut up = command::command(Some(&self.dir()), &[&["--json"], words].concat());
        // Even if this test is killed, nothing is left behind.
        up.env("PAIRFS_PARENT", std::process::id().to_string());
        let mut started = command::start(up);
        let (serves, _) = within(LATER, "the cluster to serve", || match started.has_spoken() {
            true => Ok(true),
            false if started.runs() => Err("up is silent"),
            false => Ok(false),
        });
        if !serves {
            panic!("`pairfs up` ended: {:?}", started.end());
        }
        assert!(all_active(&self.status()));
        *self.up.lock().unwrap() = Some(started);
    }

    /// The `up` that keeps it, taken out: the cluster goes on, but whoever has it decides how it ends.
    pub fn take_up(&self) -> Started {
        self.up.lock().unwrap().take().expect("up runs")
    }

    /// The cluster's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder beside it, for local files.
    pub fn desk(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command on it.
    pub fn pairfs(&self, words: &[&str]) -> Ran {
        self.pairfs_with(words, b"")
    }

    /// Runs a command on it with `input`.
    pub fn pairfs_with(&self, words: &[&str], input: &[u8]) -> Ran {
        command::run(command::command(Some(&self.dir()), words), input)
    }

    /// Starts a command on it.
    pub fn begin(&self, words: &[&str]) -> Started {
        command::start(command::command(Some(&self.dir()), words))
    }

    /// Writes a file (and its folders) and gives the receipt.
    #[track_caller]
    pub fn write(&self, path: &str, content: &[u8]) -> Value {
        self.pairfs_with(&["--json", "write", path, "-", "-p"], content).ok().json()
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, path: &str) -> Vec<u8> {
        self.pairfs(&["read", path]).ok().stdout
    }

    /// `info --json` of a path.
    #[track_caller]
    pub fn info(&self, path: &str) -> Value {
        self.pairfs(&["--json", "info", path]).ok().json()
    }

    /// `status --json`, if the name manager answers.
    pub fn try_status(&self) -> Option<Value> {
        let ran = self.pairfs(&["--json", "status", "--timeout", "2"]);
        if ran.status == 0 { serde_json::from_slice(&ran.stdout).ok() } else { None }
    }

    /// `status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.pairfs(&["--json", "status"]).ok().json()
    }

    /// `events --json`, all of them.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.pairfs(&["--json", "events"]).ok().json_lines()
    }

    /// The events of one kind about one server.
    #[track_caller]
    pub fn events_of(&self, kind: &str, server: &str) -> Vec<Value> {
        let is_it = |event: &Value| event["kind"] == kind && event["server"] == server;
        self.events().into_iter().filter(is_it).collect()
    }

    /// Waits until the status is as wanted; gives it and the time it took.
    pub fn wait(&self, most: Duration, what: &str, holds: impl Fn(&Value) -> bool) -> (Value, Duration) {
        within(most, what, || match self.try_status() {
            Some(status) if holds(&status) => Ok(status),
            other => Err(other),
        })
    }

    /// Waits until `server` acts in the first pair.
    pub fn wait_acting(&self, server: &str, most: Duration) -> Duration {
        self.wait(most, &format!("{server} to act"), |status| pair(status)["acting"] == server).1
    }

    /// Waits until every pair is active, nothing lags and nothing is owed.
    pub fn wait_settled(&self) -> Value {
        let settled = |status: &Value| {
            let pairs = status["pairs"].as_array().expect("status lists pairs");
            all_active(status)
                && pairs.iter().all(|pair| {
                    pair["lag_rows"] == 0 && pair["at_risk_files"] == 0 && pair["owed_versions"] == 0
                })
        };
        self.wait(LATER, "the cluster to settle", settled).0
    }

    /// Waits until it is settled, then compares index, records and chunks of both members of each pair.
    #[track_caller]
    pub fn assert_copies_equal(&self) {
        self.wait_settled();
        self.pairfs(&["fsck"]).ok();
    }

    /// Every request under load was answered, both copies of everything are equal, and every acknowledged byte is there.
    ///
    /// # Panics
    /// With what is not so.
    #[track_caller]
    pub fn assert_whole(&self, ledger: &Ledger) {
        assert_eq!(ledger.unknown(), 0, "a client was left without an answer");
        self.assert_copies_equal();
        ledger.verify(self);
    }

    /// Makes the other member of the first pair act, without a failure.
    #[track_caller]
    pub fn switch_over(&self) -> String {
        let before = pair(&self.status())["acting"].clone();
        self.pairfs(&["pair", "switchover", "ss1"]).ok();
        let changed = |status: &Value| {
            let acting = &pair(status)["acting"];
            acting.is_string() && *acting != before
        };
        let (status, _) = self.wait(SOON, "the other member to act", changed);
        pair(&status)["acting"].as_str().expect("a name").to_owned()
    }

    /// The process id of a member.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self, name: &str) -> Pid {
        self.find_pid(name).unwrap_or_else(|| panic!("{name} has no process id"))
    }

    fn find_pid(&self, name: &str) -> Option<Pid> {
        let text = std::fs::read_to_string(self.dir().join(format!("{name}.pid"))).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// `kill -9`; gone when this returns.
    pub fn kill9(&self, name: &str) {
        let pid = self.pid(name);
        kill_process(pid, Signal::KILL).unwrap();
        until(SOON, &format!("{name} to be gone"), || is_gone(pid));
    }

    /// SIGSTOP: it is there, but does nothing.
    pub fn freeze(&self, name: &str) {
        kill_process(self.pid(name), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub fn thaw(&self, name: &str) {
        kill_process(self.pid(name), Signal::CONT).unwrap();
    }

    /// Starts a member that does not run.
    #[track_caller]
    pub fn node_start(&self, name: &str) {
        self.pairfs(&["node", "start", name]).ok();
    }

    /// Stops a member cleanly.
    #[track_caller]
    pub fn node_stop(&self, name: &str) {
        self.pairfs(&["node", "stop", name]).ok();
    }

    /// The data folder of a member.
    pub fn disk(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Starts the storage server `name` by hand on `data`, where it always listens or, with `elsewhere`, on another
    /// port. One on its own folder is a member like any other from then on: it is found by its name and killed at the
    /// end.
    pub fn start_on_disk(&self, name: &str, data: &Path, elsewhere: bool, words: &[&str]) -> Started {
        let (nm, listen) = (self.addr("nm"), self.addr(name));
        let listen = if elsewhere { "127.0.0.1:0" } else { listen.as_str() };
        let secret = self.dir().join("cluster.secret");
        let mut command = command::command(None, &["ss", "--name", name, "--nm", &nm, "--listen", listen]);
        command.arg("--data").arg(data).arg("--cluster-secret").arg(secret).args(words);
        command.env("PAIRFS_PARENT", std::process::id().to_string()).current_dir(self.desk());
        let started = command::start(command);
        if data == self.disk(name) {
            std::fs::write(self.dir().join(format!("{name}.pid")), format!("{}\n", started.pid())).unwrap();
        }
        started
    }

    /// The address of a member, from `cluster.toml`.
    pub fn addr(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir().join("cluster.toml")).expect("there is a cluster");
        let mut lines = text.lines().skip_while(|line| *line != format!("name = \"{name}\""));
        let addr = lines.find_map(|line| line.strip_prefix("addr = \"")?.strip_suffix('"'));
        addr.unwrap_or_else(|| panic!("{name} has no address in {text}")).to_owned()
    }

    /// The names of all members.
    pub fn members(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir().join("cluster.toml")).unwrap_or_default();
        let name = |line: &str| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned);
        text.lines().filter_map(name).collect()
    }

    fn print_logs(&self) {
        const LINES: usize = 40;
        let mut out = std::io::stderr().lock();
        for name in self.members() {
            let log = std::fs::read(self.dir().join(format!("{name}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let _ = writeln!(out, "---- the end of {name}.log");
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                let _ = writeln!(out, "{line}");
            }
        }
    }
}

impl command::Shell for Cluster {
    fn run(&self, words: &[&str], input: &[u8]) -> Ran {
        self.pairfs_with(words, input)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // First who would start them again or stop them slowly.
        if let Some(up) = self.up.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            up.kill();
        }
        for name in self.members() {
            // Only what is ours: a number left in a file may belong to someone else by now.
            if let Some(pid) = self.find_pid(&name).filter(|pid| runs_in(*pid, &self.dir().join(&name))) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The first pair of a status.
pub fn pair(status: &Value) -> &Value {
    &status["pairs"][0]
}

/// A server of a status.
pub fn server<'a>(status: &'a Value, name: &str) -> &'a Value {
    let servers = status["servers"].as_array().expect("status lists servers");
    servers.iter().find(|server| server["name"] == name).unwrap_or(&Value::Null)
}

/// Whether every pair of a status is active.
pub fn all_active(status: &Value) -> bool {
    let pairs = status["pairs"].as_array();
    pairs.is_some_and(|pairs| !pairs.is_empty() && pairs.iter().all(|pair| pair["state"] == "active"))
}

/// A number of an event, wherever it stands in it.
pub fn number(event: &Value, name: &str) -> Option<u64> {
    [&event[name], &event["numbers"][name]].into_iter().find_map(Value::as_u64)
}

/// Whether a process has ended: all its threads, so that nothing is locked or open any more. One that waits
/// to be reaped has.
pub fn is_gone(pid: Pid) -> bool {
    let number = pid.as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    let threads = std::fs::read_dir(format!("/proc/{number}/task")).map_or(0, Iterator::count);
    match state {
        None => true,
        Some('Z' | 'X') => threads <= 1,
        Some(_) => test_kill_process(pid).is_err(),
    }
}

fn runs_in(pid: Pid, data: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&*data.to_string_lossy())
}
