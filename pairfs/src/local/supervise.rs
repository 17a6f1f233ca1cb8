//! Keeps the members of a cluster as children of this process, reaps them, and answers `node start` from
//! other processes, so that a member that comes back ends with the rest, too.

use super::cluster::{Cluster, about};
use super::patience::Patience;
use super::process::{self, How, Running, Tie};
use net::{Connection, Credential};
use rustix::process::{Pid, Signal};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::mpsc as events;
use types::message::purpose;
use types::{Code, Error, Result};

/// How long members may take to stop; handing over is a part of it.
pub const STOP_MAX: Duration = Duration::from_secs(15);
/// How long leftovers of an `up` that was just killed may take to vanish.
const LEFTOVER_MAX: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
/// How long one that has its port is given to say something, each time.
const ANSWER_MAX: Duration = Duration::from_millis(200);
const REQUEST_MAX: u64 = 1024;
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// A member has ended.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Its name.
    pub name: String,
    /// How; `None` when the system did not tell.
    pub status: Option<ExitStatus>,
}

/// The right to run the cluster of a folder: one process at a time has it.
pub struct Claim {
    lock: File,
    dir: PathBuf,
}

impl Claim {
    /// Claims the cluster of `dir`, which must exist and have nothing running.
    ///
    /// # Errors
    /// `ALREADY_RUNNING` when another `up` has it or a member runs; `IO`.
    pub fn new(cluster: &Cluster) -> Result<Claim> {
        let claim = Claim::try_new(cluster.dir())?.ok_or_else(|| already_running(cluster, "up"))?;
        let end = Instant::now() + LEFTOVER_MAX;
        for member in cluster.members() {
            while let Some(running) = Running::find(cluster, &member.name) {
                let ended = running.is_ending() && running.wait_gone(STOP_MAX);
                if !ended && Instant::now() >= end {
                    return Err(already_running(cluster, &member.name));
                }
                std::thread::sleep(POLL);
            }
        }
        process::write_pid(cluster, "up", std::process::id())?;
        Ok(claim)
    }

    /// The claim if nobody has it, whatever runs.
    ///
    /// # Errors
    /// `IO`.
    pub fn try_new(dir: &Path) -> Result<Option<Claim>> {
        let path = dir.join("up.lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&path).map_err(|error| about(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Claim { lock, dir: dir.to_owned() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(about(&path, &error)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While the lock is still held: what a later `up` writes is not removed.
        let _ = std::fs::remove_file(self.dir.join("up.pid"));
        // Not left to the closing of the file: a child that is just being made holds that open for a moment, too.
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "the lock goes with its file");
        }
    }
}

fn already_running(cluster: &Cluster, what: &str) -> Error {
    let dir = cluster.dir().display();
    Error::new(
        Code::AlreadyRunning,
        format_args!("the cluster in {dir} runs already ({what})"),
        format_args!("use it, or stop it with `pairfs down --dir {dir}`"),
    )
}

/// The members of one cluster as children of this process. Those that still run are killed when it goes.
pub struct Supervisor {
    shared: Arc<Shared>,
    /// What ended, in order.
    pub exits: events::UnboundedReceiver<Exit>,
}

struct Shared {
    cluster: Cluster,
    _claim: Claim,
    exits: events::UnboundedSender<Exit>,
    /// One start at a time; no start once it is true.
    closing: Mutex<bool>,
    closed: AtomicBool,
}

impl Supervisor {
    /// Claims the cluster and starts all its members; they answer on their ports when this returns.
    ///
    /// # Errors
    /// As [`Claim::new`], [`start_loose`] and [`wait_listening`].
    pub fn start(cluster: Cluster, patience: Patience) -> Result<Supervisor> {
        let claim = Claim::new(&cluster)?;
        // At most one event for each child, which are few.
        let (sender, exits) = events::unbounded_channel();
        let shared = Arc::new(Shared {
            cluster,
            _claim: claim,
            exits: sender,
            closing: Mutex::new(false),
            closed: AtomicBool::new(false),
        });
        let supervisor = Supervisor { shared: shared.clone(), exits };
        for member in shared.cluster.members() {
            shared.start(&member.name, How::Plain)?;
        }
        for member in shared.cluster.members() {
            wait_listening(&shared.cluster, &member.name, patience)?;
        }
        answer_requests(shared)?;
        Ok(supervisor)
    }

    /// Starts a member that does not run.
    ///
    /// # Errors
    /// `ALREADY_RUNNING`, `NOT_FOUND` for an unknown name, `CANCELLED` once all are being stopped; as
    /// [`start_loose`].
    pub fn start_member(&self, name: &str) -> Result<u32> {
        self.shared.start(name, How::Plain)
    }

    /// Stops all members in their order: SIGTERM, and SIGKILL for those that take longer than [`STOP_MAX`]
    /// or once `hurry` says so.
    ///
    /// # Errors
    /// `IO` when a signal is refused.
    pub fn stop_all(&self, hurry: &AtomicBool) -> Result<()> {
        self.shared.close();
        stop_all(&self.shared.cluster, hurry)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.close();
        // No time for goodbyes: someone who had it called `stop_all`.
        let _ = stop_all(&self.shared.cluster, &AtomicBool::new(true));
    }
}

