//! What clients look up: paths and listings, with the rights of who asks.

use crate::access;
use crate::apply::idempotency_outcome;
use crate::state::State;
use crate::store::Store;
use prost::Message;
use std::collections::BTreeMap;
use types::capability::right;
use types::ids::InodeId;
use types::limits::{FRAME_HEAD_MAX, LIST_PAGE};
use types::message::manager::{ListReply, ListRequest, LocateRequest};
use types::message::member::{Prepared, Resolution};
use types::path::PathName;
use types::record::{Record, Subject, mark};
use types::{Code, Error, Result};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What stands there, if anything does.
    pub record: Option<Record>,
    /// The folder of its last name (0 for the root itself).
    pub folder: u64,
    /// Its last name, as stored or as given.
    pub name: String,
    /// Pair of the file; for a missing one the pair of an upload in progress, else 0.
    pub pair: u32,
    /// Bits of [`right`] the user has: on the file, or in the folder for a missing one.
    pub rights: u32,
    /// Whether those rights hold for every file of the folder.
    pub whole_folder: bool,
    /// Stamp for a capability decided on this state: nothing above it is newer.
    pub stamp: u64,
    /// How durable writes there are unless they say it themselves, and the folder that says so; 0: none does.
    pub durability: (i32, u64),
}

/// The record at `path`, or an error that says which part is missing.
pub fn resolve(state: State<'_>, path: &PathName) -> Result<Record> {
    let (folder, name) = match path.split_last() {
        None => return root(state),
        Some((parent, name)) => (resolve_folder(state, &parent)?, name),
    };
    let record = state.child(folder.inode(), name)?.ok_or_else(|| Error::not_found(path))?;
    if path.must_be_folder() && !record.is_folder() {
        return Err(Error::new(
            Code::NotAFolder,
            format_args!("{path} is not a folder"),
            "leave the trailing slash out",
        ));
    }
    Ok(record)
}

fn root(state: State<'_>) -> Result<Record> {
    state.inode(InodeId::ROOT.0)?.ok_or_else(|| {
        Error::new(Code::Unavailable, "the cluster is not made yet", "wait for its first start")
    })
}

fn resolve_folder(state: State<'_>, path: &PathName) -> Result<Record> {
    let mut folder = root(state)?;
    for name in path.names() {
        folder = state.child(folder.inode(), name)?.ok_or_else(|| {
            Error::new(
                Code::NotFound,
                format_args!("the folder {path} does not exist"),
                "check the path; who writes there makes it first, or uses -p",
            )
        })?;
        if !folder.is_folder() {
            return Err(Error::new(
                Code::NotAFolder,
                format_args!("'{name}' in {path} is not a folder"),
                "check the path",
            ));
        }
    }
    Ok(folder)
}

