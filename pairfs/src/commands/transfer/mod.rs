//! Files and trees between this machine and the cluster: `put` and `get`, as `cp -r` would.

mod engine;
mod get;
pub(super) mod local;
mod put;
mod report;
mod sources;

use super::Context;
use super::content::{self, DurabilityArg, ReadArgs, WriteArgs};
use super::entries::Repeat;
use super::target::is_output;
use clap::Args;
use client::Client;
use report::Report;
use std::path::{Path, PathBuf};
use types::limits::CHUNK;
use types::pattern::Glob;
use types::record::Record;
use types::{Code, Error, Result};

/// A file above this is large: few of them fill the line, and none is held in memory.
const LARGE: u64 = CHUNK as u64;

/// What both directions understand.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Folders with all that is in them; symbolic links stay links
    #[arg(short, long)]
    pub recursive: bool,
    /// Leave out what matches: *.tmp by name, build/** by path below what is transferred; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<Glob>,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Delete from the destination's folders what the source has not, and what stands in the way as another kind
    #[arg(long, requires = "recursive")]
    pub delete: bool,
    /// Make missing folders above the destination
    #[arg(short, long)]
    pub parents: bool,
}

impl Common {
    /// Whether `path`, below what is transferred, is left out.
    fn excludes(&self, path: &str, is_folder: bool) -> bool {
        self.exclude.iter().any(|glob| glob.matches(path, is_folder))
    }
}

/// `pairfs put`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
A file that is there already with the same size and modification time is skipped, so that `put -r DIR/. \
/DIR` given again goes on where it ended. (`put -r DIR /DIR` means /DIR/DIR once /DIR is there, as with cp.) \
Modification times (to the millisecond) and modes of files are kept, and symbolic links and empty folders; \
devices, sockets and pipes are left out with a warning. With --delete things go to the trash.")]
pub struct PutArgs {
    /// Local files, and with -r folders; DIR/. means what is in DIR, - standard input
    #[arg(required = true, num_args = 1..)]
    pub local: Vec<PathBuf>,
    /// Where to: an existing folder (then into it), or the new name
    #[arg(required = true)]
    pub remote: String,
    /// What both directions understand.
    #[command(flatten)]
    pub common: Common,
    /// How durable each file must be before it is acknowledged
    #[arg(long, value_name = "D", env = "PAIRFS_DURABILITY")]
    pub durability: Option<DurabilityArg>,
}

/// `pairfs get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
A file that is there already with the same size and modification time is skipped, so that `get -r /DIR/. \
DIR` given again goes on where it ended. (`get -r /DIR DIR` means DIR/DIR once DIR is there, as with cp.) \
Each file appears whole or not at all. A device or a pipe that is named as LOCAL is written to, a symbolic \
link followed; within folders neither is. Modification times and modes are kept (without setuid and setgid), \
and symbolic links and empty folders. With --delete things are deleted for good: there is no local trash.")]
pub struct GetArgs {
    /// Files, and with -r folders; DIR/. means what is in DIR
    #[arg(required = true, num_args = 1..)]
    pub remote: Vec<String>,
    /// Where to: an existing local folder (then into it), or the new name; - for one file: standard output
    #[arg(required = true)]
    pub local: PathBuf,
    /// What both directions understand.
    #[command(flatten)]
    pub common: Common,
}

/// Runs `put`.
///
/// # Errors
/// What ended it, or that something could not be put.
pub async fn put(context: &Context, args: &PutArgs) -> Result<()> {
    if args.local.iter().any(|local| local == Path::new("-")) {
        return from_input(context, args).await;
    }
    put::check(args)?;
    let report = Report::new(context.out, "put", args.common.dry_run);
    put::run(context.connect().await?, args, report).await
}

/// Runs `get`.
///
/// # Errors
/// What ended it, or that something could not be got.
pub async fn get(context: &Context, args: &GetArgs) -> Result<()> {
    if is_output(&args.local) {
        return to_output(context, args).await;
    }
    get::check(args)?;
    let report = Report::new(context.out, "get", args.common.dry_run);
    get::run(context.connect().await?, args, report).await
}

/// Standard input as one file.
async fn from_input(context: &Context, args: &PutArgs) -> Result<()> {
    if args.local.len() > 1 || args.common.dry_run || args.common.delete {
        let what = "- is standard input, which is put alone, and without --dry-run and --delete";
        return Err(Error::new(Code::Usage, what, "put the others by another command; a file - is ./-"));
    }
    let (path, parents, durability) = (args.remote.clone(), args.common.parents, args.durability);
    let repeat = Repeat { request_key: None };
    let write =
        WriteArgs { path, source: None, append: false, if_version: None, parents, durability, repeat };
    content::write(context, &write).await
}

/// One file to standard output, which then holds nothing else.
async fn to_output(context: &Context, args: &GetArgs) -> Result<()> {
    match args.remote.as_slice() {
        [path] if !args.common.dry_run => {
            let path = path.clone();
            content::read(
                context,
                &ReadArgs { path, output: None, range: None, version: None, stale_ok: false },
            )
            .await
        }
        _ => {
            let what = "standard output takes one file, and --dry-run does not go with it";
            Err(Error::new(Code::Usage, what, "name one file, or a folder to get them into"))
        }
    }
}

/// A path with one more name; both are valid already.
fn below(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

/// A path below what is transferred, for `--exclude`.
fn relative(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The modification time to keep, ms since 1970: as put, or that of the head.
fn modified(record: &Record) -> i64 {
    match record.mtime_ms {
        0 => record.head_version().and_then(|head| i64::try_from(head.time_ms).ok()).unwrap_or_default(),
        time => time,
    }
}

fn needs_recursive(what: impl std::fmt::Display) -> Error {
    Error::new(
        Code::IsAFolder,
        format_args!("{what} is a folder"),
        "use -r to take it with all that is in it",
    )
}

/// What stands at a remote path; the path is checked.
async fn remote_entry(client: &Client, path: &str) -> Result<Option<Record>> {
    client.entry(path).await
}
