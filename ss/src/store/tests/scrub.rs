//! Bad chunks: found on the disk, replaced by a good copy elsewhere, also for whoever replays the journal.

use bytes::Bytes;
use types::content::sha256;
use types::limits::{BLOCK, CHUNK};
use types::record::ChunkRef;

use super::super::*;
use super::support::*;

fn chunks(store: &Store, n: u8) -> Vec<ChunkRef> {
    store.content_on_disk(session(n)).unwrap().unwrap().manifest.chunks.clone()
}

#[test]
fn a_bad_chunk_is_found_and_a_good_copy_takes_its_place_for_good() {
    let place = Place::default();
    let store = place.open().unwrap();
    let data = bytes(CHUNK + 100_000, 5);
    run(prepare(&store, session(1), &data)).unwrap();
    let chunks = chunks(&store, 1);
    chunks.iter().for_each(|chunk| store.verify_chunk(chunk).unwrap());
    let before = store.used_bytes();
    place.disk.flip("extents/00000001", 4096 + 200_000, 1);
    assert_eq!(store.verify_chunk(&chunks[0]).unwrap_err().code, Code::Damaged);
    store.verify_chunk(&chunks[1]).unwrap();
    let held = store.lookup(session(1)).unwrap().unwrap();
    assert_eq!(read_all(&store, &held).unwrap_err().code, Code::Damaged);

    let wrong = run(store.replace_chunk(&chunks[0], data.slice(1..=CHUNK))).unwrap_err();
    assert_eq!(wrong.code, Code::BadRequest);
    run(store.replace_chunk(&chunks[0], data.slice(..CHUNK))).unwrap();
    store.verify_chunk(&chunks[0]).unwrap();
    assert_eq!(held_bytes(&store, session(1)), data);
    run(store.barrier()).unwrap();
    assert_eq!(store.used_bytes(), before, "the room of the bad copy is free");
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        assert_eq!(held_bytes(&store, session(1)), data);
        assert_eq!(store.verify(session(1)).unwrap(), Ok(()));
        store.close();
    }
}

#[test]
fn a_small_chunk_is_replaced_in_the_journal() {
    let place = Place::default();
    let store = place.open().unwrap();
    let data = bytes(BLOCK - 7, 5);
    run(prepare(&store, session(1), &data)).unwrap();
    let chunks = chunks(&store, 1);
    let journal = place.disk.bytes("journal/0000000001.seg").unwrap();
    let at = journal.windows(64).position(|bytes| *bytes == data[20_000..20_064]).unwrap();
    place.disk.flip("journal/0000000001.seg", at as u64, 4);
    assert_eq!(store.verify_chunk(&chunks[0]).unwrap_err().code, Code::Damaged);
    assert_eq!(store.content_on_disk(session(1)).unwrap_err().code, Code::Damaged);
    run(store.replace_chunk(&chunks[0], data.clone())).unwrap();
    store.verify_chunk(&chunks[0]).unwrap();
    assert_eq!(held_bytes(&store, session(1)), data);
    // The record that held both is bad still: the content is fetched anew.
    run(store.keep_fetched(session(1), content(&store, &data).unwrap())).unwrap();
    assert_eq!(store.content_on_disk(session(1)).unwrap().unwrap().manifest.size, data.len() as u64);
    store.close();
}

/// Else one bad record would end each start of the server, which asks what became of what is prepared.
#[test]
fn a_prepared_content_whose_record_is_bad_is_told_and_can_be_dropped_or_become_a_version() {
    let place = Place::default();
    let store = place.open().unwrap();
    for n in 1..=2_u8 {
        run(prepare(&store, session(n), &bytes(3000, n.into()))).unwrap();
    }
    store.close();
    // As after a start that has not read this segment again: the index knows them.
    let place = place.restart();
    let store = place.open().unwrap();
    for n in 1..=2_u8 {
        let data = bytes(3000, n.into());
        let journal = place.disk.bytes("journal/0000000001.seg").unwrap();
        let at = journal.windows(64).position(|bytes| *bytes == data[1000..1064]).unwrap();
        place.disk.flip("journal/0000000001.seg", at as u64, 4);
    }
    assert_eq!(store.lookup(session(1)).unwrap_err().code, Code::Damaged);
    let told = store.prepared().unwrap();
    assert_eq!(told.iter().map(|held| held.session).collect::<Vec<_>>(), [session(1), session(2)]);
    assert!(told.iter().all(|held| held.origin.asker.is_none() && held.manifest.size == 3000));
    assert!(store.prepared_after(JournalPosition::default(), 10).unwrap().0.is_empty(), "not offered");
    run(store.drop_session(session(1))).unwrap();
    run(store.apply(1, vec![row(20, 1, &[session(2)])])).unwrap();
    assert_eq!(store.state(session(1)).unwrap(), None);
    assert!(store.is_decided(session(2)).unwrap());
    run(store.keep_fetched(session(2), content(&store, &bytes(3000, 2)).unwrap())).unwrap();
    assert_eq!(held_bytes(&store, session(2)), bytes(3000, 2), "its partner's copy takes its place");
    store.close();
}

#[test]
fn a_chunk_that_nothing_needs_any_more_is_not_brought_back() {
    let place = Place::default();
    let store = place.open().unwrap();
    let data = bytes(100_000, 5);
    let chunk = ChunkRef {
        sha256: Bytes::copy_from_slice(&sha256(&data)),
        len: data.len() as u32,
        ..ChunkRef::default()
    };
    // The journal has its first segment.
    run(prepare(&store, session(2), &bytes(10, 1))).unwrap();
    let before = store.used_bytes();
    run(store.replace_chunk(&chunk, data)).unwrap();
    // Room is given back just after the answer.
    run(store.barrier()).unwrap();
    assert_eq!(store.verify_chunk(&chunk).unwrap_err().code, Code::NoSuchVersion);
    assert_eq!(store.used_bytes(), before);
    assert_eq!(store.content_on_disk(session(1)).unwrap(), None);
    store.close();
}
