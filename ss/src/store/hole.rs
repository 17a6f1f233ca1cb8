//! What it means that a range of the journal is gone (R31): the cursors are zero again, records whose contents have gone
//! are taken anew from their rows, and contents that no record names any more wait for one as copies do.
//!
//! As in [`super::apply`], the same for what is new and what is replayed.

use std::collections::HashSet;

use prost::Message;
use redb::{ReadableTable, ReadableTableMetadata};
use types::Result;
use types::ids::SessionId;
use types::record::{Record, mark};

use super::apply::{ContentEffect, Effects, Outcome, set_cursors};
use super::change::{HoleRecord, session_of};
use super::entry::{ContentEntry, State};
use super::index::Cursors;
use super::schema::Tables;
use super::tables::{get_content, record_cost, remove_content, set_state};
use super::trouble::index_error;

/// Contents looked at in one pass over the records, about: bounds the memory.
const PER_PASS: u64 = 256 << 10;
/// Passes at the most: one for each first byte of a session.
const PASSES: u64 = 256;

pub(super) fn hole(t: &mut Tables<'_>, effects: &mut Effects, record: &HoleRecord) -> Result<Outcome> {
    for session in &record.lost {
        let session = session_of(session)?;
        if get_content(t, session)?.is_some() {
            remove_content(t, effects, session)?;
            effects.contents.push((session, ContentEffect::Gone));
        }
    }
    if let Some(generation) = record.generation {
        set_cursors(t, effects, Cursors { generation, ..Cursors::default() })?;
        take_anew(t)?;
        let passes = (t.contents.len().map_err(index_error)? / PER_PASS + 1).min(PASSES);
        for pass in 0..passes {
            let mine =
                |session: &[u8]| session.first().is_some_and(|first| u64::from(*first) % passes == pass);
            await_rows(t, effects, mine)?;
        }
    }
    Ok(Outcome::Done)
}

/// A record that names a content which is not here gets the number 0, so that its row is news again.
fn take_anew(t: &mut Tables<'_>) -> Result<()> {
    let mut lacking = Vec::new();
    for row in t.records.read()?.iter().map_err(index_error)? {
        let record = Record::decode(row.map_err(index_error)?.1.value()).map_err(index_error)?;
        if record.seq > 0 && lacks(t, &record)? {
            lacking.push(record.id);
        }
    }
    for id in lacking {
        let before = t.records.read()?.get(id).map_err(index_error)?.map(|value| value.value().to_vec());
        let before = before.unwrap_or_default();
        let mut record = Record::decode(&before[..]).map_err(index_error)?;
        record.seq = 0;
        let after = record.encode_to_vec();
        t.live += record_cost(after.len()) - record_cost(before.len());
        t.records.write()?.insert(id, &after[..]).map_err(index_error)?;
    }
    Ok(())
}

fn lacks(t: &Tables<'_>, record: &Record) -> Result<bool> {
    let here = record.versions.iter().filter(|v| !v.is_empty() && !v.is(mark::OWED) && !v.is(mark::LOST));
    for version in here {
        if let Ok(session) = version.session_id()
            && get_content(t, session)?.is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Contents that were versions and that no record names: the record may be what is gone. They are as copied ahead of
/// their rows now, and go if none comes.
fn await_rows(t: &mut Tables<'_>, effects: &mut Effects, mine: impl Fn(&[u8]) -> bool) -> Result<()> {
    let mut unnamed = HashSet::new();
    for row in t.contents.iter().map_err(index_error)? {
        let (session, entry) = row.map_err(index_error)?;
        if mine(session.value()) && ContentEntry::decode(entry.value())?.state == State::Kept {
            unnamed.insert(*session.value());
        }
    }
    for table in [t.records.read()?, t.aside.read()?] {
        for row in table.iter().map_err(index_error)? {
            let record = Record::decode(row.map_err(index_error)?.1.value()).map_err(index_error)?;
            for version in &record.versions {
                if let Ok(session) = version.session_id() {
                    unnamed.remove(&session.0);
                }
            }
        }
    }
    for session in unnamed.into_iter().map(SessionId) {
        if let Some(entry) = get_content(t, session)? {
            set_state(t, effects, session, entry, State::Fetched)?;
        }
    }
    Ok(())
}
