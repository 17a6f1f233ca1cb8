//! Compares one pair: first everything once, as it comes, then again what differed.

use super::compare::{Difference, Held, compare};
use super::pages::{self, Member, Stream, index_page};
use super::{MemberReport, PairReport};
use crate::core::Core;
use std::sync::Arc;
use std::time::Duration;
use types::Result;
use types::message::manager::PairStatus;
use types::message::store::HeldFile;
use types::record::Record;

/// Differences are looked at again so often before they count.
const LOOKS: u32 = 10;
/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// When so many files differ the rest is not compared: 8 bytes each are remembered.
const SUSPECTS_MAX: usize = 100_000;

/// A member, what it holds as it comes, and why it could not be asked.
struct Asked {
    member: Member,
    held: Option<Stream<HeldFile>>,
    files: u64,
    away: Option<String>,
}

impl Asked {
    async fn next_id(&mut self) -> Option<u64> {
        let next = self.held.as_mut()?.next_id().await;
        next.unwrap_or_else(|error| {
            self.lose(error.message);
            None
        })
    }

    fn lose(&mut self, why: String) {
        self.away = Some(why);
        self.held = None;
    }

    fn take(&mut self, id: u64) -> Option<HeldFile> {
        let file = self.held.as_mut()?.take(id)?;
        self.files += u64::from(file.record.as_ref().is_some_and(Record::is_file));
        Some(file)
    }
}

/// What the members that can be asked hold of one file.
fn held<'a>(members: &'a [Asked], files: &'a [Option<HeldFile>]) -> Vec<Held<'a>> {
    let asked = members.iter().zip(files).filter(|(asked, _)| asked.away.is_none());
    asked.map(|(asked, file)| Held { server: &asked.member.addr.name, file: file.as_ref() }).collect()
}

/// Compares a pair.
pub(super) async fn check_pair(core: &Arc<Core>, pair: &PairStatus, verify: bool) -> Result<PairReport> {
    let start = index_page(core, pair.id, u64::MAX, 1).await?;
    let cover = start.capability.unwrap_or_default();
    let members = start.placement.unwrap_or_default().members.into_iter().map(|addr| {
        let away = addr.addr.is_empty().then(|| "it never registered".to_owned());
        let member = Member::new(addr, pair.id, verify, cover.clone());
        let held = away.is_none().then(|| member.held(core));
        Asked { member, held, files: 0, away }
    });
    let mut members: Vec<Asked> = members.collect();
    let mut report = PairReport { name: pair.name.clone(), ..PairReport::default() };
    let suspects = compare_all(core, pair.id, &mut members, &mut report).await?;
    look_again(core, pair.id, &mut members, suspects, &mut report).await?;
    let told =
        |asked: Asked| MemberReport { server: asked.member.addr.name, files: asked.files, away: asked.away };
    report.members = members.into_iter().map(told).collect();
    Ok(report)
}

/// Goes once through the index and what the members hold, all in the order of ids; the files that differ.
async fn compare_all(
    core: &Arc<Core>,
    pair: u32,
    members: &mut [Asked],
    report: &mut PairReport,
) -> Result<Vec<u64>> {
    let mut index = pages::index(core, pair);
    let mut suspects = Vec::new();
    loop {
        let mut next = index.next_id().await?;
        for asked in members.iter_mut() {
            let id = asked.next_id().await;
            next = [next, id].into_iter().flatten().min();
        }
        let Some(id) = next else { return Ok(suspects) };
        let record = index.take(id);
        report.files += u64::from(record.as_ref().is_some_and(Record::is_file));
        let files: Vec<_> = members.iter_mut().map(|asked| asked.take(id)).collect();
        if compare(id, record.as_ref(), &held(members, &files)).is_same() {
            continue;
        }
        suspects.push(id);
        if suspects.len() >= SUSPECTS_MAX {
            report.cut_short = true;
            return Ok(suspects);
        }
    }
}

/// Looks at files again until they agree or lag explains that they do not.
async fn look_again(
    core: &Core,
    pair: u32,
    members: &mut [Asked],
    mut suspects: Vec<u64>,
    report: &mut PairReport,
) -> Result<()> {
    for look in 0..LOOKS {
        if suspects.is_empty() {
            break;
        }
        if look > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let last = look + 1 == LOOKS;
        // Before the rows: what comes after counts as not yet applied.
        let floor = index_page(core, pair, u64::MAX, 1).await?.floor;
        (report.lagging, report.differences) = (0, Vec::new());
        let mut left = Vec::new();
        for id in suspects {
            let (late, wrong) = look_at(core, pair, members, id, floor).await?;
            report.lagging += u64::from(late);
            if !wrong.is_empty() || late && !last {
                left.push(id);
            }
            report.differences.extend(wrong);
        }
        suspects = left;
    }
    Ok(())
}

async fn look_at(
    core: &Core,
    pair: u32,
    members: &mut [Asked],
    id: u64,
    floor: u64,
) -> Result<(bool, Vec<Difference>)> {
    let found = index_page(core, pair, id.saturating_sub(1), 1).await?.records.pop();
    let record = found.filter(|record| record.id == id);
    let mut files = Vec::new();
    for asked in members.iter_mut() {
        let file = match asked.away {
            None => asked.member.held_of(core, id).await,
            Some(_) => Ok(None),
        };
        files.push(file.unwrap_or_else(|error| {
            asked.lose(error.message);
            None
        }));
    }
    Ok(compare(id, record.as_ref(), &held(members, &files)).judge(floor))
}
