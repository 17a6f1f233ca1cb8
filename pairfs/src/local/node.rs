//! `pairfs down` and `pairfs node start|stop|kill NAME`.

use super::cluster::Cluster;
use super::narrate::Narrator;
use super::patience::Patience;
use super::process::{self, How, Running};
use super::supervise::{self, Claim, STOP_MAX};
use clap::{Args, Subcommand};
use rustix::process::Signal;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use types::{Code, Error, Result};

/// `pairfs node`.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with one member.
#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// Start a member that does not run.
    Start {
        /// Its name, such as ss1_backup.
        name: String,
        /// For nm: make a new index from what the storage servers hold; its data is lost or damaged
        #[arg(long)]
        rebuild: bool,
        /// With --rebuild: one member of each pair is enough; what only the other holds cannot be compared
        #[arg(long, requires = "rebuild")]
        accept_one_member: bool,
    },
    /// Stop a member cleanly; one that acts hands over first.
    Stop {
        /// Its name, such as ss1_backup.
        name: String,
    },
    /// Kill a member (SIGKILL), to see what happens.
    Kill {
        /// Its name, such as ss1_backup.
        name: String,
    },
}

/// Runs `pairfs node` on the cluster of `dir`. A member that is started must answer within `timeout`, 20 s without.
///
/// # Errors
/// `NOT_FOUND` without such a cluster or member; `start`: as [`supervise::start_loose`] and
/// [`supervise::wait_listening`]; `stop`: `TIMEOUT` when it still runs after the time to hand over.
pub fn node(dir: &Path, args: &NodeArgs, timeout: Option<Duration>, narrator: Narrator) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    match &args.what {
        What::Start { name, rebuild, accept_one_member } => {
            let how = match (rebuild, accept_one_member) {
                (false, _) => How::Plain,
                (true, false) => How::Rebuild,
                (true, true) => How::RebuildFromOne,
            };
            start(&cluster, name, how, Patience::new(timeout), narrator)
        }
        What::Stop { name } => {
            let Some(running) = find(&cluster, name, narrator)? else { return Ok(()) };
            running.ask_to_stop()?;
            if !running.wait_gone(2 * STOP_MAX) {
                let what = format_args!("{name} has not stopped in {} s", 2 * STOP_MAX.as_secs());
                let next = format_args!("look into its log, or use `pairfs node kill {name}`");
                return Err(Error::new(Code::Timeout, what, next));
            }
            gone(&cluster, name, &running, "stopped", narrator)
        }
        What::Kill { name } => {
            let Some(running) = find(&cluster, name, narrator)? else { return Ok(()) };
            running.signal(Signal::KILL)?;
            if !running.wait_gone(STOP_MAX) {
                let what = format_args!("{name} was killed, but the system still keeps it");
                return Err(Error::new(Code::Timeout, what, "look whether its disk hangs"));
            }
            gone(&cluster, name, &running, "killed", narrator)
        }
    }
}

fn start(cluster: &Cluster, name: &str, how: How, patience: Patience, narrator: Narrator) -> Result<()> {
    cluster.member(name)?;
    how.check(cluster, name)?;
    let pid = match supervise::ask_to_start(cluster, name, how)? {
        Some(pid) => pid,
        None => supervise::start_loose(cluster, name, how)?,
    };
    supervise::wait_listening(cluster, name, patience)?;
    let rebuilding = how != How::Plain;
    let key = cluster.path("admin.key");
    let mut object = json!({"name": name, "state": "running", "pid": pid, "rebuilding": rebuilding});
    let mut text = format!("{name} runs as process {pid}");
    if rebuilding {
        object["admin_key"] = json!(key);
        text.push_str("\nit is being rebuilt: `pairfs status` shows for whom it waits");
        text.push_str(&format!("\nadmin has a new key, in {}; keys given before do not work", key.display()));
    }
    narrator.result(&object, text)
}

/// The process of a member; that there is none is told, and no error.
fn find(cluster: &Cluster, name: &str, narrator: Narrator) -> Result<Option<Running>> {
    cluster.member(name)?;
    let running = Running::find(cluster, name);
    if running.is_none() {
        let object = json!({"name": name, "state": "stopped", "pid": null});
        narrator.result(&object, format_args!("{name} does not run"))?;
    }
    Ok(running)
}

fn gone(cluster: &Cluster, name: &str, running: &Running, state: &str, narrator: Narrator) -> Result<()> {
    let pid = running.pid().unsigned_abs();
    process::forget_pid(cluster, name, pid);
    let has = if state == "stopped" { "has" } else { "was" };
    narrator.result(&json!({"name": name, "state": state, "pid": pid}), format_args!("{name} {has} {state}"))
}

/// Stops what runs in `dir`; nothing is no error.
///
/// # Errors
/// `NOT_FOUND` without a cluster there, `TIMEOUT` when an `up` does not come to its end, `IO`.
pub fn down(dir: &Path, narrator: Narrator) -> Result<()> {
    /// All groups of members, each with its bound.
    const UP_MAX: Duration = Duration::from_secs(4 * STOP_MAX.as_secs());
    let cluster = Cluster::load(dir)?;
    let end = Instant::now() + UP_MAX;
    let mut asked = false;
    let _claim = loop {
        if let Some(claim) = Claim::try_new(cluster.dir())? {
            break claim;
        }
        match supervise::running_up(&cluster) {
            Some(up) if !asked => {
                up.ask_to_stop()?;
                asked = true;
            }
            _ if Instant::now() >= end => {
                let what = format_args!("`pairfs up` in {} does not stop", cluster.dir().display());
                return Err(Error::new(Code::Timeout, what, "look at the logs there, then kill it"));
            }
            // It may be about to write who it is.
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let count = cluster.members().filter(|member| Running::find(&cluster, &member.name).is_some()).count();
    supervise::stop_all(&cluster, &AtomicBool::new(false))?;
    let (dir, ran) = (cluster.dir().display(), asked || count > 0);
    let text =
        if ran { format!("the cluster in {dir} has stopped") } else { format!("nothing runs in {dir}") };
    narrator.result(&json!({"dir": cluster.dir(), "state": "stopped", "ran": ran}), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_told_apart_from_a_member_that_does_not_run() {
        let dir = tempfile::tempdir().unwrap();
        Cluster::open(dir.path(), None, true).unwrap();
        let narrator = Narrator::new(true, false);
        for name in ["ss9", "../ss1", ""] {
            let args = NodeArgs { what: What::Kill { name: name.to_owned() } };
            assert_eq!(node(dir.path(), &args, None, narrator).unwrap_err().code, Code::NotFound);
        }
        let args = NodeArgs { what: What::Stop { name: "ss1".to_owned() } };
        node(dir.path(), &args, None, narrator).unwrap();
        down(dir.path(), narrator).unwrap();
    }
}
