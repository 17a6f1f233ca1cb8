//! Every inode that was taken in takes its place: one pass in the order of ids, a slice a command.
//!
//! Members may have known different moments of the tree, so what they hold together can contradict itself: two things
//! of one name, a folder that nobody knows, a loop. Nothing is dropped for that: the newer keeps the name, and what has
//! no place gets one in the folder [`FOUND`].

use super::super::context::{Context, Stop, refuse};
use super::super::write::new_file;
use super::{current, store};
use crate::keys::{self, OwedEntry, RebuildEntry, RowSubject};
use crate::store::Table;
use prost::Message;
use types::Code;
use types::command::Answer;
use types::ids::{InodeId, SessionId};
use types::limits::{NAME_MAX, PATH_MAX};
use types::record::{Kind, Phase, Record, mark};

/// Inodes that one command settles: each makes at most a few rows.
const SLICE: usize = 256;
/// The folder for what has no other place.
const FOUND: &str = "found by the rebuild";
/// Ids that are left out if a member did not report: it may have given them, or learnt of them.
const INODE_GAP: u64 = 1 << 32;
/// The id of no folder.
const NO_FOLDER: u64 = 0;
/// Epochs that are left out for the same reason.
const EPOCH_GAP: u64 = 1000;
/// Incarnations that are left out: the last ones given may not have been heard of.
const INCARNATION_GAP: u64 = 1 << 20;

/// Settles a slice.
pub(super) fn settle(context: &mut Context<'_>) -> Result<Answer, Stop> {
    let mut entry = current(context)?;
    if !entry.settling {
        raise(context, &mut entry)?;
    }
    let from = entry.settled.saturating_add(1).to_be_bytes();
    let mut ids = Vec::new();
    context.store().scan(Table::Inodes, &from, &[], &mut |key, _| {
        ids.extend(key.try_into().map(u64::from_be_bytes));
        ids.len() < SLICE
    })?;
    for id in &ids {
        if let Some(record) = context.state().inode(*id)? {
            place(context, &mut entry, record)?;
        }
        entry.settled = *id;
    }
    entry.is_settled = ids.len() < SLICE;
    let more = !entry.is_settled;
    store(context, &entry)?;
    Ok(Answer { more, ..Answer::default() })
}

/// All numbers of the new life are above what was seen; the new reigns begin, the root is there.
fn raise(context: &mut Context<'_>, entry: &mut RebuildEntry) -> Result<(), Stop> {
    entry.settling = true;
    entry.first_seq = context.raise_seq(entry.seq);
    let all = crown(context, entry)?;
    let counters = context.counters();
    // Above what was seen, so that clients of the life before can be told from those of this one (R13).
    counters.log_time = counters.log_time.max(entry.time_ms + 1);
    counters.last_incarnation += INCARNATION_GAP;
    if !all {
        counters.last_inode += INODE_GAP;
    }
    if context.state().inode(InodeId::ROOT.0)?.is_none() {
        let now = context.now_ms();
        let owner = entry.cluster.as_ref().map(|cluster| cluster.admin.clone()).unwrap_or_default();
        let root = Record {
            id: InodeId::ROOT.0,
            kind: Kind::Folder as i32,
            owner,
            created_ms: now,
            changed_ms: now,
            stamp: context.seq(),
            ..Record::default()
        };
        context.put_record(&mut root.clone())?;
    }
    Ok(())
}

/// Who acts in each pair from now on: the member that did last, or the one that is there. Nobody serves before it has
/// said what it lacks (R11). Gives whether all members have reported.
fn crown(context: &mut Context<'_>, entry: &RebuildEntry) -> Result<bool, Stop> {
    let there = |name: &str| entry.members.iter().any(|member| member.server == name);
    let now = context.now_ms().max(entry.time_ms);
    let mut all = true;
    for known in context.state().pairs()? {
        let seen = entry.epochs.get(&known.id).copied().unwrap_or(0);
        let pair = context.pair(known.id)?;
        let members = [pair.primary.clone(), pair.backup.clone()];
        let complete = members.iter().all(|name| name.is_empty() || there(name));
        all &= complete;
        pair.epoch = seen.max(pair.epoch) + if complete { 1 } else { EPOCH_GAP };
        if !there(&pair.acting) {
            pair.acting = members.into_iter().find(|name| there(name)).unwrap_or_default();
        }
        pair.phase = Phase::Promoted as i32;
        (pair.handover_seq, pair.handover_tries) = (0, 0);
        pair.handover_to.clear();
        pair.changed_ms = now;
        if pair.acting.is_empty() {
            let name = pair.name.clone();
            return refuse(
                Code::Unavailable,
                format_args!("no member of {name} has reported"),
                "start one of them",
            );
        }
    }
    Ok(all)
}