/// Finds a path for `user`. Refuses what the user may not do; a missing file is an error unless the request
/// allows it. For a missing file `pair` is that of an upload in progress or 0: the caller chooses one.
pub fn locate(store: &dyn Store, user: &str, request: &LocateRequest) -> Result<Found> {
    let state = State::new(store);
    let path = PathName::parse(&request.path)?;
    let Some((parent, name)) = path.split_last() else {
        let record = root(state)?;
        let rights = access::rights(state, &record, user)?;
        require(rights.bits, request.rights.max(right::READ), user, &path)?;
        return Ok(Found {
            stamp: record.stamp,
            durability: rights.durability,
            record: Some(record),
            folder: 0,
            name: String::new(),
            pair: 0,
            rights: rights.bits,
            whole_folder: false,
        });
    };
    let folder = resolve_folder(state, &parent)?;
    let in_folder = access::rights_in(state, &folder, user)?;
    match state.child(folder.inode(), name)? {
        Some(record) => {
            if path.must_be_folder() && !record.is_folder() {
                return Err(Error::new(
                    Code::NotAFolder,
                    format_args!("{path} is not a folder"),
                    "leave the trailing slash out",
                ));
            }
            let own = access::rights_below(in_folder, &record, user);
            require(own.bits, request.rights.max(right::READ), user, &path)?;
            Ok(Found {
                folder: folder.id,
                name: record.name.clone(),
                pair: record.pair,
                rights: own.bits,
                whole_folder: in_folder.bits == own.bits,
                stamp: in_folder.stamp,
                durability: own.durability,
                record: Some(record),
            })
        }
        None if !request.may_be_missing => Err(Error::not_found(&path)),
        None => {
            if path.must_be_folder() {
                return Err(Error::new(
                    Code::BadPath,
                    format_args!("{path}/ names a folder"),
                    "leave the trailing slash out",
                ));
            }
            require(in_folder.bits, request.rights, user, &path)?;
            let now = state.log_time()?;
            let uploads = state.uploads_to(folder.id, name)?;
            let pair = uploads.iter().find(|upload| upload.expires_ms > now).map_or(0, |upload| upload.pair);
            Ok(Found {
                record: None,
                folder: folder.id,
                name: name.to_owned(),
                pair,
                rights: in_folder.bits,
                whole_folder: true,
                stamp: in_folder.stamp,
                durability: in_folder.durability,
            })
        }
    }
}

fn require(have: u32, want: u32, user: &str, path: &PathName) -> Result<()> {
    if have & want == want {
        return Ok(());
    }
    Err(Error::new(
        Code::Denied,
        format_args!("{user} may not do this with {path}"),
        "ask its owner for access",
    ))
}

/// Whether a member holds the head of `record` durably: of an owed one only its holder does, of a lost one nobody;
/// else the acting member, and who has applied the record's row. `applied` is how far it has said that it has.
pub fn holds_head(record: &Record, server: &str, acting: bool, applied: u64) -> bool {
    match record.head_version() {
        None => false,
        Some(head) if head.is(mark::LOST) => false,
        Some(head) if head.is(mark::OWED) => head.holder == server,
        Some(_) => acting || record.seq <= applied,
    }
}

/// A page of a folder: records with their head version only.
pub fn list(store: &dyn Store, user: &str, request: &ListRequest) -> Result<ListReply> {
    let state = State::new(store);
    let folder = if request.folder != 0 {
        state.inode(request.folder)?.ok_or_else(|| Error::not_found("the folder"))?
    } else {
        resolve(state, &PathName::parse(&request.path)?)?
    };
    let rights = access::rights_in(state, &folder, user)?;
    if rights.bits & right::READ == 0 {
        return Err(Error::new(
            Code::Denied,
            format_args!("{user} may not look into {}", request.path),
            "ask its owner for access",
        ));
    }
    if !folder.is_folder() {
        return Ok(ListReply { entries: vec![brief(folder)], next: String::new() });
    }
    let limit = match request.limit as usize {
        0 => LIST_PAGE,
        limit => limit.min(LIST_PAGE),
    };
    let found = state.children(folder.inode(), &request.prefix, &request.after, limit)?;
    let mut reply = ListReply::default();
    let (mut last, mut bytes, whole) = (String::new(), 0, found.len() < limit);
    for (sort, record) in found {
        let record = brief(record);
        bytes += record.encoded_len() + ENTRY_HEAD;
        // Long names and targets of links: a page must fit a frame.
        if bytes > LIST_BYTES && !reply.entries.is_empty() {
            reply.next = last;
            return Ok(reply);
        }
        reply.entries.push(record);
        last = sort;
    }
    if !whole {
        reply.next = last;
    }
    Ok(reply)
}

/// Bytes of records in one page of a listing; one more, and where to go on, fit the frame beside them.
const LIST_BYTES: usize = FRAME_HEAD_MAX / 2;
/// What stands before a record there, at most.
const ENTRY_HEAD: usize = 8;

