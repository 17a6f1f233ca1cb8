//! Versions that were acknowledged but are only on a member that does not act (R11, R12).

use super::context::{Context, Stop, pair_event, refuse};
use crate::keys::{self, OwedEntry};
use crate::state::decode;
use crate::store::Table;
use prost::Message;
use std::collections::BTreeMap;
use types::Code;
use types::command::{Adopt, Answer, Lose, Owe, VersionRef};
use types::ids::VersionNumber;
use types::mutation::{self, Mutation};
use types::record::{Phase, Record, Version, mark};

/// Logs what the new acting member lacks, and settles what it holds of what was owed before. With `done`
/// the promotion is over and the pair may be served.
pub(super) fn owe(context: &mut Context<'_>, command: &Owe) -> Result<Answer, Stop> {
    let pair = context.pair(command.pair)?.clone();
    if pair.epoch != command.epoch || pair.phase() != Phase::Promoted {
        return refuse(
            Code::PastEpoch,
            format_args!("{} waits for no survey of epoch {}", pair.name, command.epoch),
            "look at the pair again",
        );
    }
    let holder = pair.partner_of(&pair.acting).to_owned();
    for (inode, held) in by_file(&command.holds) {
        settle(context, inode, &sessions(&held))?;
    }
    let (mut owed, mut lost, mut paths) = (0, 0, Vec::new());
    for (inode, lacked) in by_file(&command.lacks) {
        // What it should have held for the pair, and has not, nobody has.
        let (own, others) = split_by_holder(context, pair.id, inode, &lacked, &pair.acting)?;
        let marked = mark_lost(context, inode, &own)?;
        lost += marked;
        note_path(context, inode, marked, &mut paths)?;
        owed += mark_owed(context, inode, &others, &holder)?;
    }
    if lost > 0 {
        let pair = context.pair(command.pair)?.clone();
        context.event(pair_event(
            "lost",
            &pair.acting,
            &pair,
            format!("the server that owed them has them no more: {}", list(&paths)),
            &[("versions", lost)],
        ))?;
    }
    if owed > 0 {
        let pair = context.pair(command.pair)?.clone();
        context.event(pair_event(
            "owed",
            &holder,
            &pair,
            "acknowledged, but only on this server",
            &[("versions", owed)],
        ))?;
    }
    if command.done {
        let pair = context.pair(command.pair)?;
        pair.phase = Phase::Steady as i32;
        context.announce_pair(command.pair)?;
    }
    let pair = context.pair(command.pair)?.clone();
    Ok(Answer { pair: Some(pair), rows: context.rows(), ..Answer::default() })
}

/// Those of `versions` that are owed by `holder`, and the others.
fn split_by_holder<'v>(
    context: &mut Context<'_>,
    pair: u32,
    inode: u64,
    versions: &[&'v VersionRef],
    holder: &str,
) -> Result<(Vec<&'v VersionRef>, Vec<&'v VersionRef>), Stop> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for version in versions {
        let entry = context.store().get(Table::Owed, &keys::owed(pair, inode, &version.session))?;
        let entry = entry.map(|bytes| decode::<OwedEntry>(&bytes)).transpose()?;
        let list = if entry.is_some_and(|entry| entry.holder == holder) { &mut own } else { &mut others };
        list.push(*version);
    }
    Ok((own, others))
}

fn by_file(versions: &[VersionRef]) -> BTreeMap<u64, Vec<&VersionRef>> {
    let mut files: BTreeMap<u64, Vec<&VersionRef>> = BTreeMap::new();
    for version in versions {
        files.entry(version.inode).or_default().push(version);
    }
    files
}

fn sessions(versions: &[&VersionRef]) -> Vec<Vec<u8>> {
    versions.iter().map(|version| version.session.clone()).collect()
}

