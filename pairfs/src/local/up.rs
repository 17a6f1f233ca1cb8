//! `pairfs up`: one machine, everything.

use super::cluster::Cluster;
use super::narrate::Narrator;
use super::patience::Patience;
use super::process;
use super::supervise::{self, Claim, Exit, Supervisor};
use crate::output::span;
use clap::Args;
use client::{Client, ClientConfig};
use serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use types::{Code, Error, Result};

/// `pairfs up`.
#[derive(Args, Clone, Debug, Default)]
pub struct UpArgs {
    /// Pairs of storage servers [default: 1, or as many as there are].
    #[arg(long, value_name = "N")]
    pub pairs: Option<u32>,
    /// Find failures within a second rather than 15; remembered by the folder.
    #[arg(long)]
    pub fast: bool,
    /// Return when the cluster serves; it goes on by itself until `pairfs down`.
    #[arg(long)]
    pub detach: bool,
}

/// Starts the cluster of `dir`, made if there is none, and keeps it until Ctrl-C, SIGTERM or
/// `pairfs down`; detached, until it serves. That may take as long as `timeout` says, 120 s without. With `--json` an object
/// tells the addresses, and one more each member that ends.
///
/// # Errors
/// `ALREADY_RUNNING`; as [`Cluster::open`] and [`supervise::wait_listening`]; `TIMEOUT` when not every pair
/// becomes active.
pub async fn up(dir: &Path, args: &UpArgs, timeout: Option<Duration>, narrator: Narrator) -> Result<()> {
    process::tie_to_parent()?;
    let shown = dir.to_owned();
    let cluster = Cluster::open(dir, args.pairs, args.fast)?;
    let mut stop = StopSignals::new()?;
    let patience = Patience::new(timeout);
    if args.detach {
        let claim = Claim::new(&cluster)?;
        let begun = tokio::select! {
            begun = begin_loose(&cluster, patience) => begun,
            () = stop.next() => Err(interrupted()),
        };
        if let Err(error) = begun {
            let stopped = cluster.clone();
            blocking(move || supervise::stop_all(&stopped, &AtomicBool::new(true))).await?;
            return Err(error);
        }
        announce(&cluster, &shown, narrator, true);
        drop(claim);
        return Ok(());
    }
    let started = cluster.clone();
    let mut supervisor = blocking(move || Supervisor::start(started, patience)).await?;
    tokio::select! {
        served = wait_served(&cluster, patience) => drop(served?),
        Some(exit) = supervisor.exits.recv() => return Err(ended_early(&cluster, &exit)),
        () = stop.next() => return finish(supervisor, stop, narrator).await,
    }
    announce(&cluster, &shown, narrator, false);
    loop {
        tokio::select! {
            () = stop.next() => return finish(supervisor, stop, narrator).await,
            Some(exit) = supervisor.exits.recv() => {
                let _ = narrator.result(&json!({"ended": exit.name, "text": describe(&exit)}), describe(&exit));
            }
        }
    }
}

async fn begin_loose(cluster: &Cluster, patience: Patience) -> Result<()> {
    let started = cluster.clone();
    blocking(move || {
        started.members().try_for_each(|member| {
            supervise::start_loose(&started, &member.name, super::process::How::Plain).map(|_| ())
        })?;
        started.members().try_for_each(|member| supervise::wait_listening(&started, &member.name, patience))
    })
    .await?;
    wait_served(cluster, patience).await.map(|_| ())
}

/// Waits until every pair is active; gives the client that saw it.
///
/// # Errors
/// `TIMEOUT`; as [`Client::connect`].
pub(super) async fn wait_served(cluster: &Cluster, patience: Patience) -> Result<Client> {
    let last = Mutex::new(None);
    let late = |_| {
        let why = last.lock().unwrap_or_else(PoisonError::into_inner).take();
        let what = format_args!("not every pair is active after {}", span(patience.whole()));
        let next = why.unwrap_or_else(|| "the name manager does not answer: see nm.log".to_owned());
        Error::new(Code::Timeout, what, next)
    };
    tokio::time::timeout_at(patience.end().into(), active(cluster, &last)).await.map_err(late)?
}

/// The same without a bound; says in `last` what it waits for.
async fn active(cluster: &Cluster, last: &Mutex<Option<String>>) -> Result<Client> {
    const POLL: Duration = Duration::from_millis(30);
    let say = |text: String| *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    let client = loop {
        match connect(cluster).await {
            Ok(client) => break client,
            // The name manager may not have written the key, or not listen, yet.
            Err(error) if error.code.is_retryable() || error.code == Code::NotSignedIn => say(error.message),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL).await;
    };
    loop {
        let pairs = client.status().await?.pairs;
        if pairs.len() == cluster.pairs() && pairs.iter().all(|pair| pair.state == "active") {
            return Ok(client);
        }
        let states: Vec<_> = pairs.iter().map(|pair| format!("{} {}", pair.name, pair.state)).collect();
        say(format!("now {}; `--timeout` gives it longer", states.join(", ")));
        tokio::time::sleep(POLL).await;
    }
}

pub(super) async fn connect(cluster: &Cluster) -> Result<Client> {
    let nm = vec![cluster.file().nm.addr.to_string()];
    Client::connect(ClientConfig::with_key_file(nm, &cluster.path("admin.key"))?).await
}

