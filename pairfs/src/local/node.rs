//! `pairfs down` and `pairfs node start|stop|kill NAME`.

use super::cluster::Cluster;
use super::narrate::Narrator;
use super::process::{self, Running};
use super::supervise::{self, Claim, STOP_MAX};
use clap::{Args, Subcommand};
use rustix::process::Signal;
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

/// Runs `pairfs node` on the cluster of `dir`.
///
/// # Errors
/// `NOT_FOUND` without such a cluster or member; `start`: as [`supervise::start_loose`] and
/// [`supervise::wait_listening`]; `stop`: `TIMEOUT` when it still runs after the time to hand over.
pub fn node(dir: &Path, args: &NodeArgs, narrator: Narrator) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    match &args.what {
        What::Start { name } => {
            cluster.member(name)?;
            let pid = match supervise::ask_to_start(&cluster, name)? {
                Some(pid) => pid,
                None => supervise::start_loose(&cluster, name)?,
            };
            supervise::wait_listening(&cluster, name)?;
            narrator.line(format_args!("{name} runs as process {pid}"));
        }
        What::Stop { name } => {
            let Some(running) = find(&cluster, name, narrator)? else { return Ok(()) };
            running.ask_to_stop()?;
            if !running.wait_gone(2 * STOP_MAX) {
                let what = format_args!("{name} has not stopped in {} s", 2 * STOP_MAX.as_secs());
                let next = format_args!("look into its log, or use `pairfs node kill {name}`");
                return Err(Error::new(Code::Timeout, what, next));
            }
            gone(&cluster, name, &running);
            narrator.line(format_args!("{name} has stopped"));
        }
        What::Kill { name } => {
            let Some(running) = find(&cluster, name, narrator)? else { return Ok(()) };
            running.signal(Signal::KILL)?;
            if !running.wait_gone(STOP_MAX) {
                let what = format_args!("{name} was killed, but the system still keeps it");
                return Err(Error::new(Code::Timeout, what, "look whether its disk hangs"));
            }
            gone(&cluster, name, &running);
            narrator.line(format_args!("{name} was killed"));
        }
    }
    Ok(())
}

fn find(cluster: &Cluster, name: &str, narrator: Narrator) -> Result<Option<Running>> {
    cluster.member(name)?;
    let running = Running::find(cluster, name);
    if running.is_none() {
        narrator.line(format_args!("{name} does not run"));
    }
    Ok(running)
}

fn gone(cluster: &Cluster, name: &str, running: &Running) {
    process::forget_pid(cluster, name, running.pid().unsigned_abs());
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
    let dir = cluster.dir().display();
    match (asked, count) {
        (false, 0) => narrator.line(format_args!("nothing runs in {dir}")),
        _ => narrator.line(format_args!("the cluster in {dir} has stopped")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_told_apart_from_a_member_that_does_not_run() {
        let dir = tempfile::tempdir().unwrap();
        Cluster::open(dir.path(), None, true).unwrap();
        let narrator = Narrator::new(true);
        for name in ["ss9", "../ss1", ""] {
            let args = NodeArgs { what: What::Kill { name: name.to_owned() } };
            assert_eq!(node(dir.path(), &args, narrator).unwrap_err().code, Code::NotFound);
        }
        let args = NodeArgs { what: What::Stop { name: "ss1".to_owned() } };
        node(dir.path(), &args, narrator).unwrap();
        down(dir.path(), narrator).unwrap();
    }
}
