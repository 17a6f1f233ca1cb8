//! What each record of the journal does to the index. The same code runs when a record is new and when it is
//! replayed, and it looks at nothing but the record and the index: so a rebuilt index is the one that was.

use log::{Extent, Position};
use redb::ReadableTable;
use types::ids::SessionId;
use types::{Code, Error, Result};

use super::change::{AdvanceRecord, Change, CursorsRecord, session_of};
use super::contents::{content, is_kept, moved};
use super::entry::{State, extent_of};
use super::hole::hole;
use super::index::Cursors;
use super::records::{apply_row, forget, give_up, set_aside};
use super::schema::{Tables, meta};
use super::tables::{
    digest_of, get_chunk, get_content, here, put_chunk, put_places, remove_content, set_state,
};
use super::trouble::index_error;

/// A record that stands in the journal.
pub(crate) struct Staged {
    pub position: Position,
    /// Length of its payload, in bytes.
    pub payload: u32,
    pub change: Change,
}

/// What a record came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It did what it says.
    Done,
    /// A row, and whether it was news.
    Row { newer: bool },
    /// It contradicts what is there, and did nothing.
    Refused(Error),
}

/// What became of a content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ContentEffect {
    /// The record of this place in the batch holds it now.
    Stored(usize, State),
    /// Only its state is another.
    State(State),
    /// It is gone.
    Gone,
}

/// What a batch came to, besides the index.
#[derive(Default)]
pub(crate) struct Effects {
    /// One for each record of the batch.
    pub outcomes: Vec<Outcome>,
    /// Room that nothing names any more.
    pub freed: Vec<Extent>,
    /// In order.
    pub contents: Vec<(SessionId, ContentEffect)>,
    /// Places in the batch of rows that were news, in order.
    pub rows: Vec<usize>,
    /// Records that are gone from the index, in order.
    pub records_gone: Vec<u64>,
    /// The cursors, if they changed.
    pub cursors: Option<Cursors>,
    /// Feeds whose tombstones were forgotten, and up to where.
    pub forgotten: Vec<(u32, u64)>,
}

/// Applies a batch; everything before `upto` is in the index then. A batch never ends between a content's
/// Places records and the content.
pub(crate) fn apply(t: &mut Tables<'_>, batch: &[Staged], upto: Position) -> Result<Effects> {
    let mut effects = Effects::default();
    for at in 0..batch.len() {
        let outcome = apply_one(t, &mut effects, batch, at)?;
        effects.outcomes.push(outcome);
    }
    t.meta.insert(meta::UPTO, upto.0).map_err(index_error)?;
    let live = t.meta.get(meta::LIVE).map_err(index_error)?.map_or(0, |v| v.value());
    let now = live.saturating_add_signed(std::mem::take(&mut t.live));
    if now != live {
        t.meta.insert(meta::LIVE, now).map_err(index_error)?;
    }
    Ok(effects)
}

