//! A prepared write becomes a version (R1, R10, R13, R14).

use super::context::{Context, Stop, refuse};
use super::{adopt, idempotency};
use crate::access;
use crate::keys;
use crate::state::decode;
use crate::store::Table;
use prost::Message;
use types::capability::right;
use types::command::{Answer, Asker, OpenUpload, WriteComplete};
use types::ids::{Digest, InodeId, SessionId, VersionNumber};
use types::limits::{FILE_MAX, NAME_MAX, VERSIONS_KEPT};
use types::mutation::{self, Mutation};
use types::record::{Kind, Phase, Record, Version, mark};
use types::{Code, Error};

/// Refuses a command that does not say who asks.
pub(super) fn asker(asker: Option<&Asker>) -> Result<&Asker, Stop> {
    asker.ok_or_else(|| Error::bad_request("a request without a key").into())
}

/// Decides a prepared write.
pub(super) fn write_complete(context: &mut Context<'_>, command: &WriteComplete) -> Result<Answer, Stop> {
    let asker = asker(command.asker.as_ref())?;
    if let Some(answer) = idempotency::before(context, asker)? {
        return settle_repeated(context, command, answer);
    }
    let digest = check_form(command)?;
    fence(context, command)?;
    let folder = open_folder(context, command, &asker.user)?;
    let existing = target(context, command)?;
    check_condition(command, existing.as_ref())?;

    let server = context.server(&command.server)?;
    server.journal = server.journal.max(command.journal);
    let mut record = match existing {
        Some(record) => record,
        None => new_file(context, &folder, &command.name, &asker.user, command.pair),
    };
    let epoch = context.pair(command.pair)?.epoch;
    let version = Version {
        session: command.session.clone(),
        epoch,
        number: record.last_number + 1,
        size: command.size,
        digest_kind: digest.kind as u32,
        sha256: digest.sha256.to_vec(),
        author: asker.user.clone(),
        time_ms: context.now_ms(),
        parent_epoch: record.head_epoch,
        parent_number: record.head_number,
        durable_on: command.durable_on,
        ..Version::default()
    };
    let is_new = record.seq == 0;
    let before = record.head_version().map_or(0, |head| head.size);
    add_version(context, &mut record, version.clone())?;
    if command.mode != 0 {
        record.mode = command.mode;
    }
    record.mtime_ms = command.mtime_ms;
    let pair = context.pair(command.pair)?;
    pair.files += u64::from(is_new);
    pair.bytes = pair.bytes.saturating_add(version.size).saturating_sub(before);
    if is_new {
        context.store().put(Table::Names, &keys::name_of(&record), &keys::inode(record.id))?;
    }
    context.put_record(&mut record)?;
    context.store().delete(Table::Uploads, &keys::upload(record.parent, &record.name, &command.session))?;
    let answer =
        Answer { record: Some(record), version: Some(version), rows: context.rows(), ..Answer::default() };
    idempotency::after(context, asker, &answer)?;
    Ok(answer)
}

/// A repeated commit is answered, not executed. If its version is owed, whoever repeats it has brought the
/// bytes: that settles the debt (R12).
fn settle_repeated(
    context: &mut Context<'_>,
    command: &WriteComplete,
    answer: Answer,
) -> Result<Answer, Stop> {
    let owed = answer.record.as_ref().is_some_and(|record| {
        record.versions.iter().any(|version| version.session == command.session && version.is(mark::OWED))
    });
    if !owed {
        return Ok(answer);
    }
    fence(context, command)?;
    let inode = answer.record.map_or(0, |record| record.id);
    adopt::settle(context, inode, std::slice::from_ref(&command.session))?;
    let record = context.state().inode(inode)?;
    Ok(Answer { record, version: answer.version, rows: context.rows(), repeated: true, ..Answer::default() })
}

fn check_form(command: &WriteComplete) -> Result<Digest, Stop> {
    SessionId::from_slice(&command.session)?;
    if command.size > FILE_MAX {
        return refuse(
            Code::Usage,
            format_args!("{} bytes are more than a file may have", command.size),
            "split it",
        );
    }
    check_name(&command.name)?;
    Ok(Digest::from_parts(command.digest_kind, &command.sha256)?)
}

/// Refuses a name that no path could contain.
pub(super) fn check_name(name: &str) -> Result<(), Stop> {
    if name.is_empty() || name.len() > NAME_MAX || name == "." || name == ".." || name.contains(['/', '\0']) {
        return refuse(
            Code::BadPath,
            format_args!("{} is no name", types::path::Quoted(name)),
            "use another name",
        );
    }
    Ok(())
}

