//! Compaction: what a rebuilt index says is what the store said, whatever was moved and whenever it crashed.

use std::collections::BTreeMap;

use bytes::Bytes;
use log::sim::Count;
use types::ids::SessionId;
use types::limits::BLOCK;
use types::record::Record;

use super::super::*;
use super::collect::{removed, tidy};
use super::support::*;

/// Segments so small that a few contents fill one, and compacted whenever anything is to be gained.
fn eager() -> StoreConfig {
    StoreConfig { segment_bytes: 128 << 10, compact_segments: 2, ..config() }
}

/// A number that depends on all that was drawn before.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A workload that is the same for one seed, and what must have come of it.
struct Work {
    dice: Dice,
    seq: u64,
    next: u8,
    /// Inode → acknowledged sessions.
    files: BTreeMap<u64, Vec<u8>>,
    /// What is set aside, alike.
    aside: BTreeMap<u64, Vec<u8>>,
    cursor: u64,
}

impl Work {
    fn new(seed: u64) -> Work {
        Work {
            dice: Dice(seed * 0x9E37_79B9 + 1),
            seq: 0,
            next: 1,
            files: BTreeMap::new(),
            aside: BTreeMap::new(),
            cursor: 0,
        }
    }

    /// Some contents are equal: they share chunks.
    fn data(n: u8) -> Bytes {
        let len = match n % 5 {
            0 => 100,
            1 => 9000,
            2 => 30_000,
            3 => BLOCK,
            _ => BLOCK + 20_000,
        };
        let same = if n.is_multiple_of(3) { 7 } else { u64::from(n) };
        bytes(len, same)
    }

    async fn step(&mut self, store: &Store) -> Result<()> {
        self.seq += 1;
        let inode = 20 + self.dice.roll(6);
        match self.dice.roll(14) {
            0..=5 => {
                let n = self.next;
                self.next += 1;
                if self.dice.roll(3) == 0 {
                    store.keep_fetched(session(n), content(store, &Work::data(n))?).await?;
                } else {
                    prepare(store, session(n), &Work::data(n)).await?;
                }
                let mut sessions = self.files.get(&inode).cloned().unwrap_or_default();
                sessions.push(n);
                let keep = sessions.len().saturating_sub(2);
                self.row(store, inode, sessions.split_off(keep)).await?;
            }
            6 => self.row(store, inode, Vec::new()).await?,
            7 => {
                let n = self.next;
                self.next += 1;
                prepare(store, session(n), &Work::data(n)).await?;
                store.unprepare(session(n)).await?;
                if self.dice.roll(2) == 0 {
                    store.drop_session(session(n)).await?;
                }
            }
            8 => {
                store.advance(0, 1, self.seq - 1).await?;
                self.cursor = self.seq - 1;
            }
            // A copy that repairs what is kept.
            9 => {
                let Some(n) = self.files.get(&inode).and_then(|sessions| sessions.first().copied()) else {
                    return Ok(());
                };
                let data = Work::data(n);
                let held = store.lookup(session(n))?.expect("what is kept is held");
                match held.manifest.chunks.first() {
                    Some(chunk) if self.dice.roll(2) == 0 => store.replace_chunk(chunk, data).await?,
                    _ => store.keep_fetched(session(n), content(store, &data)?).await?,
                }
            }
            10 => store.forget(1, self.seq - self.dice.roll(5).min(self.seq)).await?,
            11 => {
                let Some(sessions) = self.files.get(&inode).filter(|s| !s.is_empty()).cloned() else {
                    return Ok(());
                };
                let record = store.record(inode)?.map(|record| Record::clone(&record));
                let outcome = store.set_aside(record.into_iter().collect()).await;
                // Until it is acknowledged, it may be here or there.
                self.files.remove(&inode);
                outcome?;
                self.aside.insert(inode, sessions);
            }
            _ => {
                for _ in 0..self.dice.roll(6) {
                    store.tidy().await?;
                }
            }
        }
        Ok(())
    }

    async fn row(&mut self, store: &Store, inode: u64, sessions: Vec<u8>) -> Result<()> {
        let ids: Vec<SessionId> = sessions.iter().map(|n| session(*n)).collect();
        // Until it is acknowledged, either may be there.
        let before = self.files.remove(&inode);
        self.aside.remove(&inode);
        let row = if ids.is_empty() { removed(inode, self.seq) } else { row(inode, self.seq, &ids) };
        let outcome = store.apply(1, vec![row]).await;
        match outcome {
            Ok(_) => drop(self.files.insert(inode, sessions)),
            Err(_) => drop(before),
        }
        outcome.map(drop)
    }

