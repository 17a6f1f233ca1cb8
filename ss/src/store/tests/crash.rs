//! Power cuts at every operation of the disk: what was acknowledged is there, nothing is torn, and the index
//! does not matter.

use std::collections::BTreeMap;

use bytes::Bytes;
use log::Log;
use log::sim::Count;
use types::ids::SessionId;

use super::super::*;
use super::support::*;

/// What a run asked for, and how much of it was acknowledged.
#[derive(Default)]
struct Asked {
    /// Session → its bytes, and whether it must be there.
    contents: BTreeMap<SessionId, (Bytes, bool)>,
    /// Inode → (highest acknowledged, highest asked).
    rows: BTreeMap<u64, (u64, u64)>,
    /// (acknowledged, asked)
    cursor: (u64, u64),
}

impl Asked {
    async fn prepare(&mut self, store: &Store, n: u8, len: usize, lazy: bool) -> Result<()> {
        let data = bytes(len, n.into());
        self.contents.insert(session(n), (data.clone(), false));
        prepare_as(store, session(n), &data, lazy).await?;
        self.contents.insert(session(n), (data, !lazy));
        Ok(())
    }

    async fn row(&mut self, store: &Store, inode: u64, seq: u64, sessions: &[SessionId]) -> Result<()> {
        self.rows.entry(inode).or_default().1 = seq;
        store.apply(1, vec![row(inode, seq, sessions)]).await?;
        self.rows.insert(inode, (seq, seq));
        Ok(())
    }

    async fn drop(&mut self, store: &Store, n: u8) -> Result<()> {
        self.contents.get_mut(&session(n)).unwrap().1 = false;
        store.drop_session(session(n)).await
    }

    /// A bit of everything; ends at the first failure.
    async fn work(&mut self, store: &Store) -> Result<()> {
        self.prepare(store, 1, 3000, false).await?;
        self.prepare(store, 2, 100_000, false).await?;
        self.prepare(store, 3, 40_000, true).await?;
        self.row(store, 20, 5, &[session(1)]).await?;
        self.cursor.1 = 5;
        store.advance(0, 1, 5).await?;
        self.cursor.0 = 5;
        // Room that is given up and used again at once.
        self.drop(store, 2).await?;
        self.prepare(store, 4, 99_000, true).await?;
        self.prepare(store, 5, 98_000, false).await?;
        store.unprepare(session(5)).await?;
        self.row(store, 21, 8, &[session(4)]).await?;
        self.prepare(store, 6, 90_000, false).await?;
        self.contents.insert(session(7), (bytes(120_000, 7), false));
        store.keep_fetched(session(7), content(store, &bytes(120_000, 7))?).await?;
        self.contents.insert(session(7), (bytes(120_000, 7), true));
        self.row(store, 20, 9, &[session(1), session(7)]).await?;
        self.cursor.1 = 9;
        store.advance(0, 1, 9).await?;
        self.cursor.0 = 9;
        self.prepare(store, 8, 16_000, false).await
    }

    /// Compares with what a store holds after a crash.
    fn check(&self, store: &Store) {
        let found = dump(store);
        for (session, _, data) in &found.contents {
            let (asked, _) = self.contents.get(session).expect("nobody asked for it");
            assert_eq!(data, asked, "torn content");
            assert_eq!(store.verify(*session).unwrap(), Ok(()));
        }
        for (session, (_, must)) in &self.contents {
            let there = found.contents.iter().any(|(s, ..)| s == session);
            assert!(there || !must, "an acknowledged content is lost");
        }
        for record in &found.records {
            let (_, asked) = self.rows.get(&record.id).expect("nobody asked for it");
            assert!(record.seq <= *asked);
        }
        for (inode, (acknowledged, _)) in &self.rows {
            let seq = store.record(*inode).unwrap().map_or(0, |r| r.seq);
            assert!(seq >= *acknowledged, "an acknowledged row is lost");
        }
        let cursor = found.cursors.pair;
        assert!(cursor >= self.cursor.0 && cursor <= self.cursor.1);
        // The cursor covers only what is here.
        for (inode, seq) in [(20, 5), (21, 8), (20, 9)].into_iter().filter(|(_, seq)| *seq <= cursor) {
            assert!(store.record(inode).unwrap().is_some_and(|r| r.seq >= seq), "the cursor ran ahead");
        }
    }
}

/// Works on a disk that stops at operation `n`; `None` when it did not get that far.
fn stopped_at(n: u64) -> Option<(Place, Asked)> {
    let place = Place::default();
    place.disk.freeze_at(Count::Ops, n);
    let mut asked = Asked::default();
    if let Ok(store) = place.open() {
        let outcome = run(asked.work(&store));
        store.close();
        assert!(outcome.is_ok() || place.disk.frozen(), "{outcome:?}");
    }
    place.disk.frozen().then_some((place, asked))
}

