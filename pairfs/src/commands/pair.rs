//! `pair`: who shall act in a pair.

use super::Context;
use crate::output::text;
use clap::{Args, Subcommand};
use serde_json::json;
use types::message::manager::Placement;
use types::{Code, Error, Result};

/// `pairfs pair`.
#[derive(Args, Clone, Debug)]
pub struct PairArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with a pair.
#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// Hand the pair over to its other member, which then stays; no client sees an error
    Switchover {
        /// The pair: the name of its primary
        name: String,
    },
    /// The last resort: let the member act that has not caught up. Lists first what would be lost
    Promote {
        /// The pair: the name of its primary
        name: String,
        /// Do it: what only the lost server has stays owed until that server or its disk returns
        #[arg(long)]
        accept_loss: bool,
    },
}

/// Runs `pair`.
///
/// # Errors
/// As [`client::Client::switchover`] and [`client::Client::force_promote`].
pub async fn pair(context: &Context, args: &PairArgs) -> Result<()> {
    match &args.what {
        What::Switchover { name } => {
            let placement = context.connect().await?.switchover(name, "").await?;
            told(context, &placement)
        }
        What::Promote { name, accept_loss } => promote(context, name, *accept_loss).await,
    }
}

fn told(context: &Context, placement: &Placement) -> Result<()> {
    if context.out.json {
        return context.out.object(&json!({
            "pair": placement.name,
            "acting": text(&placement.acting),
            "epoch": placement.epoch,
        }));
    }
    if context.out.quiet {
        return Ok(());
    }
    context.out.line(format!("{} acts in {}, epoch {}", placement.acting, placement.name, placement.epoch))
}

async fn promote(context: &Context, name: &str, accept_loss: bool) -> Result<()> {
    let client = context.connect().await?;
    let look = client.force_promote(name, false).await?;
    if context.out.json {
        context.out.object(&json!({
            "pair": name,
            "server": look.server,
            "lacking_versions": look.versions,
            "lacking_files": look.lacking,
        }))?;
    } else {
        match look.versions {
            0 => context.out.line(format!("{} lacks nothing that the feed of {name} names", look.server))?,
            count => {
                context.out.line(format!("{} lacks {count} versions, of these files:", look.server))?;
                for path in &look.lacking {
                    context.out.line(format!("  {}", context.out.name(path)))?;
                }
            }
        }
    }
    if !accept_loss {
        return Err(Error::new(
            Code::Changed,
            format_args!("{name} was left as it is"),
            "bring the last acting server back; or repeat with --accept-loss",
        ));
    }
    let done = client.force_promote(name, true).await?;
    told(context, &done.placement.unwrap_or_default())
}
