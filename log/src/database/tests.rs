//! A database in a checked file: damage is met by nobody, and power cuts cost nothing that was durable.

use super::layout::BLOCK;
use super::open_database;
use crate::disk::{Disk, Open};
use crate::sim::{Count, SimDisk};
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const NAME: &str = "some.redb";
const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("things");
/// Small, so that pages are read from the file again and again.
const CACHE: usize = 64 << 10;

type Content = BTreeMap<u64, Vec<u8>>;

fn open(disk: &SimDisk) -> Result<Database, DatabaseError> {
    open_database(disk, NAME, CACHE, Box::new(|_| ()))
}

/// Puts values under `keys`; some are longer than a page.
fn put(db: &Database, keys: std::ops::Range<u64>, round: u64, durable: bool) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(durable);
    txn.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
    {
        let mut table = txn.open_table(TABLE)?;
        for key in keys {
            table.insert(key, &*value(key, round))?;
        }
    }
    Ok(txn.commit()?)
}

fn value(key: u64, round: u64) -> Vec<u8> {
    let length = if key.is_multiple_of(40) { 9_000 } else { 100 + key as usize % 50 };
    format!("{key}-{round} ").into_bytes().into_iter().cycle().take(length).collect()
}

fn content(db: &Database) -> Result<Content, redb::Error> {
    let txn = db.begin_read()?;
    let table = match txn.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Content::new()),
        table => table?,
    };
    let mut all = Content::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        all.insert(key.value(), value.value().to_vec());
    }
    // Look-ups go another way than the walk.
    for (key, value) in &all {
        assert_eq!(table.get(key)?.map(|found| found.value().to_vec()).as_ref(), Some(value));
    }
    Ok(all)
}

fn filled() -> (SimDisk, Content) {
    let disk = SimDisk::new();
    let db = open(&disk).unwrap();
    put(&db, 0..400, 1, true).unwrap();
    put(&db, 100..300, 2, true).unwrap();
    let all = content(&db).unwrap();
    assert_eq!(all.len(), 400);
    (disk, all)
}

