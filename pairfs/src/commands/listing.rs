//! What there is: `ls` and `info`.

use super::Context;
use crate::output::{Field, local, plural, size, text, utc};
use clap::Args;
use client::{Client, Info, ReadOptions, sort_name};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use types::capability::right;
use types::ids::VersionNumber;
use types::record::{Kind, Record, Version, mark};
use types::{Code, Result};

/// `ls -l` counts words in files up to this many bytes.
const COUNT_MAX: u64 = 1 << 20;
/// `ls -l` counts words of so many files at once.
const COUNT_AT_ONCE: usize = 8;
/// `ls -R` remembers so many folders of one folder; it looks up the others when it is their turn.
const FOLDERS_KEPT: usize = 10_000;

/// `pairfs ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// The folder, or a file
    #[arg(default_value = "/")]
    pub path: String,
    /// All names, also of what you cannot access
    #[arg(short, long)]
    pub all: bool,
    /// Words, characters, size, owner and times, too; words are counted in files up to 1 MiB
    #[arg(short, long)]
    pub long: bool,
    /// Also what is in the folders below
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// At most so many names
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Only names after this one; a folder's name ends with /
    #[arg(long, value_name = "NAME", default_value = "")]
    pub after: String,
}

/// `pairfs info`.
#[derive(Args, Clone, Debug)]
pub struct InfoArgs {
    /// The file or folder
    pub path: String,
}

/// Words and characters of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    words: u64,
    chars: u64,
}

impl Counts {
    fn of(bytes: &[u8]) -> Counts {
        let text = String::from_utf8_lossy(bytes);
        Counts { words: text.split_whitespace().count() as u64, chars: text.chars().count() as u64 }
    }
}

/// Runs `ls`.
///
/// # Errors
/// As [`client::Listing::next`].
pub async fn ls(context: &Context, args: &LsArgs) -> Result<()> {
    let client = context.connect().await?;
    let mut left = args.limit;
    let mut counter = Counter::default();
    let mut open = vec![
        list_folder(context, &client, args, &mut counter, args.path.clone(), &args.after, &mut left).await?,
    ];
    // A folder with all below it, then the next one: deep before wide, so that what waits stays small.
    while let Some(folder) = open.last_mut() {
        if left == Some(0) || !args.recursive {
            break;
        }
        let Some(name) = folder.next(&client).await? else {
            open.pop();
            continue;
        };
        let path = join(&folder.path, &name);
        if !context.out.json {
            context.out.line("")?;
        }
        open.push(list_folder(context, &client, args, &mut counter, path, "", &mut left).await?);
    }
    Ok(())
}

/// A folder whose names were printed, and those in it that are still to be listed.
struct Below {
    path: String,
    folders: VecDeque<String>,
    /// More of them come after this name: they are looked up again when it is their turn.
    more_after: Option<String>,
}

impl Below {
    fn add(&mut self, entries: &[Record]) {
        for entry in entries.iter().filter(|entry| entry.is_folder()) {
            if self.more_after.is_some() {
                return;
            }
            self.folders.push_back(entry.name.clone());
            if self.folders.len() >= FOLDERS_KEPT {
                self.more_after = Some(sort_name(entry));
            }
        }
    }

    async fn next(&mut self, client: &Client) -> Result<Option<String>> {
        if self.folders.is_empty()
            && let Some(after) = self.more_after.take()
        {
            let mut listing = client.list(&self.path, &after, None)?;
            while self.more_after.is_none()
                && let Some(entries) = listing.next().await?
            {
                self.add(&entries);
            }
        }
        Ok(self.folders.pop_front())
    }
}

/// Prints a folder's names, page by page.
async fn list_folder(
    context: &Context,
    client: &Client,
    args: &LsArgs,
    counter: &mut Counter,
    path: String,
    after: &str,
    left: &mut Option<u64>,
) -> Result<Below> {
    if args.recursive && !context.out.json {
        context.out.line(format!("{}:", context.out.name(&path)))?;
    }
    let mut listing = client.list(&path, after, *left)?;
    let mut below = Below { path, folders: VecDeque::new(), more_after: None };
    while let Some(entries) = listing.next().await? {
        *left = left.map(|left| left.saturating_sub(entries.len() as u64));
        if args.recursive {
            below.add(&entries);
        }
        print_entries(context, client, args, counter, &below.path, entries).await?;
    }
    Ok(below)
}

/// The path of a name in a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    format!("/{}", [folder.trim_matches('/'), name].join("/").trim_start_matches('/'))
}

