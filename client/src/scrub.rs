//! Has both members of each pair read what they hold, compare it with its digests and repair it from each other. The
//! bytes stay where they are: each server reads its own disk, and only what is bad is copied.

use crate::bounds::{SCRUB_PAUSE, SCRUB_RENEW, SCRUB_WAIT};
use crate::call::call;
use crate::core::{Core, parse};
use crate::fsck::folders;
use crate::info::entry;
use crate::list::Listing;
use bytes::Bytes;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;
use types::capability::SignedCapability;
use types::ids::{InodeId, VersionNumber};
use types::limits::SCRUB_FILES;
use types::message::manager::{MemberAddr, PairRecords, PairRecordsReply, PairRecordsRequest};
use types::message::store::{Scrub, ScrubFinding, ScrubPlace, ScrubReply, ScrubRequest};
use types::path::Quoted;
use types::record::Record;
use types::{Error, Result};

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct ScrubOptions {
    /// Files and folders; none: everything, the trash too.
    pub paths: Vec<String>,
    /// Bytes a second and server, at most; 0: no bound.
    pub rate: u64,
}

/// How far a scrub is, for whoever watches it.
#[derive(Debug, Default)]
pub struct ScrubProgress {
    /// Copies of files that were looked at.
    pub files: AtomicU64,
    /// Bytes that were looked at.
    pub bytes: AtomicU64,
    /// About how many there are to look at, if everything is; else 0.
    pub expected: AtomicU64,
    /// What was found.
    pub found: AtomicU64,
}

/// A copy whose bytes were not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which member's copy.
    pub server: String,
    /// The file's id.
    pub file: u64,
    /// Its path, or its name if it lies in no folder any more.
    pub path: String,
    /// Which version.
    pub version: VersionNumber,
    /// What was wrong.
    pub what: String,
    /// Why it still is; none: it is repaired.
    pub stays: Option<String>,
}

/// What one member looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubbedMember {
    /// Server name.
    pub server: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Why it could not be asked (to the end).
    pub away: Option<String>,
}

/// What a scrub found.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// The members of all pairs concerned.
    pub members: Vec<ScrubbedMember>,
    /// What was bad, in the order it was found.
    pub damage: Vec<Damage>,
}

impl ScrubReport {
    /// What is still bad.
    pub fn stays(&self) -> impl Iterator<Item = &Damage> {
        self.damage.iter().filter(|damage| damage.stays.is_some())
    }

    /// Versions of which no good copy is left on any member that was asked: path and version.
    pub fn without_good_copy(&self) -> BTreeSet<(String, VersionNumber)> {
        let asked = |path: &str, version| {
            let servers: BTreeSet<&str> = self
                .stays()
                .filter(|damage| damage.path == path && damage.version == version)
                .map(|damage| damage.server.as_str())
                .collect();
            servers.len() > 1
        };
        let damage = self.stays().filter(|damage| asked(&damage.path, damage.version));
        damage.map(|damage| (damage.path.clone(), damage.version)).collect()
    }
}

/// The files of one pair that are to be looked at; none named: all.
struct Task {
    pair: u32,
    files: Vec<u64>,
    /// Number of the whole run: a server reads once in it what several contents share.
    run: u64,
}

pub(crate) async fn scrub(
    core: &Arc<Core>,
    options: &ScrubOptions,
    progress: &ScrubProgress,
) -> Result<ScrubReport> {
    let tasks = tasks(core, &options.paths).await?;
    let mut report = ScrubReport::default();
    let mut findings = Vec::new();
    let scrubbed = join_all(tasks.iter().map(|task| scrub_pair(core, task, options.rate, progress))).await;
    for pair in scrubbed {
        for (member, found) in pair? {
            findings.extend(found.into_iter().map(|finding| (member.server.clone(), finding)));
            match report.members.iter_mut().find(|known| known.server == member.server) {
                Some(known) => {
                    known.files += member.files;
                    known.bytes += member.bytes;
                    known.away = known.away.take().or(member.away);
                }
                None => report.members.push(member),
            }
        }
    }
    if !findings.is_empty() {
        let folders = folders(core).await?;
        let damage = findings.into_iter().map(|(server, finding)| damage(server, finding, &folders));
        report.damage = merged(damage.collect());
    }
    Ok(report)
}

