//! A member that a test starts itself, under conditions that `up` does not make: an environment, a bound on open
//! files, more words.

use crate::cluster::{Cluster, SOON};
use crate::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Under what conditions a member runs.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// How many files it may have open: the soft and the hard limit.
    pub open_files: Option<(u32, u32)>,
    /// More words for its command line.
    pub words: Vec<String>,
}

impl Conditions {
    /// One variable of the environment.
    pub fn env(name: &str, value: impl Into<String>) -> Conditions {
        Conditions { env: vec![(name.to_owned(), value.into())], ..Conditions::default() }
    }

    /// More words.
    pub fn words(words: &[&str]) -> Conditions {
        Conditions { words: words.iter().map(|word| (*word).to_owned()).collect(), ..Conditions::default() }
    }

    /// One more variable.
    pub fn and(mut self, name: &str, value: impl Into<String>) -> Conditions {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// A member that this test started; killed when dropped.
pub struct ByHand {
    name: String,
    child: Child,
}

impl Cluster {
    /// Kills a member (`kill -9`) and starts it again as it was, under `conditions`.
    pub fn restart_by_hand(&self, name: &str, conditions: &Conditions) -> ByHand {
        let line = self.command_line(name);
        self.kill9(name);
        self.start_by_hand(name, &line, conditions)
    }

    /// The words that a running member was started with, its program first.
    pub fn command_line(&self, name: &str) -> Vec<String> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid(name).as_raw_nonzero())).unwrap();
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8(word.to_vec()).unwrap()).collect()
    }

    /// Starts a member that does not run with the words `line`, under `conditions`. Its output goes to its log.
    pub fn start_by_hand(&self, name: &str, line: &[String], conditions: &Conditions) -> ByHand {
        let mut command = match conditions.open_files {
            Some((soft, hard)) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\""));
                shell.arg(&line[0]);
                shell
            }
            None => Command::new(&line[0]),
        };
        command.args(&line[1..]).args(&conditions.words);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PAIRFS_") {
                command.env_remove(variable);
            }
        }
        command.envs(conditions.env.iter().map(|(name, value)| (name, value)));
        // It ends with the thread of this test.
        command.env("PAIRFS_PARENT", std::process::id().to_string());
        let log = self.dir().join(format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.current_dir(self.dir()).process_group(0);
        let child = command.spawn().expect("a server starts");
        std::fs::write(self.dir().join(format!("{name}.pid")), format!("{}\n", child.id())).unwrap();
        ByHand { name: name.to_owned(), child }
    }
}

impl ByHand {
    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).expect("a process id")
    }

    /// Waits until it has ended by itself; how.
    pub fn wait_ended(&mut self, most: Duration) -> ExitStatus {
        let mut ended = None;
        until(most, &format!("{} to end", self.name), || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// Waits until it has been ended by SIGKILL, by itself.
    pub fn wait_killed(&mut self, most: Duration) {
        let status = self.wait_ended(most);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{} ended with {status}", self.name);
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it and waits.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.wait_ended(SOON);
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
