//! Compares the index and both copies of everything: records, versions, digests, and the bytes themselves.
//!
//! Servers go on working meanwhile, so a first look finds differences that are none: what differs is
//! looked at again, with newer rows, until it agrees or is older than everything a member still has to
//! apply. Lag is not damage.
//!
//! The index of one pair is held in memory, some hundred bytes a file.

mod collect;
mod compare;

pub(crate) use collect::folders;
pub use compare::{Difference, Reason};

use crate::core::Core;
use collect::{Index, Members};
use compare::{Held, compare};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use types::Result;
use types::message::manager::PairStatus;
use types::record::Record;

/// Differences are looked at again so often before they count.
const LOOKS: u32 = 10;
/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

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
        let folders = collect::folders(core).await?;
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

async fn check_pair(core: &Arc<Core>, pair: &PairStatus, verify: bool) -> Result<PairReport> {
    let mut index = Index::new(pair.id);
    index.read_on(core).await?;
    let mut members = Members::new(&index, verify);
    let mut first = members.read_all(core, &index).await;
    // Rows that came meanwhile.
    index.read_on(core).await?;
    let mut files: BTreeSet<u64> = index.ids().collect();
    files.extend(first.iter().flat_map(|member| member.keys().copied()));
    let suspects = files.into_iter().filter(|id| {
        let held = members.held(&first, *id);
        !compare(*id, index.get(*id), &held).is_same()
    });
    let mut suspects: Vec<u64> = suspects.collect();
    let mut lagging = 0;
    let mut differences = Vec::new();
    for look in 0..LOOKS {
        if suspects.is_empty() {
            break;
        }
        if look > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let last = look + 1 == LOOKS;
        // Before the rows: what comes after counts as not yet applied.
        let lag = lag_rows(core, pair.id).await?;
        index.read_on(core).await?;
        let floor = index.floor(lag);
        (lagging, differences) = (0, Vec::new());
        let mut left = Vec::new();
        for id in suspects {
            members.read_again(core, &index, id, &mut first).await;
            let findings = compare(id, index.get(id), &members.held(&first, id));
            let (late, wrong) = findings.judge(floor);
            lagging += u64::from(late);
            if !wrong.is_empty() || late && !last {
                left.push(id);
            }
            differences.extend(wrong);
        }
        suspects = left;
    }
    Ok(PairReport {
        name: pair.name.clone(),
        files: index.files(),
        lagging,
        members: members.reports(&first),
        differences,
    })
}

async fn lag_rows(core: &Core, pair: u32) -> Result<u64> {
    let status = crate::cluster::status(core).await?;
    Ok(status.pairs.iter().find(|found| found.id == pair).map_or(0, |found| found.lag_rows))
}

/// What the members hold of one file; those that could not be asked are left out.
type HeldFiles = Vec<HashMap<u64, Arc<types::message::store::HeldFile>>>;

impl Members {
    fn held<'a>(&'a self, files: &'a HeldFiles, id: u64) -> Vec<Held<'a>> {
        let asked = self.iter().zip(files).filter(|(member, _)| member.away.is_none());
        asked
            .map(|(member, files)| Held { server: &member.name, file: files.get(&id).map(AsRef::as_ref) })
            .collect()
    }

    fn reports(&self, files: &HeldFiles) -> Vec<MemberReport> {
        let members = self.iter().zip(files);
        members
            .map(|(member, files)| MemberReport {
                server: member.name.clone(),
                files: files.values().filter(|file| file.record.as_ref().is_some_and(Record::is_file)).count()
                    as u64,
                away: member.away.clone(),
            })
            .collect()
    }
}
