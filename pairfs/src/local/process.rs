//! The process of one member: how it is started, found again, signalled and waited for.

use super::cluster::{Cluster, Member, about, replace};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use types::{Error, Result};

/// Set for children that must end with their parent; its value is the parent's process id.
const PARENT_VARIABLE: &str = "PAIRFS_PARENT";

/// How long a process may take from the loading of its program until its command line can be read.
const EXEC_MAX: Duration = Duration::from_secs(5);
/// How often that is looked at.
const EXEC_POLL: Duration = Duration::from_millis(1);

/// Whether a member ends when the program that started it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// It does, however that program ends.
    Tied,
    /// It goes on by itself.
    Loose,
}

/// How a member is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As always.
    Plain,
    /// The name manager makes its index anew from what the storage servers hold.
    Rebuild,
    /// The same, and one member of each pair is enough.
    RebuildFromOne,
}

impl How {
    /// What it adds to the member's command line, and to a request to start it.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            How::Plain => &[],
            How::Rebuild => &["--rebuild"],
            How::RebuildFromOne => &["--rebuild", "--accept-one-member"],
        }
    }

    /// The one that these words mean.
    pub fn parse(words: &[&str]) -> Option<How> {
        [How::Plain, How::Rebuild, How::RebuildFromOne].into_iter().find(|how| how.words() == words)
    }

    /// Refuses to rebuild anything but the name manager.
    ///
    /// # Errors
    /// `USAGE`.
    pub fn check(self, cluster: &Cluster, name: &str) -> Result<()> {
        if self == How::Plain || name == cluster.file().nm.name {
            return Ok(());
        }
        Err(Error::new(
            types::Code::Usage,
            format_args!("{name} is not the name manager"),
            "only that is made anew with --rebuild; a storage server catches up by itself",
        ))
    }
}

/// What `nm` and `ss` call before anything else: if they were started as a part of `up`, they end with it,
/// by SIGKILL, even if `up` itself is killed. (So does an `up` whose parent wants it.) The thread that calls
/// must live as long as the process.
///
/// # Errors
/// `IO` when the system refuses, `CANCELLED` when the parent is gone already.
pub fn tie_to_parent() -> Result<()> {
    let Some(parent) = std::env::var(PARENT_VARIABLE).ok().and_then(|value| value.parse::<i32>().ok()) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Error::from(std::io::Error::from(error)))?;
    // It may have died before the wish was known.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        let what = format_args!("process {parent}, which started this server, is gone");
        return Err(Error::new(types::Code::Cancelled, what, "start the cluster again"));
    }
    Ok(())
}

/// The command that runs `member`: this same executable. Its output goes to the member's log, which
/// it rotates. It is in a process group of its own, so that Ctrl-C on the terminal
/// reaches `up` alone, who stops the members in order.
///
/// # Errors
/// `DAMAGED` for a name manager whose data is gone while its storage servers have theirs; `IO` when the log does not open.
pub fn command(cluster: &Cluster, member: &Member, tie: Tie, how: How) -> Result<Command> {
    if member.name == cluster.file().nm.name && how == How::Plain {
        check_not_lost(cluster)?;
    }
    let log = open_log(&cluster.log_file(&member.name))?;
    let errors = log.try_clone().map_err(Error::from)?;
    let mut command = Command::new(std::env::current_exe().map_err(Error::from)?);
    for (name, _) in std::env::vars_os() {
        // What the user set for their own commands is not for the servers; the log filter is.
        if name.as_bytes().starts_with(b"PAIRFS_") && name != net::telemetry::FILTER_VARIABLE {
            command.env_remove(name);
        }
    }
    let nm = &cluster.file().nm;
    if member.name == nm.name {
        command.arg("nm").arg("--admin-key").arg(cluster.path("admin.key")).args(how.words());
        if cluster.file().fast {
            command.arg("--fast");
        }
        command.args(cluster.nm_words());
    } else {
        command.args(["ss", "--name", &member.name, "--nm", &nm.addr.to_string()]);
        if let Some(primary) = &member.backup_of {
            command.args(["--backup-of", primary]);
        }
    }
    command.arg("--data").arg(cluster.path(&member.name));
    command.args(["--listen", &member.addr.to_string()]);
    command.arg("--cluster-secret").arg(cluster.path("cluster.secret"));
    // It rotates it itself; what it says otherwise (a panic, why it ended) goes there as well.
    command.arg("--log-file").arg(cluster.log_file(&member.name));
    if tie == Tie::Tied {
        self::tie(&mut command);
    }
    command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(cluster.dir()).process_group(0);
    Ok(command)
}

