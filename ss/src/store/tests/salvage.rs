//! Damage in the journal (R31): a bad record whose content was repaired is in nobody's way any more, and a store that
//! has a partner goes on behind a damaged range.

use log::{Entry, Log};
use types::limits::BLOCK;

use super::super::change::kind;
use super::super::*;
use super::collect::tidy;
use super::support::*;

const SEGMENT: &str = "journal/0000000001.seg";

/// Positions of the journal's records of a kind.
fn places(place: &Place, wanted: u8) -> Vec<Position> {
    let mut found = Vec::new();
    let settings = log::LogConfig { folder: "journal".into(), ..log::LogConfig::default() };
    let mut take = |entry: Entry<'_>| {
        found.extend((entry.kind == wanted).then_some(entry.position));
        Ok(())
    };
    Log::look(&place.disk, &settings, &mut take).unwrap();
    found
}

/// Flips a bit of the record at `at`.
fn damage(place: &Place, at: Position) {
    assert!(place.disk.flip(&format!("journal/{:010}.seg", at.segment()), u64::from(at.offset()) + 33, 4));
}

/// A store with four small files and their rows.
fn filled() -> Place {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        store.set_generation(9).await.unwrap();
        for n in 1..=4 {
            prepare(&store, session(n), &bytes(5000, n.into())).await.unwrap();
            store.apply(1, vec![row(20 + u64::from(n), n.into(), &[session(n)])]).await.unwrap();
        }
        store.advance(9, 1, 4).await.unwrap();
    });
    store.close();
    place.restart()
}

fn salvaging() -> StoreConfig {
    StoreConfig { salvage: Some(9), ..config() }
}

#[test]
fn what_stood_in_a_damaged_range_is_taken_anew_and_the_rest_stays() {
    let place = filled();
    damage(&place, places(&place, kind::PREPARED)[1]);
    let before = place.disk.image();
    assert_eq!(place.clone().without_index().open().err().unwrap().code, Code::Damaged);
    assert!(Store::has_holes(&place.disk, &config()).unwrap());
    assert_eq!(place.disk.image(), before, "nothing has changed");

    let store = place.open_with(salvaging()).unwrap();
    assert_eq!(store.cursors(), Cursors { generation: 9, control: 0, pair: 0 });
    assert_eq!(store.lookup(session(2)).unwrap(), None);
    for n in [1, 3, 4] {
        assert_eq!(held_bytes(&store, session(n)), bytes(5000, n.into()));
        assert_eq!(store.record(20 + u64::from(n)).unwrap().unwrap().seq, u64::from(n));
    }
    assert_eq!(store.record(22).unwrap().unwrap().seq, 0, "its row is news");
    let salvaged = dump(&store);
    store.close();
    assert!(!Store::has_holes(&place.disk, &config()).unwrap(), "it has been dealt with");
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        assert_eq!(dump(&store), salvaged, "a start finds it as it is, with or without an index");
        store.close();
    }

    // The rows come again, and with one of them the content.
    let place = place.restart();
    let store = place.open().unwrap();
    run(async {
        let copy = content(&store, &bytes(5000, 2)).unwrap();
        let rows = (1..=4).map(|n| row(20 + u64::from(n), n.into(), &[session(n)])).collect();
        let applied = store.apply_brought(1, rows, u64::MAX, vec![(session(2), copy)]).await.unwrap();
        assert_eq!(applied.iter().map(|row| row.newer).collect::<Vec<_>>(), [false, true, false, false]);
        store.advance(9, 1, 4).await.unwrap();
    });
    let whole = dump(&store);
    assert_eq!((whole.contents.len(), whole.cursors.pair), (4, 4));
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        assert_eq!(dump(&store), whole);
        store.close();
    }
}

#[test]
fn a_content_whose_record_is_lost_with_its_row_waits_for_its_row_or_goes() {
    let place = filled();
    damage(&place, places(&place, kind::ROW)[2]);
    let store = place.without_index().open_with(salvaging()).unwrap();
    assert_eq!(store.record(23).unwrap(), None);
    assert_eq!(state(&store, session(3)), Some(State::Prepared), "the log is asked what became of it");
    store.close();
}

