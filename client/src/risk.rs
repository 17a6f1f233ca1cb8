//! Names the files at risk, and why: one copy only, a bad copy, not verified for longer than the scrub's period, owed, lost,
//! in conflict.

use crate::core::Core;
use crate::fsck::{folders, index_page};
use std::fmt;
use std::sync::Arc;
use types::Result;
use types::ids::VersionNumber;
use types::message::manager::StatusReply;
use types::message::member::ScrubState;
use types::record::{Record, mark};

/// Why a file is at risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Its present content may be only where it was written: the other member has not said that it has it.
    OneCopy,
    /// The copy on this server is bad, and could not be repaired.
    BadCopy(String),
    /// Its copy on `server` has not been compared with its digests for longer than the scrub's period.
    Unverified {
        /// Where.
        server: String,
        /// When it was, ms since 1970.
        since_ms: u64,
    },
    /// This version was acknowledged, and is only on a server that does not act.
    Owed(VersionNumber, String),
    /// This version was on a disk of that server that is gone.
    Lost(VersionNumber, String),
    /// This version was written beside another one.
    Conflict(VersionNumber),
}

impl Risk {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Risk::OneCopy => "one_copy",
            Risk::BadCopy(_) => "bad_copy",
            Risk::Unverified { .. } => "unverified",
            Risk::Owed(..) => "owed",
            Risk::Lost(..) => "lost",
            Risk::Conflict(_) => "conflict",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Risk::OneCopy => f.write_str("its newest content has one copy only so far"),
            Risk::BadCopy(server) => write!(f, "its copy on {server} is bad and could not be repaired"),
            Risk::Unverified { server, .. } => {
                write!(f, "its copy on {server} has not been verified for longer than the scrub's period")
            }
            Risk::Owed(version, holder) => {
                write!(f, "version {version} is only on {holder}, which does not act")
            }
            Risk::Lost(version, holder) => write!(f, "version {version} was lost with a disk of {holder}"),
            Risk::Conflict(version) => write!(f, "version {version} was written beside another one"),
        }
    }
}

/// A file at risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAtRisk {
    /// Its path.
    pub path: String,
    /// Its id.
    pub file: u64,
    /// The pair that holds it.
    pub pair: String,
    /// Why; never empty.
    pub risks: Vec<Risk>,
}

/// The files at risk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesAtRisk {
    /// In the order of pairs and ids.
    pub files: Vec<FileAtRisk>,
    /// There are more than were asked for.
    pub more: bool,
}

pub(crate) async fn files_at_risk(
    core: &Arc<Core>,
    status: &StatusReply,
    limit: usize,
) -> Result<FilesAtRisk> {
    let (mut found, mut more) = (Vec::new(), false);
    let now = net::clock::wall_millis();
    'pairs: for pair in &status.pairs {
        let is_member = |name: &String| *name == pair.primary || *name == pair.backup;
        let members = status.servers.iter().filter(|server| is_member(&server.name));
        let scrubs: Vec<(&str, ScrubState)> =
            members.filter_map(|server| Some((server.name.as_str(), server.scrub.clone()?))).collect();
        let mut after = 0;
        loop {
            let page = index_page(core, pair.id, after, 0).await?;
            for record in page.records {
                let risks = risks(&record, page.floor, &scrubs, now);
                if risks.is_empty() {
                    continue;
                }
                if found.len() >= limit {
                    more = true;
                    break 'pairs;
                }
                found.push((pair.name.clone(), record, risks));
            }
            after = page.next;
            if after == 0 {
                break;
            }
        }
    }
    let folders = if found.is_empty() { Default::default() } else { folders(core).await? };
    let file = |(pair, record, risks): (String, Record, Vec<Risk>)| FileAtRisk {
        path: folders.get(&record.parent).map_or(record.name.clone(), |at| format!("{at}/{}", record.name)),
        file: record.id,
        pair,
        risks,
    };
    Ok(FilesAtRisk { files: found.into_iter().map(file).collect(), more })
}

