//! Contents and chunks in the tables of the index: their entries, who refers to what, and the room that becomes free.

use log::Position;
use redb::ReadableTable;
use types::ids::SessionId;
use types::record::Manifest;
use types::{Error, Result};

use super::apply::{ContentEffect, Effects, Staged};
use super::change::ChunkPlace;
use super::entry::{ChunkEntry, ContentEntry, State, extent_of};
use super::schema::Tables;
use super::trouble::index_error;

/// The record's place, and how many bytes of its payload are before the tail.
pub(super) fn here(staged: &Staged) -> (Position, u32) {
    (staged.position, staged.payload - staged.change.tail().len() as u32)
}

/// Writes where a chunk is.
pub(super) fn put_chunk(
    t: &mut Tables<'_>,
    place: &ChunkPlace,
    here: (Position, u32),
    refs: u32,
) -> Result<()> {
    let mut entry = ChunkEntry::placed(place, here);
    entry.refs = refs;
    t.chunks.write()?.insert(&digest_of(&place.sha256)?, &entry.encode()[..]).map_err(index_error)?;
    Ok(())
}

/// Takes up the chunks that came along. What is here already stays, and the new copy is free again (R16),
/// unless the copy is to `replace` what is here (it came from the partner, perhaps for a repair).
pub(super) fn put_places(
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
pub(super) fn refer(t: &mut Tables<'_>, session: SessionId, manifest: &Manifest) -> Result<()> {
    if manifest.chunks.is_empty() {
        return Ok(());
    }
    let mut digests = Vec::with_capacity(manifest.chunks.len() * 32);
    for chunk in &manifest.chunks {
        let sha256 = digest_of(&chunk.sha256)?;
        let mut entry = get_chunk(t, &sha256)?.ok_or_else(|| Error::internal("a chunk without a place"))?;
        entry.refs += 1;
        t.chunks.write()?.insert(&sha256, &entry.encode()[..]).map_err(index_error)?;
        digests.extend_from_slice(&sha256);
    }
    t.content_chunks.write()?.insert(&session.0, &digests[..]).map_err(index_error)?;
    Ok(())
}

/// Takes references back; chunks without any are gone.
pub(super) fn release(t: &mut Tables<'_>, effects: &mut Effects, digests: &[u8]) -> Result<()> {
    for digest in digests.chunks_exact(32) {
        let sha256 = digest_of(digest)?;
        let Some(mut entry) = get_chunk(t, &sha256)? else { continue };
        entry.refs = entry.refs.saturating_sub(1);
        if entry.refs == 0 {
            effects.freed.extend(entry.extent());
            t.chunks.write()?.remove(&sha256).map_err(index_error)?;
        } else {
            t.chunks.write()?.insert(&sha256, &entry.encode()[..]).map_err(index_error)?;
        }
    }
    Ok(())
}

pub(super) fn remove_content(t: &mut Tables<'_>, effects: &mut Effects, session: SessionId) -> Result<()> {
    let before = t.contents.remove(&session.0).map_err(index_error)?.map(|v| ContentEntry::decode(v.value()));
    t.live -= before.transpose()?.map_or(0, |before| record_cost(before.payload as usize));
    t.pending.remove(&session.0).map_err(index_error)?;
    t.loose.write()?.remove(&session.0).map_err(index_error)?;
    let digests =
        t.content_chunks.write()?.remove(&session.0).map_err(index_error)?.map(|v| v.value().to_vec());
    release(t, effects, &digests.unwrap_or_default())
}

pub(super) fn get_content(t: &Tables<'_>, session: SessionId) -> Result<Option<ContentEntry>> {
    let found = t.contents.get(&session.0).map_err(index_error)?;
    found.map(|v| ContentEntry::decode(v.value())).transpose()
}

pub(super) fn get_chunk(t: &Tables<'_>, sha256: &[u8; 32]) -> Result<Option<ChunkEntry>> {
    let found = t.chunks.read()?.get(sha256).map_err(index_error)?;
    found.map(|v| ChunkEntry::decode(v.value())).transpose()
}

/// Writes a content and sees that it is listed as pending iff it is.
pub(super) fn put_content(t: &mut Tables<'_>, session: SessionId, entry: &ContentEntry) -> Result<()> {
    let before = t.contents.insert(&session.0, &entry.encode()[..]).map_err(index_error)?;
    let before = before.map(|v| ContentEntry::decode(v.value())).transpose()?;
    t.live +=
        record_cost(entry.payload as usize) - before.as_ref().map_or(0, |b| record_cost(b.payload as usize));
    let was = before.map(|before| before.state);
    let is_pending = |state| matches!(state, State::Prepared | State::Open | State::Fetched);
    if is_pending(entry.state) {
        t.pending.insert(&session.0, ()).map_err(index_error)?;
    } else if was.is_some_and(is_pending) {
        t.pending.remove(&session.0).map_err(index_error)?;
    }
    if entry.state == State::Loose {
        t.loose.write()?.insert(&session.0, ()).map_err(index_error)?;
    } else if was == Some(State::Loose) {
        t.loose.write()?.remove(&session.0).map_err(index_error)?;
    }
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
