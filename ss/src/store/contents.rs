//! What a record with a content does to the index. As in [`super::apply`]: the same for what is new and what is
//! replayed.

use std::collections::HashSet;

use redb::ReadableTable;
use types::ids::SessionId;
use types::record::Manifest;
use types::{Code, Error, Result};

use super::apply::{ContentEffect, Effects, Outcome, Staged};
use super::change::{Change, ChunkPlace, ContentRecord, session_of};
use super::entry::{ContentEntry, State, extent_of};
use super::schema::Tables;
use super::tables::{
    digest_of, get_chunk, get_content, here, put_chunk, put_content, put_places, refer, release, set_state,
};
use super::trouble::index_error;

pub(super) fn content(
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
    let Some(places) = places(batch, at, record) else { return Ok(Outcome::Refused(no_places())) };
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
        let before =
            t.content_chunks.write()?.remove(&session.0).map_err(index_error)?.map(|v| v.value().to_vec());
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

/// A content as it stood when its segment was compacted, whatever a replay has found of it: what told of it before
/// may be gone. It frees nothing: where it was put first, what it changes had been so already.
pub(super) fn moved(
    t: &mut Tables<'_>,
    batch: &[Staged],
    at: usize,
    record: &ContentRecord,
) -> Result<Outcome> {
    let session = session_of(&record.session)?;
    let bad = || index_error("a content that was moved makes no sense");
    let manifest = record.manifest.as_ref().ok_or_else(bad)?;
    let state = u8::try_from(record.state).ok().and_then(State::from_byte).ok_or_else(bad)?;
    let present = get_content(t, session)?;
    let Some(places) = places(batch, at, record) else { return Ok(Outcome::Refused(no_places())) };
    for place in places {
        let refs = get_chunk(t, &digest_of(&place.sha256)?)?.map_or(0, |present| present.refs);
        put_chunk(t, place, here(&batch[at]), refs)?;
    }
    if !present.is_some_and(|entry| entry.is(manifest)) {
        let before =
            t.content_chunks.write()?.remove(&session.0).map_err(index_error)?.map(|v| v.value().to_vec());
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

pub(super) fn is_kept(session: SessionId) -> Error {
    Error::new(
        Code::Locked,
        format_args!("the content {session} belongs to a kept version"),
        "only what no version names can be dropped",
    )
}

/// Some of a content's places stood in a damaged range of the journal (R31): so it is not held.
fn no_places() -> Error {
    Error::new(Code::Damaged, "the places of a content do not stand before it", "copy it from the partner")
}

/// Places of the record at `at`: those in the Places records before it, and its own. None if some are gone.
fn places<'a>(batch: &'a [Staged], at: usize, record: &'a ContentRecord) -> Option<Vec<&'a ChunkPlace>> {
    let first = at.checked_sub(record.parts as usize)?;
    let mut all = Vec::with_capacity(record.places.len());
    for (part, staged) in batch[first..at].iter().enumerate() {
        match &staged.change {
            Change::Places(p) if p.session == record.session && p.part as usize == part => {
                all.extend(&p.places)
            }
            _ => return None,
        }
    }
    all.extend(&record.places);
    Some(all)
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
        if t.chunks.read()?.get(&digest_of(&chunk.sha256)?).map_err(index_error)?.is_none() {
            let what = "a chunk that the content cites is not held here any more";
            return Ok(Some(Error::new(Code::NoSuchSession, what, "send the content again")));
        }
    }
    Ok(None)
}
