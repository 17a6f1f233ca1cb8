//! What a transfer did, for people and programs: lines, progress on a terminal, a summary.

use crate::output::{self, Printer, plural, size, span};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use types::{Code, Error, Result};

/// How often progress is shown.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// Something that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A file was transferred.
    File,
    /// A folder was made.
    Folder,
    /// A symbolic link was made.
    Link,
    /// Something was deleted because the source has it not.
    Deleted,
    /// It was there already, of the same size and time.
    Skipped,
}

/// Counts and tells.
pub struct Report {
    out: Printer,
    /// `put` or `get`.
    verb: &'static str,
    dry_run: bool,
    begin: Instant,
    files: AtomicU64,
    folders: AtomicU64,
    links: AtomicU64,
    deleted: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    warned: AtomicU64,
    bytes: AtomicU64,
    /// Bytes of large files under way.
    under_way: Mutex<Vec<Arc<AtomicU64>>>,
    stopped: AtomicBool,
    /// A folder got a new name, which will be there: the same words again mean a folder in it, as with cp.
    renamed: AtomicBool,
    /// The first error, or the one that ended all.
    error: Mutex<Option<Error>>,
    /// Why standard output does not say what was done.
    unsaid: Mutex<Option<Error>>,
    terminal: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Report {
    /// Of a command that begins now.
    pub fn new(out: Printer, verb: &'static str, dry_run: bool) -> Report {
        let zero = AtomicU64::default;
        // What is read no more is put and got all the same.
        let out = out.that_goes_on();
        Report {
            out,
            verb,
            dry_run,
            begin: Instant::now(),
            files: zero(),
            folders: zero(),
            links: zero(),
            deleted: zero(),
            skipped: zero(),
            failed: zero(),
            warned: zero(),
            bytes: zero(),
            under_way: Mutex::default(),
            stopped: AtomicBool::new(false),
            renamed: AtomicBool::new(false),
            error: Mutex::default(),
            unsaid: Mutex::default(),
            terminal: std::io::stderr().is_terminal() && !out.quiet && !out.json,
        }
    }

    /// Notes what was done (or would be): `from` and `to` as people know them. That it cannot be said is told at the end:
    /// it is done.
    pub fn did(&self, action: Action, from: &str, to: &str, bytes: u64) {
        let (count, word) = match action {
            Action::File => (&self.files, self.verb),
            Action::Folder => (&self.folders, "mkdir"),
            Action::Link => (&self.links, "link"),
            Action::Deleted => (&self.deleted, "delete"),
            Action::Skipped => (&self.skipped, "skip"),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if action == Action::File {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if self.out.json {
            if action == Action::Skipped {
                return;
            }
            let size = (action == Action::File).then_some(bytes);
            let from = if from.is_empty() { Value::Null } else { from.into() };
            let object = json!({"action": word, "from": from, "to": to, "size": size});
            return self.said(self.out.object(&object));
        }
        let shown = if self.dry_run { action != Action::Skipped } else { self.out.verbose > 0 };
        if !shown || (self.out.quiet && !self.dry_run) {
            return;
        }
        self.clear_line();
        let to = self.out.name(to);
        self.said(match from {
            "" => self.out.line(format!("{word} {to}")),
            from => self.out.line(format!("{word} {} -> {to}", self.out.name(from))),
        });
    }

    fn said(&self, result: Result<()>) {
        if let Err(error) = result {
            locked(&self.unsaid).get_or_insert(error);
        }
    }

    /// Something failed; the rest goes on, unless nothing else can succeed either.
    pub fn failed(&self, what: &str, error: Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        // The client has waited for all of its timeout: others would wait as long each.
        let hopeless = matches!(
            error.code,
            Code::Unavailable
                | Code::NoActingMember
                | Code::Timeout
                | Code::OutcomeUnknown
                | Code::DiskFull
                | Code::QuotaReached
                | Code::NotSignedIn
        );
        if hopeless {
            return self.stop(error);
        }
        if !self.is_stopped() {
            self.clear_line();
            let message = match error.message.contains(what) {
                true => error.message.clone(),
                false => format!("{what}: {}", error.message),
            };
            output::error(&Error { message, ..error.clone() }, self.out.json);
        }
        locked(&self.error).get_or_insert(error);
    }

    /// Nothing else is begun; `error` is what the command ends with.
    pub fn stop(&self, error: Error) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            *locked(&self.error) = Some(error);
        }
    }

    /// Whether nothing else shall be begun.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Notes that a folder goes under a new name that is not there yet.
    pub fn renamed(&self) {
        self.renamed.store(true, Ordering::Relaxed);
    }

    /// Something is left out that is no error.
    pub fn warn(&self, text: &str) {
        self.warned.fetch_add(1, Ordering::Relaxed);
        self.clear_line();
        match (self.out.quiet, self.out.json) {
            (true, _) => {}
            (_, true) => eprintln!("{}", json!({"warning": {"message": text}})),
            _ => eprintln!("pairfs: warning: {}", output::escaped(text)),
        }
    }

    /// A counter for the bytes of a large file, shown while it is held.
    pub fn large(&self) -> Arc<AtomicU64> {
        let counter = Arc::<AtomicU64>::default();
        let mut under_way = locked(&self.under_way);
        under_way.retain(|counter| Arc::strong_count(counter) > 1);
        under_way.push(counter.clone());
        counter
    }

    /// Shows progress until it is dropped; for a terminal only.
    pub async fn show(&self) {
        if !self.terminal {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(PROGRESS_PAUSE).await;
            let under_way = locked(&self.under_way);
            let alive = under_way.iter().filter(|counter| Arc::strong_count(counter) > 1);
            let large: u64 = alive.map(|counter| counter.load(Ordering::Relaxed)).sum();
            drop(under_way);
            let bytes = self.bytes.load(Ordering::Relaxed) + large;
            let rate = (bytes as f64 / self.begin.elapsed().as_secs_f64()) as u64;
            let files = plural(self.files.load(Ordering::Relaxed), "file");
            let line = format!("\r\x1b[K{files}, {}, {}/s", size(bytes), size(rate));
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn clear_line(&self) {
        if self.terminal {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// The summary. An error if anything failed: that of the one thing that was asked for, or that of what
    /// ended all, or that some of many failed.
    pub fn end(&self) -> Result<()> {
        self.clear_line();
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (files, folders, links) = (get(&self.files), get(&self.folders), get(&self.links));
        let (deleted, skipped, failed) = (get(&self.deleted), get(&self.skipped), get(&self.failed));
        let bytes = get(&self.bytes);
        let nothing = files + folders + links + deleted + skipped == 0;
        let error = locked(&self.error).take();
        if self.out.json {
            let summary = json!({"summary": {
                "files": files, "folders": folders, "links": links, "deleted": deleted, "skipped": skipped,
                "failed": failed, "warnings": get(&self.warned), "bytes": bytes, "dry_run": self.dry_run,
                "seconds": self.begin.elapsed().as_secs_f64(),
            }});
            self.said(self.out.object(&summary));
        } else if !self.out.quiet && (!nothing || failed != 1) {
            let would = if self.dry_run { "would be " } else { "" };
            let done = if self.verb == "put" { "put" } else { "got" };
            let mut parts = vec![format!("{} ({}) {would}{done}", plural(files, "file"), size(bytes))];
            let others = [(folders, "folder", "made"), (links, "link", "made")];
            parts.extend(
                others
                    .iter()
                    .filter(|(count, ..)| *count > 0)
                    .map(|(count, noun, verb)| format!("{} {would}{verb}", plural(*count, noun))),
            );
            let counts = [(deleted, format!("{would}deleted")), (skipped, "there already".to_owned())];
            parts.extend(
                counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")),
            );
            if failed > 0 {
                parts.push(format!("{failed} failed"));
            }
            self.said(self.out.line(format!("{}, in {}", parts.join(", "), span(self.begin.elapsed()))));
        }
        match error {
            None => locked(&self.unsaid).take().map_or(Ok(()), Err),
            // What was asked for was one thing, and its error is told once, here or above.
            Some(error) if self.is_stopped() => Err(error),
            Some(error) => Err(Error::new(
                if nothing && failed == 1 { error.code } else { Code::Failed },
                format_args!(
                    "{} could not be {}",
                    plural(failed, "item"),
                    if self.verb == "put" { "put" } else { "got" }
                ),
                if self.renamed.load(Ordering::Relaxed) {
                    "see above; with FOLDER/. for FOLDER the same command does only what is missing"
                } else {
                    "see above; the same command again does only what is missing"
                },
            )),
        }
    }
}