/// Gives a record its place in its feed, and in the tree or the trash, and counts it.
fn place(context: &mut Context<'_>, entry: &mut RebuildEntry, mut record: Record) -> Result<(), Stop> {
    let before = record.clone();
    if record.id == InodeId::ROOT.0 {
        // Whatever a damaged member says: every way up ends here.
        (record.parent, record.kind, record.trashed) = (0, Kind::Folder as i32, None);
        record.name.clear();
    }
    if record.id != InodeId::ROOT.0 && !record.is_tombstone() && record.parent != InodeId::TRASH.0 {
        match root_of(context, &record)? {
            Top::Tree => {}
            Top::Removed => {
                record.bury();
                record.changed_ms = context.now_ms();
            }
            Top::Unknown(folder) => make_folder(context, entry, folder)?,
            Top::Nowhere => record.parent = found(context, entry)?,
        }
    }
    note_ended(context, &record)?;
    if record.is_tombstone() {
        note_removed(context, &record)?;
    } else if let Some(trashed) = record.trashed.clone().filter(|_| record.parent == InodeId::TRASH.0) {
        give_up(context, trashed.parent, &trashed.name, record.seq)?;
        context.store().put(Table::Trash, &keys::trash(trashed.time_ms, record.id), &[])?;
    } else if record.id != InodeId::ROOT.0 {
        take_name(context, entry, &mut record)?;
    }
    entry.entries += u64::from(!record.is_tombstone());
    match record == before {
        true => show(context, &record)?,
        false => {
            record.stamp = context.seq();
            context.put_record(&mut record)?;
        }
    }
    count(context, &record)
}

/// What a way up from a record ends at.
enum Top {
    /// The root, or the trash.
    Tree,
    /// A folder that was removed for good: what is in it went before it.
    Removed,
    /// A folder that nobody knows.
    Unknown(u64),
    /// A loop, or something that is no folder.
    Nowhere,
}

fn root_of(context: &Context<'_>, record: &Record) -> Result<Top, Stop> {
    let mut next = record.parent;
    for _ in 0..=PATH_MAX {
        if next == InodeId::ROOT.0 || next == InodeId::TRASH.0 {
            return Ok(Top::Tree);
        }
        if next == record.id || next == 0 {
            return Ok(Top::Nowhere);
        }
        next = match context.state().inode(next)? {
            None => return Ok(Top::Unknown(next)),
            Some(folder) if folder.is_tombstone() => return Ok(Top::Removed),
            Some(folder) if folder.is_folder() => folder.parent,
            Some(_) => return Ok(Top::Nowhere),
        };
    }
    Ok(Top::Nowhere)
}

/// A folder that things lie in and that nobody knows: its name is gone, not what is in it.
fn make_folder(context: &mut Context<'_>, entry: &mut RebuildEntry, id: u64) -> Result<(), Stop> {
    let place = found(context, entry)?;
    new_folder(context, entry, place, id, &format!("folder {id}"))
}

fn new_folder(
    context: &mut Context<'_>,
    entry: &mut RebuildEntry,
    parent: u64,
    id: u64,
    name: &str,
) -> Result<(), Stop> {
    let owner = entry.cluster.as_ref().map(|cluster| cluster.admin.clone()).unwrap_or_default();
    let above = Record { id: parent, ..Record::default() };
    let made = new_file(context, &above, name, &owner, 0);
    let mut folder = Record { id, kind: Kind::Folder as i32, ..made };
    take_name(context, entry, &mut folder)?;
    entry.misplaced += 1;
    context.put_record(&mut folder)
}

/// The folder [`FOUND`], made when it is first needed.
pub(super) fn found(context: &mut Context<'_>, entry: &mut RebuildEntry) -> Result<u64, Stop> {
    if entry.found == 0 {
        entry.found = context.new_inode();
        new_folder(context, entry, InodeId::ROOT.0, entry.found, FOUND)?;
    }
    Ok(entry.found)
}