fn apply_one(t: &mut Tables<'_>, effects: &mut Effects, batch: &[Staged], at: usize) -> Result<Outcome> {
    match &batch[at].change {
        Change::Content { record, fetched, .. } => content(t, effects, batch, at, record, *fetched),
        Change::Unprepared(record) => {
            let session = session_of(&record.session)?;
            if let Some(entry) = get_content(t, session)?
                && entry.state == State::Prepared
            {
                set_state(t, effects, session, entry, State::Open)?;
            }
            Ok(Outcome::Done)
        }
        Change::Dropped(record) => {
            let session = session_of(&record.session)?;
            match get_content(t, session)? {
                None => {}
                Some(entry) if entry.state == State::Kept => return Ok(Outcome::Refused(is_kept(session))),
                Some(_) => {
                    remove_content(t, effects, session)?;
                    effects.contents.push((session, ContentEffect::Gone));
                }
            }
            Ok(Outcome::Done)
        }
        Change::Row(record) => match &record.row {
            Some(row) => apply_row(t, effects, at, row, record),
            None => Ok(Outcome::Row { newer: false }),
        },
        Change::Advance(record) => advance(t, effects, record),
        Change::FeedReset(record) => {
            let cursors = Cursors { generation: record.generation, ..Cursors::default() };
            set_cursors(t, effects, cursors)?;
            set_forgotten(t, effects, 0, 0)?;
            set_forgotten(t, effects, 1, 0)?;
            Ok(Outcome::Done)
        }
        Change::Places(_) => Ok(Outcome::Done),
        Change::Moved { record, .. } => moved(t, batch, at, record),
        Change::Chunks { record, .. } => {
            let here = here(&batch[at]);
            for place in &record.places {
                if let Some(present) = get_chunk(t, &digest_of(&place.sha256)?)? {
                    put_chunk(t, place, here, present.refs)?;
                }
            }
            Ok(Outcome::Done)
        }
        Change::Repaired { record, .. } => {
            for place in &record.places {
                if get_chunk(t, &digest_of(&place.sha256)?)?.is_some() {
                    put_places(t, effects, &[place], here(&batch[at]), true)?;
                } else {
                    // Nothing needs it any more.
                    effects.freed.extend(extent_of(place));
                }
            }
            Ok(Outcome::Done)
        }
        Change::Cursors(record) => {
            let CursorsRecord { generation, control, pair, .. } = *record;
            set_cursors(t, effects, Cursors { generation, control, pair })?;
            set_forgotten(t, effects, 0, record.forgotten_control)?;
            set_forgotten(t, effects, 1, record.forgotten_pair)?;
            Ok(Outcome::Done)
        }
        Change::Forgotten(record) => forget(t, effects, record),
        Change::Aside(record) => match &record.record {
            Some(record) => set_aside(t, effects, record),
            None => Ok(Outcome::Done),
        },
        Change::Hole(record) => hole(t, effects, record),
        Change::GivenUp(record) => give_up(t, effects, record),
        Change::Collected(record) => {
            for session in &record.sessions {
                let session = session_of(session)?;
                if get_content(t, session)?.is_some() {
                    remove_content(t, effects, session)?;
                    effects.contents.push((session, ContentEffect::Gone));
                }
            }
            Ok(Outcome::Done)
        }
    }
}

pub(super) fn set_forgotten(t: &mut Tables<'_>, effects: &mut Effects, feed: u32, upto: u64) -> Result<()> {
    t.meta.insert(meta::forgotten(feed), upto).map_err(index_error)?;
    effects.forgotten.push((feed, upto));
    Ok(())
}

pub(super) fn get_number(t: &Tables<'_>, key: &str) -> Result<u64> {
    Ok(t.meta.get(key).map_err(index_error)?.map_or(0, |v| v.value()))
}

fn advance(t: &mut Tables<'_>, effects: &mut Effects, record: &AdvanceRecord) -> Result<Outcome> {
    let mut cursors = get_cursors(t)?;
    if cursors.generation != record.generation {
        return Ok(Outcome::Refused(Error::new(
            Code::Changed,
            format_args!("the feeds are of generation {}, not {}", cursors.generation, record.generation),
            "register again",
        )));
    }
    let cursor = if record.feed == 0 { &mut cursors.control } else { &mut cursors.pair };
    if *cursor < record.seq {
        *cursor = record.seq;
        set_cursors(t, effects, cursors)?;
    }
    Ok(Outcome::Done)
}

fn get_cursors(t: &Tables<'_>) -> Result<Cursors> {
    Ok(Cursors {
        generation: get_number(t, meta::GENERATION)?,
        control: get_number(t, meta::CONTROL)?,
        pair: get_number(t, meta::PAIR)?,
    })
}

pub(super) fn set_cursors(t: &mut Tables<'_>, effects: &mut Effects, cursors: Cursors) -> Result<()> {
    let values = [
        (meta::GENERATION, cursors.generation),
        (meta::CONTROL, cursors.control),
        (meta::PAIR, cursors.pair),
    ];
    for (key, value) in values {
        t.meta.insert(key, value).map_err(index_error)?;
    }
    effects.cursors = Some(cursors);
    Ok(())
}
