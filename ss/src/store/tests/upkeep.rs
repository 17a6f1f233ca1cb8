//! What is known no more: collected tombstones, and an old disk that is compared with the index (R24).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::collect::{removed, tidy};
use super::support::*;
use types::record::Row;

/// All that the name manager has of feed 1: `ids`, with the feed's end `end`.
fn listed(ids: &[u64], end: u64) -> Listed {
    Listed { feed: 1, after: 0, upto: u64::MAX, ids: ids.to_vec(), end }
}

#[test]
fn r24_a_collected_tombstone_is_forgotten_and_a_late_row_does_not_bring_the_file_back() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        store.apply_page(1, vec![removed(20, 9), row(21, 3, &[]), removed(22, 12)], 0).await.unwrap();
        store.forget(1, 10).await.unwrap();
        assert_eq!(store.record(20).unwrap(), None);
        assert!(store.record(21).unwrap().is_some() && store.record(22).unwrap().unwrap().is_tombstone());
        // On its way since before the collection: its file may be one of those that are forgotten.
        let late = store.apply_page(1, vec![row(20, 5, &[])], 8).await;
        assert_eq!(late.unwrap_err().code, Code::Changed);
        assert_eq!(store.record(20).unwrap(), None, "it stays removed");
        // Read after the collection: this file was never removed.
        store.apply_page(1, vec![row(23, 4, &[])], 9).await.unwrap();
        assert!(store.record(23).unwrap().is_some());
        store.apply_page(1, vec![row(24, 11, &[])], 8).await.unwrap();
        // Nor does a late answer show it.
        store.install_head(record(&row(20, 6, &[]))).unwrap();
        assert_eq!(store.record(20).unwrap(), None);
    });
    run(settle(&store));
    let live = dump(&store);
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        assert_eq!(dump(&store), live);
        let late = run(store.apply_page(1, vec![row(20, 5, &[])], 8));
        assert_eq!(late.unwrap_err().code, Code::Changed, "also after a restart");
        store.close();
    }
}

#[test]
fn r24_a_refused_row_stays_refused_when_the_record_that_forgot_has_left_the_journal() {
    let place = Place::default();
    let store =
        place.open_with(StoreConfig { segment_bytes: 128 << 10, compact_segments: 2, ..config() }).unwrap();
    let fill = async |from: u64, to: u64| {
        for n in from..to {
            prepare(&store, session(100), &bytes(9000, n)).await.unwrap();
            store.drop_session(session(100)).await.unwrap();
        }
    };
    run(async {
        store.apply_page(1, vec![removed(20, 9)], 0).await.unwrap();
        store.forget(1, 10).await.unwrap();
        // In a later segment than what forgot, which is given back then.
        fill(0, 25).await;
        let late = store.apply_page(1, vec![row(20, 5, &[])], 8).await;
        assert_eq!(late.unwrap_err().code, Code::Changed);
        fill(25, 40).await;
        tidy(&store).await.unwrap();
        assert_eq!(store.record(20).unwrap(), None);
    });
    store.close();
    let store = place.restart().without_index().open().unwrap();
    assert_eq!(store.record(20).unwrap(), None, "the file was removed");
    store.close();
}

#[test]
fn r24_what_is_set_aside_is_not_found_and_its_bytes_are_not_given_up() {
    let place = Place::default();
    let store = place.open().unwrap();
    let content = bytes(100_000, 1);
    run(async {
        prepare(&store, session(1), &content).await.unwrap();
        store.apply(1, vec![row(20, 5, &[session(1)]), row(21, 6, &[]), removed(22, 7)]).await.unwrap();
        store.apply(1, vec![row(23, 11, &[])]).await.unwrap();
        let unlisted = store.unlisted(&listed(&[21], 10)).unwrap();
        let ids: Vec<u64> = unlisted.iter().map(|record| record.id).collect();
        assert_eq!(ids, [20, 22], "one is listed, one is newer than the list");
        store.set_aside(unlisted).await.unwrap();
        tidy(&store).await.unwrap();
        assert_eq!((store.record(20).unwrap(), store.record(22).unwrap()), (None, None));
        assert_eq!(store.aside_count().unwrap(), 1, "nothing hangs on a tombstone");
        assert_eq!(held_bytes(&store, session(1)), content);
        assert!(store.unlisted(&listed(&[21], 10)).unwrap().is_empty());
    });
    run(settle(&store));
    let live = dump(&store);
    store.close();
    for place in [place.restart(), place.restart().without_index()] {
        let store = place.open().unwrap();
        assert_eq!(dump(&store), live);
        // Known again: what its row does not name goes, and nothing is counted twice.
        run(async {
            store.apply(1, vec![row(20, 12, &[])]).await.unwrap();
            tidy(&store).await.unwrap();
        });
        assert_eq!((store.aside_count().unwrap(), state(&store, session(1))), (0, None));
        store.close();
    }
}

#[test]
fn a_record_that_changed_meanwhile_is_not_set_aside() {
    let store = Place::default().open().unwrap();
    run(async {
        store.apply(1, vec![row(20, 5, &[])]).await.unwrap();
        let unlisted = store.unlisted(&listed(&[], 10)).unwrap();
        store.apply(1, vec![row(20, 11, &[])]).await.unwrap();
        store.set_aside(unlisted).await.unwrap();
        assert_eq!(store.record(20).unwrap().unwrap().seq, 11);
    });
    store.close();
}

