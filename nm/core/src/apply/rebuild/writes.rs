//! Writes that a member had prepared and of which no row told (R10, R26): the old log may have acknowledged them, so
//! they become versions: the head if nothing changed since they were made, else conflict versions.

use super::super::context::{Context, Stop};
use super::super::write::{add_version, check_name, new_file, prune};
use super::settle::{found, has_ended, is_removed};
use crate::access;
use crate::keys::{self, RebuildEntry};
use crate::store::Table;
use types::Error;
use types::capability::right;
use types::ids::{Digest, InodeId, SessionId};
use types::rebuild::PreparedWrite;
use types::record::{Record, Version, mark};

/// Takes one in that `server` holds; whether it became a version now.
pub(super) fn take_in(
    context: &mut Context<'_>,
    entry: &mut RebuildEntry,
    server: &str,
    write: &PreparedWrite,
) -> Result<bool, Stop> {
    if has_ended(context, SessionId::from_slice(&write.session)?)? {
        return Ok(false);
    }
    let digest = Digest::from_parts(write.digest_kind, &write.sha256)?;
    let bit = context.pair(write.pair)?.bit_of(server);
    let user = author(entry, write);
    let (mut record, is_new) = match target(context, entry, write)? {
        Target::File(record) => (*record, false),
        Target::New(folder) => (new_file(context, &folder, &write.name, &user, write.pair), true),
        Target::Gone => return Ok(false),
    };
    if let Some(known) = record.versions.iter_mut().find(|version| version.session == write.session) {
        // Its partner holds it, too, and has told of it.
        if known.durable_on & bit == 0 {
            known.durable_on |= bit;
            context.put_record(&mut record)?;
        }
        return Ok(false);
    }
    let version = Version {
        session: write.session.clone(),
        epoch: context.pair(write.pair)?.epoch,
        number: record.last_number + 1,
        size: write.size,
        digest_kind: digest.kind as u32,
        sha256: digest.sha256.to_vec(),
        author: user,
        time_ms: context.now_ms(),
        parent_epoch: record.head_epoch,
        parent_number: record.head_number,
        durable_on: bit,
        ..Version::default()
    };
    let before = record.head_version().map_or(0, |head| head.size);
    // What this rebuild itself made the head came before it in the journal.
    let unchanged = record.content_seq <= write.seen || record.content_seq >= entry.first_seq;
    if unchanged && record.trashed.is_none() {
        add_version(context, &mut record, version)?;
        let after = record.head_version().map_or(0, |head| head.size);
        let pair = context.pair(write.pair)?;
        pair.files += u64::from(is_new);
        pair.bytes = pair.bytes.saturating_add(after).saturating_sub(before);
    } else {
        record.last_number = version.number;
        record.versions.push(Version { marks: mark::CONFLICT, ..version });
        prune(context, &mut record)?;
    }
    if is_new {
        context.store().put(Table::Names, &keys::name_of(&record), &keys::inode(record.id))?;
    }
    context.put_record(&mut record)?;
    Ok(true)
}

fn author(entry: &RebuildEntry, write: &PreparedWrite) -> String {
    match &write.asker {
        Some(asker) => asker.user.clone(),
        None => entry.cluster.as_ref().map(|cluster| cluster.admin.clone()).unwrap_or_default(),
    }
}

/// What a write was made on.
enum Target {
    /// This file.
    File(Box<Record>),
    /// A new file in this folder.
    New(Box<Record>),
    /// It was removed, or could not have been allowed.
    Gone,
}

fn target(
    context: &mut Context<'_>,
    entry: &mut RebuildEntry,
    write: &PreparedWrite,
) -> Result<Target, Stop> {
    let by_id = match write.file {
        0 => None,
        id => context.state().inode(id)?,
    };
    if by_id.is_none() && write.file != 0 && is_removed(context, write.file)? {
        return Ok(Target::Gone);
    }
    let is_by_name = by_id.is_none();
    let existing = match by_id {
        Some(record) => Some(record),
        None => context.state().child(InodeId(write.folder), &write.name)?,
    };
    // A name that was given up after the write was made, or may have been: the write went with it (I4), also if a write that was
    // made later has brought the name back just now.
    let epoch = context.pair(write.pair)?.epoch;
    let is_made_here = |record: &Record| record.versions.iter().all(|version| version.epoch == epoch);
    let given_up = super::known_seq(context, &keys::given_up(write.folder, &write.name))?;
    if is_by_name && existing.as_ref().is_none_or(is_made_here) && given_up > write.seen {
        return Ok(Target::Gone);
    }
    if let Some(record) = existing {
        let fits =
            record.is_file() && record.pair == write.pair && may_write(context, entry, &record, write)?;
        return Ok(if fits { Target::File(Box::new(record)) } else { Target::Gone });
    }
    if check_name(&write.name).is_err() {
        return Ok(Target::Gone);
    }
    let folder = match context.state().inode(write.folder)? {
        Some(folder) if folder.is_folder() => folder,
        Some(_) => return Ok(Target::Gone),
        // Nobody knows the folder: the write has a place all the same.
        None => {
            let place = found(context, entry)?;
            context
                .state()
                .inode(place)?
                .ok_or_else(|| Error::internal("a folder that was made is not there"))?
        }
    };
    let allowed = may_write(context, entry, &folder, write)?;
    Ok(if allowed { Target::New(Box::new(folder)) } else { Target::Gone })
}

/// Whether the log would have allowed it: what it refused must not come back as if it had not.
fn may_write(
    context: &Context<'_>,
    entry: &RebuildEntry,
    record: &Record,
    write: &PreparedWrite,
) -> Result<bool, Stop> {
    let rights = access::rights(context.state(), record, &author(entry, write))?;
    Ok(rights.bits & right::WRITE != 0)
}