/// Refuses to begin a new, empty cluster in the place of one whose name manager has lost its data.
fn check_not_lost(cluster: &Cluster) -> Result<()> {
    let nm = cluster.path(&cluster.file().nm.name);
    if nm.join("raft").exists() {
        return Ok(());
    }
    let has_joined = |member: &&Member| {
        let said = std::fs::read_to_string(cluster.path(&member.name).join("identity")).unwrap_or_default();
        said.lines().any(|line| line.starts_with("cluster_id = \"") && line != "cluster_id = \"\"")
    };
    let Some(server) =
        cluster.members().filter(|member| member.name != cluster.file().nm.name).find(has_joined)
    else {
        return Ok(());
    };
    Err(Error::new(
        types::Code::Damaged,
        format_args!(
            "the name manager's data in {} is gone, and {} has files of its cluster",
            nm.display(),
            server.name
        ),
        format_args!(
            "bring it back, or have it made anew from the storage servers: `pairfs node start {} --rebuild`",
            cluster.file().nm.name
        ),
    ))
}

/// Lets what `command` starts end with this process, if it calls [`tie_to_parent`].
pub fn tie(command: &mut Command) {
    command.env(PARENT_VARIABLE, std::process::id().to_string());
}

fn open_log(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path).map_err(|error| about(path, &error))
}

/// Remembers that `member` is process `pid`.
///
/// # Errors
/// `IO`, `DISK_FULL`.
pub fn write_pid(cluster: &Cluster, name: &str, pid: u32) -> Result<()> {
    replace(&cluster.pid_file(name), format!("{pid}\n").as_bytes())
}

/// Forgets `pid`, unless the member runs as another process by now.
pub fn forget_pid(cluster: &Cluster, name: &str, pid: u32) {
    let path = cluster.pid_file(name);
    if read_pid(&path).is_some_and(|known| u32::try_from(known.as_raw_nonzero().get()) == Ok(pid)) {
        // Whoever finds it left over sees that it is stale.
        let _ = std::fs::remove_file(path);
    }
}