/// The version that readers get when the owed and lost ones are away: the newest in the line of heads.
fn newest_readable(record: &Record) -> VersionNumber {
    let away = mark::OWED | mark::LOST | mark::CONFLICT;
    record
        .versions
        .iter()
        .filter(|version| !version.is(away))
        .map(Version::version)
        .max()
        .unwrap_or(VersionNumber::NONE)
}

fn mark_owed(
    context: &mut Context<'_>,
    inode: u64,
    lacked: &[&VersionRef],
    holder: &str,
) -> Result<u64, Stop> {
    let Some(mut record) = context.state().inode(inode)? else { return Ok(0) };
    let mut newly = Vec::new();
    for version in &mut record.versions {
        let is_lacked = lacked.iter().any(|lacked| lacked.session == version.session);
        if is_lacked && !version.is(mark::OWED | mark::LOST) {
            version.marks |= mark::OWED;
            version.holder = holder.to_owned();
            newly.push((version.session.clone(), version.sha256.clone()));
        }
    }
    if newly.is_empty() {
        return Ok(0);
    }
    let readable = newest_readable(&record);
    if record.head_version().is_none_or(|head| head.is(mark::OWED)) {
        record.set_head(readable);
        record.content_seq = context.seq();
    }
    for (session, sha256) in &newly {
        let entry =
            OwedEntry { holder: holder.to_owned(), content_seq: record.content_seq, sha256: sha256.clone() };
        context.store().put(Table::Owed, &keys::owed(record.pair, inode, session), &entry.encode_to_vec())?;
    }
    context.pair(record.pair)?.owed += newly.len() as u64;
    context.put_record(&mut record)?;
    Ok(newly.len() as u64)
}

/// Owed versions of a file have been copied to the acting member: they take their place.
pub(super) fn adopt(context: &mut Context<'_>, command: &Adopt) -> Result<Answer, Stop> {
    let pair = context.pair(command.pair)?.clone();
    if pair.epoch != command.epoch {
        return refuse(
            Code::PastEpoch,
            format_args!("{} is in epoch {}", pair.name, pair.epoch),
            "look at the pair again",
        );
    }
    let adopted = settle(context, command.inode, &command.sessions)?;
    if adopted > 0 {
        let name = context.state().inode(command.inode)?.map_or(String::new(), |record| record.name);
        context.event(pair_event(
            "adopted",
            &command.holder,
            &pair,
            format!("'{name}'"),
            &[("versions", adopted)],
        ))?;
    }
    let pair = context.pair(command.pair)?.clone();
    Ok(Answer { pair: Some(pair), rows: context.rows(), ..Answer::default() })
}

/// R12, decided here at apply: of the owed versions with these sessions, the newest becomes the head iff
/// it is newer than the head that `Owe` left, the head is unchanged since, and the file is not removed;
/// ancestors of the head take their old places; the rest are conflict versions. Gives how many were owed.
pub(super) fn settle(context: &mut Context<'_>, inode: u64, sessions: &[Vec<u8>]) -> Result<u64, Stop> {
    let Some(mut record) = context.state().inode(inode)? else { return Ok(0) };
    let mut entries = BTreeMap::new();
    for session in sessions {
        let key = keys::owed(record.pair, inode, session);
        if let Some(bytes) = context.store().get(Table::Owed, &key)? {
            entries.insert(session.clone(), decode::<OwedEntry>(&bytes)?);
            context.store().delete(Table::Owed, &key)?;
        }
    }
    if entries.is_empty() {
        return Ok(0);
    }
    let known = context.pair(record.pair)?;
    known.owed = known.owed.saturating_sub(entries.len() as u64);
    let newest = record
        .versions
        .iter()
        // One that had lost already is no head: a rebuild gives such a version a number above all others (R26).
        .filter(|version| entries.contains_key(&version.session) && !version.is(mark::CONFLICT))
        .max_by_key(|version| version.version())
        .map(|version| (version.version(), version.session.clone()));
    if let Some((newest, session)) = newest {
        let unchanged = entries.get(&session).is_some_and(|entry| entry.content_seq == record.content_seq);
        if newest > record.head() && unchanged && record.trashed.is_none() && record.is_file() {
            record.set_head(newest);
            record.content_seq = context.seq();
        }
    }
    let line = ancestry(&record, record.head());
    for version in record.versions.iter_mut().filter(|version| entries.contains_key(&version.session)) {
        version.marks &= !mark::OWED;
        version.holder.clear();
        if !line.contains(&version.version()) {
            version.marks |= mark::CONFLICT;
        }
    }
    if mutation::is(Mutation::DropConflicts) {
        record.versions.retain(|version| !version.is(mark::CONFLICT));
    }
    super::write::prune(context, &mut record)?;
    context.put_record(&mut record)?;
    Ok(entries.len() as u64)
}