fn fence(context: &mut Context<'_>, command: &WriteComplete) -> Result<(), Stop> {
    fence_acting(context, command.pair, command.epoch, &command.server, command.incarnation)
}

/// R1: refuses whoever is not the present registration of the acting member in the present epoch.
pub(super) fn fence_acting(
    context: &mut Context<'_>,
    pair: u32,
    epoch: u64,
    server: &str,
    incarnation: u64,
) -> Result<(), Stop> {
    let pair = context.pair(pair)?.clone();
    if mutation::is(Mutation::SkipFence) {
        return Ok(());
    }
    if pair.epoch != epoch || pair.acting != server {
        return refuse(
            Code::PastEpoch,
            format_args!("{} is in epoch {} with {}", pair.name, pair.epoch, pair.acting),
            "ask who acts now",
        );
    }
    context.require_incarnation(server, incarnation)?;
    match pair.phase() {
        Phase::Steady => Ok(()),
        Phase::Handover => {
            refuse(Code::Handover, format_args!("{} is handing over", pair.name), "ask again at once")
        }
        Phase::Promoted => {
            refuse(Code::NoActingMember, format_args!("{} is being promoted", pair.name), "ask again at once")
        }
    }
}

/// The folder written to, if the user may still do so and nothing above it changed since the capability.
fn open_folder(context: &mut Context<'_>, command: &WriteComplete, user: &str) -> Result<Record, Stop> {
    let folder = context.state().inode(command.folder)?.filter(Record::is_folder);
    let Some(folder) = folder else {
        return refuse(Code::StaleCapability, "the folder is gone", "look the path up again");
    };
    let rights = access::rights_in(context.state(), &folder, user)?;
    let stale = !rights.reachable || rights.stamp > command.stamp;
    if stale && !mutation::is(Mutation::WriteIntoMoved) {
        return refuse(
            Code::StaleCapability,
            "the folder has moved or its access has changed",
            "look the path up again",
        );
    }
    if rights.bits & right::WRITE == 0 {
        // The file itself may still be open to the user.
        let file = context.state().child(folder.inode(), &command.name)?;
        let on_file = file.map(|file| access::rights(context.state(), &file, user)).transpose()?;
        if on_file.is_none_or(|rights| rights.bits & right::WRITE == 0) {
            return refuse(
                Code::Denied,
                format_args!("{user} may not write here"),
                "ask its owner for access",
            );
        }
    }
    Ok(folder)
}

/// The file that is written to, if it exists.
fn target(context: &mut Context<'_>, command: &WriteComplete) -> Result<Option<Record>, Stop> {
    let existing = context.state().child(InodeId(command.folder), &command.name)?;
    if command.file != 0 && existing.as_ref().is_none_or(|record| record.id != command.file) {
        return refuse(
            Code::Moved,
            format_args!("'{}' is another file by now", command.name),
            "look the path up again",
        );
    }
    match existing {
        Some(record) if record.is_folder() => {
            refuse(Code::IsAFolder, format_args!("'{}' is a folder", command.name), "give the path of a file")
        }
        Some(record) if !record.is_file() => {
            refuse(Code::Usage, format_args!("'{}' is a symbolic link", command.name), "write to its target")
        }
        Some(record) if record.pair != command.pair => refuse(
            Code::WrongPair,
            format_args!("'{}' is on another pair", command.name),
            "look the path up again",
        ),
        Some(record) => Ok(Some(record)),
        None => {
            let now = context.now_ms();
            let elsewhere = context
                .state()
                .uploads_to(command.folder, &command.name)?
                .iter()
                .any(|upload| upload.pair != command.pair && upload.expires_ms > now);
            if elsewhere {
                return refuse(
                    Code::WrongPair,
                    format_args!("'{}' is being written on another pair", command.name),
                    "look the path up again",
                );
            }
            Ok(None)
        }
    }
}

fn check_condition(command: &WriteComplete, existing: Option<&Record>) -> Result<(), Stop> {
    if command.create_only && existing.is_some() {
        return refuse(
            Code::Exists,
            format_args!("'{}' exists already", command.name),
            "choose another name",
        );
    }
    let wanted = command.if_version();
    let head = existing.map_or(VersionNumber::NONE, Record::head);
    if !wanted.is_none() && wanted != head {
        return refuse(
            Code::Changed,
            format_args!("'{}' is at version {head}, not {wanted}", command.name),
            "read it again and decide anew",
        );
    }
    Ok(())
}

