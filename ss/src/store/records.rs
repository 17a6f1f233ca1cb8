//! What rows, and the word that a record is known no more, do to the index. As in [`super::apply`]: the same for what is
//! new and what is replayed.

use std::collections::HashSet;

use log::bytes::u64_at;
use prost::Message;
use redb::ReadableTable;
use types::ids::SessionId;
use types::mutation::{self, Mutation};
use types::record::{Record, Row, Subject};
use types::{Code, Error, Result};

use super::apply::{Effects, Outcome, get_number, set_forgotten};
use super::change::{ForgottenRecord, GivenUpRecord, RowRecord};
use super::entry::State;
use super::index::with_number;
use super::schema::{Tables, meta};
use super::tables::{get_content, record_cost, set_state};
use super::trouble::index_error;

pub(super) fn apply_row(
    t: &mut Tables<'_>,
    effects: &mut Effects,
    at: usize,
    row: &Row,
    from: &RowRecord,
) -> Result<Outcome> {
    let newer = match &row.subject {
        Some(Subject::Record(record)) => match apply_record(t, effects, row.seq, record, from)? {
            Outcome::Row { newer } => newer,
            other => return Ok(other),
        },
        Some(Subject::User(user)) => {
            let known =
                t.users.read()?.get(user.name.as_str()).map_err(index_error)?.map(|v| number_of(v.value()));
            let newer = known.is_none_or(|seq| seq < row.seq);
            if newer {
                t.users
                    .write()?
                    .insert(user.name.as_str(), &with_number(row.seq, user)[..])
                    .map_err(index_error)?;
            }
            newer
        }
        Some(Subject::Pair(pair)) => {
            let known = t.pairs.read()?.get(pair.id).map_err(index_error)?.map(|v| number_of(v.value()));
            let newer = known.is_none_or(|seq| seq < row.seq);
            if newer {
                t.pairs.write()?.insert(pair.id, &with_number(row.seq, pair)[..]).map_err(index_error)?;
            }
            newer
        }
        None => false,
    };
    if newer {
        effects.rows.push(at);
    }
    Ok(Outcome::Row { newer })
}

fn number_of(bytes: &[u8]) -> u64 {
    if bytes.len() < 8 { 0 } else { u64_at(bytes, 0) }
}

fn apply_record(
    t: &mut Tables<'_>,
    effects: &mut Effects,
    seq: u64,
    record: &Record,
    from: &RowRecord,
) -> Result<Outcome> {
    let old = t.records.read()?.get(record.id).map_err(index_error)?.map(|v| Record::decode(v.value()));
    let mut old = old.transpose().map_err(index_error)?.unwrap_or_default();
    if old.id != 0 && old.seq >= seq && !mutation::is(Mutation::ApplyOutOfOrder) {
        return Ok(Outcome::Row { newer: false });
    }
    if old.id == 0 {
        let forgotten = get_number(t, meta::forgotten(from.feed))?;
        if from.late || (seq <= forgotten && from.collected < forgotten) {
            return Ok(Outcome::Refused(was_forgotten()));
        }
        // What was set aside is known again; its contents are those of its record.
        if let Some(aside) = t.aside.write()?.remove(record.id).map_err(index_error)? {
            old.versions = Record::decode(aside.value()).map_err(index_error)?.versions;
        }
    }
    if old.is_tombstone() {
        t.tombstones.write()?.remove((old.pair, old.seq)).map_err(index_error)?;
    }
    if record.is_tombstone() {
        t.tombstones.write()?.insert((record.pair, record.seq), record.id).map_err(index_error)?;
    }
    let before: HashSet<&[u8]> = old.versions.iter().map(|v| &v.session[..]).collect();
    for version in &record.versions {
        let Ok(session) = version.session_id() else { continue };
        let was_pending = t.pending.get(&session.0).map_err(index_error)?.is_some();
        if (was_pending || !before.contains(&session.0[..]))
            && let Some(entry) = get_content(t, session)?
            && entry.state != State::Kept
        {
            let state = if mutation::is(Mutation::CollectInUse) { State::Loose } else { State::Kept };
            set_state(t, effects, session, entry, state)?;
        }
    }
    let after: HashSet<&[u8]> = record.versions.iter().map(|v| &v.session[..]).collect();
    let gone = from.gone.iter().map(|session| &session[..]);
    let gone: HashSet<&[u8]> = before.iter().copied().chain(gone).filter(|s| !after.contains(s)).collect();
    for session in gone {
        if let Ok(session) = SessionId::from_slice(session)
            && let Some(entry) = get_content(t, session)?
            && entry.state == State::Kept
        {
            set_state(t, effects, session, entry, State::Loose)?;
        }
    }
    // As if the rows that named them had come before.
    for session in record.ended_sessions().filter(|session| from.ends && !after.contains(&session.0[..])) {
        if let Some(entry) = get_content(t, session)?
            && entry.state != State::Loose
        {
            set_state(t, effects, session, entry, State::Loose)?;
        }
    }
    let encoded = record.encode_to_vec();
    t.live += record_cost(encoded.len());
    if let Some(before) = t.records.write()?.insert(record.id, &encoded[..]).map_err(index_error)? {
        t.live -= record_cost(before.value().len());
    }
    Ok(Outcome::Row { newer: true })
}

