//! What no version names any more is collected, and its room is used again: not while it is read, not before that
//! is durable, and whatever crashes.

use std::collections::BTreeSet;
use std::time::Duration;

use log::sim::Count;
use types::ids::SessionId;
use types::limits::BLOCK;
use types::record::Kind;

use super::super::*;
use super::support::*;
use types::record::{Row, Subject};

/// Larger than what stands in the journal.
const LARGE: usize = BLOCK + 30_000;

/// Tidies until there is nothing to do.
pub async fn tidy(store: &Store) -> Result<()> {
    while store.tidy().await? {}
    Ok(())
}

/// A tombstone.
pub fn removed(inode: u64, seq: u64) -> Row {
    let mut row = row(inode, seq, &[]);
    if let Some(Subject::Record(record)) = &mut row.subject {
        record.kind = Kind::Tombstone as i32;
    }
    row
}

#[test]
fn loose_contents_go_and_their_room_is_used_again() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        for n in 1..=3 {
            prepare(&store, session(n), &bytes(LARGE, n.into())).await.unwrap();
            store.apply(1, vec![row(20 + u64::from(n), n.into(), &[session(n)])]).await.unwrap();
        }
        let full = store.used_bytes();
        // Nothing that is kept goes.
        tidy(&store).await.unwrap();
        assert_eq!(store.used_bytes(), full);
        store.apply(1, vec![removed(21, 11), row(22, 12, &[session(2)]), removed(23, 13)]).await.unwrap();
        assert_eq!(state(&store, session(1)), Some(State::Loose));
        tidy(&store).await.unwrap();
        assert_eq!((state(&store, session(1)), state(&store, session(3))), (None, None));
        assert_eq!(held_bytes(&store, session(2)), bytes(LARGE, 2));
        assert!(store.used_bytes() < full);
        for n in 4..=5 {
            prepare(&store, session(n), &bytes(LARGE, n.into())).await.unwrap();
        }
        assert_eq!(store.used_bytes(), full);
        assert_eq!(held_bytes(&store, session(2)), bytes(LARGE, 2));
    });
    assert_survives_restarts(&place, store);
}

#[test]
fn what_is_read_or_copied_stays_until_that_has_ended() {
    let store = Place::default().open().unwrap();
    run(async {
        for n in 1..=3 {
            prepare(&store, session(n), &bytes(LARGE, n.into())).await.unwrap();
        }
        store.apply(1, vec![row(20, 5, &[session(1), session(2), session(3)])]).await.unwrap();
        let pin = store.pin(session(1)).unwrap();
        store.pin_for(session(2), Duration::from_secs(3600)).unwrap();
        store.apply(1, vec![removed(20, 6)]).await.unwrap();
        tidy(&store).await.unwrap();
        assert_eq!(held_bytes(&store, session(1)), bytes(LARGE, 1));
        assert_eq!(held_bytes(&store, session(2)), bytes(LARGE, 2));
        assert_eq!(state(&store, session(3)), None);
        drop(pin);
        tidy(&store).await.unwrap();
        assert_eq!(state(&store, session(1)), None);
        // Prepared again in time: it is a reference like any other.
        prepare_again(&store, session(2)).await.unwrap();
        store.pin_for(session(9), Duration::ZERO).unwrap();
        tidy(&store).await.unwrap();
        assert_eq!(state(&store, session(2)), Some(State::Prepared));
        assert_eq!(store.prepare(again(session(1))).await.unwrap_err().code, Code::NoSuchSession);
    });
    store.close();
}

fn again(session: SessionId) -> Prepare {
    Prepare {
        session,
        target: target(),
        asker: None,
        content: None,
        for_partner: false,
        lazy: false,
        lone: false,
        seen: 0,
    }
}

