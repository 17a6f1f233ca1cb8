//! The tree: making, removing and moving files and folders. A folder moves in one row (R25).

use super::context::{Context, Stop, refuse};
use super::idempotency;
use super::write::{add_version, asker, new_file};
use crate::access;
use crate::keys;
use crate::store::Table;
use types::Code;
use types::capability::right;
use types::command::{Answer, Make, Move, Remove};
use types::content::sha256;
use types::ids::{DigestKind, InodeId, Seq, SessionId};
use types::path::PathName;
use types::record::{Kind, Record, Trashed, Version};

/// How many folders one `mkdir -p` may make: bounds the rows of a batch.
const NEW_FOLDERS_MAX: usize = 60;

/// How far a path leads: the deepest thing that exists, and the names behind it.
pub(super) struct Walk {
    /// What exists.
    pub(super) deepest: Record,
    /// The names that do not.
    pub(super) missing: Vec<String>,
}

pub(super) fn walk(context: &Context<'_>, path: &PathName) -> Result<Walk, Stop> {
    let Some(mut deepest) = context.state().inode(InodeId::ROOT.0)? else {
        return refuse(Code::Unavailable, "the cluster is not made yet", "wait for its first start");
    };
    for (depth, name) in path.names().iter().enumerate() {
        if !deepest.is_folder() {
            return refuse(
                Code::NotAFolder,
                format_args!("'{}' in {path} is not a folder", deepest.name),
                "check the path",
            );
        }
        match context.state().child(deepest.inode(), name)? {
            Some(next) => deepest = next,
            None => return Ok(Walk { deepest, missing: path.names()[depth..].to_vec() }),
        }
    }
    if path.must_be_folder() && !deepest.is_folder() {
        return refuse(
            Code::NotAFolder,
            format_args!("{path} is not a folder"),
            "leave the trailing slash out",
        );
    }
    Ok(Walk { deepest, missing: Vec::new() })
}

/// What stands at `path`.
pub(super) fn existing(context: &Context<'_>, path: &PathName) -> Result<Record, Stop> {
    let found = walk(context, path)?;
    if found.missing.is_empty() {
        return Ok(found.deepest);
    }
    refuse(Code::NotFound, format_args!("{path} does not exist"), "check the name with `pairfs ls`")
}

pub(super) fn require_write(context: &Context<'_>, folder: &Record, user: &str) -> Result<(), Stop> {
    let rights = access::rights_in(context.state(), folder, user)?;
    if rights.bits & right::WRITE != 0 {
        return Ok(());
    }
    refuse(
        Code::Denied,
        format_args!("{user} may not change '{}'", shown(folder)),
        "ask its owner for access",
    )
}

fn shown(record: &Record) -> &str {
    if record.id == InodeId::ROOT.0 { "/" } else { &record.name }
}

fn parent_of(context: &Context<'_>, record: &Record) -> Result<Record, Stop> {
    match context.state().inode(record.parent)? {
        Some(parent) => Ok(parent),
        None => refuse(Code::BadPath, "the root cannot be moved or removed", "give a path below it"),
    }
}

pub(super) fn done(
    context: &mut Context<'_>,
    asker: &types::command::Asker,
    record: Record,
) -> Result<Answer, Stop> {
    let version = record.head_version().cloned();
    let answer = Answer { record: Some(record), version, rows: context.rows(), ..Answer::default() };
    idempotency::after(context, asker, &answer)?;
    Ok(answer)
}

/// Makes an empty file, a folder (with its parents) or a symbolic link.
pub(super) fn make(context: &mut Context<'_>, command: &Make) -> Result<Answer, Stop> {
    let asker = asker(command.asker.as_ref())?;
    if let Some(answer) = idempotency::before(context, asker)? {
        return Ok(answer);
    }
    let path = PathName::parse(&command.path)?;
    let kind = command.kind();
    if kind != Kind::Folder && path.must_be_folder() {
        return refuse(Code::BadPath, format_args!("{path}/ names a folder"), "leave the trailing slash out");
    }
    let Walk { deepest, missing } = walk(context, &path)?;
    let Some((last, parents)) = missing.split_last() else {
        if kind == Kind::Folder && command.parents && deepest.is_folder() {
            if command.durability != 0 && command.durability != deepest.durability {
                return refuse(
                    Code::Exists,
                    format_args!("{path} exists already, with another durability"),
                    "change it with `pairfs durability`",
                );
            }
            return retouch(context, asker, deepest, command);
        }
        return refuse(Code::Exists, format_args!("{path} exists already"), "choose another name");
    };
    if !deepest.is_folder() {
        return refuse(
            Code::NotAFolder,
            format_args!("'{}' in {path} is not a folder", deepest.name),
            "check the path",
        );
    }
    if !parents.is_empty() && !command.parents {
        return refuse(
            Code::NotFound,
            format_args!("the folder '{}' of {path} does not exist", parents[0]),
            "make it first, or use -p",
        );
    }
    if parents.len() >= NEW_FOLDERS_MAX {
        return refuse(
            Code::BadPath,
            format_args!("{} folders are missing", parents.len()),
            "make them in several steps",
        );
    }
    require_write(context, &deepest, &asker.user)?;
    if kind == Kind::File {
        // Refused here if there is no such pair.
        context.pair(command.pair)?;
    }
    let mut folder = deepest;
    let plain = Make { mode: 0, mtime_ms: 0, ..command.clone() };
    for name in parents {
        folder = make_one(context, &folder, name, Kind::Folder, &plain, &asker.user)?;
    }
    let mut made = make_one(context, &folder, last, kind, command, &asker.user)?;
    if kind == Kind::Folder && command.durability != 0 {
        made.durability = command.durability;
        context.put_record(&mut made)?;
    }
    done(context, asker, made)
}