/// A row from before tombstones were collected may be of a file whose tombstone is forgotten: it would come back.
fn was_forgotten() -> Error {
    Error::new(
        Code::Changed,
        "the row was read before tombstones behind it were collected",
        "read it again from the index",
    )
}

/// Tombstones that everybody has applied go (R24).
pub(super) fn forget(t: &mut Tables<'_>, effects: &mut Effects, record: &ForgottenRecord) -> Result<Outcome> {
    let range = (record.feed, 0)..=(record.feed, record.upto);
    let mut gone = Vec::new();
    for row in t.tombstones.read()?.range(range.clone()).map_err(index_error)? {
        gone.push(row.map_err(index_error)?.1.value());
    }
    t.tombstones.write()?.retain_in(range, |_, _| false).map_err(index_error)?;
    for id in gone {
        remove_record(t, effects, id)?;
    }
    let known = get_number(t, meta::forgotten(record.feed))?;
    set_forgotten(t, effects, record.feed, known.max(record.upto))?;
    Ok(Outcome::Done)
}

fn remove_record(t: &mut Tables<'_>, effects: &mut Effects, id: u64) -> Result<()> {
    if let Some(before) = t.records.write()?.remove(id).map_err(index_error)? {
        t.live -= record_cost(before.value().len());
        effects.records_gone.push(id);
    }
    Ok(())
}

/// A record that the index does not list is no record any more; its contents stay as they are.
pub(super) fn set_aside(t: &mut Tables<'_>, effects: &mut Effects, record: &Record) -> Result<Outcome> {
    let stored = t.records.read()?.get(record.id).map_err(index_error)?.map(|v| Record::decode(v.value()));
    let stored = stored.transpose().map_err(index_error)?;
    if stored.is_some_and(|stored| stored.seq > record.seq) {
        return Ok(Outcome::Row { newer: false });
    }
    remove_record(t, effects, record.id)?;
    // Nothing hangs on a tombstone.
    if record.is_tombstone() {
        t.tombstones.write()?.remove((record.pair, record.seq)).map_err(index_error)?;
    } else {
        t.aside.write()?.insert(record.id, &record.encode_to_vec()[..]).map_err(index_error)?;
    }
    Ok(Outcome::Row { newer: true })
}

/// What was set aside is given up: its contents wait to be collected.
pub(super) fn give_up(t: &mut Tables<'_>, effects: &mut Effects, record: &GivenUpRecord) -> Result<Outcome> {
    let aside = t.aside.read()?.get(record.id).map_err(index_error)?.map(|v| Record::decode(v.value()));
    if aside.transpose().map_err(index_error)?.is_none_or(|aside| aside.seq != record.seq) {
        return Ok(Outcome::Row { newer: false });
    }
    t.aside.write()?.remove(record.id).map_err(index_error)?;
    for session in &record.sessions {
        let session = SessionId::from_slice(session)?;
        if let Some(entry) = get_content(t, session)?
            && entry.state == State::Kept
        {
            set_state(t, effects, session, entry, State::Loose)?;
        }
    }
    Ok(Outcome::Row { newer: true })
}
