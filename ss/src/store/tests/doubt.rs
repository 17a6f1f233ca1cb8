//! What is in doubt, and what tells that it is not.

use super::super::*;
use super::collect::removed;
use super::support::*;
use types::command::Asker;
use types::ids::SessionId;
use types::record::{Row, Subject};

async fn prepare_after(store: &Store, session: SessionId, seen: u64) {
    let content = Some(content(store, &bytes(1000, seen)).unwrap());
    let asker = Some(Asker { user: "ann".into(), number: 7, ..Asker::default() });
    let prepare = Prepare {
        session,
        target: target(),
        asker,
        content,
        for_partner: true,
        lazy: false,
        lone: false,
        seen,
    };
    store.prepare(prepare).await.unwrap();
}

#[test]
fn i4_a_tombstone_stays_as_long_as_something_in_doubt_here_could_bring_its_file_back() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        prepare_after(&store, session(1), 10).await;
        store.apply_page(1, vec![removed(20, 9), removed(21, 11)], 0).await.unwrap();
        for _ in 0..2 {
            store.forget(1, 15).await.unwrap();
            assert_eq!(store.record(20).unwrap(), None, "nothing here is older than it");
            assert!(store.record(21).unwrap().is_some_and(|record| record.is_tombstone()));
            assert_eq!(store.forgotten(1), 9);
            store.forget_held_back().await.unwrap();
        }
        store.unprepare(session(1)).await.unwrap();
        store.forget_held_back().await.unwrap();
        assert_eq!((store.record(21).unwrap(), store.forgotten(1)), (None, 11));
        store.apply_page(1, vec![removed(22, 16)], 11).await.unwrap();
        store.forget(1, 16).await.unwrap();
        assert_eq!(store.forgotten(1), 16, "nothing is held back any more");
    });
    assert_survives_restarts(&place, store);
}

/// A row of a file that names what has ended.
fn ending(mut row: Row, ended: SessionId) -> Row {
    if let Some(Subject::Record(record)) = &mut row.subject {
        record.ended = ended.0.to_vec();
    }
    row
}

#[test]
fn i4_what_a_row_tells_to_have_ended_is_in_doubt_no_more_though_no_row_named_it() {
    let place = Place::default();
    let store = place.open().unwrap();
    let offered = |store: &Store| {
        let held = store.prepared_after(JournalPosition(0), 10).unwrap().0;
        held.iter().map(|held| held.session).collect::<Vec<_>>()
    };
    run(async {
        for n in [1, 2, 3] {
            prepare_after(&store, session(n), 5).await;
        }
        store
            .apply(1, vec![ending(removed(20, 9), session(1)), ending(row(21, 10, &[]), session(2))])
            .await
            .unwrap();
        assert_eq!(offered(&store), [session(3)]);
        assert!(store.is_decided(session(1)).unwrap(), "the other member may be asked about it");
        settle(&store).await;
        // Brought once more, it is in doubt whatever was known of it: also the same row told again does not end it.
        prepare_after(&store, session(2), 5).await;
        store.apply(1, vec![ending(row(21, 10, &[]), session(2))]).await.unwrap();
        assert_eq!(offered(&store), [session(2), session(3)]);
    });
    assert_survives_restarts(&place, store);
}

#[test]
fn r26_what_is_known_to_be_over_is_not_offered_though_the_disk_was_full_when_it_was_told() {
    let place = Place::default();
    let store = place.open().unwrap();
    let offered = |store: &Store| store.prepared_after(JournalPosition(0), 10).unwrap().0.len();
    run(async {
        for n in [1, 2, 3] {
            prepare_after(&store, session(n), 10).await;
        }
        place.disk.set_full(0);
        let filled = async {
            for n in 0..10_000 {
                let prepared = prepare(&store, session(100), &bytes(9000, n)).await;
                if prepared.is_err() {
                    return true;
                }
                store.drop_session(session(100)).await.unwrap();
            }
            false
        };
        assert!(filled.await, "the disk does not get full");
        // Also the last bytes of it.
        while store.apply(1, vec![row(30, 5 + store.journal_end(), &[])]).await.is_ok() {}
        store.unprepare(session(1)).await.unwrap();
        store.drop_session(session(2)).await.unwrap();
        assert_eq!((state(&store, session(1)), offered(&store)), (Some(State::Prepared), 1), "of three");
        assert_eq!(store.prepared().unwrap().len(), 1);
        assert_eq!(store.note_what_is_over().await.unwrap_err().code, Code::DiskFull);
        assert_eq!(offered(&store), 1);
        place.disk.set_full(1 << 30);
        // One of them is committed all the same.
        prepare_again(&store, session(2)).await.unwrap();
        assert_eq!(offered(&store), 2);
        store.note_what_is_over().await.unwrap();
        assert_eq!((state(&store, session(1)), offered(&store)), (Some(State::Open), 2));
        assert_eq!(state(&store, session(2)), Some(State::Prepared));
        store.barrier().await.unwrap();
    });
    assert_survives_restarts(&place, store);
}