/// Why a cluster that was just started does not serve.
fn ended_early(cluster: &Cluster, exit: &Exit) -> Error {
    let said = process::last_words(cluster, &exit.name);
    let what = format_args!("{} ended while the cluster started ({said})", exit.name);
    Error::new(Code::Failed, what, format_args!("see {}", cluster.log_file(&exit.name).display()))
}

/// Stops all; a second signal makes it quick.
async fn finish(supervisor: Supervisor, mut stop: StopSignals, narrator: Narrator) -> Result<()> {
    narrator.line("stopping …");
    let hurry = Arc::new(AtomicBool::new(false));
    let seen = hurry.clone();
    let stopped = blocking(move || supervisor.stop_all(&seen));
    let again = async {
        stop.next().await;
        hurry.store(true, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        stopped = stopped => stopped?,
        () = again => {}
    }
    narrator.line("stopped; `pairfs up` finds the same files again");
    Ok(())
}

fn describe(exit: &Exit) -> String {
    let Exit { name, status } = exit;
    let how = match status {
        Some(status) if status.success() => "has stopped".to_owned(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(number), _) => format!("was ended by signal {number}"),
            (_, Some(code)) => format!("ended with status {code}, see {name}.log"),
            _ => "ended".to_owned(),
        },
        None => "ended".to_owned(),
    };
    format!("{name} {how}; `pairfs node start {name}` brings it back")
}

fn announce(cluster: &Cluster, shown: &Path, narrator: Narrator, detached: bool) {
    let file = cluster.file();
    if narrator.is_json() {
        let servers: Vec<_> = file
            .servers
            .iter()
            .map(|server| json!({ "name": server.name, "addr": server.addr.to_string() }))
            .collect();
        let object = json!({
            "dir": cluster.dir(),
            "nm": file.nm.addr.to_string(),
            "servers": servers,
            "admin_key": cluster.path("admin.key"),
            "detached": detached,
        });
        // The cluster serves, whoever hears of it.
        let _ = narrator.result(&object, "");
        return;
    }
    let pace = if file.fast { " · fast: a lost server is noticed within 1.5 s" } else { "" };
    narrator.line(format_args!("{} from {}{pace}\n", narrator.bold("PairFS serves"), shown.display()));
    narrator.line(format_args!("  {:<16}{}", file.nm.name, file.nm.addr));
    for server in &file.servers {
        let role = match &server.backup_of {
            Some(primary) => format!("backup of {primary}"),
            None => "primary".to_owned(),
        };
        narrator.line(format_args!("  {:<16}{:<20}{}", server.name, server.addr, narrator.dim(role)));
    }
    let pairfs = how_to_call(shown);
    narrator.line(format_args!(
        "\nYou are {} with {}. In {}:\n",
        narrator.bold("admin"),
        shown.join("admin.key").display(),
        if detached { "this terminal" } else { "another terminal, same folder" }
    ));
    let tries = [
        (format!("echo hello | {pairfs} write /hello.txt"), "a file, on two servers"),
        (format!("{pairfs} status"), "who serves, who lags"),
        (format!("{pairfs} node kill ss1"), "the backup takes over"),
        (format!("{pairfs} read /hello.txt"), "as if nothing had happened"),
        (format!("{pairfs} node start ss1"), "it catches up and acts again"),
    ];
    let width = tries.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, why) in &tries {
        narrator.line(format_args!("  {command:<width$}   {}", narrator.dim(format_args!("# {why}"))));
    }
    narrator.line(if detached {
        format!("\n`{pairfs} down` stops it; the files stay.")
    } else {
        "\nCtrl-C stops it; the files stay.".to_owned()
    });
}

/// What to type to reach this program and this cluster from the current folder.
fn how_to_call(dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pairfs"));
    let installed = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|folder| folder.join("pairfs").canonicalize().is_ok_and(|it| it == program))
    });
    let here = std::env::current_dir().ok();
    let program = match (installed, here.as_deref().and_then(|here| program.strip_prefix(here).ok())) {
        (true, _) => "pairfs".to_owned(),
        (false, Some(relative)) => format!("./{}", relative.display()),
        (false, None) => program.display().to_string(),
    };
    let usual = here.is_some_and(|here| {
        let place = |path: &Path| path.canonicalize().ok();
        place(&here.join("pairfs-data")) == place(dir)
    });
    if usual { program } else { format!("{program} --dir {}", dir.display()) }
}

/// Ctrl-C and SIGTERM, from before anything was started.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> Result<StopSignals> {
        let listen = |kind| signal(kind).map_err(Error::from);
        Ok(StopSignals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn interrupted() -> Error {
    Error::new(Code::Cancelled, "the start was interrupted", "run `pairfs up` again when you like")
}

/// Runs what waits on processes and sockets where that disturbs nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format_args!("a task ended early ({error})")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_killed_is_told_apart_from_one_that_stopped() {
        let exit =
            |raw| Exit { name: "ss1".to_owned(), status: Some(std::process::ExitStatus::from_raw(raw)) };
        assert!(describe(&exit(0)).starts_with("ss1 has stopped"));
        assert!(describe(&exit(9)).starts_with("ss1 was ended by signal 9"));
        assert!(describe(&exit(6 << 8)).contains("status 6, see ss1.log"));
    }
}
