//! `doctor`: looks at this machine, the configuration and the cluster, and says what to fix.

use super::Context;
use crate::options::{Setting, Which};
use crate::output::{Style, plural, size, span};
use client::{Client, Identity};
use rustix::process::{Resource, getrlimit};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use types::message::manager::{PairStatus, ServerStatus, StatusReply};
use types::{Code, Error, Result};

/// A server has segments, extents and connections open; with fewer open files it may fail under load.
const FILES_WANTED: u64 = 4096;
/// With less room left a disk is about to be full, in bytes.
const ROOM_WANTED: u64 = 1 << 30;
/// Clocks further apart than this confuse people who compare times.
const CLOCK_OFF: Duration = Duration::from_secs(2);
/// How long the name manager may take to answer, unless --timeout says so.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a storage server may take to let this machine in.
const REACH: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    /// It works, but should be looked at.
    Look,
    Wrong,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            State::Well => "ok",
            State::Look => "look",
            State::Wrong => "wrong",
        }
    }

    const fn style(self) -> Style {
        match self {
            State::Well => Style::Good,
            State::Look => Style::Warn,
            State::Wrong => Style::Bad,
        }
    }
}

/// What was looked at, and what to do about it.
struct Check {
    what: &'static str,
    state: State,
    found: String,
    fix: String,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn well(&mut self, what: &'static str, found: impl Into<String>) {
        self.0.push(Check { what, state: State::Well, found: found.into(), fix: String::new() });
    }

    fn bad(&mut self, state: State, what: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Check { what, state, found: found.into(), fix: fix.into() });
    }

    fn error(&mut self, what: &'static str, error: &Error) {
        let (found, fix) = error.message.rsplit_once(": ").unwrap_or((&error.message, ""));
        self.bad(State::Wrong, what, found, fix);
    }
}

/// Runs `doctor`.
///
/// # Errors
/// `FAILED` when something is wrong.
pub async fn doctor(context: &Context) -> Result<()> {
    let mut checks = Checks::default();
    open_files(&mut checks);
    let dir = configuration(context, &mut checks);
    if let Some(dir) = &dir {
        room(&mut checks, dir);
        modes(&mut checks, dir);
    }
    cluster(context, &mut checks).await;
    print(context, &checks)?;
    let wrong = checks.0.iter().filter(|check| check.state == State::Wrong).count() as u64;
    if wrong == 0 {
        return Ok(());
    }
    let verb = if wrong == 1 { "is" } else { "are" };
    let what = format_args!("{} {verb} wrong", plural(wrong, "thing"));
    Err(Error::new(Code::Failed, what, "do what the lines above say, then run `pairfs doctor` again"))
}

fn print(context: &Context, checks: &Checks) -> Result<()> {
    let out = context.out;
    for Check { what, state, found, fix } in &checks.0 {
        if out.json {
            let fix = crate::output::text(fix);
            out.object(&json!({"check": what, "state": state.word(), "found": found, "fix": fix}))?;
            continue;
        }
        if out.quiet && *state == State::Well {
            continue;
        }
        let word = out.paint(state.style(), &format!("{:<5}", state.word()));
        let fix = if fix.is_empty() { String::new() } else { format!(": {fix}") };
        out.line(format!("{word}  {what:<13}  {}{}", out.name(found), out.name(&fix)))?;
    }
    Ok(())
}

fn open_files(checks: &mut Checks) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    match limit {
        FILES_WANTED.. => checks.well("open files", format!("a process may have {limit} open")),
        _ => checks.bad(
            State::Wrong,
            "open files",
            format!("a process may have {limit} open, a server wants {FILES_WANTED}"),
            format!("run `ulimit -n {FILES_WANTED}` first, or raise it in /etc/security/limits.conf"),
        ),
    }
}

