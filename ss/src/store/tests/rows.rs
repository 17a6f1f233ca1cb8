//! Rows, cursors and the overlay.

use types::record::{Kind, Pair, User};

use super::super::*;
use super::support::*;
use types::record::{Row, Subject};

#[test]
fn a_row_that_is_not_newer_does_nothing_and_is_acknowledged() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        let rows = vec![row(20, 7, &[]), row(21, 8, &[])];
        let applied = store.apply(1, rows.clone()).await.unwrap();
        assert_eq!(applied, [Applied { seq: 7, newer: true }, Applied { seq: 8, newer: true }]);
        let end = store.journal_end();
        let applied = store.apply(1, rows).await.unwrap();
        assert_eq!(applied, [Applied { seq: 7, newer: false }, Applied { seq: 8, newer: false }]);
        assert_eq!(store.journal_end(), end, "nothing was logged");
        // Two for one file in one page, out of order.
        let applied =
            store.apply(1, vec![row(22, 10, &[]), row(22, 9, &[]), row(20, 11, &[])]).await.unwrap();
        assert_eq!(applied.iter().map(|a| a.newer).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(store.record(22).unwrap().unwrap().seq, 10);
    });
    store.close();
}

#[test]
fn users_and_pairs_follow_the_control_feed() {
    let place = Place::default();
    let store = place.open().unwrap();
    let user = |seq, revoked_before| Row {
        seq,
        subject: Some(Subject::User(User { name: "ann".into(), admin: false, revoked_before })),
    };
    let pair =
        |seq, epoch| Row { seq, subject: Some(Subject::Pair(Pair { id: 3, epoch, ..Pair::default() })) };
    run(async {
        store.apply(0, vec![user(5, 1), pair(6, 1)]).await.unwrap();
        let applied = store.apply(0, vec![user(4, 9), user(7, 2), pair(6, 9)]).await.unwrap();
        assert_eq!(applied.iter().map(|a| a.newer).collect::<Vec<_>>(), [false, true, false]);
    });
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        for _ in 0..2 {
            assert_eq!(store.user("ann").unwrap().unwrap().revoked_before, 2);
            assert_eq!(store.pair(3).unwrap().unwrap().epoch, 1);
            assert_eq!((store.user("bob").unwrap(), store.pair(4).unwrap()), (None, None));
        }
        store.close();
    }
}

#[test]
fn cursors_only_grow_within_a_generation() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        store.set_generation(42).await.unwrap();
        store.advance(42, 0, 10).await.unwrap();
        store.advance(42, 3, 20).await.unwrap();
        store.advance(42, 3, 15).await.unwrap();
        assert_eq!(store.advance(41, 3, 30).await.unwrap_err().code, Code::Changed);
        assert_eq!(store.cursors(), Cursors { generation: 42, control: 10, pair: 20 });
    });
    store.close();
    let place = place.restart().without_index();
    let store = place.open().unwrap();
    assert_eq!(store.cursors(), Cursors { generation: 42, control: 10, pair: 20 });
    run(store.set_generation(42)).unwrap();
    assert_eq!(store.cursors().pair, 20);
    run(store.set_generation(43)).unwrap();
    assert_eq!(store.cursors(), Cursors { generation: 43, ..Cursors::default() });
    store.close();
}

#[test]
fn a_decided_head_is_seen_before_its_row_and_lost_in_a_crash() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        store.apply(1, vec![row(20, 5, &[])]).await.unwrap();
        let head = record(&row(20, 9, &[session(1)]));
        store.install_head(head.clone()).unwrap();
        store.install_head(record(&row(20, 8, &[]))).unwrap();
        store.install_head(record(&row(30, 8, &[]))).unwrap();
        store.install_head(record(&row(19, 7, &[]))).unwrap();
        assert_eq!(*store.record(20).unwrap().unwrap(), head);
        let ids = |after, limit| {
            store.records_after(after, limit).unwrap().iter().map(|r| (r.id, r.seq)).collect::<Vec<_>>()
        };
        assert_eq!(ids(0, 10), [(19, 7), (20, 9), (30, 8)]);
        assert_eq!(ids(19, 1), [(20, 9)]);
        // A row from before the head does not hide it, its own ends it.
        store.apply(1, vec![row(20, 6, &[])]).await.unwrap();
        assert_eq!(store.record(20).unwrap().unwrap().seq, 9);
        store.apply(1, vec![row(20, 9, &[session(1)])]).await.unwrap();
        store.apply(1, vec![row(20, 12, &[])]).await.unwrap();
        assert_eq!(store.record(20).unwrap().unwrap().seq, 12);
        store.install_head(head).unwrap();
        assert_eq!(store.record(20).unwrap().unwrap().seq, 12);
    });
    store.close();
    let store = place.restart().open().unwrap();
    assert_eq!(store.record(30).unwrap(), None);
    assert_eq!(store.record(20).unwrap().unwrap().seq, 12);
    store.close();
}

#[test]
fn a_tombstone_lets_the_contents_go() {
    let store = Place::default().open().unwrap();
    run(async {
        prepare(&store, session(1), &bytes(10, 1)).await.unwrap();
        store.keep_fetched(session(2), content(&store, &bytes(100_000, 2)).unwrap()).await.unwrap();
        assert_eq!(state(&store, session(2)), Some(State::Fetched));
        store.apply(1, vec![row(20, 5, &[session(1), session(2)])]).await.unwrap();
        let mut gone = row(20, 6, &[]);
        if let Some(Subject::Record(record)) = &mut gone.subject {
            record.kind = Kind::Tombstone as i32;
        }
        store.apply(1, vec![gone]).await.unwrap();
        assert_eq!(state(&store, session(1)), Some(State::Loose));
        assert_eq!(state(&store, session(2)), Some(State::Loose));
        assert!(store.record(20).unwrap().unwrap().is_tombstone());
    });
    store.close();
}