fn brief(mut record: Record) -> Record {
    let head = record.head();
    record.versions.retain(|version| version.version() == head);
    record.ended.clear();
    record
}

/// Rows beyond the cursor of who asks that are searched for its sessions.
const RESOLVE_LOOK: usize = 65_536;
/// Rows read at once meanwhile.
const RESOLVE_PAGE: usize = 1024;

/// What became of prepared sessions (R10): asked after a fence, so the answers are final. `cursor` is how far who asks
/// had applied the feed of `pair` *before* it asked: a session that is in the log and that no row up to there has
/// named is named by a row beyond it, wherever its file was moved since.
pub fn resolutions(
    store: &dyn Store,
    pair: u32,
    cursor: u64,
    prepared: &[Prepared],
) -> Result<Vec<Resolution>> {
    let mut found: Vec<Resolution> =
        prepared.iter().map(|prepared| resolution(store, prepared)).collect::<Result<_>>()?;
    let mut open: BTreeMap<Vec<u8>, &mut Resolution> = found
        .iter_mut()
        .filter(|found| !found.committed)
        .map(|found| (found.session.clone(), found))
        .collect();
    let (state, mut after, mut looked) = (State::new(store), cursor, 0);
    while !open.is_empty() && looked < RESOLVE_LOOK {
        let rows = state.feed_rows(pair, after, RESOLVE_PAGE, usize::MAX)?;
        let Some(last) = rows.last() else { break };
        (after, looked) = (last.seq, looked + rows.len());
        for row in &rows {
            let Some(Subject::Record(record)) = &row.subject else { continue };
            for version in &record.versions {
                if let Some(found) = open.remove(&version.session) {
                    (found.committed, found.file) = (true, record.id);
                }
            }
        }
    }
    Ok(found)
}

fn keeps(record: &Record, session: &[u8]) -> bool {
    record.versions.iter().any(|version| version.session == session)
}

/// What became of a prepared session, as far as its request key tells (if the result is still known), or the name it
/// was written to.
fn resolution(store: &dyn Store, prepared: &Prepared) -> Result<Resolution> {
    let state = State::new(store);
    let by_key = match &prepared.asker {
        Some(asker) => idempotency_outcome(store, asker)?,
        None => None,
    };
    let by_key = by_key.filter(|(_, version)| version.session == prepared.session).map(|(file, _)| file);
    let (file, committed) = match by_key {
        // Removed or overwritten since: no row will ever name it, and who holds it prepared would do so for ever.
        Some(file) => {
            let kept = state.inode(file)?.is_some_and(|record| keeps(&record, &prepared.session));
            (Some(file), kept)
        }
        None => {
            let file =
                state.resolve_session(&prepared.session, prepared.file, prepared.folder, &prepared.name)?;
            (file, file.is_some())
        }
    };
    Ok(Resolution { session: prepared.session.clone(), committed, file: file.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ids::VersionNumber;
    use types::record::Version;

    fn record(marks: u32) -> Record {
        let head = Version { epoch: 1, number: 4, marks, holder: "ss1".into(), ..Version::default() };
        let mut record = Record { id: 17, seq: 50, versions: vec![head], ..Record::default() };
        record.set_head(VersionNumber { epoch: 1, number: 4 });
        record
    }

    #[test]
    fn a_copy_is_one_that_is_known_to_be_there() {
        let well = record(0);
        assert!(holds_head(&well, "ss1", true, 0), "it acts");
        assert!(holds_head(&well, "ss1_backup", false, 50), "it has applied the row");
        assert!(!holds_head(&well, "ss1_backup", false, 49), "it has not yet");
        let owed = record(mark::OWED);
        assert!(holds_head(&owed, "ss1", false, 0) && !holds_head(&owed, "ss1_backup", true, 50));
        assert!(!holds_head(&record(mark::LOST), "ss1", true, 50), "nobody has it any more");
        assert!(!holds_head(&Record::default(), "ss1", true, 50), "a folder has no content");
    }
}
