//! `--import DIR`: a new server takes a folder in that it brings along (R24). Each content is made durable here as prepared,
//! then the log makes it a file; the backup gets it by its row. The log says how far it has come, so a server that was
//! killed goes on behind that; a note on this disk says it if the log is lost. The folder is only read.

mod content;
pub mod note;
pub(crate) mod source;
mod walk;

use crate::node::Node;
use crate::store::Prepare;
use crate::wire::{self, passes};
use bytes::Bytes;
use content::Trouble;
use log::crash_point;
use net::Reconnecting;
use note::Note;
use source::Source;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::command::{Answer, EndImport, Import};
use types::ids::SessionId;
use types::limits::{IMPORT_BATCH, MIB};
use types::message::member::{TakeIn, TakeInRequest, TakenIn};
use types::message::store::Target;
use types::record::{ImportProgress, Kind, Server};
use types::{Code, Error, Result};
use walk::{Entry, Walk, is_behind};

/// Bytes after which a batch is full: what a kill costs at most, but for the last file.
const BATCH_BYTES: u64 = 64 * MIB as u64;
/// Files read at once.
const READERS: usize = 4;
/// How long one request may take before it is repeated.
const PATIENCE: Duration = Duration::from_secs(10);
/// Batches whose rows may be under way; then it waits for them: what is in doubt after a loss is bounded.
const UNDER_WAY: usize = 8;
/// Before a step that failed is tried again.
const REST: Duration = Duration::from_secs(1);
/// How often to look whether this server acts.
const LOOK: Duration = Duration::from_millis(50);
/// How often to tell how far it is.
const TELL: Duration = Duration::from_secs(10);

/// Whether a server of the data directory `data` that is told to import `folder` is to ask for that: not when it has
/// done so already.
///
/// # Errors
/// `EXISTS` when it has another folder, or is at another one; as [`Source::read`]; what keeps the folder from being
/// imported.
pub fn is_wanted(folder: &Path, data: &Path) -> Result<bool> {
    match Source::read(data)? {
        Some(source) if !source.is(folder) => Err(another(folder, &source)),
        Some(source) if source.has_ended() => Ok(false),
        _ => check(folder, data).map(|()| true),
    }
}

fn another(folder: &Path, source: &Source) -> Error {
    let (folder, known) = (folder.display(), source.folder().display());
    let verb = if source.has_ended() { "has taken" } else { "is taking" };
    let what = format_args!("{folder} is not imported: this server {verb} {known} in, and it imports once");
    let next = format_args!("give --import {known}, or none; `pairfs put -r` takes folders in at any time");
    Error::new(Code::Exists, what, next)
}

/// Refuses what cannot be imported.
///
/// # Errors
/// `NOT_FOUND`, `USAGE`.
fn check(folder: &Path, data: &Path) -> Result<()> {
    let usage = |what: String, next: &str| Err(Error::new(Code::Usage, what, next));
    let place = std::fs::canonicalize(folder).map_err(|error| {
        let what = format_args!("{} cannot be imported ({error})", folder.display());
        Error::new(Code::NotFound, what, "give an existing folder")
    })?;
    if !place.is_dir() {
        return usage(format!("{} is no folder", folder.display()), "give a folder");
    }
    let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    if data.starts_with(&place) || place.starts_with(&data) {
        return usage(
            format!("{} and the data directory lie within each other", folder.display()),
            "choose another --data",
        );
    }
    Ok(())
}

/// Takes a folder in.
pub struct Importer {
    /// The server.
    pub node: Arc<Node>,
    /// The connection to the name manager.
    pub link: Reconnecting,
    /// What is taken in.
    pub folder: PathBuf,
    /// The data directory, for the note.
    pub data: PathBuf,
    /// The registration that holds now, as the log has it.
    pub registered: watch::Receiver<Option<Server>>,
}

/// An entry with its content, if it has one.
struct Ready {
    import: Import,
    session: Option<SessionId>,
}

