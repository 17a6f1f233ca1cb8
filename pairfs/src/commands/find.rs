//! `find`: names like a pattern. The name manager is asked for its index folder by folder, a page at a time and several
//! at once; what is remembered meanwhile is bounded by the depth of the tree.

use super::Context;
use super::listing::{entry_json, join};
use crate::output::escaped;
use clap::{Args, ValueEnum};
use client::{Client, sort_name};
use tokio::task::JoinSet;
use types::path::PathName;
use types::pattern::Glob;
use types::record::Record;
use types::{Code, Error, Result};

/// Pages asked for at once.
const PAGES_AT_ONCE: usize = 16;

/// `pairfs find`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
* and ? stay within a name, ** stands for any folders, [a-z] for one of some characters, \\ before a character takes it \
as it is. Without / the pattern is for the base name; with / for the whole path: /docs/**/*.md. A / at its end means \
folders only. Quote it, so that the shell leaves it alone. What is found comes in no particular order. \
The index is gone through folder by folder, several at once: the time goes with the number of names below PATH.")]
pub struct FindArgs {
    /// The pattern
    pub glob: Glob,
    /// Look below this folder only
    #[arg(default_value = "/")]
    pub path: String,
    /// Only files, folders or links
    #[arg(short = 't', long = "type", value_name = "KIND")]
    pub kind: Option<KindArg>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Files
    #[value(alias = "f")]
    File,
    /// Folders
    #[value(alias = "d")]
    Folder,
    /// Symbolic links
    #[value(alias = "l")]
    Link,
}

impl KindArg {
    fn is(self, record: &Record) -> bool {
        match self {
            KindArg::File => record.is_file(),
            KindArg::Folder => record.is_folder(),
            KindArg::Link => !record.is_file() && !record.is_folder(),
        }
    }
}

/// A page of a folder.
struct Page {
    folder: String,
    after: String,
}

/// Runs `find`.
///
/// # Errors
/// `NOT_FOUND` for the folder; as [`client::Listing::next`].
pub async fn find(context: &Context, args: &FindArgs) -> Result<()> {
    let client = context.connect().await?;
    let start = PathName::given(&args.path)?.to_string();
    if client.entry(&args.path).await?.is_some_and(|entry| !entry.is_folder()) {
        let what = format_args!("{start} is no folder");
        return Err(Error::new(Code::NotAFolder, what, "give the folder to look in"));
    }
    let mut pages = vec![Page { folder: start.clone(), after: String::new() }];
    let mut running = JoinSet::new();
    loop {
        while running.len() < PAGES_AT_ONCE
            && let Some(page) = pages.pop()
        {
            let client = client.clone();
            running.spawn(async move { look(&client, page).await });
        }
        let Some(looked) = running.join_next().await else { return Ok(()) };
        let (page, entries, next) = match looked.map_err(Error::internal)? {
            // A folder that went while we looked is no matter.
            Err((page, error)) if error.code == Code::NotFound && page.folder != start => continue,
            Err((_, error)) => return Err(error),
            Ok(looked) => looked,
        };
        print(context, args, &page.folder, &entries)?;
        // First what is below, then more of the same: so what waits stays small.
        if let Some(after) = next {
            pages.push(Page { folder: page.folder.clone(), after });
        }
        let below = entries.iter().filter(|entry| entry.is_folder());
        pages.extend(
            below.map(|entry| Page { folder: join(&page.folder, &entry.name), after: String::new() }),
        );
    }
}

type Looked = Result<(Page, Vec<Record>, Option<String>), (Page, Error)>;

async fn look(client: &Client, page: Page) -> Looked {
    let asked = async {
        let mut listing = client.list(&page.folder, &page.after, None)?;
        let entries = listing.next().await?.unwrap_or_default();
        Ok((entries, listing.position().map(str::to_owned)))
    };
    match asked.await {
        Ok((entries, next)) => Ok((page, entries, next)),
        Err(error) => Err((page, error)),
    }
}

fn print(context: &Context, args: &FindArgs, folder: &str, entries: &[Record]) -> Result<()> {
    let mut lines = String::new();
    for entry in entries {
        let path = join(folder, &entry.name);
        if !args.glob.matches(&path, entry.is_folder()) || args.kind.is_some_and(|kind| !kind.is(entry)) {
            continue;
        }
        if context.out.json {
            lines.push_str(&entry_json(entry, &path, false, None).to_string());
        } else {
            let shown = join(folder, &sort_name(entry));
            lines.push_str(&if context.out.terminal { escaped(&shown) } else { shown });
        }
        lines.push('\n');
    }
    if lines.is_empty() { Ok(()) } else { context.out.bytes(lines.as_bytes()) }
}