/// The record stands under its name; of two with one name the newer one does, the other gets another.
fn take_name(context: &mut Context<'_>, entry: &mut RebuildEntry, record: &mut Record) -> Result<(), Stop> {
    while let Some(mut other) = context.state().child(InodeId(record.parent), &record.name)? {
        if other.id == record.id {
            break;
        }
        entry.misplaced += 1;
        if other.seq > record.seq {
            record.name = other_name(record);
            continue;
        }
        context.store().delete(Table::Names, &keys::name_of(&other))?;
        other.name = other_name(&other);
        other.stamp = context.seq();
        context.put_record(&mut other)?;
        // Its turn comes with its new name; nothing can be in the way but another name of this kind.
        context.store().put(Table::Names, &keys::name_of(&other), &keys::inode(other.id))?;
    }
    context.store().put(Table::Names, &keys::name_of(record), &keys::inode(record.id))?;
    Ok(())
}

/// Another name, that tells which file it is.
fn other_name(record: &Record) -> String {
    let suffix = format!(" ({})", record.id);
    let mut end = record.name.len().min(NAME_MAX - suffix.len());
    while !record.name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &record.name[..end])
}

/// Remembers that a file is gone, for writes whose outcome is unknown: by its names, and by its number, which stands as a
/// name in a folder that cannot be.
pub(super) fn note_removed(context: &mut Context<'_>, record: &Record) -> Result<(), Stop> {
    give_up(context, record.parent, &record.name, record.seq)?;
    if let Some(trashed) = &record.trashed {
        give_up(context, trashed.parent, &trashed.name, record.seq)?;
    }
    give_up(context, NO_FOLDER, &record.id.to_string(), record.seq)
}

/// Remembers which write sessions have ended as versions, whatever their files were called since; they stand as names in a
/// folder that cannot be.
pub(super) fn note_ended(context: &mut Context<'_>, record: &Record) -> Result<(), Stop> {
    record
        .ended_sessions()
        .try_for_each(|session| give_up(context, NO_FOLDER, &session.to_string(), record.seq))
}

/// Whether a write session was a version and has ended.
pub(super) fn has_ended(context: &mut Context<'_>, session: SessionId) -> Result<bool, Stop> {
    Ok(super::known_seq(context, &keys::given_up(NO_FOLDER, &session.to_string()))? > 0)
}

/// Whether a file is known to be gone, by its number.
pub(super) fn is_removed(context: &mut Context<'_>, id: u64) -> Result<bool, Stop> {
    Ok(super::known_seq(context, &keys::given_up(NO_FOLDER, &id.to_string()))? > 0)
}

/// Remembers when a name was given up, for writes whose outcome is unknown.
fn give_up(context: &mut Context<'_>, parent: u64, name: &str, seq: u64) -> Result<(), Stop> {
    let key = keys::given_up(parent, name);
    let known = super::known_seq(context, &key)?;
    Ok(context.store().put(Table::Meta, &key, &known.max(seq).to_be_bytes())?)
}

/// Puts a record that is as the members know it into its feed, under the number they know.
fn show(context: &mut Context<'_>, record: &Record) -> Result<(), Stop> {
    let row = RowSubject::Inode(record.id).encode();
    context.store().put(Table::Feed, &keys::feed(record.pair, record.seq), &row)?;
    match record.pair {
        0 => {
            let counters = context.counters();
            counters.control_end = counters.control_end.max(record.seq);
        }
        pair => {
            let pair = context.pair(pair)?;
            pair.feed_end = pair.feed_end.max(record.seq);
        }
    }
    Ok(())
}

/// Counts a file, and what is owed or lost of it, for its pair.
fn count(context: &mut Context<'_>, record: &Record) -> Result<(), Stop> {
    if record.pair == 0 || !record.is_file() {
        return Ok(());
    }
    for version in record.versions.iter().filter(|version| version.is(mark::OWED)) {
        let owed = OwedEntry {
            holder: version.holder.clone(),
            content_seq: record.content_seq,
            sha256: version.sha256.clone(),
        };
        let key = keys::owed(record.pair, record.id, &version.session);
        context.store().put(Table::Owed, &key, &owed.encode_to_vec())?;
        context.pair(record.pair)?.owed += 1;
    }
    let pair = context.pair(record.pair)?;
    pair.files += 1;
    pair.lost += record.versions.iter().filter(|version| version.is(mark::LOST)).count() as u64;
    if record.trashed.is_none() {
        pair.bytes = pair.bytes.saturating_add(record.head_version().map_or(0, |head| head.size));
    }
    Ok(())
}
