//! `durability`: how durable the writes below a folder are unless they say it themselves.

use super::Context;
use super::content::DurabilityArg;
use super::entries::Repeat;
use clap::{Args, ValueEnum};
use client::{Client, Durability};
use serde_json::json;
use types::Result;

/// `pairfs durability`.
#[derive(Args, Clone, Debug)]
pub struct DurabilityArgs {
    /// The folder, or a file to see what holds for it; `/` is the whole cluster
    #[arg(default_value = "/")]
    pub path: String,
    /// What shall hold from now on; nothing: only show what holds
    pub value: Option<Wanted>,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// What a folder can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// A write is acknowledged when it is durable on the server that acts
    Async,
    /// A write is acknowledged when it is durable on both servers; without the other one it is an error
    Sync,
    /// On both servers, or on one once the other is known to be away
    SyncIfUp,
    /// As the folder above says
    Inherit,
}

impl From<Wanted> for Durability {
    fn from(wanted: Wanted) -> Durability {
        match wanted {
            Wanted::Async => DurabilityArg::Async.into(),
            Wanted::Sync => DurabilityArg::Sync.into(),
            Wanted::SyncIfUp => DurabilityArg::SyncIfUp.into(),
            Wanted::Inherit => Durability::Unset,
        }
    }
}

/// Runs `durability`.
///
/// # Errors
/// As [`Client::durability`] and [`Client::set_durability`].
pub async fn durability(context: &Context, args: &DurabilityArgs) -> Result<()> {
    let client = context.connect().await?;
    if let Some(wanted) = args.value {
        client.set_durability(&args.path, wanted.into(), args.repeat.request_key).await?;
    }
    show(context, &client, &args.path).await
}

async fn show(context: &Context, client: &Client, path: &str) -> Result<()> {
    let (durability, from) = client.durability(path).await?;
    let name = durability.name().unwrap_or("async");
    if context.out.json {
        return context.out.object(&json!({"path": path, "durability": name, "from": from}));
    }
    let whose = match &from {
        None => "the default".to_owned(),
        Some(from) if from == "/" => "the cluster's, set at /".to_owned(),
        Some(from) => format!("set at {}", context.out.name(from)),
    };
    context.out.line(format!("{name} ({whose})"))
}
