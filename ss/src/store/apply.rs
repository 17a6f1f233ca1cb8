//! What each record of the journal does to the index. The same code runs when a record is new and when it is
//! replayed, and it looks at nothing but the record and the index: so a rebuilt index is the one that was.

use std::collections::HashSet;

use log::{Extent, Position};
use redb::ReadableTable;
use types::ids::SessionId;
use types::record::Manifest;
use types::{Code, Error, Result};

use super::change::{AdvanceRecord, Change, ChunkPlace, ContentRecord, CursorsRecord, session_of};
use super::entry::{ChunkEntry, ContentEntry, State, extent_of};
use super::index::{Cursors, Tables, meta};
use super::records::{apply_row, forget, set_aside};
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

/// The record's place, and how many bytes of its payload are before the tail.
fn here(staged: &Staged) -> (Position, u32) {
    (staged.position, staged.payload - staged.change.tail().len() as u32)
}

/// Writes where a chunk is.
fn put_chunk(t: &mut Tables<'_>, place: &ChunkPlace, here: (Position, u32), refs: u32) -> Result<()> {
    let mut entry = ChunkEntry::placed(place, here);
    entry.refs = refs;
    t.chunks.insert(&digest_of(&place.sha256)?, &entry.encode()[..]).map_err(index_error)?;
    Ok(())
}

/// A content as it stood when its segment was compacted, whatever a replay has found of it: what told of it before
/// may be gone. It frees nothing: where it was put first, what it changes had been so already.
fn moved(t: &mut Tables<'_>, batch: &[Staged], at: usize, record: &ContentRecord) -> Result<Outcome> {
    let session = session_of(&record.session)?;
    let bad = || index_error("a content that was moved makes no sense");
    let manifest = record.manifest.as_ref().ok_or_else(bad)?;
    let state = u8::try_from(record.state).ok().and_then(State::from_byte).ok_or_else(bad)?;
    let present = get_content(t, session)?;
    for place in places(batch, at, record)? {
        let refs = get_chunk(t, &digest_of(&place.sha256)?)?.map_or(0, |present| present.refs);
        put_chunk(t, place, here(&batch[at]), refs)?;
    }
    if !present.is_some_and(|entry| entry.is(manifest)) {
        let before = t.content_chunks.remove(&session.0).map_err(index_error)?.map(|v| v.value().to_vec());
        refer(t, session, manifest)?;
        release(t, &mut Effects::default(), &before.unwrap_or_default())?;
    }
    let entry = ContentEntry {
        state,
        position: batch[at].position,
        payload: batch[at].payload,
        size: manifest.size,
        digest_kind: manifest.digest_kind as u8,
        sha256: digest_of(&manifest.sha256)?,
    };
    put_content(t, session, &entry)?;
    Ok(Outcome::Done)
}

fn is_kept(session: SessionId) -> Error {
    Error::new(
        Code::Locked,
        format_args!("the content {session} belongs to a kept version"),
        "only what no version names can be dropped",
    )
}

/// Places of the record at `at`: those in the Places records before it, and its own.
fn places<'a>(batch: &'a [Staged], at: usize, record: &'a ContentRecord) -> Result<Vec<&'a ChunkPlace>> {
    let lost = || Error::internal("the places of a content do not stand before it");
    let first = at.checked_sub(record.parts as usize).ok_or_else(lost)?;
    let mut all = Vec::with_capacity(record.places.len());
    for (part, staged) in batch[first..at].iter().enumerate() {
        match &staged.change {
            Change::Places(p) if p.session == record.session && p.part as usize == part => {
                all.extend(&p.places)
            }
            _ => return Err(lost()),
        }
    }
    all.extend(&record.places);
    Ok(all)
}

