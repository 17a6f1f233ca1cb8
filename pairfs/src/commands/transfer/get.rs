//! `get`: from the cluster to this machine.

use super::engine::{self, Found, Side};
use super::local::{self, Draft, Kind};
use super::report::{Action, Report};
use super::sources;
use super::{Common, GetArgs, LARGE, below, modified, needs_recursive, relative, remote_entry};
use crate::commands::target::{self, Target};
use client::{Attributes, Client, ReadOptions, Reader};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::spawn_blocking;
use types::path::{PathName, Quoted, means_content};
use types::record::{Kind as Remote, Record};
use types::{Code, Error, Result};

struct Get {
    client: Client,
    common: Common,
    report: Arc<Report>,
    /// Folders that get their mode and their time when all that is in them is there.
    folders: Mutex<Vec<(PathBuf, Attributes)>>,
}

/// A remote folder and where it goes; one page of it at a time.
struct Folder {
    remote: String,
    local: PathBuf,
    relative: String,
    kept: Attributes,
    /// Where the page begins; empty: nothing was done yet.
    after: String,
    /// It was named on the command line: a link to a folder will do.
    top: bool,
    /// Names of the pages before, if what is not among them is to be deleted.
    names: Option<HashSet<String>>,
}

/// How a file takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// In the place of a file, a link or nothing.
    Replace,
    /// In the place of whatever stands there, also of a folder.
    Clear,
    /// It is written to the device or pipe, which stays.
    Pour,
}

/// One thing to do.
enum Job {
    Read { remote: String, local: PathBuf, record: Box<Record>, how: How },
    Link { local: PathBuf, target: String, kept: Attributes },
    Delete { local: PathBuf },
}

/// Refuses bad paths, and sources that would become one thing; asks nobody.
pub(super) fn check(args: &GetArgs) -> Result<()> {
    let mut named = Vec::new();
    for remote in &args.remote {
        let path = PathName::given(remote)?;
        let name = path.split_last().filter(|_| !means_content(remote)).map(|(_, name)| name.to_owned());
        named.push((remote.as_str(), name));
    }
    sources::check(named.into_iter(), args.common.delete, str::to_owned)
}

pub(super) async fn run(client: Client, args: &GetArgs, report: Report) -> Result<()> {
    let report = Arc::new(report);
    let get = Arc::new(Get {
        client,
        common: args.common.clone(),
        report: report.clone(),
        folders: Mutex::default(),
    });
    let first = get.first(args).await?;
    tokio::select! {
        biased;
        () = engine::run(get.clone(), &report, first) => {}
        () = report.show() => {}
    }
    get.finish_folders();
    report.end()
}

impl Get {
    /// What the command line names. Wrong usage is told before anything is done.
    async fn first(&self, args: &GetArgs) -> Result<Found<Folder, Job>> {
        let into = args.local.is_dir();
        let slash = args.local.as_os_str().as_encoded_bytes().ends_with(b"/");
        let several = args.remote.len() > 1;
        if !into && several && !args.common.parents {
            return Err(no_folder(&args.local));
        }
        let mut found = Found::default();
        for remote in &args.remote {
            match self.top(remote, args, into, slash).await {
                Ok(Taken::Folder(folder)) => found.folders.push(folder),
                Ok(Taken::Job(job)) => found.files.push(job),
                Ok(Taken::Nothing) => {}
                Err(error) if !several => return Err(error),
                Err(error) => self.report.failed(remote, error),
            }
        }
        Ok(found)
    }

