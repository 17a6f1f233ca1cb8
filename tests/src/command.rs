//! Runs the program and looks at what it says.

use crate::binary;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No command of these tests may take longer.
const COMMAND_MAX: Duration = Duration::from_secs(180);

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// What was run, for messages.
    pub words: String,
    /// Its exit status; -1 when a signal ended it.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// The same, if it ended with status 0.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn ok(self) -> Ran {
        self.exits(0)
    }

    /// The same, if it ended with `status`.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn exits(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "`pairfs {}`: {}", self.words, self.said());
        self
    }

    /// The one JSON object it printed.
    ///
    /// # Panics
    /// If it printed something else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            panic!("`pairfs {}` printed no JSON ({error}): {}", self.words, self.said())
        })
    }

    /// The JSON objects it printed, one a line.
    ///
    /// # Panics
    /// If it printed something else.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.stdout);
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("`pairfs {}` printed no JSON ({error}): {line}", self.words))
        };
        text.lines().map(parse).collect()
    }

    /// What stands in `error[…]`, in either form.
    pub fn code(&self) -> Option<String> {
        if let Ok(value) = serde_json::from_str::<Value>(self.stderr.trim()) {
            return value["error"]["code"].as_str().map(str::to_owned);
        }
        let (_, rest) = self.stderr.split_once("error[")?;
        rest.split_once(']').map(|(code, _)| code.to_owned())
    }

    /// Its output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    fn said(&self) -> String {
        let shown: String = self.text().chars().take(600).collect();
        format!("status {} after {:?}; stdout: {shown}; stderr: {}", self.status, self.took, self.stderr)
    }
}

/// The program with `words`, on the cluster of `dir` if that is given, without what the environment says
/// about clusters.
pub fn command(dir: Option<&Path>, words: &[&str]) -> Command {
    let mut command = Command::new(binary::pairfs());
    for variable in ["PAIRFS_DIR", "PAIRFS_NM", "PAIRFS_TIMEOUT", "PAIRFS_KEY_FILE", "PAIRFS_LOG"] {
        command.env_remove(variable);
    }
    if let Some(dir) = dir {
        command.arg("--dir").arg(dir).current_dir(dir.parent().unwrap_or(dir));
    }
    command.args(words);
    command
}

/// A command under way.
pub struct Started {
    words: String,
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
    begin: Instant,
}

/// What came out of a pipe so far.
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    drained: JoinHandle<()>,
}

impl Pipe {
    fn drain(mut pipe: impl Read + Send + 'static) -> Pipe {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let seen = bytes.clone();
        let drained = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                seen.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Pipe { bytes, drained }
    }

    fn all(self) -> Vec<u8> {
        let _ = self.drained.join();
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

/// Starts a command; its input is a pipe for [`Started::input`].
pub fn start(mut command: Command) -> Started {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begin = Instant::now();
    let mut child = command.spawn().expect("pairfs runs");
    let stdout = Pipe::drain(child.stdout.take().expect("it is piped"));
    let stderr = Pipe::drain(child.stderr.take().expect("it is piped"));
    Started { words: words.join(" "), child, stdout, stderr, begin }
}

impl Started {
    /// Its input; closed when dropped.
    pub fn input(&mut self) -> impl Write + Send + 'static {
        self.child.stdin.take().expect("its input was not taken before")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has printed a whole line.
    pub fn has_spoken(&self) -> bool {
        self.stdout.bytes.lock().unwrap().contains(&b'\n')
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What it has said so far on its standard error.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).into_owned()
    }

    /// SIGSTOP: it is there, but does nothing.
    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("it runs");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("it runs");
    }

    /// SIGKILL; it has ended when this returns.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Closes its input and waits until it has ended.
    ///
    /// # Panics
    /// When it takes longer than three minutes.
    pub fn end(mut self) -> Ran {
        drop(self.child.stdin.take());
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if self.begin.elapsed() > COMMAND_MAX {
                let _ = self.child.kill();
                panic!("`pairfs {}` has not ended after {COMMAND_MAX:?}", self.words);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.begin.elapsed();
        let stderr = String::from_utf8_lossy(&self.stderr.all()).into_owned();
        let stdout = self.stdout.all();
        Ran { words: self.words, status: status.code().unwrap_or(-1), stdout, stderr, took }
    }
}

/// Where commands are run on a cluster.
pub trait Shell: Sync {
    /// Runs the program with `words` and `input`.
    fn run(&self, words: &[&str], input: &[u8]) -> Ran;
}

/// Runs a command to its end with `input`.
pub fn run(command: Command, input: &[u8]) -> Ran {
    let mut started = start(command);
    // A command that does not read its input must not stop us: it may end first.
    let _ = started.input().write_all(input);
    started.end()
}
