//! `put`: from this machine to the cluster.

use super::engine::{self, Found, Side};
use super::local::{self, Entry, Kind, Stat};
use super::report::{Action, Report};
use super::sources::{self, own_name, spelled};
use super::{Common, LARGE, PutArgs, below, modified, needs_recursive, relative, remote_entry};
use client::{Attributes, Client, Content, Durability, MakeOptions, RemoveOptions, WriteOptions};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use types::path::PathName;
use types::record::{Kind as Remote, Record};
use types::{Code, Error, Result};

struct Put {
    client: Client,
    common: Common,
    durability: Durability,
    report: Arc<Report>,
}

/// A local folder and where it goes.
struct Folder {
    local: PathBuf,
    remote: String,
    relative: String,
    /// What the folder that stands there already has; none: there is none yet.
    there: Option<Attributes>,
    /// It was named on the command line.
    top: bool,
    /// What is no folder stands there, and goes to the trash first.
    replace: bool,
}

/// One thing to do.
enum Job {
    Write { local: PathBuf, remote: String, stat: Stat, replace: Old, parents: bool },
    Link { local: PathBuf, remote: String, target: String, replace: Old },
    Delete { remote: String },
}

/// What stands in the way at a remote name, and goes to the trash first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Nothing,
    /// A file or a link.
    Single,
    /// A folder with all that is in it.
    Folder,
}

/// What is known of a remote name.
enum There {
    File { size: u64, mtime_ms: i64 },
    Folder(Attributes),
    Link(String),
}

impl There {
    fn of(record: &Record) -> There {
        match record.kind() {
            Remote::Folder => There::Folder(Attributes { mode: record.mode, mtime_ms: record.mtime_ms }),
            Remote::Symlink => There::Link(record.target.clone()),
            _ => There::File {
                size: record.head_version().map_or(0, |head| head.size),
                mtime_ms: modified(record),
            },
        }
    }
}

/// Refuses sources that would become one thing; asks nobody.
pub(super) fn check(args: &PutArgs) -> Result<()> {
    let shown: Vec<_> = args.local.iter().map(|path| path.to_string_lossy()).collect();
    // What has a name that is none is told by its turn.
    let named =
        args.local.iter().zip(&shown).filter_map(|(path, shown)| Some((&**shown, own_name(path).ok()?)));
    sources::check(named, args.common.delete, types::path::lookup_name)
}

pub(super) async fn run(client: Client, args: &PutArgs, report: Report) -> Result<()> {
    let report = Arc::new(report);
    let put = Arc::new(Put {
        client,
        common: args.common.clone(),
        durability: args.durability.map_or(Durability::Unset, Durability::from),
        report: report.clone(),
    });
    let first = put.first(args).await?;
    tokio::select! {
        biased;
        () = engine::run(put, &report, first) => {}
        () = report.show() => {}
    }
    report.end()
}

impl Put {
    /// What the command line names. Wrong usage is told before anything is done.
    async fn first(&self, args: &PutArgs) -> Result<Found<Folder, Job>> {
        let there = remote_entry(&self.client, &args.remote).await?;
        let into = there.as_ref().is_some_and(Record::is_folder);
        if args.local.len() > 1 && !into && !(args.parents() && there.is_none()) {
            let what = format_args!("{} is no folder", args.remote);
            return Err(Error::new(Code::NotAFolder, what, "make it with mkdir -p, or use -p"));
        }
        let path = PathName::given(&args.remote)?;
        let (remote, slash) = (path.to_string(), path.must_be_folder());
        let mut found = Found::default();
        for path in &args.local {
            match self.top(path, args, &remote, there.as_ref(), into, slash).await {
                Ok(Taken::Folder(folder)) => found.folders.push(folder),
                Ok(Taken::Job(job)) => found.files.push(job),
                Ok(Taken::Nothing) => {}
                Err(error) if args.local.len() == 1 => return Err(error),
                Err(error) => self.report.failed(&path.display().to_string(), error),
            }
        }
        Ok(found)
    }