    fn check(&self, store: &Store) {
        for (inode, sessions) in self.files.iter().chain(&self.aside) {
            let found = match self.aside.contains_key(inode) {
                true => {
                    assert_eq!(store.record(*inode).unwrap(), None, "what is set aside is found");
                    store.aside(*inode).unwrap().map(Arc::new)
                }
                false => store.record(*inode).unwrap(),
            };
            // A tombstone may be forgotten.
            let Some(record) = found else {
                assert!(sessions.is_empty(), "an acknowledged row is lost");
                continue;
            };
            let ids: Vec<_> = record.versions.iter().map(|v| v.session_id().unwrap()).collect();
            assert_eq!(ids, sessions.iter().map(|n| session(*n)).collect::<Vec<_>>());
            for n in sessions {
                assert_eq!(held_bytes(store, session(*n)), Work::data(*n));
                assert_eq!(store.verify(session(*n)).unwrap(), Ok(()));
                assert_eq!(state(store, session(*n)), Some(State::Kept));
            }
        }
        assert!(store.cursors().pair >= self.cursor);
    }
}

async fn steps(store: &Store, work: &mut Work, count: usize) -> Result<()> {
    for _ in 0..count {
        work.step(store).await?;
    }
    Ok(())
}

#[test]
fn a_compacted_journal_makes_the_same_index() {
    let mut compacted = 0;
    for seed in 1..=25 {
        let (place, mut work) = (Place::default(), Work::new(seed));
        let store = place.open_with(eager()).unwrap();
        run(steps(&store, &mut work, 120)).unwrap();
        run(settle(&store));
        let live = dump(&store);
        work.check(&store);
        store.close();
        compacted += usize::from(place.disk.bytes("journal/0000000001.seg").is_none());
        for place in [place.restart(), place.restart().without_index()] {
            let store = place.open_with(eager()).unwrap();
            assert_eq!(dump(&store), live, "seed {seed}");
            work.check(&store);
            // And it goes on from there.
            let mut more = Work { dice: Dice(seed), ..Work::new(1) };
            (more.files, more.aside) = (work.files.clone(), work.aside.clone());
            (more.next, more.seq) = (work.next, work.seq + 1000);
            run(steps(&store, &mut more, 20)).unwrap();
            let later = dump(&store);
            store.close();
            let store = place.restart().without_index().open_with(eager()).unwrap();
            assert_eq!(dump(&store), later, "seed {seed}, later");
            store.close();
        }
    }
    assert!(compacted > 15, "only {compacted} of 25 were compacted");
}

#[test]
fn compaction_survives_a_crash_at_every_operation() {
    for seed in [3, 8] {
        let mut points = 0;
        for n in (1..).step_by(3) {
            let place = Place::default();
            place.disk.freeze_at(Count::Ops, n);
            let mut work = Work::new(seed);
            if let Ok(store) = place.open_with(eager()) {
                let outcome = run(steps(&store, &mut work, 60));
                store.close();
                assert!(outcome.is_ok() || place.disk.frozen(), "{outcome:?}");
            }
            if !place.disk.frozen() {
                break;
            }
            points += 1;
            for place in [place.crash(n), place.restart()] {
                let store = place.open_with(eager()).unwrap();
                work.check(&store);
                let found = dump(&store);
                store.close();
                let store = place.restart().without_index().open_with(eager()).unwrap();
                assert_eq!(dump(&store), found, "seed {seed}, crash at operation {n}");
                run(tidy(&store)).unwrap();
                work.check(&store);
                store.close();
            }
        }
        assert!(points > 40, "only {points} points");
    }
}

#[test]
fn a_journal_of_garbage_shrinks_and_what_is_kept_stays() {
    let place = Place::default();
    let store = place.open_with(eager()).unwrap();
    run(async {
        prepare(&store, session(200), &bytes(9000, 200)).await.unwrap();
        store.apply(1, vec![row(99, 1, &[session(200)])]).await.unwrap();
        for n in 1..=120 {
            prepare(&store, session(n), &bytes(15_000, n.into())).await.unwrap();
            store.apply(1, vec![row(20, 10 + u64::from(n), &[session(n)])]).await.unwrap();
        }
        let full = store.used_bytes();
        tidy(&store).await.unwrap();
        assert!(store.used_bytes() < full / 3, "{} of {full}", store.used_bytes());
        assert_eq!(held_bytes(&store, session(200)), bytes(9000, 200));
        assert_eq!(held_bytes(&store, session(120)), bytes(15_000, 120));
    });
    store.close();
}

