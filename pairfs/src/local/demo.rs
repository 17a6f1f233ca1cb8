//! `pairfs demo`: the whole story in under a minute, with the commands a person would type. Each step is
//! checked; the first one that does not hold ends it with an error.

use super::cluster::Cluster;
use super::narrate::Narrator;
use super::patience::Patience;
use super::process;
use super::program::{Program, all_pairs_are};
use super::supervise::Supervisor;
use super::up::blocking;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use types::{Code, Error, Result};

/// A silent server may take this long to be noticed at the fast pace (1.5 s), a killed one less.
const NOTICED_MAX: Duration = Duration::from_secs(5);
/// Everything else that is waited for.
const STEP_MAX: Duration = Duration::from_secs(30);
/// Large enough for several chunks.
const LARGE: usize = 9 << 20;

/// Runs the demo in a temporary folder, which is removed together with every process.
///
/// # Errors
/// `FAILED` or `TIMEOUT` with what did not hold; `CANCELLED` on Ctrl-C.
pub async fn demo(narrator: Narrator) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::from)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::from)?;
    let folder = tempfile::Builder::new().prefix("pairfs-demo-").tempdir().map_err(Error::from)?;
    let begin = Instant::now();
    narrator.line(narrator.bold("PairFS: a file survives the loss of its server"));
    let cluster = Cluster::open(&folder.path().join("pairfs-data"), None, true)?;
    narrator.heading("Start a name manager and a pair of storage servers");
    narrator.command("pairfs up --fast");
    let started = cluster.clone();
    let supervisor = blocking(move || Supervisor::start(started, Patience::default())).await?;
    let story = Story { program: Program::new(cluster.dir())?, desk: folder.path().to_owned(), narrator };
    let told = tokio::select! {
        told = blocking(move || story.tell()) => told,
        _ = interrupt.recv() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    };
    if let Err(error) = told {
        for member in cluster.members().filter(|_| error.code != Code::Cancelled) {
            let said = process::last_words(&cluster, &member.name);
            narrator.line(format_args!("  {} {said}", narrator.dim(format_args!("{}:", member.name))));
        }
        return Err(error);
    }
    blocking(move || supervisor.stop_all(&AtomicBool::new(false))).await?;
    let took = begin.elapsed().as_secs_f64();
    narrator.line(format_args!("\n{} in {took:.1} s.", narrator.bold("Every step held,")));
    narrator.line("Your own cluster: `pairfs up`, then `pairfs --help`.");
    Ok(())
}

fn interrupted() -> Error {
    Error::new(Code::Cancelled, "the demo was interrupted", "run it again when you like")
}

struct Story {
    program: Program,
    /// Where the reader's own files are.
    desk: PathBuf,
    narrator: Narrator,
}

impl Story {
    fn tell(&self) -> Result<()> {
        let (letter, photo) =
            (self.local("letter.txt", letter_text())?, self.local("photo.raw", photo_bytes(1))?);
        self.serves()?;
        self.write(&letter, &photo)?;
        self.copied()?;
        self.lost()?;
        let newer = self.local("photo-2.raw", photo_bytes(2))?;
        self.goes_on(&letter, &photo, &newer)?;
        self.returned()?;
        self.same(&letter, &newer)
    }

    fn serves(&self) -> Result<()> {
        let is_so = |status: &Value| all_pairs_are(status, "active");
        let (_, status) = self.program.wait_status("the pair active", STEP_MAX, is_so)?;
        check(status["pairs"][0]["acting"] == "ss1", "ss1 acts", &status["pairs"])?;
        self.narrator.holds("ss1 serves, ss1_backup follows it");
        Ok(())
    }

    fn write(&self, letter: &Path, photo: &Path) -> Result<()> {
        self.narrator.heading("Write some files");
        self.run(&["write", "/home/letter.txt", &letter.to_string_lossy(), "-p"])?;
        self.run(&["write", "/home/photo.raw", &photo.to_string_lossy()])?;
        self.run(&["write", "/home/draft.txt", &letter.to_string_lossy()])?;
        self.equal("/home/letter.txt", letter)?;
        self.narrator.holds("acknowledged: on disk and in the name manager's log");
        Ok(())
    }

    fn copied(&self) -> Result<()> {
        self.narrator.heading("The backup has them, too");
        let is_so =
            |status: &Value| status["pairs"][0]["lag_rows"] == 0 && status["pairs"][0]["at_risk_files"] == 0;
        let (took, _) = self.program.wait_status("everything copied", STEP_MAX, is_so)?;
        self.run(&["fsck"])?;
        self.narrator.holds(format_args!("no lag {}; fsck finds both copies equal", after(took)));
        Ok(())
    }

    fn lost(&self) -> Result<()> {
        self.narrator.heading("Kill the server that serves them");
        self.run(&["node", "kill", "ss1"])?;
        let is_so = |status: &Value| status["pairs"][0]["acting"] == "ss1_backup";
        let (took, status) = self.program.wait_status("ss1_backup acting", NOTICED_MAX, is_so)?;
        let epoch = &status["pairs"][0]["epoch"];
        self.narrator.holds(format_args!("ss1_backup acts {}, in epoch {epoch}", after(took)));
        Ok(())
    }