    async fn top(
        &self,
        path: &Path,
        args: &PutArgs,
        remote: &str,
        there: Option<&Record>,
        into: bool,
        slash: bool,
    ) -> Result<Taken> {
        let name = own_name(path)?;
        let kind = self.top_kind(path)?;
        let folder = kind == Kind::Folder;
        // Several things, or a file to "name/", mean a folder even if it is not there yet.
        let inside = into || args.local.len() > 1 || (slash && !folder);
        if inside && !into && !args.parents() {
            let what = format_args!("the folder {remote} does not exist");
            return Err(Error::new(Code::NotFound, what, "make it with mkdir, or use -p"));
        }
        let (remote, there) = match &name {
            Some(name) if inside => {
                let remote = below(remote, name);
                let there = if into { remote_entry(&self.client, &remote).await? } else { None };
                (remote, there)
            }
            _ => (remote.to_owned(), there.cloned()),
        };
        let there = there.as_ref().map(There::of);
        if folder {
            if !args.common.recursive {
                return Err(needs_recursive(path.display()));
            }
            let there = match there {
                None => None,
                Some(There::Folder(attributes)) => Some(attributes),
                Some(_) => return Err(not_a_folder(&remote)),
            };
            if !inside && name.is_some() {
                self.report.renamed();
            }
            // Without the dot of "DIR/.".
            let local = path.components().collect();
            return Ok(Taken::Folder(Folder {
                local,
                remote,
                relative: String::new(),
                there,
                top: true,
                replace: false,
            }));
        }
        self.plan(path.to_owned(), remote, kind, there, (args.parents(), false))
    }

    /// Without -r a link on the command line stands for what it points to, as with cp.
    fn top_kind(&self, path: &Path) -> Result<Kind> {
        let missing = || {
            let what = format_args!("{} does not exist", path.display());
            Error::new(Code::NotFound, what, "check the local name")
        };
        let kind = local::look(path)?.ok_or_else(missing)?;
        if !matches!(kind, Kind::Link(_)) || self.common.recursive {
            return Ok(kind);
        }
        let target = path.canonicalize().map_err(|error| local::trouble(path, &error))?;
        local::look(&target)?.ok_or_else(missing)
    }

    /// What has to be done for a name that is no folder; whether it may make parents, and replace a folder.
    fn plan(
        &self,
        local: PathBuf,
        remote: String,
        kind: Kind,
        there: Option<There>,
        (parents, clear): (bool, bool),
    ) -> Result<Taken> {
        let replace = match there {
            Some(There::Folder(_)) if !clear && !matches!(kind, Kind::Special(_)) => {
                let what = format_args!("{remote} is a folder");
                return Err(Error::new(
                    Code::IsAFolder,
                    what,
                    "remove it first; within a tree --delete does",
                ));
            }
            Some(There::Folder(_)) => Old::Folder,
            Some(There::Link(_)) => Old::Single,
            _ => Old::Nothing,
        };
        match (kind, there) {
            (Kind::File(stat), Some(There::File { size, mtime_ms }))
                if stat.size == size && stat.mtime_ms == mtime_ms =>
            {
                self.report.did(Action::Skipped, "", &remote, 0);
                Ok(Taken::Nothing)
            }
            (Kind::File(stat), _) => Ok(Taken::Job(Job::Write { local, remote, stat, replace, parents })),
            (Kind::Link(target), Some(There::Link(old))) if old == target => {
                self.report.did(Action::Skipped, "", &remote, 0);
                Ok(Taken::Nothing)
            }
            (Kind::Link(target), there) => {
                let replace = match there {
                    Some(There::File { .. }) => Old::Single,
                    _ => replace,
                };
                Ok(Taken::Job(Job::Link { local, remote, target, replace }))
            }
            (Kind::Special(what), _) => {
                self.report.warn(&format!("{} is {what}: left out", local.display()));
                Ok(Taken::Nothing)
            }
            (Kind::Folder, _) => Err(needs_recursive(local.display())),
        }
    }