    async fn top(&self, remote: &str, args: &GetArgs, into: bool, slash: bool) -> Result<Taken> {
        let within = means_content(remote);
        let path = PathName::given(remote)?;
        let record = remote_entry(&self.client, remote).await?;
        let record = record.ok_or_else(|| Error::not_found(Quoted(remote)))?;
        if within && !record.is_folder() {
            let what = format_args!("{} is no folder", Quoted(remote));
            return Err(Error::new(Code::NotAFolder, what, "leave the '/.' at its end out"));
        }
        let inside = into || args.remote.len() > 1 || (slash && !record.is_folder());
        if inside && !into && !args.common.parents {
            return Err(no_folder(&args.local));
        }
        let name = path.split_last().map(|(_, name)| name).filter(|_| !within);
        let local = match name {
            Some(name) if inside => args.local.join(name),
            _ => args.local.clone(),
        };
        if args.common.parents && !args.common.dry_run {
            make_parents(if args.remote.len() > 1 { Some(&args.local) } else { local.parent() })?;
        }
        let remote = path.to_string();
        if record.is_folder() {
            if !args.common.recursive {
                return Err(needs_recursive(&remote));
            }
            if name.is_some() && !inside {
                self.report.renamed();
            }
            return Ok(Taken::Folder(self.below(remote, local, String::new(), true, &record)));
        }
        if record.kind() != Remote::File {
            return self.plan(remote, local, record, false);
        }
        // What is named on the command line may be a link that leads there; within a tree none is followed.
        match Target::of(&local)? {
            Target::Replace(local) => self.plan(remote, local, record, false),
            Target::Pour => {
                Ok(Taken::Job(Job::Read { remote, local, record: Box::new(record), how: How::Pour }))
            }
        }
    }

    fn below(&self, remote: String, local: PathBuf, relative: String, top: bool, record: &Record) -> Folder {
        let names = self.common.delete.then(HashSet::new);
        let kept = Attributes { mode: record.mode, mtime_ms: record.mtime_ms };
        Folder { remote, local, relative, kept, after: String::new(), top, names }
    }