impl Shared {
    fn close(&self) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if !self.closed.swap(true, Ordering::SeqCst) {
            // Wakes who waits for requests.
            let _ = ask(&self.cluster, "");
            let _ = std::fs::remove_file(self.cluster.path(SOCKET));
        }
    }

    fn start(&self, name: &str, how: How) -> Result<u32> {
        let member = self.cluster.member(name)?;
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            return Err(Error::new(Code::Cancelled, "the cluster is being stopped", "start it again then"));
        }
        check_free(&self.cluster, name)?;
        let mut command = process::command(&self.cluster, member, Tie::Tied, how)?;
        let (sender, started) = mpsc::sync_channel(1);
        let (cluster, exits, name) = (self.cluster.clone(), self.exits.clone(), name.to_owned());
        // A child is tied to the thread that made it: one that lives just as long.
        let keeper = std::thread::Builder::new().name(format!("keep {name}"));
        let keep = move || match command.spawn() {
            Ok(mut child) => {
                let pid = child.id();
                let written = process::write_pid(&cluster, &name, pid);
                if written.is_err() {
                    let _ = child.kill();
                }
                let _ = sender.send(written.map(|()| pid));
                let status = child.wait().ok();
                process::forget_pid(&cluster, &name, pid);
                // Nobody may listen any more.
                let _ = exits.send(Exit { name, status });
            }
            Err(error) => {
                let _ = sender.send(Err(Error::from(error)));
            }
        };
        keeper.spawn(keep).map_err(Error::from)?;
        started.recv().map_err(|_| Error::internal("the thread that starts a member ended"))?
    }
}

fn check_free(cluster: &Cluster, name: &str) -> Result<()> {
    match Running::find(cluster, name) {
        Some(running) if running.is_ending() && running.wait_gone(STOP_MAX) => Ok(()),
        Some(running) => Err(Error::new(
            Code::AlreadyRunning,
            format_args!("{name} runs already, as process {}", running.pid()),
            format_args!("stop it first with `pairfs node stop {name}`"),
        )),
        None => Ok(()),
    }
}

/// Starts a member that goes on when this process ends. Returns its process id.
///
/// # Errors
/// `ALREADY_RUNNING`; `NOT_FOUND` for an unknown name; `IO`.
pub fn start_loose(cluster: &Cluster, name: &str, how: How) -> Result<u32> {
    check_free(cluster, name)?;
    let mut command = process::command(cluster, cluster.member(name)?, Tie::Loose, how)?;
    let child = command.spawn().map_err(Error::from)?;
    process::write_pid(cluster, name, child.id())?;
    Ok(child.id())
}

/// Waits until a member that was just started answers on its port.
///
/// # Errors
/// With the end of its log when it ended instead, and the code that it says there; `TIMEOUT`.
pub fn wait_listening(cluster: &Cluster, name: &str, patience: Patience) -> Result<()> {
    let addr = cluster.member(name)?.addr;
    let secret = net::secret::read(&cluster.path("cluster.secret"))?;
    let end = patience.listen();
    loop {
        if Running::find(cluster, name).is_none() {
            let words = process::last_words(cluster, name);
            return Err(Error::new(
                code_of(&words),
                format_args!("{name} did not start ({words})"),
                format_args!("see {}", cluster.log_file(name).display()),
            ));
        }
        if answers(addr, &secret) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Error::new(
                Code::Timeout,
                format_args!("{name} runs, but does not answer on {addr}"),
                format_args!("see {}", cluster.log_file(name).display()),
            ));
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a server at `addr` answers: it lets one in who has the cluster's secret, or says why not. One that has its port
/// but still opens its data says nothing yet, and may come to nothing.
fn answers(addr: std::net::SocketAddr, secret: &[u8]) -> bool {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return false };
    let credential = Credential::Node { name: "up".to_owned(), secret: secret.to_vec() };
    let addr = addr.to_string();
    let asked = async {
        let opened = Connection::open(&addr, credential, None, purpose::DATA);
        tokio::time::timeout(ANSWER_MAX, opened).await
    };
    match runtime.block_on(asked) {
        Ok(opened) => opened.map_or_else(|error| error.code != Code::Unavailable, |_| true),
        Err(_) => false,
    }
}

/// The code that a server's last words name: why it did not start is why the command fails.
fn code_of(words: &str) -> Code {
    let name = words.strip_prefix("error[").and_then(|rest| rest.split_once(']'));
    let code = |(name, _): (&str, &str)| Code::ALL.iter().copied().find(|code| code.name() == name);
    name.and_then(code).unwrap_or(Code::Failed)
}