/// Which cluster is meant, as whom; the folder, if it is one of this machine.
fn configuration(context: &Context, checks: &mut Checks) -> Option<PathBuf> {
    let settings = match context.global.settings() {
        Ok(settings) => settings,
        Err(error) => {
            checks.error("configuration", &error);
            return None;
        }
    };
    let Some(Setting { value, origin }) = settings.cluster else {
        let fix = "start one with `pairfs up`, or name one with --dir or --nm";
        checks.bad(State::Wrong, "configuration", "no cluster is named", fix);
        return None;
    };
    checks.well("configuration", format!("{value} (from {origin})"));
    let dir = if let Which::Dir(dir) = value { Some(dir) } else { None };
    let key = settings.key_file.map(|setting| setting.value);
    if let Some(key) = key.or_else(|| Some(dir.as_ref()?.join("admin.key"))) {
        match Identity::load(&key) {
            Ok(identity) => checks.well("key", format!("{} is {}'s", key.display(), identity.user)),
            Err(error) => checks.error("key", &error),
        }
    }
    dir
}

fn room(checks: &mut Checks, dir: &Path) {
    match rustix::fs::statvfs(dir) {
        Err(error) => {
            let fix = "start the cluster with `pairfs up`, or name another folder with --dir";
            checks.bad(State::Wrong, "disk", format!("{}: {error}", dir.display()), fix);
        }
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} has {} left", dir.display(), size(free));
            match free {
                ROOM_WANTED.. => checks.well("disk", found),
                _ => checks.bad(
                    State::Wrong,
                    "disk",
                    found,
                    "free some room, or move the folder to a larger disk",
                ),
            }
        }
    }
}

/// Secrets and data are for their owner only.
fn modes(checks: &mut Checks, dir: &Path) {
    let mut open = Vec::new();
    let mut look = |path: PathBuf| {
        let mode = std::fs::metadata(&path).map_or(0, |meta| meta.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            open.push(format!("{} ({mode:04o})", path.display()));
        }
    };
    look(dir.to_owned());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let secret = path.extension().is_some_and(|end| end == "key" || end == "secret");
        if secret || path.is_dir() {
            look(path);
        }
    }
    match open.as_slice() {
        [] => checks.well("modes", "data and secrets are for their owner only"),
        open => {
            let fix = format!("run `chmod -R go= {}`", dir.display());
            checks.bad(State::Wrong, "modes", format!("open to others: {}", open.join(", ")), fix);
        }
    }
}

async fn cluster(context: &Context, checks: &mut Checks) {
    let Ok(mut config) = context.global.client_config() else { return };
    if context.global.timeout.is_none() {
        config = config.timeout(PATIENCE);
    }
    let asked = async {
        let client = Client::connect(config).await?;
        clock(checks, client.time().await?);
        let status = client.status().await?;
        Ok((client, status))
    };
    let (client, status) = match asked.await {
        Ok(answered) => answered,
        Err(error) => return checks.error("name manager", &error),
    };
    match status.leader.as_str() {
        "" if !status.rebuilding.is_empty() => checks.bad(
            State::Wrong,
            "name manager",
            format!("it is being made anew: {}", status.rebuilding),
            "start the storage servers that it waits for; see `pairfs status`",
        ),
        "" => checks.bad(State::Wrong, "name manager", "nobody leads", "start the other name managers"),
        leader => checks.well("name manager", format!("{leader} leads")),
    }
    status.servers.iter().for_each(|server| look_at_server(checks, server));
    reach(checks, &client, &status.servers).await;
    status.servers.iter().for_each(|server| look_at_trouble(checks, server));
    status.pairs.iter().for_each(|pair| look_at_pair(checks, &status, pair));
    if status.pairs.is_empty() {
        checks.bad(State::Wrong, "pairs", "there is none", "start a storage server with `pairfs ss`");
    }
}

fn clock(checks: &mut Checks, there_ms: u64) {
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let off = here.abs_diff(Duration::from_millis(there_ms));
    if off <= CLOCK_OFF {
        return checks.well("clock", format!("{} from the name manager's", span(off)));
    }
    let found = format!("{} from the name manager's", span(off));
    checks.bad(State::Wrong, "clock", found, "have both machines follow a time server (NTP)");
}