#[test]
fn room_that_was_given_to_another_in_the_damaged_range_stays_the_others() {
    let place = Place::default();
    let store = place.open().unwrap();
    let data = [bytes(BLOCK + 20_000, 1), bytes(BLOCK + 20_000, 2)];
    run(async {
        prepare(&store, session(1), &data[0]).await.unwrap();
        store.apply(1, vec![row(20, 5, &[session(1)])]).await.unwrap();
        store.apply(1, vec![row(20, 6, &[])]).await.unwrap();
        tidy(&store).await.unwrap();
        prepare(&store, session(2), &data[1]).await.unwrap();
        store.apply(1, vec![row(21, 7, &[session(2)])]).await.unwrap();
    });
    store.close();
    let place = place.restart();
    damage(&place, places(&place, kind::ROW)[1]);
    damage(&place, places(&place, kind::COLLECTED)[0]);
    let store = place.open_with(salvaging()).unwrap();
    assert_eq!(held_bytes(&store, session(2)), data[1]);
    assert_eq!(store.lookup(session(1)).unwrap(), None, "its bytes are another's");
    assert_eq!(store.record(20).unwrap().unwrap().seq, 0);
    let salvaged = dump(&store);
    store.close();
    let store = place.restart().without_index().open().unwrap();
    assert_eq!(dump(&store), salvaged);
    store.close();
}

#[test]
fn a_bad_record_whose_content_was_repaired_is_in_nobodys_way() {
    let eager = || StoreConfig { segment_bytes: 128 << 10, compact_segments: 2, ..config() };
    let place = Place::default();
    let store = place.open_with(eager()).unwrap();
    let data = bytes(9000, 1);
    let journal = |place: &Place| place.disk.bytes(SEGMENT);
    run(async {
        prepare(&store, session(1), &data).await.unwrap();
        store.apply(1, vec![row(20, 5, &[session(1)])]).await.unwrap();
        for n in 0..40 {
            prepare(&store, session(100), &bytes(9000, n + 10)).await.unwrap();
            store.drop_session(session(100)).await.unwrap();
        }
        damage(&place, places(&place, kind::PREPARED)[0]);
        assert!(store.content_on_disk(session(1)).is_err());
        let stuck = tidy(&store).await.unwrap_err();
        assert_eq!(stuck.code, Code::Damaged);
        assert!(stuck.message.contains("pairfs scrub"), "{stuck}");
        assert!(journal(&place).is_some());
        store.keep_fetched(session(1), content(&store, &data).unwrap()).await.unwrap();
    });
    store.close();
    // A start that reads all of the journal.
    let place = place.restart().without_index();
    let store = place.open_with(eager()).unwrap();
    assert_eq!(
        (held_bytes(&store, session(1)), state(&store, session(1))),
        (data.clone(), Some(State::Kept))
    );
    run(tidy(&store)).unwrap();
    assert!(journal(&place).is_none(), "it was compacted");
    let before = dump(&store);
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open_with(eager()).unwrap();
        assert_eq!(dump(&store), before);
        assert_eq!(store.verify(session(1)).unwrap(), Ok(()));
        store.close();
    }
}

#[test]
fn compaction_restates_what_a_bad_part_of_the_journal_told() {
    let eager = || StoreConfig { segment_bytes: 128 << 10, compact_segments: 2, ..config() };
    let place = Place::default();
    let store = place.open_with(eager()).unwrap();
    let large = bytes(BLOCK + 9000, 3);
    run(async {
        for n in 1..4u64 {
            store.apply(1, vec![row(20 + n, n, &[])]).await.unwrap();
        }
        prepare(&store, session(3), &large).await.unwrap();
        for n in 0..40 {
            prepare(&store, session(100), &bytes(9000, n + 10)).await.unwrap();
            store.drop_session(session(100)).await.unwrap();
        }
        let rows = places(&place, kind::ROW);
        damage(&place, rows[0]);
        damage(&place, rows[1]);
        tidy(&store).await.unwrap();
    });
    assert!(place.disk.bytes(SEGMENT).is_none(), "it was compacted");
    let before = dump(&store);
    assert_eq!(before.records.len(), 3);
    store.close();
    let store = place.restart().without_index().open_with(eager()).unwrap();
    assert_eq!(dump(&store), before);
    assert_eq!(held_bytes(&store, session(3)), large);
    store.close();
}
