//! `pair`: who shall act in a pair.

use super::Context;
use crate::output::text;
use clap::{Args, Subcommand};
use serde_json::json;
use types::Result;

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
}

/// Runs `pair`.
///
/// # Errors
/// As [`client::Client::switchover`].
pub async fn pair(context: &Context, args: &PairArgs) -> Result<()> {
    let What::Switchover { name } = &args.what;
    let placement = context.connect().await?.switchover(name, "").await?;
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