fn look_at_server(checks: &mut Checks, server: &ServerStatus) {
    let name = &server.name;
    match server.state.as_str() {
        // Its heartbeats begin before its store is open.
        "alive" if server.used_bytes + server.free_bytes == 0 => {
            checks.well("server", format!("{name} is alive, and has just started"));
        }
        "alive" if server.free_bytes < ROOM_WANTED => {
            let found = format!("{name} has {} left on its disk", size(server.free_bytes));
            checks.bad(State::Wrong, "server", found, "free some room there, or add a pair");
        }
        "alive" => checks.well("server", format!("{name} is alive, {} left", size(server.free_bytes))),
        "suspect" => {
            checks.bad(State::Look, "server", format!("{name} is silent"), "wait a moment, then look again");
        }
        state => {
            let fix =
                format!("start it: `pairfs node start {name}`, or `pairfs ss --name {name}` on its machine");
            checks.bad(State::Wrong, "server", format!("{name} is {state}"), fix);
        }
    }
}

/// The name manager hears them; whether this machine reaches them is another matter.
async fn reach(checks: &mut Checks, client: &Client, servers: &[ServerStatus]) {
    let heard: Vec<ServerStatus> = servers.iter().filter(|server| server.state == "alive").cloned().collect();
    for (server, reached) in heard.iter().zip(client.reach(&heard, REACH).await) {
        match reached {
            Ok(took) => checks.well("way", format!("{} answers this machine in {}", server.name, span(took))),
            Err(error) => {
                let found = format!(
                    "this machine does not reach {} at {}, the name manager does",
                    server.name, server.addr
                );
                let fix = format!("mend the network between the two ({})", what(&error));
                checks.bad(State::Wrong, "way", found, fix);
            }
        }
    }
}

/// An error without what to do about it.
fn what(error: &Error) -> &str {
    error.message.rsplit_once(": ").map_or(error.message.as_str(), |(what, _)| what)
}

fn look_at_trouble(checks: &mut Checks, server: &ServerStatus) {
    if !server.trouble.is_empty() {
        let found = format!("{}: {}", server.name, server.trouble);
        checks.bad(State::Look, "server", found, "see its log and `pairfs events`");
    }
}

fn look_at_pair(checks: &mut Checks, status: &StatusReply, pair: &PairStatus) {
    let name = &pair.name;
    let away = status.servers.iter().find(|server| {
        (server.name == pair.primary || server.name == pair.backup) && server.state == "failed"
    });
    let start = away.map_or("see `pairfs events`".to_owned(), |server| format!("start {}", server.name));
    match pair.state.as_str() {
        "active" => checks.well("pair", format!("{name} is active, {} acts", pair.acting)),
        "recovering" => {
            let found = format!("{name} recovers, {} to go", plural(pair.lag_rows, "row"));
            checks.bad(State::Look, "pair", found, "wait until it is done");
        }
        "forming" if pair.backup.is_empty() => {
            let fix = format!("start its backup: `pairfs ss --name {name}_backup`");
            checks.bad(State::Wrong, "pair", format!("{name} has no backup"), fix);
        }
        "down" => checks.bad(State::Wrong, "pair", format!("nobody serves {name}"), start),
        state => checks.bad(State::Wrong, "pair", format!("{name} is {}", state.replace('_', " ")), start),
    }
    if pair.owed_versions > 0 {
        let found =
            format!("{} of {name} only on a server that is away", plural(pair.owed_versions, "version"));
        checks.bad(State::Wrong, "pair", found, start_again(pair));
    }
    let aside = status
        .servers
        .iter()
        .filter(|server| (server.name == pair.primary || server.name == pair.backup) && server.set_aside > 0);
    for server in aside {
        let found =
            format!("{} on {} that the index does not know", plural(server.set_aside, "record"), server.name);
        checks.bad(State::Look, "pair", found, "they take room, nothing else: see `pairfs aside list`");
    }
    if pair.lost_versions > 0 {
        let found = format!("{} of {name} went with a disk", plural(pair.lost_versions, "version"));
        checks.bad(State::Wrong, "pair", found, "`pairfs fsck` names them; write them again");
    }
}

fn start_again(pair: &PairStatus) -> String {
    let holder = if pair.acting == pair.primary { &pair.backup } else { &pair.primary };
    format!("start {holder} again")
}