    /// The innermost first: what is made in a folder changes its time, and may need its mode.
    fn finish_folders(&self) {
        let mut folders = std::mem::take(&mut *self.folders.lock().unwrap_or_else(PoisonError::into_inner));
        folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, kept) in folders {
            if let Err(error) = local::set_attributes(&path, kept, true) {
                self.report.failed(&path.display().to_string(), error);
            }
        }
    }

    /// What has to be done for a name that is no folder; with `clear` in the place of whatever stands there.
    fn plan(&self, remote: String, local: PathBuf, record: Record, clear: bool) -> Result<Taken> {
        let here = local::look(&local)?;
        let in_the_way = matches!(here, Some(Kind::Folder | Kind::Special(_)));
        if let Some(here) = here.as_ref().filter(|_| in_the_way && !clear) {
            let (code, what) = match here {
                Kind::Special(what) => (Code::Exists, *what),
                _ => (Code::IsAFolder, "a folder"),
            };
            let what = format_args!("{} is {what}", local.display());
            let next = "it stays; remove it first, or give another name; within a tree --delete removes it";
            return Err(Error::new(code, what, next));
        }
        let how = if in_the_way { How::Clear } else { How::Replace };
        let shown = || local.display().to_string();
        match (record.kind(), here) {
            (Remote::File, Some(Kind::File(stat)))
                if stat.mtime_ms == modified(&record)
                    && record.head_version().is_some_and(|head| head.size == stat.size) =>
            {
                if !self.common.dry_run {
                    local::set_mode(&local, &stat, record.mode)?;
                }
                self.report.did(Action::Skipped, "", &shown(), 0);
                Ok(Taken::Nothing)
            }
            (Remote::File, _) => Ok(Taken::Job(Job::Read { remote, local, record: Box::new(record), how })),
            (Remote::Symlink, Some(Kind::Link(target))) if target == record.target => {
                self.report.did(Action::Skipped, "", &shown(), 0);
                Ok(Taken::Nothing)
            }
            (Remote::Symlink, _) => {
                let kept = Attributes { mode: 0, mtime_ms: record.mtime_ms };
                Ok(Taken::Job(Job::Link { local, target: record.target, kept }))
            }
            _ => {
                self.report.warn(&format!("{remote} is of a kind this version does not know: left out"));
                Ok(Taken::Nothing)
            }
        }
    }

    async fn look_into(&self, mut folder: Folder) -> Result<Found<Folder, Job>> {
        if folder.after.is_empty() {
            self.make_folder(&folder)?;
            if folder.kept != Attributes::default() && !self.common.dry_run {
                let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
                folders.push((folder.local.clone(), folder.kept));
            }
        }
        let mut listing = self.client.list(&folder.remote, &folder.after, None)?;
        let entries = listing.next().await?.unwrap_or_default();
        let mut found = Found::default();
        for record in entries {
            let (name, is_folder) = (record.name.clone(), record.is_folder());
            let relative = relative(&folder.relative, &name);
            let excluded = self.common.excludes(&relative, is_folder);
            let (remote, local) = (below(&folder.remote, &name), folder.local.join(&name));
            if let Some(names) = &mut folder.names {
                names.insert(name);
            }
            if excluded {
                continue;
            }
            if is_folder {
                found.folders.push(self.below(remote, local, relative, false, &record));
                continue;
            }
            match self.plan(remote.clone(), local, record, self.common.delete) {
                Ok(Taken::Job(job)) => found.files.push(job),
                Ok(_) => {}
                Err(error) => self.report.failed(&remote, error),
            }
        }
        match listing.position().map(str::to_owned) {
            Some(after) => found.folders.insert(0, Folder { after, ..folder }),
            None => found.files.extend(self.gone(&folder)?),
        }
        Ok(found)
    }

    fn make_folder(&self, folder: &Folder) -> Result<()> {
        let path = &folder.local;
        let there = local::look(path)?;
        let shown = path.display().to_string();
        match there {
            Some(Kind::Folder) => Ok(()),
            Some(_) if folder.top && path.is_dir() => Ok(()),
            // A link that an earlier `get` made may lead anywhere.
            Some(_) if folder.top || !self.common.delete => {
                let what = format_args!("{shown} is no folder");
                let next = "remove it first, or give another name; within a tree --delete removes it";
                Err(Error::new(Code::NotAFolder, what, next))
            }
            there => {
                if there.is_some() {
                    self.clear(path)?;
                }
                if !self.common.dry_run {
                    local::make_folder(path, folder.kept.mode)?;
                }
                self.report.did(Action::Folder, "", &shown, 0);
                Ok(())
            }
        }
    }

    /// Deletes what stands in the way.
    fn clear(&self, path: &Path) -> Result<()> {
        if !self.common.dry_run {
            local::delete(path)?;
        }
        self.report.did(Action::Deleted, "", &path.display().to_string(), 0);
        Ok(())
    }

    /// What the source has not.
    fn gone(&self, folder: &Folder) -> Result<Vec<Job>> {
        let Some(names) = &folder.names else { return Ok(Vec::new()) };
        // As far as a dry run goes, there may be none yet.
        if !folder.top && local::look(&folder.local)? != Some(Kind::Folder) || !folder.local.is_dir() {
            return Ok(Vec::new());
        }
        let entries = local::read_folder(&folder.local)?.into_iter();
        let gone = entries.filter(|entry| {
            let is_folder = matches!(entry.kind, Ok(Kind::Folder));
            !names.contains(&entry.name)
                && !local::is_draft(&entry.name)
                && !matches!(&entry.kind, Err(error) if error.code == Code::BadPath)
                && !self.common.excludes(&relative(&folder.relative, &entry.name), is_folder)
        });
        Ok(gone.map(|entry| Job::Delete { local: folder.local.join(entry.name) }).collect())
    }

    async fn do_job(&self, job: &Job) -> Result<()> {
        match job {
            Job::Delete { local } => tokio::task::block_in_place(|| self.clear(local)),
            Job::Link { local, target, kept } => {
                match local::look(local)? {
                    Some(Kind::Folder | Kind::Special(_)) => {
                        tokio::task::block_in_place(|| self.clear(local))?
                    }
                    Some(_) if !self.common.dry_run => local::delete(local)?,
                    _ => {}
                }
                if !self.common.dry_run {
                    std::os::unix::fs::symlink(target, local)
                        .map_err(|error| local::trouble(local, &error))?;
                    local::set_attributes(local, *kept, false)?;
                }
                self.report.did(Action::Link, target, &local.display().to_string(), 0);
                Ok(())
            }
            Job::Read { remote, local, record, how } => {
                let shown = local.display().to_string();
                let size = record.head_version().map_or(0, |head| head.size);
                if *how == How::Clear {
                    self.report.did(Action::Deleted, "", &shown, 0);
                }
                if self.common.dry_run {
                    self.report.did(Action::File, remote, &shown, size);
                    return Ok(());
                }
                let size = match self.read(remote, local, record, *how).await {
                    // It changed often since it was listed.
                    Err(Error { code: Code::NoSuchVersion, .. }) => {
                        let record = self.client.entry(remote).await?;
                        let record = record.ok_or_else(|| Error::not_found(remote))?;
                        self.read(remote, local, &record, *how).await?
                    }
                    other => other?,
                };
                self.report.did(Action::File, remote, &shown, size);
                Ok(())
            }
        }
    }

    /// Brings the version that `record` has as its head, so that its bytes and its time belong together.
    async fn read(&self, remote: &str, local: &Path, record: &Record, how: How) -> Result<u64> {
        let Some(head) = record.head_version() else {
            let what = format_args!("the only copy of {remote} is on a server that is away");
            return Err(Error::new(Code::OnlyCopyAway, what, "see `pairfs info`"));
        };
        let (time, mode, size) = (modified(record), record.mode, head.size);
        let clear = how == How::Clear;
        if size == 0 && how != How::Pour {
            let local = local.to_owned();
            let made = spawn_blocking(move || Draft::new(&local, clear)?.finish(&local, time, mode)).await;
            return made.map_err(Error::internal)?.map(|()| 0);
        }
        let options = ReadOptions { version: Some(head.version()), ..ReadOptions::default() };
        let mut reader = self.client.read_listed(remote, record, &options).await?;
        if how == How::Pour {
            return target::pour(&mut reader, local, &self.report.large()).await;
        }
        if size > LARGE {
            return self.stream(&mut reader, Draft::new(local, clear)?, local, (time, mode)).await;
        }
        let bytes = reader.to_end(LARGE).await?;
        let local = local.to_owned();
        let write = spawn_blocking(move || {
            let mut draft = Draft::new(&local, clear)?;
            draft.write(&local, &bytes)?;
            draft.finish(&local, time, mode)?;
            Ok(bytes.len() as u64)
        });
        write.await.map_err(Error::internal)?
    }

    async fn stream(
        &self,
        reader: &mut Reader,
        mut draft: Draft,
        local: &Path,
        (time, mode): (i64, u32),
    ) -> Result<u64> {
        let progress = self.report.large();
        let mut written = 0;
        while let Some(bytes) = reader.next().await? {
            tokio::task::block_in_place(|| draft.write(local, &bytes))?;
            written += bytes.len() as u64;
            progress.store(written, Ordering::Relaxed);
        }
        draft.finish(local, time, mode)?;
        Ok(written)
    }
}