/// Stops whatever members run, wherever they were started from: as [`Supervisor::stop_all`].
///
/// # Errors
/// `IO` when a signal is refused.
pub fn stop_all(cluster: &Cluster, hurry: &AtomicBool) -> Result<()> {
    for group in cluster.stop_order() {
        let running: Vec<Running> =
            group.iter().filter_map(|member| Running::find(cluster, &member.name)).collect();
        if !hurry.load(Ordering::SeqCst) {
            running.iter().try_for_each(Running::ask_to_stop)?;
        }
        let end = Instant::now() + STOP_MAX;
        for one in &running {
            while !one.wait_gone(POLL) {
                if hurry.load(Ordering::SeqCst) || Instant::now() >= end {
                    one.signal(Signal::KILL)?;
                    one.wait_gone(STOP_MAX);
                    break;
                }
            }
        }
        for member in group {
            if let Some(pid) = process::read_pid(&cluster.pid_file(&member.name))
                && Running::find(cluster, &member.name).is_none()
            {
                process::forget_pid(cluster, &member.name, pid.as_raw_nonzero().get().unsigned_abs());
            }
        }
    }
    Ok(())
}

/// The process that runs `up` for this cluster, if one does.
pub fn running_up(cluster: &Cluster) -> Option<Running> {
    Running::open(process::read_pid(&cluster.pid_file("up")).filter(|pid| *pid != Pid::INIT)?)
}

const SOCKET: &str = "up.sock";

/// The socket by a path that is short, however long the folder's is: the system allows 108 bytes.
fn socket(cluster: &Cluster) -> Result<(File, PathBuf)> {
    let folder = File::open(cluster.dir()).map_err(|error| about(cluster.dir(), &error))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Asks the `up` that runs this cluster to start a member as its child. `None` when no `up` runs.
///
/// # Errors
/// What it answers; as [`start_loose`].
pub fn ask_to_start(cluster: &Cluster, name: &str, how: How) -> Result<Option<u32>> {
    let words = [&["start", name], how.words()].concat().join(" ");
    let Some(answer) = ask(cluster, &words)? else { return Ok(None) };
    let mut words = answer.trim().splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("started"), Some(pid), _) => Ok(pid.parse().ok()),
        (Some("refused"), Some(number), Some(message)) => {
            let code = Code::from_number(number.parse().unwrap_or_default());
            Err(Error { code, message: message.to_owned(), effect: types::Effect::None })
        }
        _ => Err(Error::new(Code::Unavailable, "`pairfs up` gave no answer", "look whether it still runs")),
    }
}

fn ask(cluster: &Cluster, request: &str) -> Result<Option<String>> {
    let (_folder, path) = socket(cluster)?;
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(about(&cluster.path(SOCKET), &error)),
    };
    let mut answer = String::new();
    let asked = stream
        .set_read_timeout(Some(REQUEST_TIME))
        .and_then(|()| writeln!(stream, "{request}"))
        .and_then(|()| BufReader::new(stream.take(REQUEST_MAX * 4)).read_line(&mut answer));
    match asked {
        Ok(_) => Ok(Some(answer)),
        // It was just killed, and what it was asked ended with it.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(None),
        Err(error) => Err(about(&cluster.path(SOCKET), &error)),
    }
}

fn answer_requests(shared: Arc<Shared>) -> Result<()> {
    let (_folder, path) = socket(&shared.cluster)?;
    // Left over from one that was killed; this one has the claim.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(|error| about(&shared.cluster.path(SOCKET), &error))?;
    let serve = move || {
        for stream in listener.incoming() {
            if shared.closed.load(Ordering::SeqCst) {
                return;
            }
            // A caller that hangs up early or is slow spoils only its own request.
            let _ = stream.and_then(|stream| answer(&shared, stream));
        }
    };
    std::thread::Builder::new().name("requests".to_owned()).spawn(serve).map_err(Error::from)?;
    Ok(())
}

fn answer(shared: &Shared, mut stream: UnixStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    let mut request = String::new();
    BufReader::new((&stream).take(REQUEST_MAX)).read_line(&mut request)?;
    let words: Vec<&str> = request.split_whitespace().collect();
    let ["start", name, options @ ..] = &words[..] else { return Ok(()) };
    let Some(how) = How::parse(options) else { return Ok(()) };
    match shared.start(name, how) {
        Ok(pid) => writeln!(stream, "started {pid}"),
        Err(error) => {
            writeln!(stream, "refused {} {}", error.code.number(), error.message.replace('\n', " "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_run_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(dir.path(), None, true).unwrap();
        let claim = Claim::new(&cluster).unwrap();
        assert_eq!(running_up(&cluster).unwrap().pid() as u32, std::process::id());
        assert_eq!(Claim::new(&cluster).err().unwrap().code, Code::AlreadyRunning);
        drop(claim);
        assert!(running_up(&cluster).is_none());
        Claim::new(&cluster).unwrap();
    }

    #[test]
    fn without_up_nobody_is_asked_to_start_a_member() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        let cluster = Cluster::open(&deep, None, true).unwrap();
        assert_eq!(ask_to_start(&cluster, "ss1", How::Plain).unwrap(), None);
        // What a killed one leaves behind does not count.
        let (_folder, path) = socket(&cluster).unwrap();
        drop(UnixListener::bind(path).unwrap());
        assert_eq!(ask_to_start(&cluster, "ss1", How::Plain).unwrap(), None);
    }
}