/// A folder that exists takes on the mode and the time that it is to be made with, if any.
fn retouch(
    context: &mut Context<'_>,
    asker: &types::command::Asker,
    mut folder: Record,
    command: &Make,
) -> Result<Answer, Stop> {
    let before = (folder.mode, folder.mtime_ms);
    keep_attributes(&mut folder, command);
    if (folder.mode, folder.mtime_ms) == before || folder.id == InodeId::ROOT.0 {
        return Ok(Answer { record: Some(folder), ..Answer::default() });
    }
    require_write(context, &folder, &asker.user)?;
    context.put_record(&mut folder)?;
    done(context, asker, folder)
}

fn keep_attributes(record: &mut Record, command: &Make) {
    if command.mode != 0 {
        record.mode = command.mode;
    }
    if command.mtime_ms != 0 {
        record.mtime_ms = command.mtime_ms;
    }
}

fn make_one(
    context: &mut Context<'_>,
    folder: &Record,
    name: &str,
    kind: Kind,
    command: &Make,
    user: &str,
) -> Result<Record, Stop> {
    let mut record = match kind {
        Kind::File => {
            let mut record = new_file(context, folder, name, user, command.pair);
            let pair = context.pair(command.pair)?;
            pair.files += 1;
            let epoch = pair.epoch;
            let empty = empty_version(context, epoch, user);
            add_version(context, &mut record, empty)?;
            record
        }
        Kind::Folder | Kind::Symlink => {
            let mut record = new_file(context, folder, name, user, 0);
            record.kind = kind as i32;
            if kind == Kind::Symlink {
                record.target = command.target.clone();
            }
            record
        }
        Kind::Unknown | Kind::Tombstone => {
            return refuse(Code::BadRequest, "that cannot be made", "update the client");
        }
    };
    keep_attributes(&mut record, command);
    context.store().put(Table::Names, &keys::name_of(&record), &keys::inode(record.id))?;
    context.put_record(&mut record)?;
    Ok(record)
}

/// The content of a new empty file: nobody needs to store or fetch it.
pub(super) fn empty_version(context: &Context<'_>, epoch: u64, author: &str) -> Version {
    Version {
        session: SessionId::made_at(Seq(context.seq())).0.to_vec(),
        epoch,
        number: 1,
        digest_kind: DigestKind::Plain as u32,
        sha256: sha256(&[]).to_vec(),
        author: author.to_owned(),
        time_ms: context.now_ms(),
        durable_on: types::record::on::BOTH,
        ..Version::default()
    }
}

/// Into the trash, or a file for good. A folder goes in one row, whatever lies in it.
pub(super) fn remove(context: &mut Context<'_>, command: &Remove) -> Result<Answer, Stop> {
    let asker = asker(command.asker.as_ref())?;
    if let Some(answer) = idempotency::before(context, asker)? {
        return Ok(answer);
    }
    let path = PathName::parse(&command.path)?;
    let mut record = existing(context, &path)?;
    let parent = parent_of(context, &record)?;
    require_write(context, &parent, &asker.user)?;
    if record.is_folder() && !command.recursive {
        return refuse(
            Code::IsAFolder,
            format_args!("{path} is a folder"),
            "use -r to remove it with all it holds",
        );
    }
    if record.is_file() && !command.force {
        refuse_open_upload(context, &record, &path)?;
    }
    discard(context, &mut record, &asker.user, command.now)?;
    done(context, asker, record)
}

fn refuse_open_upload(context: &Context<'_>, record: &Record, path: &PathName) -> Result<(), Stop> {
    let now = context.now_ms();
    let open =
        context.state().uploads_to(record.parent, &record.name)?.iter().any(|upload| upload.expires_ms > now);
    if open {
        return refuse(
            Code::Locked,
            format_args!("{path} is being written"),
            "wait for the upload, or use --force",
        );
    }
    Ok(())
}