fn check_after(place: &Place, asked: &Asked) -> Dump {
    let store = place.open().unwrap();
    asked.check(&store);
    let found = dump(&store);
    // Life goes on, and the next start finds all of it.
    run(async {
        prepare(&store, session(50), &bytes(70_000, 50)).await.unwrap();
        prepare(&store, session(51), &bytes(70, 51)).await.unwrap();
        store.apply(1, vec![row(90, 90, &[session(50)])]).await.unwrap();
    });
    let later = dump(&store);
    store.close();
    let store = place.restart().open().unwrap();
    assert_eq!(dump(&store), later);
    store.close();
    found
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_every_operation() {
    let mut points = 0;
    for n in 1.. {
        let Some((place, asked)) = stopped_at(n) else { break };
        points = n;
        for seed in [n, n + 1_000_000] {
            let kept = check_after(&place.crash(seed), &asked);
            let rebuilt = check_after(&place.crash(seed).without_index(), &asked);
            assert_eq!(kept, rebuilt, "crash at operation {n}, seed {seed}");
        }
        let kept = check_after(&place.restart(), &asked);
        let rebuilt = check_after(&place.restart().without_index(), &asked);
        assert_eq!(kept, rebuilt, "end of the process at operation {n}");
    }
    assert!(points > 40, "only {points} points");
}

#[test]
fn a_failed_sync_at_any_time_loses_nothing_acknowledged() {
    let mut failed = 0;
    for n in 1..200 {
        let place = Place::default();
        place.disk.fail_sync_at(n);
        let mut asked = Asked::default();
        let Ok(store) = place.open() else { continue };
        let outcome = run(asked.work(&store));
        let trouble = store.trouble();
        store.close();
        let Err(error) = outcome else { break };
        failed += 1;
        // Where it only kept the journal from growing, nothing is in doubt.
        assert!(trouble.is_some() || error.message.contains("spare"), "sync {n}: {error}");
        for seed in 0..3 {
            check_after(&place.crash(seed), &asked);
            check_after(&place.crash(seed).without_index(), &asked);
        }
    }
    assert!(failed > 10);
}

#[test]
fn an_index_that_is_ahead_of_the_journal_is_rebuilt() {
    let place = Place::default();
    let store = place.open_with(StoreConfig { index_commit_records: 1, ..config() }).unwrap();
    run(prepare(&store, session(1), &bytes(100, 1))).unwrap();
    let old = place.disk.restart();
    run(prepare(&store, session(2), &bytes(100, 2))).unwrap();
    store.close();
    // An image of the journal from before, under the index of now.
    let mixed = Place { disk: old, index: place.index.crash() };
    let store = mixed.open().unwrap();
    assert_eq!(held_bytes(&store, session(1)), bytes(100, 1));
    assert_eq!(store.lookup(session(2)).unwrap(), None);
    store.close();
}

#[test]
fn an_index_that_fails_ends_the_service_and_leaves_no_hole() {
    let place = Place::default();
    let store = place.open_with(StoreConfig { index_commit_records: 1, ..config() }).unwrap();
    run(async {
        prepare(&store, session(1), &bytes(100, 1)).await.unwrap();
        place.index.set_broken(true);
        let error = prepare(&store, session(2), &bytes(100, 2)).await.unwrap_err();
        // It stands in the journal, so it may count after all.
        assert_eq!((error.code, error.effect), (Code::Io, types::Effect::Unknown));
        place.index.set_broken(false);
        assert_eq!(prepare(&store, session(3), &bytes(100, 3)).await.unwrap_err().code, Code::Io);
        assert!(store.trouble().is_some());
    });
    store.close();
    let store = place.restart().open().unwrap();
    for n in [1, 2] {
        assert_eq!(held_bytes(&store, session(n)), bytes(100, n.into()));
    }
    assert_eq!(store.lookup(session(3)).unwrap(), None);
    store.close();
}

#[test]
fn damage_in_the_journal_is_told_not_replayed_around() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        for n in 0..4 {
            prepare(&store, session(n), &bytes(5000, n.into())).await.unwrap();
        }
    });
    store.close();
    let segment = place.disk.bytes("journal/0000000001.seg").unwrap();
    let at = segment.windows(100).position(|w| w == &bytes(5000, 1)[1000..1100]).unwrap();
    assert!(place.disk.flip("journal/0000000001.seg", at as u64, 1));
    assert_eq!(place.restart().without_index().open().err().unwrap().code, Code::Damaged);
}

#[test]
fn a_record_of_a_later_version_is_refused_by_name() {
    let disk = log::sim::SimDisk::new();
    let settings =
        log::LogConfig { folder: "journal".into(), background_fill: false, ..log::LogConfig::default() };
    let mut journal =
        Log::open(Arc::new(disk.clone()), settings, Position::default(), &mut |_| Ok(())).unwrap();
    journal.append(99, &[&[0; 4]]).unwrap();
    journal.sync().unwrap();
    let place = Place { disk, ..Place::default() };
    assert_eq!(place.open().err().unwrap().code, Code::UnknownFormat);
}

#[test]
fn a_lone_write_is_there_after_a_power_cut_though_no_thread_was_woken_to_sync_it() {
    let place = Place::default();
    let store = place.open().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for n in 0..20 {
        let (store, disk) = (store.clone(), place.clone());
        // In a task, as a request is: that is where it may be synced at once.
        let lone = async move {
            let data = bytes(100 + usize::from(n), n.into());
            // Beside it one that is only buffered, as a partner does it.
            prepare_as(&store, session(100 + n), &data, true).await.unwrap();
            prepare_as(&store, session(n), &data, false).await.unwrap();
            (disk.crash(n.into()), data)
        };
        let (cut, data) = runtime.block_on(runtime.spawn(lone)).unwrap();
        let after = cut.open().unwrap();
        assert_eq!(held_bytes(&after, session(n)), data);
        assert_eq!(held_bytes(&after, session(100 + n)), data, "one sync is for all before it");
        after.close();
    }
    store.close();
}