/// The process id in a file.
pub fn read_pid(path: &Path) -> Option<Pid> {
    Pid::from_raw(std::fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

/// A living process, held so that its number cannot come to mean another one.
pub struct Running {
    pid: Pid,
    handle: OwnedFd,
}

impl Running {
    /// The process `pid` if it lives.
    pub fn open(pid: Pid) -> Option<Running> {
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Running { pid, handle })
    }

    /// The process of a member, if it runs. A process id left over from before a crash may belong to anyone
    /// by now, so the process must be one of this program that serves this member's data folder.
    pub fn find(cluster: &Cluster, name: &str) -> Option<Running> {
        let running = Running::open(read_pid(&cluster.pid_file(name))?)?;
        (running.serves(&cluster.path(name)) || running.is_ending()).then_some(running)
    }

    /// Whether it was killed and its threads have not all ended: its files are still open and locked, but who
    /// it was cannot be told any more.
    pub fn is_ending(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let dead = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']));
        dead && !self.wait_gone(Duration::ZERO)
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn serves(&self, data: &Path) -> bool {
        let line = self.command_line();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        let server = matches!(words.next(), Some(b"nm" | b"ss"));
        server && words.any(|word| word == b"--data") && words.next() == Some(data.as_os_str().as_bytes())
    }

    /// Its words, each with a zero byte behind it; none when it has ended.
    fn command_line(&self) -> Vec<u8> {
        let end = Instant::now() + EXEC_MAX;
        loop {
            let line = std::fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap_or_default();
            // Between the moment in which its program was loaded and that in which its words stand in its memory,
            // the system shows none. What has ended, and what is a part of the kernel, has no program either.
            let begins = line.is_empty() && std::fs::read_link(format!("/proc/{}/exe", self.pid())).is_ok();
            if !begins || Instant::now() >= end {
                return line;
            }
            std::thread::sleep(EXEC_POLL);
        }
    }

    /// Sends a signal; a process that is gone already is no error.
    ///
    /// # Errors
    /// `IO` when it belongs to someone else.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::from(std::io::Error::from(error))),
        }
    }

    /// Asks it to stop. One that is frozen is woken to hear it.
    ///
    /// # Errors
    /// As [`Running::signal`].
    pub fn ask_to_stop(&self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended, at most for `most`; whether it has.
    pub fn wait_gone(&self, most: Duration) -> bool {
        let end = Instant::now() + most;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(timeout) = Timespec::try_from(left) else { return false };
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// The end of a member's log, for the message that says why it did not start: its last error, else its
/// last line.
pub fn last_words(cluster: &Cluster, name: &str) -> String {
    const TAIL: u64 = 8 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(cluster.log_file(name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .find(|line| line.contains("error[") || line.contains("panicked"))
        .or_else(|| lines().next())
        .unwrap_or("it said nothing")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> (tempfile::TempDir, Cluster) {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(dir.path(), None, false).unwrap();
        (dir, cluster)
    }

    #[test]
    fn a_process_id_that_now_belongs_to_someone_else_is_not_taken_for_the_server() {
        let (_dir, cluster) = cluster();
        assert!(Running::find(&cluster, "ss1").is_none());
        write_pid(&cluster, "ss1", std::process::id()).unwrap();
        assert!(Running::find(&cluster, "ss1").is_none(), "this test is no storage server");
        std::fs::write(cluster.pid_file("ss1"), "rubbish").unwrap();
        assert!(Running::find(&cluster, "ss1").is_none());
    }

    #[test]
    fn a_server_is_recognised_by_the_folder_it_serves() {
        let (_dir, cluster) = cluster();
        let data = cluster.path("ss1");
        let mut child = Command::new("sh")
            .args(["-c", "read line", "ignored"])
            .arg0("pairfs")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let running = Running::open(Pid::from_child(&child)).unwrap();
        assert!(!running.serves(&data));
        assert!(!running.wait_gone(Duration::from_millis(1)));
        running.signal(Signal::KILL).unwrap();
        assert!(running.wait_gone(Duration::from_secs(10)));
        child.wait().unwrap();
        running.signal(Signal::TERM).unwrap();
    }

    #[test]
    fn a_server_is_found_from_the_moment_it_was_started() {
        let (dir, cluster) = cluster();
        std::fs::write(dir.path().join("ss"), "read line\n").unwrap();
        for round in 0..300 {
            let mut command = Command::new("sh");
            command.args(["ss", "--data"]).arg(cluster.path("ss1"));
            command.current_dir(dir.path()).stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            write_pid(&cluster, "ss1", child.id()).unwrap();
            let found = Running::find(&cluster, "ss1").map(|running| running.pid());
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(found, i32::try_from(child.id()).ok(), "round {round}");
        }
    }

    #[test]
    fn a_server_that_does_not_start_is_quoted_with_its_error() {
        let (_dir, cluster) = cluster();
        assert_eq!(last_words(&cluster, "nm"), "it said nothing");
        std::fs::write(cluster.log_file("nm"), "info one\nerror[IO]: the disk: replace it\nbye\n\n").unwrap();
        assert_eq!(last_words(&cluster, "nm"), "error[IO]: the disk: replace it");
    }
}