/// Takes `record` out of the tree. `now`: a file leaves a tombstone at once; a folder is first in line to
/// be purged.
fn discard(context: &mut Context<'_>, record: &mut Record, user: &str, now: bool) -> Result<(), Stop> {
    let time = context.now_ms();
    context.store().delete(Table::Names, &keys::name_of(record))?;
    record.stamp = context.seq();
    record.changed_ms = time;
    if record.pair != 0 {
        let size = record.head_version().map_or(0, |head| head.size);
        let pair = context.pair(record.pair)?;
        pair.bytes = pair.bytes.saturating_sub(size);
        if now {
            pair.files = pair.files.saturating_sub(1);
        }
    }
    if now && !record.is_folder() {
        forget_owed(context, record)?;
        record.bury();
    } else {
        record.trashed = Some(Trashed {
            time_ms: time,
            parent: record.parent,
            name: record.name.clone(),
            by: user.to_owned(),
        });
        record.parent = InodeId::TRASH.0;
        let due = if now { 0 } else { time };
        context.store().put(Table::Trash, &keys::trash(due, record.id), &[])?;
    }
    context.put_record(record)
}

/// What is purged is owed no more (R12).
pub(super) fn forget_owed(context: &mut Context<'_>, record: &Record) -> Result<(), Stop> {
    for version in record.versions.iter().filter(|version| version.is(types::record::mark::OWED)) {
        context.store().delete(Table::Owed, &keys::owed(record.pair, record.id, &version.session))?;
        let pair = context.pair(record.pair)?;
        pair.owed = pair.owed.saturating_sub(1);
    }
    Ok(())
}

/// Gives a file or folder another name or folder.
pub(super) fn rename(context: &mut Context<'_>, command: &Move) -> Result<Answer, Stop> {
    let asker = asker(command.asker.as_ref())?;
    if let Some(answer) = idempotency::before(context, asker)? {
        return Ok(answer);
    }
    let (from, to) = (PathName::parse(&command.from)?, PathName::parse(&command.to)?);
    let mut record = existing(context, &from)?;
    let old_parent = parent_of(context, &record)?;
    require_write(context, &old_parent, &asker.user)?;

    let (folder, name, replaced) = destination(context, &record, &to)?;
    require_write(context, &folder, &asker.user)?;
    if record.is_folder() {
        refuse_loop(context, &record, &folder, &from)?;
    }
    if let Some(replaced) = &replaced {
        if replaced.id == record.id && replaced.name == name {
            return refuse(Code::Usage, format_args!("{from} and {to} are the same"), "give another name");
        }
        if replaced.id != record.id && !(command.force && replaced.is_file() && record.is_file()) {
            return refuse(
                Code::Exists,
                format_args!("{to} exists already"),
                "choose another name, or use -f for files",
            );
        }
    }
    if let Some(mut replaced) = replaced.filter(|replaced| replaced.id != record.id) {
        discard(context, &mut replaced, &asker.user, false)?;
    }
    context.store().delete(Table::Names, &keys::name_of(&record))?;
    record.parent = folder.id;
    record.name = name;
    record.stamp = context.seq();
    record.changed_ms = context.now_ms();
    context.store().put(Table::Names, &keys::name_of(&record), &keys::inode(record.id))?;
    context.put_record(&mut record)?;
    done(context, asker, record)
}

/// Folder and name that `to` means for `record`, and what stands there now.
fn destination(
    context: &Context<'_>,
    record: &Record,
    to: &PathName,
) -> Result<(Record, String, Option<Record>), Stop> {
    let found = walk(context, to)?;
    match &found.missing[..] {
        [] if found.deepest.is_folder() && found.deepest.id != record.id => {
            let inside = context.state().child(found.deepest.inode(), &record.name)?;
            Ok((found.deepest, record.name.clone(), inside))
        }
        [] => {
            let parent = parent_of(context, &found.deepest)?;
            let name = to.names().last().cloned().unwrap_or_default();
            Ok((parent, name, Some(found.deepest)))
        }
        [name] if found.deepest.is_folder() => {
            if to.must_be_folder() && !record.is_folder() {
                return refuse(
                    Code::NotFound,
                    format_args!("the folder {to} does not exist"),
                    "make it first",
                );
            }
            Ok((found.deepest, name.clone(), None))
        }
        [_] => refuse(
            Code::NotAFolder,
            format_args!("'{}' in {to} is not a folder", found.deepest.name),
            "check the path",
        ),
        [name, ..] => refuse(
            Code::NotFound,
            format_args!("the folder '{name}' of {to} does not exist"),
            "make it first",
        ),
    }
}

fn refuse_loop(context: &Context<'_>, record: &Record, into: &Record, from: &PathName) -> Result<(), Stop> {
    let inside =
        into.id == record.id || context.state().ancestors(into)?.iter().any(|folder| folder.id == record.id);
    if inside {
        return refuse(
            Code::BadPath,
            format_args!("{from} cannot be moved into itself"),
            "choose another folder",
        );
    }
    Ok(())
}