async fn print_entries(
    context: &Context,
    client: &Client,
    args: &LsArgs,
    counter: &mut Counter,
    folder: &str,
    entries: Vec<Record>,
) -> Result<()> {
    let out = context.out;
    // A file that is listed by its own path stands in its folder's place.
    let path_of = |entry: &Record| {
        let alone = !entry.is_folder() && folder.trim_matches('/').rsplit('/').next() == Some(&entry.name);
        if alone && entries.len() == 1 {
            join(folder, "").trim_end_matches('/').to_owned()
        } else {
            join(folder, &entry.name)
        }
    };
    let paths: Vec<String> = entries.iter().map(path_of).collect();
    let counts = match args.long {
        true => counter.count(client, &entries, &paths).await,
        false => vec![None; entries.len()],
    };
    if !args.long || out.json {
        // A page is written at once: a million names are a thousand writes.
        let mut page = String::new();
        for ((entry, path), counts) in entries.iter().zip(&paths).zip(&counts) {
            let written = match out.json {
                true => writeln!(page, "{}", entry_json(entry, path, args.long, *counts)),
                false => writeln!(page, "{}", out.name(&sort_name(entry))),
            };
            written.map_err(types::Error::internal)?;
        }
        return out.bytes(page.as_bytes());
    }
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let rows = entries.iter().zip(&counts).map(|(entry, counts)| {
        let bytes = entry.head_version().map_or("-".to_owned(), |head| size(head.size));
        vec![
            Field::from(number(counts.map(|counts| counts.words))),
            Field::from(number(counts.map(|counts| counts.chars))),
            Field::from(bytes),
            Field::from(&entry.owner),
            Field::from(local(entry.created_ms)),
            Field::from(local(entry.changed_ms)),
            Field::from(match entry.target.as_str() {
                "" => sort_name(entry),
                target => format!("{} -> {target}", entry.name),
            }),
        ]
    });
    out.table(&[">WORDS", ">CHARS", ">SIZE", "OWNER", "CREATED", "CHANGED", "NAME"], rows.collect())
}

/// Counts words and characters of files.
#[derive(Default)]
struct Counter {
    /// Pairs that somebody waited for in vain: their other files are not waited for, too.
    silent: BTreeSet<u32>,
}

impl Counter {
    /// Of each file that is small enough; none for what cannot be read now.
    async fn count(&mut self, client: &Client, entries: &[Record], paths: &[String]) -> Vec<Option<Counts>> {
        let mut counts = vec![None; entries.len()];
        let mut work = tokio::task::JoinSet::new();
        for (place, (entry, path)) in entries.iter().zip(paths).enumerate() {
            if work.len() >= COUNT_AT_ONCE
                && let Some(Ok(done)) = work.join_next().await
            {
                self.note(done, entries, &mut counts);
            }
            let small = entry.head_version().is_some_and(|head| head.size <= COUNT_MAX);
            if small && !self.silent.contains(&entry.pair) {
                let (client, path) = (client.clone(), path.clone());
                work.spawn(async move { (place, count_one(&client, &path).await) });
            }
        }
        while let Some(Ok(done)) = work.join_next().await {
            self.note(done, entries, &mut counts);
        }
        counts
    }

    fn note(
        &mut self,
        (place, counted): (usize, Result<Counts>),
        entries: &[Record],
        counts: &mut [Option<Counts>],
    ) {
        match counted {
            Ok(counted) => counts[place] = Some(counted),
            Err(error) if error.code.exit_status() == Code::Unavailable.exit_status() => {
                self.silent.insert(entries[place].pair);
            }
            Err(_) => {}
        }
    }
}

async fn count_one(client: &Client, path: &str) -> Result<Counts> {
    let mut reader = client.read(path, &ReadOptions::default()).await?;
    Ok(Counts::of(&reader.to_end(COUNT_MAX).await?))
}

fn kind(record: &Record) -> &'static str {
    match record.kind() {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink => "symlink",
        Kind::Tombstone => "removed",
        Kind::Unknown => "unknown",
    }
}

fn number(version: VersionNumber) -> Value {
    if version.is_none() { Value::Null } else { Value::String(version.to_string()) }
}

fn digest(version: &Version) -> Value {
    version.digest().map_or(Value::Null, |digest| Value::String(digest.to_string()))
}

/// A name of a listing for programs.
pub(super) fn entry_json(entry: &Record, path: &str, long: bool, counts: Option<Counts>) -> Value {
    let head = entry.head_version();
    let mut value = json!({
        "path": path,
        "name": entry.name,
        "kind": kind(entry),
        "id": entry.id,
        "owner": entry.owner,
        "size": head.map(|head| head.size),
        "version": number(entry.head()),
        "digest": head.map(digest),
        "created": utc(entry.created_ms),
        "changed": utc(entry.changed_ms),
        "target": text(&entry.target),
    });
    if long {
        value["words"] = counts.map(|counts| counts.words).into();
        value["chars"] = counts.map(|counts| counts.chars).into();
    }
    value
}

/// Runs `info`.
///
/// # Errors
/// As [`Client::info`].
pub async fn info(context: &Context, args: &InfoArgs) -> Result<()> {
    let info = context.connect().await?.info(&args.path).await?;
    if context.out.json { context.out.object(&info_json(&info)) } else { print_info(context, &info) }
}

fn modified(info: &Info) -> u64 {
    match u64::try_from(info.record.mtime_ms) {
        Ok(time) if time > 0 => time,
        _ => info.head().map_or(info.record.changed_ms, |head| head.time_ms),
    }
}