/// One entry for each copy of a version, however many of its chunks were bad.
fn merged(damage: Vec<Damage>) -> Vec<Damage> {
    let mut merged: Vec<Damage> = Vec::new();
    for next in damage {
        let same = |known: &&mut Damage| {
            known.server == next.server && known.file == next.file && known.version == next.version
        };
        match merged.iter_mut().find(same) {
            Some(known) => known.stays = known.stays.take().or(next.stays),
            None => merged.push(next),
        }
    }
    merged
}

fn damage(server: String, finding: ScrubFinding, folders: &std::collections::HashMap<u64, String>) -> Damage {
    let path = match folders.get(&finding.folder) {
        Some(folder) => format!("{folder}/{}", finding.name),
        None if finding.folder == InodeId::TRASH.0 => format!("{} (in the trash)", finding.name),
        None => finding.name,
    };
    Damage {
        server,
        file: finding.file,
        path,
        version: VersionNumber { epoch: finding.epoch, number: finding.number },
        what: finding.what,
        stays: (!finding.repaired).then_some(finding.why_not),
    }
}

async fn tasks(core: &Arc<Core>, paths: &[String]) -> Result<Vec<Task>> {
    let run = u64::from_le_bytes(net::secret::random()?);
    let mut everything = paths.is_empty();
    for path in paths {
        everything |= parse(path)?.is_root();
    }
    if everything {
        let pairs = crate::cluster::status(core).await?.pairs;
        return Ok(pairs.into_iter().map(|pair| Task { pair: pair.id, files: Vec::new(), run }).collect());
    }
    let mut files: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for path in paths {
        let record = entry(core, path).await?.ok_or_else(|| Error::not_found(Quoted(path)))?;
        collect(core, path, &record, &mut files).await?;
    }
    let task = |(pair, files): (u32, BTreeSet<u64>)| {
        let files: Vec<u64> = files.into_iter().collect();
        files.chunks(SCRUB_FILES).map(|files| Task { pair, files: files.to_vec(), run }).collect::<Vec<_>>()
    };
    Ok(files.into_iter().flat_map(task).collect())
}

/// Notes the file, or all files below the folder: some bytes for each.
async fn collect(
    core: &Arc<Core>,
    path: &str,
    record: &Record,
    files: &mut BTreeMap<u32, BTreeSet<u64>>,
) -> Result<()> {
    let mut note = |record: &Record| {
        if record.is_file() {
            files.entry(record.pair).or_default().insert(record.id);
        }
    };
    note(record);
    let mut open = if record.is_folder() { vec![path.trim_end_matches('/').to_owned()] } else { Vec::new() };
    while let Some(path) = open.pop() {
        let mut listing = Listing::new(core.clone(), &path, "", None)?;
        while let Some(entries) = listing.next().await? {
            entries.iter().for_each(&mut note);
            let folders = entries.iter().filter(|entry| entry.is_folder());
            open.extend(folders.map(|folder| format!("{path}/{}", folder.name)));
        }
    }
    Ok(())
}

async fn scrub_pair(
    core: &Core,
    task: &Task,
    rate: u64,
    progress: &ScrubProgress,
) -> Result<Vec<(ScrubbedMember, Vec<ScrubFinding>)>> {
    let placement = cover(core, task.pair).await?.placement.unwrap_or_default();
    let members = placement.members.into_iter().map(|member| async move {
        let mut scrubbed = ScrubbedMember { server: member.name.clone(), ..ScrubbedMember::default() };
        let mut found = Vec::new();
        let pages = pages(core, task, rate, &member, progress, &mut scrubbed, &mut found).await;
        scrubbed.away = pages.err().map(|error| error.message);
        (scrubbed, found)
    });
    Ok(join_all(members).await)
}