fn content(
    t: &mut Tables<'_>,
    effects: &mut Effects,
    batch: &[Staged],
    at: usize,
    record: &ContentRecord,
    fetched: bool,
) -> Result<Outcome> {
    let session = session_of(&record.session)?;
    let present = get_content(t, session)?;
    let Some(manifest) = &record.manifest else {
        return Ok(match present {
            Some(entry) => {
                prepared_again(t, effects, session, entry)?;
                Outcome::Done
            }
            None => Outcome::Refused(Error::new(
                Code::NoSuchSession,
                format_args!("the session {session} is not held here"),
                "send its content again",
            )),
        });
    };
    let places = places(batch, at, record)?;
    let here = here(&batch[at]);
    let stored = |state| -> Result<ContentEntry> {
        Ok(ContentEntry {
            state,
            position: batch[at].position,
            payload: batch[at].payload,
            size: manifest.size,
            digest_kind: manifest.digest_kind as u8,
            sha256: digest_of(&manifest.sha256)?,
        })
    };
    // As whoever wrote it knew it: what it repairs may have left the journal (see `note_kept`).
    let came = if record.state == State::Kept as u32 { State::Kept } else { State::Fetched };
    match present {
        Some(entry) if entry.is(manifest) => {
            if fetched {
                // A copy that repairs a version leaves it one.
                let state = if entry.state == State::Kept { State::Kept } else { came };
                put_places(t, effects, &places, here, true)?;
                put_content(t, session, &stored(state)?)?;
                effects.contents.push((session, ContentEffect::Stored(at, state)));
            } else {
                effects.freed.extend(places.iter().filter_map(|p| extent_of(p)));
                prepared_again(t, effects, session, entry)?;
            }
            return Ok(Outcome::Done);
        }
        Some(ContentEntry { state: State::Prepared | State::Kept | State::Fetched, .. }) => {
            effects.freed.extend(places.iter().filter_map(|p| extent_of(p)));
            return Ok(Outcome::Refused(Error::new(
                Code::KeyReused,
                format_args!("the session {session} holds another content"),
                "use a new session for other content",
            )));
        }
        _ => {}
    }
    if let Some(missing) = missing_chunk(t, manifest, &places)? {
        effects.freed.extend(places.iter().filter_map(|p| extent_of(p)));
        return Ok(Outcome::Refused(missing));
    }
    if present.is_some() {
        // References of the new content first, lest a chunk that both have be given up.
        let before = t.content_chunks.remove(&session.0).map_err(index_error)?.map(|v| v.value().to_vec());
        put_places(t, effects, &places, here, fetched)?;
        refer(t, session, manifest)?;
        release(t, effects, &before.unwrap_or_default())?;
    } else {
        put_places(t, effects, &places, here, fetched)?;
        refer(t, session, manifest)?;
    }
    let state = if fetched { came } else { State::Prepared };
    put_content(t, session, &stored(state)?)?;
    effects.contents.push((session, ContentEffect::Stored(at, state)));
    Ok(Outcome::Done)
}

/// A prepared mark for what is held already.
fn prepared_again(
    t: &mut Tables<'_>,
    effects: &mut Effects,
    session: SessionId,
    entry: ContentEntry,
) -> Result<()> {
    match entry.state {
        State::Kept | State::Fetched | State::Prepared => Ok(()),
        State::Open | State::Loose => set_state(t, effects, session, entry, State::Prepared),
    }
}

/// The first chunk of the manifest that neither came along nor is here.
fn missing_chunk(t: &Tables<'_>, manifest: &Manifest, places: &[&ChunkPlace]) -> Result<Option<Error>> {
    let came: HashSet<&[u8]> = places.iter().map(|p| &p.sha256[..]).collect();
    for chunk in manifest.chunks.iter().filter(|c| !came.contains(&c.sha256[..])) {
        if t.chunks.get(&digest_of(&chunk.sha256)?).map_err(index_error)?.is_none() {
            let what = "a chunk that the content cites is not held here any more";
            return Ok(Some(Error::new(Code::NoSuchSession, what, "send the content again")));
        }
    }
    Ok(None)
}

/// Takes up the chunks that came along. What is here already stays, and the new copy is free again (R16),
/// unless the copy is to `replace` what is here (it came from the partner, perhaps for a repair).
fn put_places(
    t: &mut Tables<'_>,
    effects: &mut Effects,
    places: &[&ChunkPlace],
    here: (Position, u32),
    replace: bool,
) -> Result<()> {
    for place in places {
        let sha256 = digest_of(&place.sha256)?;
        let present = get_chunk(t, &sha256)?;
        let (new, old) = (extent_of(place), present.as_ref().and_then(ChunkEntry::extent));
        if present.is_some() && !replace {
            // A place that is cited is the one that is known.
            effects.freed.extend(new.filter(|_| new != old));
            continue;
        }
        effects.freed.extend(old.filter(|_| new != old));
        effects.freed.retain(|freed| Some(*freed) != new);
        put_chunk(t, place, here, present.map_or(0, |present| present.refs))?;
    }
    Ok(())
}