fn info_json(info: &Info) -> Value {
    let (record, head) = (&info.record, info.head());
    let access = record.access.iter().map(|grant| {
        json!({"user": grant.user, "read": grant.rights & right::READ != 0, "write": grant.rights & right::WRITE != 0})
    });
    let numbers = |versions: Vec<&Version>| -> Vec<String> {
        versions.into_iter().map(|version| version.version().to_string()).collect()
    };
    let placement = info.placement.as_ref();
    json!({
        "path": info.path,
        "kind": kind(record),
        "id": record.id,
        "owner": record.owner,
        "access": access.collect::<Vec<_>>(),
        "size": head.map(|head| head.size),
        "digest": head.map(digest),
        "version": number(record.head()),
        "created": utc(record.created_ms),
        "changed": utc(record.changed_ms),
        "modified": utc(modified(info)),
        "target": text(&record.target),
        "mode": if record.mode == 0 { Value::Null } else { format!("{:04o}", record.mode & 0o7777).into() },
        "last_reader": null,
        "pair": placement.map(|placement| &placement.name),
        "acting": placement.map_or(Value::Null, |placement| text(&placement.acting)),
        "epoch": placement.map(|placement| placement.epoch),
        "copies": info.copies.iter().filter(|copy| copy.held).map(|copy| &copy.server).collect::<Vec<_>>(),
        "behind": info.behind,
        "durability": info.durability.name(),
        "conflicts": numbers(info.conflicts().collect()),
        "owed": numbers(info.owed().collect()),
        "versions": record.versions.iter().map(|version| version_json(record, version)).collect::<Vec<_>>(),
    })
}

fn version_json(record: &Record, version: &Version) -> Value {
    json!({
        "version": version.version().to_string(),
        "parent": number(version.parent()),
        "size": version.size,
        "digest": digest(version),
        "author": version.author,
        "time": utc(version.time_ms),
        "head": version.version() == record.head(),
        "conflict": version.is(mark::CONFLICT),
        "owed": version.is(mark::OWED),
        "lost": version.is(mark::LOST),
        "holder": text(&version.holder),
    })
}

fn print_info(context: &Context, info: &Info) -> Result<()> {
    let (out, record) = (context.out, &info.record);
    let field = |name: &str, value: String| out.line(format!("{name:<10} {value}"));
    field("path", out.name(&info.path))?;
    field("kind", kind(record).to_owned())?;
    if !record.target.is_empty() {
        field("target", out.name(&record.target))?;
    }
    field("owner", out.name(&record.owner))?;
    for grant in &record.access {
        let rights = if grant.rights & right::WRITE != 0 { "read and write" } else { "read" };
        field("access", format!("{}: {rights}", out.name(&grant.user)))?;
    }
    if let Some(head) = info.head() {
        field("size", format!("{} ({})", size(head.size), plural(head.size, "byte")))?;
        field("version", head.version().to_string())?;
        field("digest", head.digest()?.to_string())?;
        field("modified", format!("{} by {}", local(modified(info)), out.name(&head.author)))?;
    }
    field("created", local(record.created_ms))?;
    field("changed", local(record.changed_ms))?;
    if let Some(placement) = &info.placement {
        let acting = if placement.acting.is_empty() { "nobody" } else { &placement.acting };
        field("pair", format!("{} (epoch {}, {acting} acts)", placement.name, placement.epoch))?;
    }
    if record.is_file() {
        let held: Vec<&str> =
            info.copies.iter().filter(|copy| copy.held).map(|copy| copy.server.as_str()).collect();
        field("copies", if held.is_empty() { "none that answers".to_owned() } else { held.join(", ") })?;
    }
    field("durable", info.durability.name().unwrap_or("async").to_owned())?;
    if info.behind {
        field("behind", "yes: a newer version is on a server that is away".to_owned())?;
    }
    if record.versions.len() < 2 && info.owed().next().is_none() {
        return Ok(());
    }
    out.line("")?;
    let rows = record.versions.iter().rev().map(|version| {
        vec![
            Field::from(version.version().to_string()),
            Field::from(size(version.size)),
            Field::from(&version.author),
            Field::from(local(version.time_ms)),
            Field::from(marks(record, version)),
        ]
    });
    out.table(&["VERSION", ">SIZE", "AUTHOR", "TIME", ""], rows.collect())
}

fn marks(record: &Record, version: &Version) -> String {
    let mut marks = Vec::new();
    if version.version() == record.head() {
        marks.push("head".to_owned());
    }
    if version.is(mark::CONFLICT) {
        marks.push("conflict".to_owned());
    }
    if version.is(mark::OWED) {
        marks.push(format!("owed by {}", version.holder));
    }
    if version.is(mark::LOST) {
        marks.push(format!("lost with {}", version.holder));
    }
    marks.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_folder_are_joined() {
        for (folder, name, path) in [("/", "a", "/a"), ("a/b/", "c", "/a/b/c"), ("/a", "b", "/a/b")] {
            assert_eq!(join(folder, name), path);
        }
    }

    #[test]
    fn words_and_characters_are_counted_as_people_count() {
        assert_eq!(Counts::of("né  two\nthree ".as_bytes()), Counts { words: 3, chars: 14 });
        assert_eq!(Counts::of(b""), Counts { words: 0, chars: 0 });
    }
}
