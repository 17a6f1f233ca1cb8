//! `cp`: copies within the cluster.

use super::Context;
use super::content::{DurabilityArg, print_receipt};
use super::entries::Repeat;
use clap::Args;
use client::{CopyOptions, Durability};
use types::Result;

/// `pairfs cp`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The copy shares the stored chunks of the original as long as neither is written: it takes no room, and no bytes travel. \
A copy that has to live on another pair is read and written. An existing file gets a new version.")]
pub struct CpArgs {
    /// The file to copy
    pub from: String,
    /// Where to; an existing folder: into it
    pub to: String,
    /// Do nothing if a file is there
    #[arg(short, long)]
    pub no_clobber: bool,
    /// How durable it must be before it is acknowledged
    #[arg(long, value_name = "D", env = "PAIRFS_DURABILITY")]
    pub durability: Option<DurabilityArg>,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// Runs `cp`.
///
/// # Errors
/// As [`client::Client::copy`].
pub async fn cp(context: &Context, args: &CpArgs) -> Result<()> {
    let options = CopyOptions {
        create_only: args.no_clobber,
        durability: args.durability.map_or(Durability::Unset, Durability::from),
        request_key: args.repeat.request_key,
    };
    let receipt = context.connect().await?.copy(&args.from, &args.to, &options).await?;
    print_receipt(context, &receipt)
}