    fn goes_on(&self, letter: &Path, photo: &Path, newer: &Path) -> Result<()> {
        self.narrator.heading("Read on, write on");
        self.shown(&["read", "/home/letter.txt"]);
        let text = self.program.run(&["read", "/home/letter.txt"])?;
        for line in String::from_utf8_lossy(&text).lines() {
            self.narrator.line(format_args!("  {line}"));
        }
        self.equal("/home/letter.txt", letter)?;
        self.equal("/home/photo.raw", photo)?;
        self.narrator.holds("every byte is there");
        self.run(&["write", "/home/photo.raw", &newer.to_string_lossy()])?;
        self.run(&["create", "/home/empty.txt"])?;
        self.run(&["mv", "/home/letter.txt", "/home/sent.txt"])?;
        self.run(&["rm", "/home/draft.txt"])?;
        self.equal("/home/photo.raw", newer)?;
        self.narrator.holds("changed, made, moved and removed while ss1 is away");
        Ok(())
    }

    fn returned(&self) -> Result<()> {
        self.narrator.heading("Bring ss1 back");
        self.run(&["node", "start", "ss1"])?;
        let is_so = |status: &Value| all_pairs_are(status, "active") && status["pairs"][0]["acting"] == "ss1";
        let (took, _) = self.program.wait_status("ss1 acting again", STEP_MAX, is_so)?;
        let events = self.program.json_lines(&["events"])?;
        let caught_up =
            events.iter().rev().find(|event| event["kind"] == "caught-up" && event["server"] == "ss1");
        let caught_up =
            caught_up.ok_or_else(|| failed("ss1 is acting, but no event tells that it caught up"))?;
        let number =
            |name: &str| [&caught_up[name], &caught_up["numbers"][name]].into_iter().find_map(Value::as_u64);
        let (missed, resent) = (number("rows_missed"), number("rows_resent"));
        check(
            missed.is_some_and(|rows| rows > 0) && missed == resent,
            "ss1 got exactly what it missed",
            caught_up,
        )?;
        let missed = missed.unwrap_or(0);
        self.narrator
            .holds(format_args!("it missed {missed} rows and got {missed}; it acts again {}", after(took)));
        Ok(())
    }

    fn same(&self, letter: &Path, newer: &Path) -> Result<()> {
        self.narrator.heading("Compare both copies");
        let is_so = |status: &Value| status["pairs"][0]["lag_rows"] == 0;
        self.program.wait_status("everything copied", STEP_MAX, is_so)?;
        self.run(&["fsck"])?;
        self.narrator.holds("index, records and chunks of both servers agree");
        let files = [("/home/sent.txt", letter), ("/home/photo.raw", newer)];
        self.digests(&files, "ss1")?;
        self.run(&["pair", "switchover", "ss1"])?;
        let is_so = |status: &Value| status["pairs"][0]["acting"] == "ss1_backup";
        self.program.wait_status("ss1_backup acting", STEP_MAX, is_so)?;
        self.digests(&files, "ss1_backup")?;
        check(
            self.program.run(&["read", "/home/draft.txt"]).is_err(),
            "what was removed stays removed",
            &Value::Null,
        )?;
        self.narrator.holds("what was removed meanwhile stays removed");
        Ok(())
    }

    /// What is served is, by digest, what lies on the desk.
    fn digests(&self, files: &[(&str, &Path)], server: &str) -> Result<()> {
        for (path, local) in files {
            let ours = self.program.json(&["digest", &local.to_string_lossy()])?;
            let copy = self.desk.join("copy");
            self.program.run(&["read", path, "-o", &copy.to_string_lossy()])?;
            let theirs = self.program.json(&["digest", &copy.to_string_lossy()])?;
            let stored = self.program.json(&["info", path])?;
            let same = ours["digest"].is_string()
                && ours["digest"] == theirs["digest"]
                && ours["digest"] == stored["digest"];
            check(same, &format!("{path} has the digest it was written with"), &stored)?;
        }
        self.narrator.holds(format_args!("read from {server}: the digests they were written with"));
        Ok(())
    }

    fn equal(&self, path: &str, local: &Path) -> Result<()> {
        let (there, here) = (self.program.run(&["read", path])?, std::fs::read(local).map_err(Error::from)?);
        if there == here { Ok(()) } else { Err(failed(&format!("{path} does not hold what was written"))) }
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        self.shown(words);
        self.program.run(words).map(|_| ())
    }

    fn shown(&self, words: &[&str]) {
        let desk = format!("{}/", self.desk.display());
        let words: Vec<&str> =
            words.iter().map(|word| word.strip_prefix(desk.as_str()).unwrap_or(word)).collect();
        self.narrator.command(format_args!("pairfs {}", words.join(" ")));
    }

    fn local(&self, name: &str, content: Vec<u8>) -> Result<PathBuf> {
        let path = self.desk.join(name);
        std::fs::write(&path, content).map_err(Error::from)?;
        Ok(path)
    }
}

fn letter_text() -> Vec<u8> {
    b"Dear reader,\nthis letter was written on one server and read from another.\n".to_vec()
}

/// Bytes that no compression or zero page makes equal by luck; others for each `kind`.
fn photo_bytes(kind: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32 ^ kind;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..LARGE).map(|_| next()).collect()
}

fn after(took: Duration) -> String {
    format!("after {:.1} s", took.as_secs_f64())
}

fn check(holds: bool, what: &str, seen: &Value) -> Result<()> {
    if holds { Ok(()) } else { Err(failed(&format!("it does not hold that {what}; seen: {seen}"))) }
}

fn failed(what: &str) -> Error {
    Error::new(Code::Failed, what, "this is a bug; please report it with the output of the demo")
}