    async fn look_into(&self, folder: &Folder) -> Result<Found<Folder, Job>> {
        let path = folder.local.clone();
        let here = local::attributes(&path)?;
        let read = spawn_blocking(move || {
            let mut entries = local::read_folder(&path)?;
            // Of names that are one name there, the same one is put each time.
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        });
        let read = async { read.await.map_err(Error::internal)? };
        let remote = async {
            if let Some(there) = folder.there {
                if there != here && folder.remote != "/" && !self.common.dry_run {
                    self.client.mkdir_with(&folder.remote, making(true, here)).await?;
                }
                return self.list(&folder.remote).await;
            }
            if folder.replace {
                // Not before it is sure that there is something to put in its place.
                std::fs::read_dir(&folder.local).map_err(|error| local::trouble(&folder.local, &error))?;
                self.make_room(&folder.remote, Old::Single).await?;
            }
            self.report.did(Action::Folder, "", &folder.remote, 0);
            if !self.common.dry_run {
                let parents = !folder.top || self.common.parents;
                self.client.mkdir_with(&folder.remote, making(parents, here)).await?;
            }
            Ok(HashMap::new())
        };
        let (entries, remote) = tokio::try_join!(read, remote)?;
        Ok(self.compare(folder, entries, remote))
    }

    /// What is to be done for the names of a folder: `entries` here, `remote` there.
    fn compare(
        &self,
        folder: &Folder,
        entries: Vec<Entry>,
        mut remote: HashMap<String, There>,
    ) -> Found<Folder, Job> {
        let mut found = Found::default();
        // As names are looked up: those left out that stay there, and those that something here has taken.
        let (mut kept, mut names) = (HashSet::<String>::new(), HashMap::<String, String>::new());
        for entry in entries {
            let is_folder = matches!(entry.kind, Ok(Kind::Folder));
            let relative = relative(&folder.relative, &entry.name);
            // What has the same name after NFC is the same.
            let name = types::path::lookup_name(&entry.name);
            if self.common.excludes(&relative, is_folder) {
                kept.insert(name);
                continue;
            }
            // What is not put takes no other's name.
            let there = if matches!(entry.kind, Err(_) | Ok(Kind::Special(_))) {
                kept.insert(name);
                None
            } else if let Some(first) = names.get(&name) {
                let shown = folder.local.join(&entry.name).display().to_string();
                self.report.failed(&shown, one_name(&shown, &entry.name, first));
                continue;
            } else {
                names.insert(name.clone(), entry.name.clone());
                remote.remove(&name)
            };
            let (local, path) = (folder.local.join(&entry.name), below(&folder.remote, &entry.name));
            let shown = local.display().to_string();
            let taken = match (entry.kind, there) {
                (Ok(Kind::Folder), Some(There::File { .. } | There::Link(_))) if !self.common.delete => {
                    Err(not_a_folder(&path))
                }
                (Ok(Kind::Folder), there) => {
                    let (there, replace) = match there {
                        Some(There::Folder(known)) => (Some(known), false),
                        there => (None, there.is_some()),
                    };
                    Ok(Taken::Folder(Folder { local, remote: path, relative, there, top: false, replace }))
                }
                (Ok(kind), there) => self.plan(local, path, kind, there, (false, self.common.delete)),
                (Err(error), _) => Err(error),
            };
            match taken {
                Ok(Taken::Folder(folder)) => found.folders.push(folder),
                Ok(Taken::Job(job)) => found.files.push(job),
                Ok(Taken::Nothing) => {}
                Err(error) => self.report.failed(&shown, error),
            }
        }
        if self.common.delete {
            let left_out = |name: &str, there: &There| {
                let is_folder = matches!(there, There::Folder(_));
                kept.contains(name) || self.common.excludes(&relative(&folder.relative, name), is_folder)
            };
            let gone = remote.into_iter().filter(|(name, there)| !left_out(name, there));
            found.files.extend(gone.map(|(name, _)| Job::Delete { remote: below(&folder.remote, &name) }));
        }
        found
    }

    /// What a remote folder holds, by name.
    async fn list(&self, path: &str) -> Result<HashMap<String, There>> {
        let mut all = HashMap::new();
        let mut listing = self.client.list(path, "", None)?;
        while let Some(entries) = listing.next().await? {
            let named = |record: &Record| (types::path::lookup_name(&record.name), There::of(record));
            all.extend(entries.iter().map(named));
        }
        Ok(all)
    }