/// `from` and the versions it builds on, as far as they are kept.
fn ancestry(record: &Record, from: VersionNumber) -> Vec<VersionNumber> {
    let mut line = Vec::new();
    let mut next = from;
    while let Some(version) = record.version(next) {
        if line.contains(&next) {
            break;
        }
        line.push(next);
        next = version.parent();
    }
    line
}

/// Versions that one `Lose` marks: a slice, as each file makes a row.
const LOSE_SLICE: usize = 1000;

/// What a replaced disk owed is marked, counted and told, never removed in silence; a slice at a time.
pub(super) fn lose(context: &mut Context<'_>, command: &Lose) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?.clone();
    if server.disk_lost {
        let files = context.state().owed_of(server.pair, &server.name, LOSE_SLICE)?;
        let (mut lost, mut paths) = (0, Vec::new());
        for (inode, versions) in &files {
            let versions: Vec<&VersionRef> = versions.iter().collect();
            let marked = mark_lost(context, *inode, &versions)?;
            lost += marked;
            note_path(context, *inode, marked, &mut paths)?;
        }
        if lost > 0 {
            let pair = context.pair(server.pair)?.clone();
            context.event(pair_event(
                "lost",
                &server.name,
                &pair,
                format!("the disk that held them was replaced: {}", list(&paths)),
                &[("versions", lost)],
            ))?;
        }
        if context.state().owed_of(server.pair, &server.name, 1)?.is_empty() {
            context.server(&command.server)?.disk_lost = false;
        }
    }
    let server = context.server(&command.server)?.clone();
    Ok(Answer { server: Some(server), rows: context.rows(), ..Answer::default() })
}

/// Notes where a file lies of which versions were lost.
fn note_path(context: &mut Context<'_>, inode: u64, lost: u64, paths: &mut Vec<String>) -> Result<(), Stop> {
    if lost > 0
        && let Some(record) = context.state().inode(inode)?
    {
        // What lies in the trash has no path any more.
        let name =
            if record.trashed.is_some() { record.name.clone() } else { context.state().path_of(&record)? };
        paths.push(name);
    }
    Ok(())
}

fn list(paths: &[String]) -> String {
    super::names(paths.iter().map(String::as_str), paths.len() as u64)
}

/// Marks owed versions of a file lost; gives how many were owed.
fn mark_lost(context: &mut Context<'_>, inode: u64, owed: &[&VersionRef]) -> Result<u64, Stop> {
    let Some(mut record) = context.state().inode(inode)? else { return Ok(0) };
    let mut lost = 0;
    for reference in owed {
        let key = keys::owed(record.pair, inode, &reference.session);
        if context.store().get(Table::Owed, &key)?.is_none() {
            continue;
        }
        context.store().delete(Table::Owed, &key)?;
        lost += 1;
        for version in record.versions.iter_mut().filter(|version| version.session == reference.session) {
            version.marks = version.marks & !mark::OWED | mark::LOST;
        }
    }
    if lost > 0 {
        let pair = context.pair(record.pair)?;
        pair.owed = pair.owed.saturating_sub(lost);
        pair.lost += lost;
        context.put_record(&mut record)?;
    }
    Ok(lost)
}