#[test]
fn a_chunk_that_another_content_has_stays() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        for n in 1..=2 {
            prepare(&store, session(n), &bytes(LARGE, 7)).await.unwrap();
            store.apply(1, vec![row(20 + u64::from(n), n.into(), &[session(n)])]).await.unwrap();
        }
        store.apply(1, vec![removed(21, 9)]).await.unwrap();
        tidy(&store).await.unwrap();
        assert_eq!(state(&store, session(1)), None);
        prepare(&store, session(3), &bytes(LARGE, 8)).await.unwrap();
        assert_eq!(held_bytes(&store, session(2)), bytes(LARGE, 7));
    });
    store.close();
    let store = place.restart().without_index().open().unwrap();
    assert_eq!(held_bytes(&store, session(2)), bytes(LARGE, 7));
    assert_eq!(store.verify(session(2)).unwrap(), Ok(()));
    store.close();
}

/// What must be there and may not be, by session.
#[derive(Default)]
struct Story {
    kept: BTreeSet<u8>,
    asked: BTreeSet<u8>,
}

impl Story {
    async fn keep(&mut self, store: &Store, n: u8, len: usize, seq: u64) -> Result<()> {
        self.asked.insert(n);
        prepare(store, session(n), &bytes(len, n.into())).await?;
        store.apply(1, vec![row(20 + u64::from(n), seq, &[session(n)])]).await?;
        self.kept.insert(n);
        Ok(())
    }

    async fn remove(&mut self, store: &Store, n: u8, seq: u64) -> Result<()> {
        self.kept.remove(&n);
        store.apply(1, vec![removed(20 + u64::from(n), seq)]).await?;
        Ok(())
    }

    async fn work(&mut self, store: &Store) -> Result<()> {
        let len = |n: u8| if n.is_multiple_of(2) { LARGE + usize::from(n) } else { 3000 };
        for n in 1..=4 {
            self.keep(store, n, len(n), n.into()).await?;
        }
        for n in 1..=3 {
            self.remove(store, n, 10 + u64::from(n)).await?;
        }
        tidy(store).await?;
        for n in 5..=8 {
            self.keep(store, n, len(n), 20 + u64::from(n)).await?;
            self.remove(store, n - 1, 30 + u64::from(n)).await?;
            tidy(store).await?;
        }
        Ok(())
    }

    fn check(&self, store: &Store) {
        for held in store.contents_after(None, usize::MAX).unwrap() {
            let n = held.session.0[1];
            assert_eq!(held.session, session(n));
            let data = read_all(store, &held).unwrap();
            assert_eq!(data, bytes(data.len(), n.into()), "torn");
            assert_eq!(store.verify(held.session).unwrap(), Ok(()));
            assert!(self.asked.contains(&n));
        }
        for n in &self.kept {
            assert_eq!(state(store, session(*n)), Some(State::Kept), "what is kept is lost");
        }
    }
}

#[test]
fn collection_survives_a_crash_at_every_operation() {
    let mut points = 0;
    for n in 1.. {
        let place = Place::default();
        place.disk.freeze_at(Count::Ops, n);
        let mut story = Story::default();
        if let Ok(store) = place.open() {
            let outcome = run(story.work(&store));
            store.close();
            assert!(outcome.is_ok() || place.disk.frozen(), "{outcome:?}");
        }
        if !place.disk.frozen() {
            break;
        }
        points = n;
        for place in [place.crash(n), place.crash(n + 1_000_000), place.restart()] {
            let store = place.open().unwrap();
            story.check(&store);
            let found = dump(&store);
            store.close();
            let store = place.restart().without_index().open().unwrap();
            assert_eq!(dump(&store), found, "crash at operation {n}");
            // Life goes on: what is loose still goes, and room is used again.
            run(async {
                tidy(&store).await.unwrap();
                assert!(dump(&store).contents.iter().all(|(_, state, _)| *state != State::Loose));
                prepare(&store, session(9), &bytes(LARGE, 9)).await.unwrap();
            });
            story.check_with(&store, 9);
            store.close();
        }
    }
    assert!(points > 40, "only {points} points");
}

impl Story {
    fn check_with(&mut self, store: &Store, n: u8) {
        self.asked.insert(n);
        self.check(store);
    }
}
