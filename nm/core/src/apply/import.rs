//! Taking a folder in that a new storage server brings along (R24): entry by entry, each once, on behalf of an
//! administrator, and only by the server that registered with it, for its own pair.
//!
//! How far it has come stands in the log: a server that was killed in the middle goes on behind it, whatever people
//! have done meanwhile to what was taken in.

use super::context::{Context, Stop, pair_event, refuse};
use super::entries::{empty_version, require_write, walk};
use super::write::{add_version, fence_acting, new_file};
use crate::keys;
use crate::store::Table;
use types::command::{Answer, EndImport, Import};
use types::ids::{Digest, SessionId};
use types::limits::FILE_MAX;
use types::path::{PathName, Quoted};
use types::record::{ImportProgress, Kind, Record, Version};
use types::{Code, Error};

/// Takes one entry in. What cannot be, as its name is taken, is passed over and counted; the answer has no record then.
pub(super) fn import(context: &mut Context<'_>, command: &Import) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?.clone();
    let mut progress = open_import(server.import)?;
    if server.pair != command.pair {
        return refuse(Code::WrongPair, "a server imports into its own pair", "register the server again");
    }
    fence_acting(context, command.pair, command.epoch, &command.server, command.incarnation)?;
    let user = context.state().user(&command.user)?.and_then(|entry| entry.public);
    if !user.is_some_and(|user| user.admin) {
        let what = format_args!("{} is no administrator", Quoted(&command.user));
        return refuse(Code::Denied, what, "import on behalf of one");
    }
    if command.number <= progress.done {
        return Ok(Answer { repeated: true, ..Answer::default() });
    }
    if command.number != progress.done + 1 {
        let what = format_args!("entry {} does not follow {}", command.number, progress.done);
        return refuse(Code::BadRequest, what, "go on behind the last one");
    }
    let server = context.server(&command.server)?;
    server.journal = server.journal.max(command.journal);
    let answer = match take(context, command) {
        Ok(record) => {
            count(&mut progress, &record);
            let version = record.head_version().cloned();
            Answer { record: Some(record), version, rows: context.rows(), ..Answer::default() }
        }
        Err(Stop::Refused(error)) => {
            progress.skipped += 1;
            Answer { message: error.message, ..Answer::default() }
        }
        Err(stop) => return Err(stop),
    };
    progress.done = command.number;
    progress.after.clone_from(&command.path);
    context.server(&command.server)?.import = Some(progress);
    Ok(answer)
}

/// All of it is in: says so with what it came to.
pub(super) fn end_import(context: &mut Context<'_>, command: &EndImport) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?;
    let progress = open_import(server.import.take())?;
    let id = server.pair;
    let pair = context.pair(id)?.clone();
    let numbers = [
        ("files", progress.files),
        ("folders", progress.folders),
        ("links", progress.links),
        ("bytes", progress.bytes),
        ("skipped", progress.skipped.saturating_add(command.passed_over)),
    ];
    context.event(pair_event("imported", &command.server, &pair, command.reason.clone(), &numbers))?;
    Ok(Answer::default())
}

fn open_import(progress: Option<ImportProgress>) -> Result<ImportProgress, Stop> {
    match progress {
        Some(progress) => Ok(progress),
        None => refuse(
            Code::Denied,
            "this server has no import under way",
            "an import begins with the first registration of a new server",
        ),
    }
}

fn count(progress: &mut ImportProgress, record: &Record) {
    match record.kind() {
        Kind::File => progress.files += 1,
        Kind::Folder => progress.folders += 1,
        _ => progress.links += 1,
    }
    progress.bytes = progress.bytes.saturating_add(record.head_version().map_or(0, |head| head.size));
}

/// Makes what the entry says, or says why not; then nothing has changed.
fn take(context: &mut Context<'_>, command: &Import) -> Result<Record, Stop> {
    let path = PathName::parse(&command.path)?;
    let found = walk(context, &path)?;
    let name = match &found.missing[..] {
        [] if found.deepest.is_folder() && command.kind() == Kind::Folder => return Ok(found.deepest),
        [] => return refuse(Code::Exists, format_args!("{path} exists already"), "it stays as it is"),
        [name] if found.deepest.is_folder() => name.clone(),
        _ => {
            let what = format_args!("the folder of {path} is not there");
            return refuse(Code::NotFound, what, "it was moved, removed or is no folder");
        }
    };
    let folder = found.deepest;
    require_write(context, &folder, &command.user)?;
    let now = context.now_ms();
    if context.state().uploads_to(folder.id, &name)?.iter().any(|upload| upload.expires_ms > now) {
        return refuse(Code::Locked, format_args!("{path} is being written"), "it stays as it is");
    }
    let version = match command.kind() {
        Kind::File => Some(version(context, command)?),
        Kind::Folder | Kind::Symlink => None,
        Kind::Unknown | Kind::Tombstone => {
            return refuse(Code::BadRequest, format_args!("{path} {}", command.target), "copy it by hand");
        }
    };
    let pair = if version.is_some() { command.pair } else { 0 };
    let mut record = new_file(context, &folder, &name, &command.user, pair);
    record.kind = command.kind;
    record.mode = command.mode;
    record.mtime_ms = command.mtime_ms;
    if command.kind() == Kind::Symlink {
        record.target.clone_from(&command.target);
    }
    if let Some(version) = version {
        let pair = context.pair(command.pair)?;
        pair.files += 1;
        pair.bytes = pair.bytes.saturating_add(version.size);
        add_version(context, &mut record, version)?;
    }
    context.store().put(Table::Names, &keys::name_of(&record), &keys::inode(record.id))?;
    context.put_record(&mut record)?;
    Ok(record)
}

fn version(context: &mut Context<'_>, command: &Import) -> Result<Version, Stop> {
    let pair = context.pair(command.pair)?;
    let (epoch, durable_on) = (pair.epoch, pair.bit_of(&command.server));
    if command.size == 0 {
        return Ok(empty_version(context, epoch, &command.user));
    }
    SessionId::from_slice(&command.session)?;
    let digest = Digest::from_parts(command.digest_kind, &command.sha256)?;
    if command.size > FILE_MAX {
        return Err(Error::bad_request("more bytes than a file may have").into());
    }
    Ok(Version {
        session: command.session.clone(),
        epoch,
        number: 1,
        size: command.size,
        digest_kind: digest.kind as u32,
        sha256: digest.sha256.to_vec(),
        author: command.user.clone(),
        time_ms: context.now_ms(),
        durable_on,
        ..Version::default()
    })
}