#[test]
fn a_version_that_was_repaired_stays_one_when_the_index_is_rebuilt_after_compaction() {
    let place = Place::default();
    let eager = || StoreConfig { segment_bytes: 128 << 10, compact_segments: 2, ..config() };
    let store = place.open_with(eager()).unwrap();
    run(async {
        prepare(&store, session(1), &bytes(9000, 1)).await.unwrap();
        store.apply(1, vec![row(20, 5, &[session(1)])]).await.unwrap();
        // The repair stands in a later segment than what it repairs, which is given back then.
        for n in 0..40 {
            prepare(&store, session(100), &bytes(9000, n + 10)).await.unwrap();
            store.drop_session(session(100)).await.unwrap();
            if n == 25 {
                store.keep_fetched(session(1), content(&store, &bytes(9000, 1)).unwrap()).await.unwrap();
            }
        }
        tidy(&store).await.unwrap();
        assert_eq!(state(&store, session(1)), Some(State::Kept));
        assert_eq!(store.named(&[session(1), session(2)]).unwrap().len(), 1);
    });
    store.close();
    assert!(place.disk.bytes("journal/0000000001.seg").is_none(), "it was compacted");
    let store = place.restart().without_index().open_with(eager()).unwrap();
    assert_eq!(state(&store, session(1)), Some(State::Kept));
    assert_eq!(held_bytes(&store, session(1)), bytes(9000, 1));
    store.close();
}

/// The name manager's side: inode → number, session of its one version; none: a tombstone.
#[derive(Clone, Default)]
struct Index {
    files: BTreeMap<u64, (u64, Option<u8>)>,
    seq: u64,
    collected: u64,
}

impl Index {
    fn rows(&self, after: u64) -> Vec<Row> {
        let make = |(inode, (seq, content)): (&u64, &(u64, Option<u8>))| match content {
            Some(n) => row(*inode, *seq, &[session(*n)]),
            None => removed(*inode, *seq),
        };
        let mut rows: Vec<Row> = self.files.iter().filter(|(_, file)| file.0 > after).map(make).collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }

    fn ids(&self) -> Vec<u64> {
        self.files.keys().copied().collect()
    }

    fn step(&mut self, what: u8, inode: u64) {
        self.seq += 1;
        let present = self.files.get(&inode).copied();
        match (what, present) {
            // An id is never used again.
            (0..=4, None) if inode <= self.last() => {}
            (0..=4, Some((_, None))) => {}
            (0..=4, _) => drop(self.files.insert(inode, (self.seq, Some(self.seq as u8)))),
            (5 | 6, Some((_, Some(_)))) => drop(self.files.insert(inode, (self.seq, None))),
            (7, _) => {
                self.collected = self.seq;
                self.files.retain(|_, file| file.1.is_some());
            }
            _ => {}
        }
    }

    fn last(&self) -> u64 {
        self.files.keys().next_back().copied().unwrap_or(0)
    }

    /// Brings a store up to date from `after` on; a content that it does not hold comes from its partner.
    async fn feed(&self, store: &Store, after: u64) -> usize {
        let mut fetched = 0;
        for (_, n) in self.files.values().filter(|file| file.0 > after) {
            if let Some(n) = n
                && store.lookup(session(*n)).unwrap().is_none()
            {
                store
                    .keep_fetched(session(*n), content(store, &bytes(50, u64::from(*n))).unwrap())
                    .await
                    .unwrap();
                fetched += 1;
            }
        }
        store.apply_page(1, self.rows(after), self.collected).await.unwrap();
        store.forget(1, self.collected).await.unwrap();
        fetched
    }
}

/// Files that a reader can find, with the session of their content.
fn visible(store: &Store) -> Vec<(u64, Vec<u8>)> {
    let records = store.records_after(0, 1000).unwrap();
    let files = records.iter().filter(|record| !record.is_tombstone());
    files.map(|record| (record.id, record.versions[0].session.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// An image is taken at any time and comes back at any later one, tombstones collected or not: compared with the
    /// index from the start it shows the same files as the member that was never away, and fetches only what changed.
    #[test]
    fn r24_an_old_disk_compared_from_the_start_shows_what_the_living_one_shows(
        before in prop::collection::vec((0u8..8, 1u64..9), 0..25),
        after in prop::collection::vec((0u8..8, 1u64..14), 0..25),
    ) {
        let (place, mut index) = (Place::default(), Index::default());
        let living = place.open().unwrap();
        run(async {
            for (what, inode) in before {
                index.step(what, inode);
            }
            index.feed(&living, 0).await;
        });
        run(settle(&living));
        let (image, held) = (place.restart(), index.clone());
        run(async {
            for (what, inode) in after {
                let cursor = index.seq;
                index.step(what, inode);
                index.feed(&living, cursor).await;
            }
        });
        let old = image.open().unwrap();
        run(async {
            let fetched = index.feed(&old, 0).await;
            let changed = index.files.iter().filter(|(id, file)| file.1.is_some() && held.files.get(id) != Some(*file));
            prop_assert_eq!(fetched, changed.count(), "what it holds is not copied again");
            let unlisted = old.unlisted(&listed(&index.ids(), index.seq)).unwrap();
            old.set_aside(unlisted).await.unwrap();
            Ok(())
        })?;
        prop_assert_eq!(visible(&old), visible(&living));
        let expected: Vec<u64> = index.files.iter().filter(|(_, file)| file.1.is_some()).map(|(id, _)| *id).collect();
        prop_assert_eq!(visible(&old).iter().map(|file| file.0).collect::<Vec<_>>(), expected);
        old.close();
        living.close();
    }
}