    async fn do_job(&self, job: &Job) -> Result<()> {
        match job {
            Job::Delete { remote } => {
                if !self.common.dry_run {
                    let options = RemoveOptions { recursive: true, ..RemoveOptions::default() };
                    self.client.remove(remote, &options).await?;
                }
                self.report.did(Action::Deleted, "", remote, 0);
                Ok(())
            }
            Job::Link { local, remote, target, replace } => {
                let attributes = local::attributes(local)?;
                self.make_room(remote, *replace).await?;
                if !self.common.dry_run {
                    self.client.symlink(remote, target, attributes, None).await?;
                }
                self.report.did(Action::Link, target, remote, 0);
                Ok(())
            }
            Job::Write { local, remote, stat, replace, parents } => {
                let shown = local.display().to_string();
                if *replace != Old::Nothing {
                    // Not before it is sure that there is something to put in its place.
                    std::fs::File::open(local).map_err(|error| local::trouble(local, &error))?;
                    self.make_room(remote, *replace).await?;
                }
                if self.common.dry_run {
                    self.report.did(Action::File, &shown, remote, stat.size);
                    return Ok(());
                }
                let size = self.write(local, remote, *stat, *parents).await?;
                self.report.did(Action::File, &shown, remote, size);
                Ok(())
            }
        }
    }

    /// Moves what stands in the way into the trash.
    async fn make_room(&self, remote: &str, replace: Old) -> Result<()> {
        if replace == Old::Nothing {
            return Ok(());
        }
        if !self.common.dry_run {
            let options = RemoveOptions { recursive: replace == Old::Folder, ..RemoveOptions::default() };
            self.client.remove(remote, &options).await?;
        }
        self.report.did(Action::Deleted, "", remote, 0);
        Ok(())
    }

    async fn write(&self, path: &Path, remote: &str, stat: Stat, parents: bool) -> Result<u64> {
        let (content, stat, progress) = if stat.size > LARGE {
            (Content::open(path)?, stat, Some(self.report.large()))
        } else {
            let path = path.to_owned();
            let read = spawn_blocking(move || local::read_small(&path)).await.map_err(Error::internal)?;
            let (bytes, stat) = read?;
            (Content::from(bytes), stat, None)
        };
        let options = WriteOptions {
            parents,
            durability: self.durability,
            mode: stat.mode,
            mtime_ms: stat.mtime_ms,
            progress,
            ..WriteOptions::default()
        };
        Ok(self.client.write(remote, content, &options).await?.size)
    }
}

/// The error that `first` has the name of what stands at `shown` already. They may look the same, so both are
/// spelled out.
fn one_name(shown: &str, name: &str, first: &str) -> Error {
    let (name, first) = (spelled(name), spelled(first));
    let what = format_args!("{shown}: '{name}' and '{first}', put already, are one name there");
    Error::new(Code::Exists, what, "rename one of them")
}

impl PutArgs {
    fn parents(&self) -> bool {
        self.common.parents
    }
}

enum Taken {
    Folder(Folder),
    Job(Job),
    Nothing,
}

fn not_a_folder(remote: &str) -> Error {
    Error::new(
        Code::NotAFolder,
        format_args!("{remote} is no folder"),
        "remove it first, or give another name; within a tree --delete removes it",
    )
}

impl Side for Put {
    type Folder = Folder;
    type File = Job;

    async fn folder(self: Arc<Self>, folder: Folder) -> Found<Folder, Job> {
        self.look_into(&folder).await.unwrap_or_else(|error| {
            self.report.failed(&folder.local.display().to_string(), error);
            Found::default()
        })
    }

    async fn file(self: Arc<Self>, job: Job) {
        if let Err(error) = self.do_job(&job).await {
            let (Job::Write { remote, .. } | Job::Link { remote, .. } | Job::Delete { remote }) = &job;
            self.report.failed(remote, error);
        }
    }

    fn is_large(job: &Job) -> bool {
        matches!(job, Job::Write { stat, .. } if stat.size > LARGE)
    }
}

fn making(parents: bool, attributes: Attributes) -> MakeOptions {
    MakeOptions { parents, attributes, ..MakeOptions::default() }
}
