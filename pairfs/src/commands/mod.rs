//! The commands on files and on a running cluster, one file for each family.

pub mod aside;
pub mod config;
pub mod content;
pub mod copy;
pub mod df;
pub mod doctor;
pub mod durability;
pub mod entries;
pub mod env;
pub mod events;
pub mod find;
pub mod fsck;
pub mod listing;
pub mod pair;
mod risk;
pub mod scrub;
pub mod status;
mod target;
pub mod transfer;
mod words;

use crate::options::Global;
use crate::output::Printer;
use client::Client;
use types::Result;

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The options of every command.
    pub global: Global,
    /// Where to print.
    pub out: Printer,
}

impl Context {
    /// A client of the cluster that is meant.
    ///
    /// # Errors
    /// As [`Global::connect`].
    pub async fn connect(&self) -> Result<Client> {
        self.global.connect().await
    }
}
