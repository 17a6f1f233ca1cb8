//! Compares the index and both copies of everything: records, versions, digests, and the bytes themselves.
//!
//! Servers go on working meanwhile, so a first look finds differences that are none: what differs is
//! looked at again, with newer rows, until it agrees or is older than everything a member still has to
//! apply. Lag is not damage.
//!
//! The index and both inventories come in the order of file ids and are compared page by page, so memory does not grow
//! with the number of files; only the ids of files that differ are remembered, and the paths of folders if any do.

mod check;
mod compare;
mod folders;
mod pages;

pub use compare::{Difference, Reason};
pub(crate) use folders::folders;
pub(crate) use pages::index_page;

use crate::core::Core;
use check::check_pair;
use std::collections::HashMap;
use std::sync::Arc;
use types::Result;

/// What to compare.
#[derive(Clone, Debug)]
pub struct FsckOptions {
    /// Have the servers read every byte and compare it with its digest.
    pub verify: bool,
}

/// What one member of a pair was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberReport {
    /// Server name.
    pub server: String,
    /// Files compared.
    pub files: u64,
    /// Why it could not be asked; its copies are not compared then.
    pub away: Option<String>,
}

/// What was found in one pair.
#[derive(Clone, Debug, Default)]
pub struct PairReport {
    /// Its name.
    pub name: String,
    /// Files in the index.
    pub files: u64,
    /// Files that differ only because a member has not applied their rows yet.
    pub lagging: u64,
    /// Its members.
    pub members: Vec<MemberReport>,
    /// What differs and should not.
    pub differences: Vec<Difference>,
    /// So much differed that the rest was not compared.
    pub cut_short: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By pair.
    pub pairs: Vec<PairReport>,
}

impl Report {
    /// Everything that differs and should not.
    pub fn differences(&self) -> impl Iterator<Item = &Difference> {
        self.pairs.iter().flat_map(|pair| &pair.differences)
    }

    /// Members that could not be asked.
    pub fn away(&self) -> impl Iterator<Item = &MemberReport> {
        self.pairs.iter().flat_map(|pair| &pair.members).filter(|member| member.away.is_some())
    }
}

pub(crate) async fn fsck(core: &Arc<Core>, options: &FsckOptions) -> Result<Report> {
    let mut report = Report::default();
    for pair in crate::cluster::status(core).await?.pairs {
        report.pairs.push(check_pair(core, &pair, options.verify).await?);
    }
    if report.differences().next().is_some() {
        let folders = folders(core).await?;
        for pair in &mut report.pairs {
            pair.differences.iter_mut().for_each(|difference| name_path(difference, &folders));
        }
    }
    Ok(report)
}

fn name_path(difference: &mut Difference, folders: &HashMap<u64, String>) {
    if let Some(folder) = folders.get(&difference.folder) {
        difference.path = format!("{folder}/{}", difference.path);
    }
}