enum Taken {
    Folder(Folder),
    Job(Job),
    Nothing,
}

fn make_parents(folder: Option<&Path>) -> Result<()> {
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::create_dir_all(folder).map_err(|error| local::trouble(folder, &error)),
        None => Ok(()),
    }
}

fn no_folder(path: &Path) -> Error {
    let what = format_args!("{} is no folder", path.display());
    Error::new(Code::NotAFolder, what, "make it first, or use -p")
}

impl Side for Get {
    type Folder = Folder;
    type File = Job;

    async fn folder(self: Arc<Self>, folder: Folder) -> Found<Folder, Job> {
        let path = folder.remote.clone();
        self.look_into(folder).await.unwrap_or_else(|error| {
            self.report.failed(&path, error);
            Found::default()
        })
    }

    async fn file(self: Arc<Self>, job: Job) {
        if let Err(error) = self.do_job(&job).await {
            let what = match &job {
                Job::Read { remote, .. } => remote.clone(),
                Job::Link { local, .. } | Job::Delete { local } => local.display().to_string(),
            };
            self.report.failed(&what, error);
        }
    }

    fn is_large(job: &Job) -> bool {
        matches!(job, Job::Read { record, .. } if record.head_version().is_some_and(|head| head.size > LARGE))
    }
}