/// A file that does not exist yet: without versions, not stored.
pub(super) fn new_file(
    context: &mut Context<'_>,
    folder: &Record,
    name: &str,
    owner: &str,
    pair: u32,
) -> Record {
    let now = context.now_ms();
    Record {
        id: context.new_inode(),
        parent: folder.id,
        name: name.to_owned(),
        kind: Kind::File as i32,
        pair,
        stamp: context.seq(),
        owner: owner.to_owned(),
        created_ms: now,
        changed_ms: now,
        ..Record::default()
    }
}

/// Makes `version` the head.
pub(super) fn add_version(
    context: &mut Context<'_>,
    record: &mut Record,
    version: Version,
) -> Result<(), Stop> {
    record.last_number = version.number;
    record.set_head(version.version());
    record.content_seq = context.seq();
    record.changed_ms = context.now_ms();
    record.versions.push(version);
    prune(context, record)
}

/// Keeps the newest versions, as many of the line as of conflicts; owed and lost ones and the head stand
/// outside the rule (R11). Afterwards they are in the order of their numbers. Those that end are remembered as ended until
/// both members know it: one may hold what it never heard of as a version (I4).
pub(super) fn prune(context: &mut Context<'_>, record: &mut Record) -> Result<(), Stop> {
    record.versions.sort_by_key(Version::version);
    let head = record.head();
    let (mut line, mut conflicts) = (0, 0);
    let (mut keep, mut ended) = (Vec::with_capacity(record.versions.len()), Vec::new());
    for version in record.versions.drain(..).rev() {
        if version.is(mark::OWED | mark::LOST) || version.version() == head {
            keep.push(version);
            continue;
        }
        let count = if version.is(mark::CONFLICT) { &mut conflicts } else { &mut line };
        *count += 1;
        // The head is one of those kept in the line.
        let most = if version.is(mark::CONFLICT) { VERSIONS_KEPT } else { VERSIONS_KEPT - 1 };
        let keeps = if *count <= most { &mut keep } else { &mut ended };
        keeps.push(version);
    }
    keep.reverse();
    record.versions = keep;
    if !record.ended.is_empty() && is_applied_by_all(context, record)? {
        record.ended.clear();
    }
    ended.iter().rev().for_each(|version| record.note_ended(version));
    Ok(())
}

/// Whether every member of its pair has applied the last row of a record.
fn is_applied_by_all(context: &mut Context<'_>, record: &Record) -> Result<bool, Stop> {
    let pair = context.pair(record.pair)?;
    for member in [pair.primary.clone(), pair.backup.clone()] {
        // While a cluster is rebuilt its members are not known yet.
        let cursor = context.server_if_known(&member)?.map_or(0, |server| server.pair_cursor);
        if !member.is_empty() && cursor < record.seq {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Places a name for the life of an upload, so that `WrongPair` meets only content that the client still
/// holds (R14).
pub(super) fn open_upload(context: &mut Context<'_>, command: &OpenUpload) -> Result<Answer, Stop> {
    SessionId::from_slice(&command.session)?;
    check_name(&command.name)?;
    let folder = context.state().inode(command.folder)?.filter(Record::is_folder);
    if folder.is_none() {
        return refuse(Code::StaleCapability, "the folder is gone", "look the path up again");
    }
    forget_expired(context, command)?;
    let key = keys::upload(command.folder, &command.name, &command.session);
    context.store().put(Table::Uploads, &key, &command.encode_to_vec())?;
    Ok(Answer::default())
}

/// Each new upload clears away some that nobody ended; so the table stays as large as what is in progress.
fn forget_expired(context: &mut Context<'_>, command: &OpenUpload) -> Result<(), Stop> {
    const LOOKED_AT: usize = 64;
    let now = context.now_ms();
    let start = keys::upload_prefix(command.folder, &command.name);
    for (from, to) in [(start.clone(), Vec::new()), (Vec::new(), start)] {
        let mut seen = Vec::new();
        context.store().scan(Table::Uploads, &from, &to, &mut |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
            seen.len() < LOOKED_AT
        })?;
        for (key, value) in seen {
            if decode::<OpenUpload>(&value)?.expires_ms <= now {
                context.store().delete(Table::Uploads, &key)?;
            }
        }
    }
    Ok(())
}