/// Counts a content's references to its chunks.
fn refer(t: &mut Tables<'_>, session: SessionId, manifest: &Manifest) -> Result<()> {
    if manifest.chunks.is_empty() {
        return Ok(());
    }
    let mut digests = Vec::with_capacity(manifest.chunks.len() * 32);
    for chunk in &manifest.chunks {
        let sha256 = digest_of(&chunk.sha256)?;
        let mut entry = get_chunk(t, &sha256)?.ok_or_else(|| Error::internal("a chunk without a place"))?;
        entry.refs += 1;
        t.chunks.insert(&sha256, &entry.encode()[..]).map_err(index_error)?;
        digests.extend_from_slice(&sha256);
    }
    t.content_chunks.insert(&session.0, &digests[..]).map_err(index_error)?;
    Ok(())
}

/// Takes references back; chunks without any are gone.
fn release(t: &mut Tables<'_>, effects: &mut Effects, digests: &[u8]) -> Result<()> {
    for digest in digests.chunks_exact(32) {
        let sha256 = digest_of(digest)?;
        let Some(mut entry) = get_chunk(t, &sha256)? else { continue };
        entry.refs = entry.refs.saturating_sub(1);
        if entry.refs == 0 {
            effects.freed.extend(entry.extent());
            t.chunks.remove(&sha256).map_err(index_error)?;
        } else {
            t.chunks.insert(&sha256, &entry.encode()[..]).map_err(index_error)?;
        }
    }
    Ok(())
}

fn remove_content(t: &mut Tables<'_>, effects: &mut Effects, session: SessionId) -> Result<()> {
    let before = t.contents.remove(&session.0).map_err(index_error)?.map(|v| ContentEntry::decode(v.value()));
    t.live -= before.transpose()?.map_or(0, |before| record_cost(before.payload as usize));
    t.pending.remove(&session.0).map_err(index_error)?;
    t.loose.remove(&session.0).map_err(index_error)?;
    let digests = t.content_chunks.remove(&session.0).map_err(index_error)?.map(|v| v.value().to_vec());
    release(t, effects, &digests.unwrap_or_default())
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

fn set_cursors(t: &mut Tables<'_>, effects: &mut Effects, cursors: Cursors) -> Result<()> {
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

pub(super) fn get_content(t: &Tables<'_>, session: SessionId) -> Result<Option<ContentEntry>> {
    let found = t.contents.get(&session.0).map_err(index_error)?;
    found.map(|v| ContentEntry::decode(v.value())).transpose()
}

fn get_chunk(t: &Tables<'_>, sha256: &[u8; 32]) -> Result<Option<ChunkEntry>> {
    let found = t.chunks.get(sha256).map_err(index_error)?;
    found.map(|v| ChunkEntry::decode(v.value())).transpose()
}

/// Writes a content and sees that it is listed as pending iff it is.
fn put_content(t: &mut Tables<'_>, session: SessionId, entry: &ContentEntry) -> Result<()> {
    let before = t.contents.insert(&session.0, &entry.encode()[..]).map_err(index_error)?;
    let before = before.map(|v| ContentEntry::decode(v.value())).transpose()?;
    t.live += record_cost(entry.payload as usize) - before.map_or(0, |b| record_cost(b.payload as usize));
    match entry.state {
        State::Prepared | State::Open | State::Fetched => {
            t.pending.insert(&session.0, ()).map_err(index_error)?.map(|_| ())
        }
        State::Kept | State::Loose => t.pending.remove(&session.0).map_err(index_error)?.map(|_| ()),
    };
    match entry.state {
        State::Loose => t.loose.insert(&session.0, ()).map_err(index_error)?.map(|_| ()),
        _ => t.loose.remove(&session.0).map_err(index_error)?.map(|_| ()),
    };
    Ok(())
}

pub(super) fn set_state(
    t: &mut Tables<'_>,
    effects: &mut Effects,
    session: SessionId,
    mut entry: ContentEntry,
    state: State,
) -> Result<()> {
    entry.state = state;
    put_content(t, session, &entry)?;
    effects.contents.push((session, ContentEffect::State(state)));
    Ok(())
}

/// Bytes of the journal that a record with such a payload takes, about.
pub(super) fn record_cost(payload: usize) -> i64 {
    const HEAD: i64 = 40;
    HEAD + payload as i64
}

/// A digest as a key.
pub(crate) fn digest_of(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::bad_request("a digest is 32 bytes"))
}
