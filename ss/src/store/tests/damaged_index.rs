//! Bits that flip in the index: it is made anew from the journal, and until then answers nothing wrong.

use log::sim::SimDisk;

use super::super::*;
use super::support::*;

const FILE: &str = "index.redb";

fn open(disk: &SimDisk, config: StoreConfig) -> Result<Store> {
    Store::open(Arc::new(disk.clone()), config)
}

/// A disk with a store whose index has pages enough, and what is in it.
fn filled() -> (SimDisk, Dump) {
    let disk = SimDisk::new();
    let store = open(&disk, config()).unwrap();
    run(async {
        store.set_generation(9).await.unwrap();
        for n in 1..=120 {
            prepare(&store, session(n), &bytes(3000 + usize::from(n) * 100, n.into())).await.unwrap();
            store.apply(1, vec![row(20 + u64::from(n), n.into(), &[session(n)])]).await.unwrap();
        }
        store.advance(9, 1, 120).await.unwrap();
    });
    let all = dump(&store);
    store.close();
    (disk.restart(), all)
}

/// Places in the file that are not zero, some apart.
fn places(disk: &SimDisk) -> Vec<u64> {
    let bytes = disk.bytes(FILE).unwrap();
    let used = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at as u64);
    used.step_by(701).collect()
}

#[test]
fn r31_an_index_with_any_bit_flipped_is_the_same_after_the_next_start() {
    let (disk, all) = filled();
    let places = places(&disk);
    assert!(places.len() > 30, "{} places", places.len());
    for at in places {
        let bad = disk.restart();
        bad.flip(FILE, at, 1 << (at % 8));
        let store = open(&bad, config()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert!(dump(&store) == all, "byte {at}");
        store.close();
        assert!(open(&bad.restart(), config()).is_ok_and(|store| dump(&store) == all), "byte {at}");
    }
}

#[test]
fn r31_a_bit_that_flips_while_the_store_runs_is_told_and_the_next_start_makes_the_index_anew() {
    let (disk, all) = filled();
    let mut told = 0;
    for at in places(&disk).into_iter().step_by(3) {
        let bad = disk.restart();
        // Nothing is kept in memory, so that all is read.
        let config = StoreConfig { index_cache_bytes: 0, cache_bytes: 0, ..config() };
        let damage = config.index_damage.clone();
        let store = open(&bad, config).unwrap();
        bad.flip(FILE, at, 1 << (at % 8));
        let records = store.records_after(0, 1000);
        let contents = store.contents_after(None, usize::MAX);
        if let (Ok(records), Ok(contents)) = (records, contents) {
            assert!(records.len() == all.records.len() && contents.len() == all.contents.len(), "byte {at}");
        }
        for n in 1..=120 {
            match store.lookup(session(n)) {
                Ok(held) => assert!(held.is_some(), "byte {at}: a content is not found"),
                Err(_) => assert!(damage.found().is_some(), "byte {at}"),
            }
        }
        if damage.found().is_some() {
            told += 1;
            assert!(bad.bytes(FILE).is_none(), "byte {at}: the damaged index is still there");
        }
        drop(store);
        let store = open(&bad.restart(), super::support::config()).unwrap();
        assert!(dump(&store) == all, "byte {at}");
        store.close();
    }
    assert!(told > 5, "{told}");
}