/// Placement and an operator's capability.
pub(crate) async fn cover(core: &Core, pair: u32) -> Result<PairRecordsReply> {
    let request = || PairRecordsRequest { pair, after: u64::MAX, limit: 1 };
    core.manager.call::<PairRecords>(request, &mut core.retry()).await
}

async fn pages(
    core: &Core,
    task: &Task,
    rate: u64,
    member: &MemberAddr,
    progress: &ScrubProgress,
    scrubbed: &mut ScrubbedMember,
    found: &mut Vec<ScrubFinding>,
) -> Result<()> {
    let mut place = ScrubPlace::default();
    let mut capability: Option<(SignedCapability, Instant)> = None;
    let (mut expected, mut failing) = (0, None);
    loop {
        let (cover, member) = match &capability {
            Some((capability, since)) if since.elapsed() < SCRUB_RENEW => {
                (capability.clone(), member.clone())
            }
            _ => {
                let reply = self::cover(core, task.pair).await?;
                let members = reply.placement.unwrap_or_default().members;
                let now = members.into_iter().find(|now| now.name == member.name);
                let cover = reply.capability.unwrap_or_default();
                capability = Some((cover.clone(), Instant::now()));
                (cover, now.unwrap_or_else(|| member.clone()))
            }
        };
        let request = ScrubRequest {
            pair: task.pair,
            capability: Some(cover),
            from: Some(place),
            files: task.files.clone(),
            rate,
            run: task.run,
        };
        let page = match page(core, &member, &request).await {
            Ok(page) => page,
            Err(error) => {
                // A server that restarts goes on where it was.
                let since = *failing.get_or_insert_with(Instant::now);
                if !error.code.is_retryable() && error.code != types::Code::BadCapability
                    || since.elapsed() > core.timeout
                {
                    return Err(error);
                }
                capability = None;
                tokio::time::sleep(SCRUB_PAUSE).await;
                continue;
            }
        };
        failing = None;
        if task.files.is_empty() && page.used_bytes > expected {
            progress.expected.fetch_add(page.used_bytes - expected, Ordering::Relaxed);
            expected = page.used_bytes;
        }
        progress.files.fetch_add(page.files, Ordering::Relaxed);
        progress.bytes.fetch_add(page.bytes, Ordering::Relaxed);
        progress.found.fetch_add(page.findings.len() as u64, Ordering::Relaxed);
        scrubbed.files += page.files;
        scrubbed.bytes += page.bytes;
        found.extend(page.findings);
        match page.next {
            Some(next) if !page.end => place = next,
            _ => return Ok(()),
        }
    }
}

async fn page(core: &Core, member: &MemberAddr, request: &ScrubRequest) -> Result<ScrubReply> {
    if member.addr.is_empty() {
        let what = format_args!("{} never registered", member.name);
        return Err(Error::new(types::Code::Failed, what, "start it, then scrub again"));
    }
    let deadline = Instant::now() + core.timeout.min(std::time::Duration::from_secs(10));
    let connection = core.servers.get(&core.manager, member, deadline).await?;
    Ok(call::<Scrub>(&connection, request, Bytes::new(), Instant::now() + SCRUB_WAIT).await?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(server: &str, number: u64, stays: bool) -> Damage {
        Damage {
            server: server.into(),
            file: 1,
            path: "/a".into(),
            version: VersionNumber { epoch: 1, number },
            what: "bad".into(),
            stays: stays.then(|| "why".into()),
        }
    }

    #[test]
    fn a_version_is_without_a_good_copy_only_if_both_are_bad() {
        let list = vec![
            damage("ss1", 1, false),
            damage("ss1", 1, true),
            damage("ss1_backup", 1, true),
            damage("ss1", 2, true),
            damage("ss1_backup", 2, false),
        ];
        let report = ScrubReport { damage: merged(list), ..ScrubReport::default() };
        assert_eq!(report.damage.len(), 4, "chunks of one copy are one entry");
        assert_eq!(report.stays().count(), 3);
        let lost: Vec<_> = report.without_good_copy().into_iter().collect();
        assert_eq!(lost, [("/a".to_owned(), VersionNumber { epoch: 1, number: 1 })]);
    }
}