/// Why a file is at risk: `floor` is how far both members have applied the feed, `scrubs` how far their scrubbers are.
fn risks(record: &Record, floor: u64, scrubs: &[(&str, ScrubState)], now_ms: u64) -> Vec<Risk> {
    let mut risks = Vec::new();
    if !record.is_file() || record.trashed.is_some() {
        return risks;
    }
    if record.is_alone(floor) {
        risks.push(Risk::OneCopy);
    }
    let stored = record.versions.iter().filter(|version| !version.is_empty() && !version.is(mark::LOST));
    // What was written later was compared with its digest when it came.
    let written = stored.map(|version| version.time_ms).min();
    for (server, scrub) in scrubs {
        if scrub.bad.contains(&record.id) {
            risks.push(Risk::BadCopy((*server).to_owned()));
        }
        let since_ms = written.map(|written| written.max(scrub.verified(record.id).unwrap_or(0)));
        if let Some(since_ms) = since_ms.filter(|_| scrub.period_ms > 0)
            && now_ms.saturating_sub(since_ms) > scrub.period_ms
        {
            risks.push(Risk::Unverified { server: (*server).to_owned(), since_ms });
        }
    }
    for version in &record.versions {
        let (number, holder) = (version.version(), version.holder.clone());
        match () {
            () if version.is(mark::LOST) => risks.push(Risk::Lost(number, holder)),
            () if version.is(mark::OWED) => risks.push(Risk::Owed(number, holder)),
            () => {}
        }
        if version.is(mark::CONFLICT) {
            risks.push(Risk::Conflict(number));
        }
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::{Kind, Trashed, Version, on};

    fn version(number: u64, marks: u32) -> Version {
        Version {
            epoch: 1,
            number,
            marks,
            size: 9,
            time_ms: 1_000,
            durable_on: on::BOTH,
            holder: "ss1".into(),
            ..Version::default()
        }
    }

    fn file(versions: Vec<Version>) -> Record {
        let head_number = versions.last().map_or(0, |version| version.number);
        let (head_epoch, kind) = (1, Kind::File.into());
        Record { id: 5, kind, versions, head_epoch, head_number, content_seq: 8, ..Record::default() }
    }

    fn scrub(verified_ms: u64) -> ScrubState {
        ScrubState { verified_ms, period_ms: 100, ..ScrubState::default() }
    }

    #[test]
    fn a_file_on_both_members_that_was_verified_in_time_is_at_no_risk() {
        let well = file(vec![version(1, 0)]);
        assert_eq!(risks(&well, 0, &[("ss1", scrub(1_050))], 1_100), []);
        assert_eq!(risks(&well, 0, &[("ss1", scrub(0))], 1_100), [], "it was verified when it came");
        let off = ScrubState { period_ms: 0, ..scrub(0) };
        assert_eq!(risks(&well, 0, &[("ss1", off)], u64::MAX), [], "nobody is to verify it");
    }

    #[test]
    fn each_reason_is_named() {
        let mut alone = file(vec![version(1, 0)]);
        alone.versions[0].durable_on = on::PRIMARY;
        assert_eq!(risks(&alone, 7, &[], 0), [Risk::OneCopy]);
        assert_eq!(risks(&alone, 8, &[], 0), []);
        let late = Risk::Unverified { server: "ss1".into(), since_ms: 1_050 };
        let well = file(vec![version(1, 0)]);
        assert_eq!(risks(&well, 9, &[("ss1", scrub(1_050)), ("ss1_backup", scrub(1_060))], 1_151), [late]);
        let bad = ScrubState { bad: vec![5], ..scrub(1_050) };
        assert_eq!(risks(&well, 9, &[("ss1", bad)], 1_100), [Risk::BadCopy("ss1".into())]);
        let marked =
            file(vec![version(1, mark::LOST), version(2, mark::CONFLICT | mark::OWED), version(3, 0)]);
        let number = |number| VersionNumber { epoch: 1, number };
        let expected = [
            Risk::Lost(number(1), "ss1".into()),
            Risk::Owed(number(2), "ss1".into()),
            Risk::Conflict(number(2)),
        ];
        assert_eq!(risks(&marked, 9, &[], 0), expected);
        let trashed = Record { trashed: Some(Trashed::default()), ..marked };
        assert_eq!(risks(&trashed, 9, &[], 0), [], "nobody's file");
    }
}
