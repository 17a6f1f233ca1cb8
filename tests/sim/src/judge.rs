//! What is looked at in the end, when nothing fails any more: rest, copies, files, strangers, and a name manager made anew.

use crate::cluster::{BACKUP, Cluster, NM, SS1};
use crate::host::Condition;
use crate::load::{self, Ask, Came, History, Value};
use crate::network::Tick;
use crate::oracle::i2_nothing_acknowledged_is_lost::{Final, own_files, shared_files};
use crate::oracle::i4_deletes_stay_deleted::removed_files;
use crate::oracle::i8_authority::Attempt;
use crate::oracle::{
    Violation, i3_no_torn_reads, i4_deletes_stay_deleted, i5_convergence, i6_integrity, i7_rebuild,
    i8_authority, i9_bounded,
};
use crate::trees::{self, Grown};
use crate::{oracle, stranger};
use client::fsck::{FsckOptions, Report};
use client::{Client, ReadOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use types::message::manager::StatusReply;
use types::record::mark;
use types::{Code, Error, Result};

/// How long a cluster in which nothing fails may take to come to rest, ms.
const REST: Tick = 120_000;
/// How long the one who looks waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the one who looks in the end found.
#[derive(Default)]
struct Found {
    status: Option<StatusReply>,
    settled: bool,
    report: Option<Report>,
    there: BTreeSet<String>,
    finals: BTreeMap<String, Final>,
    attempts: Vec<Attempt>,
    /// What is wrong with trees.
    trees: Vec<Violation>,
    trouble: Option<String>,
    done: bool,
}

type Shared = Arc<Mutex<Found>>;

fn lock(found: &Shared) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Judges a cluster in which nothing fails any more, and what its clients were told; with `rebuild` the name manager is
/// made anew at last.
pub fn judge(cluster: &mut Cluster, history: &History, rebuild: bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    let first = look(cluster, history, true, &mut violations);
    let (requests, seen) = (history.requests(), history.seen());
    let wrongs = history.wrongs().into_iter();
    violations.extend(wrongs.map(|what| Violation { invariant: "no client sees an error", what }));
    violations.extend(i3_no_torn_reads::whole(&seen));
    violations.extend(i6_integrity::digests(&seen));
    violations.extend(shared_files(&requests));
    violations.extend(i9_bounded::waits(&requests));
    let first = lock(&first);
    if let Some(report) = &first.report {
        violations.extend(i4_deletes_stay_deleted::back(report));
        violations.extend(i5_convergence::copies(report));
        violations.extend(i6_integrity::copies(report));
    }
    violations.extend(i8_authority::refused(&first.attempts));
    violations.extend(first.trees.clone());
    if first.trouble.is_none() && first.done {
        violations.extend(own_files(&requests, &first.finals));
        violations.extend(removed_files(&requests, |path| first.there.contains(path)));
    }
    for host in [SS1, BACKUP] {
        let files = cluster.hosts[host].disk.image();
        let bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        violations.extend(i9_bounded::disk(&cluster.hosts[host].name, bytes));
    }
    if rebuild && violations.is_empty() {
        let serves = |cluster: &Cluster| [SS1, BACKUP].into_iter().find_map(|host| cluster.serves(host));
        let before = serves(cluster);
        cluster.timeline.note(cluster.now(), "the name manager's disk is lost");
        cluster.hosts[NM].kill();
        cluster.lose_name_manager();
        cluster.start_with(NM, &["--rebuild"]);
        let begun = cluster.wait(REST, |cluster| serves(cluster) > before);
        if !begun {
            let what = "nobody serves after a rebuild".to_owned();
            violations.push(Violation { invariant: "I7 the index can be rebuilt", what });
        }
        let second = look(cluster, history, false, &mut violations);
        violations.extend(lock(&second).trees.clone());
        let unknown = unknown_values(history);
        violations
            .extend(i7_rebuild::same(&first.finals, &lock(&second).finals, |value| unknown.contains(&value)));
    }
    violations.append(&mut cluster.violations);
    let ended = cluster.ended.drain(..);
    violations.extend(ended.map(|what| Violation { invariant: "no server ends by itself", what }));
    violations
}

/// Contents of which nobody was told whether they were written.
fn unknown_values(history: &History) -> BTreeSet<Value> {
    let requests = history.requests();
    let unknown = requests.iter().filter_map(|request| match (&request.ask, &request.ended) {
        (Ask::Write { value, .. }, None | Some((_, Came::Unknown(_) | Came::Nothing(_)))) => Some(*value),
        _ => None,
    });
    unknown.collect()
}

/// Has the last host's client look at everything.
fn look(
    cluster: &mut Cluster,
    history: &History,
    strangers: bool,
    violations: &mut Vec<Violation>,
) -> Shared {
    let found = Shared::default();
    let (client, theirs, noted) = (cluster.client(PATIENCE), history.clone(), found.clone());
    let key = strangers.then(|| cluster.key_file());
    let host = cluster.hosts.len() - 1;
    cluster.hosts[host].start(async move {
        let looked = async {
            let client = client.await?;
            look_at_all(&client, &theirs, key.is_none(), &noted).await?;
            if let Some(key) = key {
                let attempts = stranger::attempts(&client, &key).await?;
                lock(&noted).attempts = attempts;
            }
            Ok(())
        };
        let looked: Result<()> = looked.await;
        let mut found = lock(&noted);
        found.done = true;
        found.trouble = looked.err().map(|error| format!("{} ({})", error.message, error.code.name()));
        Ok(())
    });
    let has_looked = cluster
        .wait(2 * REST, |cluster| lock(&found).done && cluster.hosts[host].condition() == Condition::Down);
    if !has_looked {
        cluster.hosts[host].kill();
    }
    {
        let found = lock(&found);
        if !found.settled {
            violations.push(i5_convergence::unsettled(found.status.as_ref()));
        }
        if let Some(what) = found.trouble.clone().or((!has_looked).then(|| "it does not end".to_owned())) {
            violations.push(Violation { invariant: "the end can be looked at", what });
        }
    }
    found
}

async fn look_at_all(client: &Client, history: &History, rebuilt: bool, found: &Shared) -> Result<()> {
    let mut settled = false;
    for _ in 0..REST / 200 {
        let status = client.status().await?;
        settled = i5_convergence::is_settled(&status);
        {
            let mut found = lock(found);
            (found.status, found.settled) = (Some(status), settled);
        }
        if settled {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if settled && history.is_damaged() {
        // What nobody has read since is repaired by a scrub.
        client.scrub(&Default::default(), &Default::default()).await?;
    }
    let report = client.fsck(&FsckOptions { verify: settled }).await?;
    lock(found).report = Some(report);
    for Grown { root, may_be, in_doubt } in history.trees() {
        let is = trees::walk(client, &root).await?;
        let in_doubt = if rebuilt { in_doubt } else { Vec::new() };
        lock(found).trees.extend(oracle::trees::check(&root, &may_be, &in_doubt, &is));
    }
    let paths: BTreeSet<String> = history.requests().into_iter().map(|request| request.path).collect();
    for path in paths {
        let there = match client.entry(&path).await {
            Ok(entry) => entry,
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => return Err(error),
        };
        load::read(client, usize::MAX, &path, history, PATIENCE).await;
        let Some(record) = there else { continue };
        let mut end = Final::default();
        for version in &record.versions {
            if version.marks & (mark::OWED | mark::LOST) == 0 {
                let options = ReadOptions { version: Some(version.version()), ..ReadOptions::default() };
                let mut reader = client.read(&path, &options).await?;
                let bytes = reader.to_end(4 << 20).await?;
                let value = load::value_of(&bytes).ok_or_else(|| {
                    let what =
                        format_args!("{path} has a version of {} bytes that nobody wrote", bytes.len());
                    Error::new(Code::Damaged, what, "")
                })?;
                end.versions.insert(version.version(), value);
            }
        }
        end.head = Some(types::ids::VersionNumber { epoch: record.head_epoch, number: record.head_number });
        let mut found = lock(found);
        found.there.insert(path.clone());
        found.finals.insert(path, end);
    }
    Ok(())
}