#[test]
fn a_large_content_is_moved_with_all_its_places() {
    let place = Place::default();
    let store = place.open_with(StoreConfig { extent_file_bytes: 64 << 20, ..eager() }).unwrap();
    let large = bytes(9 * (4 << 20) + 77, 5);
    run(async {
        prepare(&store, session(1), &large).await.unwrap();
        store.apply(1, vec![row(20, 1, &[session(1)])]).await.unwrap();
        for n in 2..=60 {
            prepare(&store, session(n), &bytes(15_000, n.into())).await.unwrap();
            store.apply(1, vec![row(21, n.into(), &[session(n)])]).await.unwrap();
        }
        tidy(&store).await.unwrap();
    });
    assert!(place.disk.bytes("journal/0000000001.seg").is_none());
    let live = dump(&store);
    store.close();
    let store = place.restart().without_index().open_with(eager()).unwrap();
    assert!(dump(&store) == live && held_bytes(&store, session(1)) == large);
    store.close();
}

#[test]
fn an_index_from_before_a_compaction_is_rebuilt() {
    let place = Place::default();
    let store = place.open_with(eager()).unwrap();
    run(prepare(&store, session(1), &bytes(100, 1))).unwrap();
    store.close();
    let old = place.restart();
    let store = old.open_with(eager()).unwrap();
    let image = old.index.crash();
    run(async {
        store.drop_session(session(1)).await.unwrap();
        for n in 2..=60 {
            prepare(&store, session(n), &bytes(15_000, n.into())).await.unwrap();
            store.apply(1, vec![row(20, n.into(), &[session(n)])]).await.unwrap();
        }
        tidy(&store).await.unwrap();
    });
    let live = dump(&store);
    store.close();
    let mixed = Place { disk: old.disk.restart(), index: image };
    let store = mixed.open_with(eager()).unwrap();
    assert_eq!(dump(&store), live);
    store.close();
}

#[test]
fn a_failed_sync_while_tidying_ends_the_service_and_loses_nothing() {
    let mut failed = 0;
    for n in (1..400).step_by(4) {
        let (place, mut work) = (Place::default(), Work::new(5));
        place.disk.fail_sync_at(n);
        let Ok(store) = place.open_with(eager()) else { continue };
        let outcome = run(steps(&store, &mut work, 60));
        let trouble = store.trouble();
        work.check(&store);
        store.close();
        let Err(error) = outcome else { break };
        failed += 1;
        // Where it only kept the journal from growing, nothing is in doubt.
        assert!(trouble.is_some() || error.message.contains("spare"), "sync {n}: {error}");
        for place in [place.crash(n), place.crash(n).without_index()] {
            let store = place.open_with(eager()).unwrap();
            work.check(&store);
            run(tidy(&store)).unwrap();
            work.check(&store);
            store.close();
        }
    }
    assert!(failed > 10, "only {failed}");
}

#[test]
fn a_copy_that_cites_chunks_outlives_the_content_that_brought_them() {
    for len in [30_000, BLOCK + 20_000] {
        let place = Place::default();
        let store = place.open_with(eager()).unwrap();
        run(async {
            prepare(&store, session(1), &bytes(len, 1)).await.unwrap();
            store.apply(1, vec![row(20, 1, &[session(1)])]).await.unwrap();
            let content = Content::cited(&store.lookup(session(1)).unwrap().unwrap().manifest);
            let (session, target, content) = (session(2), target(), Some(content));
            let prepare_it = Prepare {
                session,
                target,
                asker: None,
                content,
                for_partner: false,
                lazy: false,
                lone: false,
                seen: 0,
            };
            store.prepare(prepare_it).await.unwrap();
            store.apply(1, vec![row(21, 2, &[session]), removed(20, 3)]).await.unwrap();
            for n in 3..=60 {
                prepare(&store, super::support::session(n), &bytes(15_000, n.into())).await.unwrap();
                store.apply(1, vec![row(22, n.into(), &[super::support::session(n)])]).await.unwrap();
            }
            tidy(&store).await.unwrap();
        });
        assert!(place.disk.bytes("journal/0000000001.seg").is_none());
        assert_eq!(state(&store, session(1)), None);
        let live = dump(&store);
        store.close();
        let store = place.restart().without_index().open_with(eager()).unwrap();
        assert_eq!(dump(&store), live);
        assert_eq!(held_bytes(&store, session(2)), bytes(len, 1));
        store.close();
    }
}
