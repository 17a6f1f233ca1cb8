//! Changes of the namespace: `create`, `mkdir`, `mv`, `rm`.

use super::Context;
use super::content::DurabilityArg;
use clap::Args;
use client::{Durability, MakeOptions, MoveOptions, RemoveOptions, RequestKey};
use serde_json::json;
use types::Result;
use types::ids::InodeId;
use types::record::Record;

/// The key of a repeated request.
#[derive(Args, Clone, Debug, Default)]
pub struct Repeat {
    /// Ask again for the request with this key: it is answered, not done twice
    #[arg(long, value_name = "KEY")]
    pub request_key: Option<RequestKey>,
}

/// `pairfs create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// The file
    pub path: String,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// `pairfs mkdir`.
#[derive(Args, Clone, Debug)]
pub struct MkdirArgs {
    /// The folder
    pub path: String,
    /// Also make missing folders above it; it may exist
    #[arg(short, long)]
    pub parents: bool,
    /// How durable writes below it must be before they are acknowledged, unless they say it themselves
    #[arg(long, value_name = "D")]
    pub durability: Option<DurabilityArg>,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// `pairfs mv`.
#[derive(Args, Clone, Debug)]
pub struct MvArgs {
    /// What to move
    pub from: String,
    /// Where to; an existing folder: into it
    pub to: String,
    /// Replace an existing file
    #[arg(short, long)]
    pub force: bool,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// `pairfs rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// What to remove
    pub path: String,
    /// A folder with all that is in it
    #[arg(short, long)]
    pub recursive: bool,
    /// Past the trash: for good
    #[arg(long)]
    pub now: bool,
    /// Also while somebody uploads to it
    #[arg(long)]
    pub force: bool,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// Runs `create`.
///
/// # Errors
/// As [`client::Client::create`].
pub async fn create(context: &Context, args: &CreateArgs) -> Result<()> {
    let record = context.connect().await?.create(&args.path, args.repeat.request_key).await?;
    made(context, &args.path, &record, "file")
}

/// Runs `mkdir`.
///
/// # Errors
/// As [`client::Client::mkdir`].
pub async fn mkdir(context: &Context, args: &MkdirArgs) -> Result<()> {
    let client = context.connect().await?;
    let durability = args.durability.map_or(Durability::Unset, Durability::from);
    let (parents, request_key) = (args.parents, args.repeat.request_key);
    let options = MakeOptions { parents, durability, request_key, ..MakeOptions::default() };
    let record = client.mkdir_with(&args.path, options).await?;
    made(context, &args.path, &record, "folder")
}

fn made(context: &Context, path: &str, record: &Record, kind: &str) -> Result<()> {
    if context.out.json {
        return context.out.object(&json!({"path": path, "kind": kind, "id": record.id}));
    }
    context.out.note(format!("made the {kind} {} ({})", context.out.name(path), InodeId(record.id)));
    Ok(())
}

/// Runs `mv`.
///
/// # Errors
/// As [`client::Client::rename`].
pub async fn mv(context: &Context, args: &MvArgs) -> Result<()> {
    let options = MoveOptions { force: args.force, request_key: args.repeat.request_key };
    let record = context.connect().await?.rename(&args.from, &args.to, &options).await?;
    if context.out.json {
        let moved = json!({"from": args.from, "to": args.to, "name": record.name, "id": record.id});
        return context.out.object(&moved);
    }
    context.out.note(format!("moved to {}", context.out.name(&args.to)));
    Ok(())
}

/// Runs `rm`.
///
/// # Errors
/// As [`client::Client::remove`].
pub async fn rm(context: &Context, args: &RmArgs) -> Result<()> {
    let options = RemoveOptions {
        recursive: args.recursive,
        now: args.now,
        force: args.force,
        request_key: args.repeat.request_key,
    };
    context.connect().await?.remove(&args.path, &options).await?;
    if context.out.json {
        return context.out.object(&json!({"path": args.path, "removed": true, "trash": !args.now}));
    }
    let place = if args.now { "for good" } else { "into the trash" };
    context.out.note(format!("removed {} {place}", context.out.name(&args.path)));
    Ok(())
}
