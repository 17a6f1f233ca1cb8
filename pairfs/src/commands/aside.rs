//! `aside`: what servers have set aside because the index does not know it.

use super::Context;
use crate::output::{Field, Style, plural, size};
use clap::{Args, Subcommand};
use client::aside::SetAside;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use types::record::Record;
use types::{Code, Error, Result};

/// `pairfs aside`.
#[derive(Args, Clone, Debug)]
pub struct AsideArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with it.
#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// List it
    List,
    /// Give it up for good, so that its room is free. Lists first what would be lost
    Drop {
        /// The server that has it
        server: String,
        /// Ids, as `list` shows them
        #[arg(required_unless_present = "all")]
        ids: Vec<u64>,
        /// All that this server has set aside
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Do it: these may be the only copies
        #[arg(long)]
        accept_loss: bool,
    },
}

/// Runs `aside`.
///
/// # Errors
/// `UNAVAILABLE` when a server could not be asked, or its pair is not well; `NOT_FOUND`; `CHANGED` without
/// `--accept-loss`; as [`client::Client::set_aside`].
pub async fn aside(context: &Context, args: &AsideArgs) -> Result<()> {
    let client = context.connect().await?;
    let found = client.set_aside().await?;
    let (server, ids, accept_loss) = match &args.what {
        What::List => {
            show(context, &found)?;
            return found.iter().try_for_each(heard);
        }
        What::Drop { server, ids, accept_loss, .. } => {
            (server, ids.iter().copied().collect::<BTreeSet<u64>>(), *accept_loss)
        }
    };
    let nothing = || {
        Error::new(Code::NotFound, format_args!("{server} has nothing set aside"), "see `pairfs aside list`")
    };
    let mut chosen = found.into_iter().find(|aside| aside.server == *server).ok_or_else(nothing)?;
    heard(&chosen)?;
    chosen.records.retain(|record| ids.is_empty() || ids.contains(&record.id));
    if let Some(id) = ids.iter().find(|id| !chosen.records.iter().any(|record| record.id == **id)) {
        let what = format_args!("{server} has set no record {id} aside");
        return Err(Error::new(Code::NotFound, what, "see `pairfs aside list`"));
    }
    let list = std::slice::from_ref(&chosen);
    if !accept_loss {
        show(context, list)?;
        let next = "these may be the only copies; repeat with --accept-loss";
        return Err(Error::new(Code::Changed, "nothing was given up", next));
    }
    let given_up = client.give_up_aside(&chosen).await?;
    if context.out.json {
        return context.out.object(&json!({"server": server, "given_up": given_up}));
    }
    if context.out.quiet {
        return Ok(());
    }
    context.out.line(format!("{} given up on {server}", plural(given_up, "record")))
}

fn heard(aside: &SetAside) -> Result<()> {
    match &aside.away {
        None => Ok(()),
        Some(why) => {
            let what = format_args!("no answer from {} ({why})", aside.server);
            Err(Error::new(Code::Unavailable, what, "try again when it is there"))
        }
    }
}

fn bytes(record: &Record) -> u64 {
    record.versions.iter().map(|version| version.size).sum()
}

fn show(context: &Context, found: &[SetAside]) -> Result<()> {
    let records = || found.iter().flat_map(|aside| aside.records.iter().map(move |record| (aside, record)));
    if context.out.json {
        for (aside, record) in records() {
            context.out.object(&to_json(&aside.server, record))?;
        }
        return Ok(());
    }
    if records().next().is_none() {
        return context.out.line("nothing is set aside");
    }
    let rows = records().map(|(aside, record)| {
        vec![
            Field::from(&aside.server),
            Field::from(record.id.to_string()),
            Field::from(record.versions.len().to_string()),
            Field::from(size(bytes(record))),
            Field::new(context.out.name(&record.name), Style::Plain),
        ]
    });
    context.out.table(&["SERVER", ">ID", ">VERSIONS", ">SIZE", "NAME"], rows.collect())
}

fn to_json(server: &str, record: &Record) -> Value {
    json!({
        "server": server,
        "id": record.id,
        "name": record.name,
        "folder": record.is_folder(),
        "versions": record.versions.len(),
        "bytes": bytes(record),
    })
}