impl Importer {
    /// Runs until everything is in or the server stops.
    pub async fn run(mut self) {
        let mut note = match Note::open(&self.data) {
            Ok(note) => note,
            Err(error) => return tracing::error!(%error, "nothing is imported"),
        };
        let (mut known, mut incarnation) = (ImportProgress::default(), 0);
        loop {
            let server = {
                let registered = self.registered.wait_for(Option::is_some);
                tokio::select! {
                    () = self.node.stopped() => return,
                    server = registered => match server.map(|server| server.clone()) {
                        Ok(Some(server)) => server,
                        _ => return,
                    },
                }
            };
            let Some(progress) = server.import.clone() else {
                tracing::info!(folder = %self.folder.display(), "its import has ended before: nothing is imported");
                return note.remove().unwrap_or_else(|error| tracing::warn!(%error, "a note stays"));
            };
            if let Err(error) = self.begin().await {
                return tracing::error!(%error, "nothing is imported");
            }
            if std::mem::replace(&mut incarnation, server.incarnation) != server.incarnation {
                // What was known before may be of another name manager.
                note.agreed(&progress, (server.control_mark, server.pair_mark));
                known = progress;
            }
            match self.pass(&server, &mut known, &mut note).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the import pauses"),
            }
            tokio::select! {
                () = self.node.stopped() => return,
                _ = self.registered.changed() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    /// Notes what is taken in, before anything is.
    async fn begin(&self) -> Result<()> {
        let (data, folder) = (self.data.clone(), self.folder.clone());
        let begin = move || match Source::read(&data)? {
            Some(_) => Ok(()),
            None => Source::write(&data, &folder, false),
        };
        threads::run(begin).await.map_err(Error::internal)?
    }

    /// Takes in everything behind `known`, as far as this registration goes.
    async fn pass(&self, server: &Server, known: &mut ImportProgress, note: &mut Note) -> Result<()> {
        tracing::info!(folder = %self.folder.display(), after = known.after, done = known.done, "importing");
        let (sender, mut entries) = mpsc::channel(4 * IMPORT_BATCH);
        let (folder, after) = (self.folder.clone(), known.after.clone());
        let walking = threads::run(move || {
            let mut walk = Walk::new(&folder);
            for entry in walk.by_ref().filter(|entry| is_behind(&entry.path, &after)) {
                if sender.blocking_send(entry).is_err() {
                    break;
                }
            }
            walk.passed_over
        });
        let doubtful = note.doubtful();
        let mut told = Instant::now();
        while let Some(mut batch) = next_batch(&mut entries).await {
            self.leave_out(&doubtful, &mut batch)?;
            let ready = self.prepare_all(server, known.done, batch).await?;
            self.settle(server, note, UNDER_WAY).await?;
            let sessions = ready.iter().filter_map(|ready| Some((&ready.import, ready.session?)));
            let asked: Vec<_> =
                sessions.map(|(import, session)| (import.number, import.path.clone(), session)).collect();
            let noting = note.ask(asked.into_iter())?;
            threads::run(noting).await.map_err(Error::internal)??;
            crash_point("import.asked");
            self.take_in(server, ready, known, note).await?;
            if told.elapsed() >= TELL {
                tracing::info!(entries = known.done, bytes = known.bytes, at = known.after, "importing");
                told = Instant::now();
            }
        }
        let passed_over = walking.await.map_err(Error::internal)?;
        // Once the log has forgotten the import, nobody would ask for what is only prepared.
        self.settle(server, note, 0).await?;
        let (data, folder) = (self.data.clone(), self.folder.clone());
        threads::run(move || Source::write(&data, &folder, true)).await.map_err(Error::internal)??;
        self.end(server, passed_over).await?;
        crash_point("import.ended");
        note.remove()
    }

    /// Marks what came in already, though the name manager does not know: it was lost and made anew since. What became
    /// of it is people's business: it must not come back (I4).
    fn leave_out(&self, doubtful: &HashMap<String, SessionId>, batch: &mut [Entry]) -> Result<()> {
        for entry in batch {
            if let Some(session) = doubtful.get(&entry.path)
                && self.node.store()?.is_decided(*session)?
            {
                entry.kind = Kind::Unknown;
                entry.target = "was taken in before the name manager was rebuilt".to_owned();
            }
        }
        Ok(())
    }

    /// Waits until the rows of all but `left` batches are durable here.
    async fn settle(&self, server: &Server, note: &mut Note, left: usize) -> Result<()> {
        while note.settle(self.node.store()?.cursors()) > left {
            if self.node.serving.incarnation() != server.incarnation || self.node.is_stopped() {
                return Err(over());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Makes the contents durable here, several at a time.
    async fn prepare_all(&self, server: &Server, done: u64, batch: Vec<Entry>) -> Result<Vec<Ready>> {
        let slots = Arc::new(Semaphore::new(READERS));
        let mut works = JoinSet::new();
        for (at, entry) in batch.into_iter().enumerate() {
            let (node, slots, pair) = (self.node.clone(), slots.clone(), server.pair);
            let import = Import {
                server: server.name.clone(),
                incarnation: server.incarnation,
                pair,
                number: done + 1 + at as u64,
                path: entry.path.clone(),
                kind: entry.kind as i32,
                mode: entry.mode,
                mtime_ms: entry.mtime_ms,
                target: entry.target.clone(),
                ..Import::default()
            };
            works.spawn(async move {
                let _slot = slots.acquire_owned().await.map_err(Error::internal)?;
                prepare(&node, import, entry).await
            });
        }
        let mut ready = Vec::new();
        while let Some(done) = works.join_next().await {
            ready.push(done.map_err(Error::internal)??);
        }
        ready.sort_unstable_by_key(|ready| ready.import.number);
        Ok(ready)
    }

    /// Has the log decide a batch; asks again for what it could not decide now.
    async fn take_in(
        &self,
        server: &Server,
        mut batch: Vec<Ready>,
        known: &mut ImportProgress,
        note: &mut Note,
    ) -> Result<()> {
        let mut ends = (0, 0);
        while !batch.is_empty() {
            let epoch = self.acting(server).await?;
            let journal = self.node.store()?.journal_end();
            let entries =
                batch.iter().map(|ready| Import { epoch, journal, ..ready.import.clone() }).collect();
            let answers = match self.ask(&TakeInRequest { entries }).await {
                Ok(answers) => answers,
                Err(error) if passes(&error) => {
                    tracing::debug!(%error, "asking again");
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for answer in answers {
                match answer.into_result() {
                    Ok(answer) => {
                        let ready = batch.remove(0);
                        count(known, &mut ends, &ready.import, &answer);
                        self.done(ready, answer).await?;
                    }
                    Err(error) if error.code == Code::RegisterAgain => {
                        self.node.serving.fenced(server.incarnation);
                        return Err(error);
                    }
                    // The reign is changing: what follows was refused, too.
                    Err(error) if passes(&error) => {
                        tokio::time::sleep(LOOK).await;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        note.decided(known, ends);
        Ok(())
    }

    async fn ask(&self, request: &TakeInRequest) -> Result<Vec<Answer>> {
        let connection = self.link.get(Instant::now() + PATIENCE).await?;
        let (answers, _) = wire::call::<TakeIn>(&connection, request, Bytes::new(), PATIENCE).await?;
        if answers.answers.len() != request.entries.len() {
            return Err(Error::internal("the name manager answered another number of entries"));
        }
        Ok(answers.answers)
    }

    /// One entry is decided.
    async fn done(&self, ready: Ready, answer: Answer) -> Result<()> {
        let store = self.node.store()?;
        if answer.repeated {
            // What became of its content here, the row or the next start tells (R10).
            return Ok(());
        }
        let Some(record) = answer.record else {
            tracing::warn!(path = ready.import.path, why = answer.message, "not imported");
            if let Some(session) = ready.session {
                store.unprepare(session).await?;
                store.drop_session(session).await?;
            }
            return Ok(());
        };
        if record.is_file() {
            // Readers see it before its row comes (R22).
            store.install_head(record)?;
            self.node.sessions.content_landed();
        }
        Ok(())
    }

    async fn end(&self, server: &Server, passed_over: u64) -> Result<()> {
        let request = EndImport {
            server: server.name.clone(),
            incarnation: server.incarnation,
            reason: format!("from {}", self.folder.display()),
            passed_over,
        };
        loop {
            let connection = self.link.get(Instant::now() + PATIENCE).await;
            let ended = match connection {
                Ok(connection) => wire::call::<TakenIn>(&connection, &request, Bytes::new(), PATIENCE).await,
                Err(error) => Err(error),
            };
            match ended {
                // Denied: an answer before this was lost, and it has ended.
                Err(error) if error.code != Code::Denied && passes(&error) => tokio::time::sleep(REST).await,
                Err(error) if error.code != Code::Denied => return Err(error),
                _ => break,
            }
        }
        tracing::info!(folder = %self.folder.display(), "imported");
        Ok(())
    }

    /// The epoch this registration acts in, once it does.
    async fn acting(&self, server: &Server) -> Result<u64> {
        let serving = &self.node.serving;
        loop {
            if serving.incarnation() != server.incarnation || self.node.is_stopped() {
                return Err(over());
            }
            if let Some(epoch) = serving.epoch().filter(|epoch| self.node.admit(server.pair, *epoch).is_ok())
            {
                return Ok(epoch);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn over() -> Error {
    Error::new(Code::RegisterAgain, "the registration is over", "it goes on with the next")
}

/// Counts an entry as the log does, and notes its rows (control, pair). What was asked twice made its rows before those
/// of whatever follows.
fn count(known: &mut ImportProgress, ends: &mut (u64, u64), import: &Import, answer: &Answer) {
    known.done = import.number;
    known.after.clone_from(&import.path);
    for row in &answer.rows {
        let end = if row.feed == 0 { &mut ends.0 } else { &mut ends.1 };
        *end = row.seq.max(*end);
    }
    match (&answer.record, import.kind()) {
        (None, _) if !answer.repeated => known.skipped += 1,
        (_, Kind::File) => known.files += 1,
        (_, Kind::Folder) => known.folders += 1,
        _ => known.links += 1,
    }
    if answer.record.is_some() || answer.repeated {
        known.bytes += import.size;
    }
}

/// What goes into the log together; none at the end.
async fn next_batch(entries: &mut mpsc::Receiver<Entry>) -> Option<Vec<Entry>> {
    let first = entries.recv().await?;
    let mut bytes = first.size;
    let mut batch = vec![first];
    while batch.len() < IMPORT_BATCH && bytes < BATCH_BYTES {
        let Ok(next) = entries.try_recv() else { break };
        bytes += next.size;
        batch.push(next);
    }
    Some(batch)
}

/// Makes the content of an entry durable here; on a full disk it waits for room.
async fn prepare(node: &Node, mut import: Import, entry: Entry) -> Result<Ready> {
    if entry.kind != Kind::File {
        return Ok(Ready { import, session: None });
    }
    let store = node.store()?;
    let session = SessionId::from_random(net::secret::random::<16>()?);
    loop {
        let (from, local, size) = (store.clone(), entry.local.clone(), entry.size);
        let read = threads::run(move || content::read(&from, &local, size)).await;
        let kept = match read.map_err(Error::internal)? {
            Ok(None) => return Ok(Ready { import, session: None }),
            Ok(Some(content)) => {
                let manifest = content.manifest();
                import.session = session.0.to_vec();
                import.size = manifest.size;
                import.digest_kind = manifest.digest_kind;
                import.sha256 = manifest.sha256.to_vec();
                let name = import.path.rsplit('/').next().unwrap_or_default().to_owned();
                let prepare = Prepare {
                    session,
                    target: Target { pair: import.pair, folder: 0, name, file: 0 },
                    asker: None,
                    content: Some(content),
                    for_partner: false,
                    lazy: false,
                    lone: false,
                    seen: store.newest_row(),
                };
                store.prepare(prepare).await.map(|_| ())
            }
            Err(Trouble::Local(error)) => {
                import.kind = Kind::Unknown as i32;
                import.target = format!("cannot be read ({error})");
                return Ok(Ready { import, session: None });
            }
            Err(Trouble::Store(error)) => Err(error),
        };
        match kept {
            Ok(()) => return Ok(Ready { import, session: Some(session) }),
            Err(error) if error.code == Code::DiskFull && !node.is_stopped() => {
                tracing::warn!(%error, path = import.path, "the import waits for room");
                tokio::time::sleep(5 * REST).await;
            }
            Err(error) => return Err(error),
        }
    }
}