#[test]
fn no_flipped_bit_is_ever_read_as_something_else() {
    let (disk, all) = filled();
    let len = disk.bytes(NAME).unwrap().len() as u64;
    let (mut noticed, mut harmless) = (0, 0);
    // A prime, so that every place within a block is met.
    for at in (0..len).step_by(2_503) {
        let bad = disk.restart();
        bad.flip(NAME, at, 1 << (at % 8));
        let told = Arc::new(AtomicU32::new(0));
        let count = told.clone();
        let on_damage = Box::new(move |_: &str| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let opened = open_database(&bad, NAME, CACHE, on_damage);
        match opened.map_err(redb::Error::from).and_then(|db| content(&db)) {
            Ok(found) => {
                assert!(found == all, "byte {at} is read as something else");
                harmless += 1;
            }
            Err(redb::Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                assert_eq!(told.load(Ordering::Relaxed), u32::from(at >= 512), "byte {at}");
                noticed += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(noticed > 50 && harmless > 50, "{noticed} noticed, {harmless} in free room");
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_or_whole() {
    let (disk, all) = filled();
    let bytes = disk.bytes(NAME).unwrap();
    let mut refused = 0;
    for len in (1..bytes.len()).step_by(16_381).chain([511, 512, 4096, 8192]) {
        let cut = disk.restart();
        cut.put(NAME, &bytes[..len]);
        match open(&cut).map_err(redb::Error::from).and_then(|db| content(&db)) {
            Ok(found) => assert!(found == all, "cut to {len}"),
            Err(redb::Error::Corrupted(_)) => refused += 1,
            Err(redb::Error::Io(error)) => {
                let kinds = [std::io::ErrorKind::InvalidData, std::io::ErrorKind::UnexpectedEof];
                assert!(kinds.contains(&error.kind()), "cut to {len}: {error}");
                refused += 1;
            }
            Err(other) => panic!("cut to {len}: {other}"),
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn a_block_of_an_earlier_time_is_not_the_one_that_belongs_there() {
    let (disk, all) = filled();
    let bytes = disk.bytes(NAME).unwrap();
    for (from, to) in (2..80).zip((2..80).rev()).filter(|(from, to)| from != to) {
        let bad = disk.restart();
        let place = |block: u64| (block * BLOCK) as usize..((block + 1) * BLOCK) as usize;
        let mut misplaced = bytes.clone();
        misplaced.copy_within(place(from), place(to).start);
        bad.put(NAME, &misplaced);
        if let Ok(found) = open(&bad).map_err(redb::Error::from).and_then(|db| content(&db)) {
            assert!(found == all, "block {from} is read as block {to}");
        }
    }
}

#[test]
fn a_flipped_bit_of_the_header_costs_a_look_at_all_pages() {
    let (disk, all) = filled();
    for at in (8..344).step_by(9) {
        let bad = disk.restart();
        bad.flip(NAME, at, 1 << (at % 8));
        let found = open(&bad).map_err(redb::Error::from).and_then(|db| {
            let found = content(&db)?;
            put(&db, 1000..1001, 1, true).map(|()| found)
        });
        match found {
            Ok(found) => {
                // The commit before is whole as long as nothing was written in its place.
                assert!(found == all || found.get(&150) == Some(&value(150, 1)), "byte {at}");
                assert_eq!(content(&open(&bad).unwrap()).unwrap().len(), found.len() + 1, "byte {at}");
            }
            Err(redb::Error::Corrupted(_)) => {
                assert!(open(&bad).is_err(), "byte {at}: a second start believes it");
            }
            Err(redb::Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

/// Writes until the disk stops: what was durable last, and what may be as well.
fn write_until_it_stops(disk: &SimDisk) -> Option<(Content, Content)> {
    let mut known = Content::new();
    let db = open(disk).ok()?;
    for round in 1.. {
        let keys = (round * 37) % 300..(round * 37) % 300 + 60;
        let durable = round % 3 == 0;
        let mut next = known.clone();
        if round > 2 || durable {
            next = content(&db).ok().unwrap_or(next);
        }
        next.extend(keys.clone().map(|key| (key, value(key, round))));
        match put(&db, keys, round, durable) {
            Ok(()) if durable => known = next,
            Ok(()) => {}
            Err(_) => return Some((known, next)),
        }
    }
    unreachable!("the disk stops")
}

#[test]
fn a_power_cut_at_any_operation_leaves_what_was_durable() {
    for at in (1..40).chain((40..900).step_by(53)) {
        let disk = SimDisk::new();
        disk.freeze_at(Count::Ops, at);
        let left = write_until_it_stops(&disk);
        assert!(disk.frozen(), "operation {at} was not reached");
        for seed in 0..3 {
            let cut = disk.crash(at * 3 + seed);
            let mut db = open(&cut).unwrap_or_else(|error| panic!("operation {at}, image {seed}: {error}"));
            let found = content(&db).unwrap_or_else(|error| panic!("operation {at}, image {seed}: {error}"));
            let (known, next) = left.clone().unwrap_or_default();
            assert!(found == known || found == next, "operation {at}, image {seed}");
            put(&db, 0..50, 1000, true).unwrap();
            assert!(db.check_integrity().unwrap(), "operation {at}, image {seed}");
        }
    }
}

/// The same content in a file as redb writes it.
fn plain() -> (SimDisk, Content) {
    let (disk, all) = filled();
    let memory = tempfile::NamedTempFile::new().unwrap();
    let db = Database::builder().create(memory.path()).unwrap();
    put(&db, 0..400, 1, true).unwrap();
    put(&db, 100..300, 2, true).unwrap();
    drop(db);
    disk.put(NAME, &std::fs::read(memory.path()).unwrap());
    (disk, all)
}

#[test]
fn a_database_of_the_first_days_keeps_what_is_in_it_and_gets_checksums() {
    let (disk, all) = plain();
    disk.put(&format!("{NAME}.new"), b"left by a start that was interrupted");
    let db = open(&disk).unwrap();
    assert!(content(&db).unwrap() == all);
    put(&db, 500..501, 1, true).unwrap();
    drop(db);
    assert_eq!(disk.bytes(NAME).unwrap()[..8], *b"PairSum\n");
    assert_eq!(content(&open(&disk.restart()).unwrap()).unwrap().len(), all.len() + 1);
    assert_eq!(disk.list("").unwrap(), [NAME]);
}

#[test]
fn a_power_cut_while_a_database_gets_checksums_leaves_one_or_the_other() {
    for at in 1.. {
        let (disk, all) = plain();
        let disk = disk.restart();
        disk.freeze_at(Count::Ops, at);
        let done = open(&disk).is_ok() && !disk.frozen();
        for seed in 0..3 {
            let db = open(&disk.crash(at * 3 + seed)).unwrap();
            assert!(content(&db).unwrap() == all, "operation {at}, image {seed}");
        }
        if done {
            assert!(at > 10);
            break;
        }
    }
}

#[test]
fn what_is_damaged_when_it_gets_checksums_is_refused() {
    let (disk, all) = plain();
    let len = disk.bytes(NAME).unwrap().len() as u64;
    let mut refused = 0;
    for at in (4096..len).step_by(9_001) {
        let bad = disk.restart();
        bad.flip(NAME, at, 4);
        match open(&bad) {
            Ok(db) => assert!(content(&db).unwrap() == all, "byte {at}"),
            Err(DatabaseError::Storage(StorageError::Corrupted(_) | StorageError::Io(_))) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_file_that_shrinks_and_grows_again_is_read_as_it_is() {
    let disk = SimDisk::new();
    let mut db = open(&disk).unwrap();
    for round in 1..4 {
        put(&db, 0..3000, round, true).unwrap();
        let longest = disk.bytes(NAME).unwrap().len();
        let mut txn = db.begin_write().unwrap();
        txn.set_quick_repair(true);
        txn.open_table(TABLE).unwrap().retain(|key, _| key < 10).unwrap();
        txn.commit().unwrap();
        assert!(db.compact().unwrap());
        assert!(disk.bytes(NAME).unwrap().len() < longest, "it did not shrink");
        assert_eq!(content(&db).unwrap().len(), 10);
    }
    put(&db, 0..3000, 9, true).unwrap();
    assert!(content(&db).unwrap().iter().all(|(key, found)| *found == value(*key, 9)));
    drop(db);
    assert_eq!(content(&open(&disk.restart()).unwrap()).unwrap().len(), 3000);
}

#[test]
fn one_whose_making_was_not_finished_begins_anew_and_a_foreign_file_is_refused() {
    let disk = SimDisk::new();
    disk.put(NAME, &[0; 20_000]);
    assert!(content(&open(&disk).unwrap()).unwrap().is_empty());
    disk.put(NAME, &[b'x'; 20_000]);
    assert!(matches!(open(&disk), Err(DatabaseError::Storage(StorageError::Io(_)))));
    assert_eq!(disk.open(NAME, Open::Existing).unwrap().len().unwrap(), 20_000, "nothing is changed in it");
}

#[test]
fn a_second_opener_of_a_real_file_is_told_that_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let disk = crate::RealDisk::new(folder.path().to_owned()).unwrap();
    let open = || open_database(&disk, NAME, CACHE, Box::new(|_| ()));
    let db = open().unwrap();
    assert!(matches!(open(), Err(DatabaseError::DatabaseAlreadyOpen)));
    drop(db);
    open().unwrap();
}
