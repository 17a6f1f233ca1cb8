//! Damage that a reader meets while the group runs.

use super::support::{Media, Member};
use crate::EXIT_DAMAGED;
use crate::error::{Failures, RaftError};
use crate::store::{self, View};
use log::sim::SimDisk;
use nm_core::state::State;
use nm_core::store::{Store, StoreError, StoreMut, Table};
use std::collections::BTreeMap;

#[test]
fn r34_damage_that_a_reader_meets_ends_the_group_with_exit_7_and_the_way_out() {
    let member = Member::start(&Media::default()).unwrap();
    let garbage =
        |store: &mut store::Transaction<'_>| store.put(Table::Pairs, &1u32.to_be_bytes(), &[0xff; 9]);
    store::write(&member.raft.inner().db, false, garbage).unwrap();
    let view = member.raft.view().unwrap();
    assert!(matches!(State::new(&view).pair(1), Err(StoreError::Damaged(_))));
    drop(view);
    let failure = member.run(member.raft.failed());
    assert_eq!(failure.exit_code, EXIT_DAMAGED);
    assert!(failure.message.contains("--rebuild"), "{}", failure.message);
}

#[test]
fn a_disk_that_fails_is_not_taken_for_damage() {
    let refused = std::io::Error::from_raw_os_error(5);
    assert!(matches!(store::failed(redb::StorageError::Io(refused)), StoreError::Failed(_)));
    let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    assert!(matches!(store::failed(redb::StorageError::Io(short)), StoreError::Damaged(_)));
    assert!(matches!(store::failed(redb::StorageError::Corrupted("x".into())), StoreError::Damaged(_)));
}

/// All that is read back of the table that [`filled`] has written.
fn read(disk: &SimDisk, failures: &Failures) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, RaftError> {
    let db = store::open(disk, 64 << 10, failures)?;
    let view = View::watched(&db, failures.clone())?;
    let mut found = BTreeMap::new();
    view.scan(Table::Events, &[], &[], &mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        true
    })?;
    for (key, value) in &found {
        assert_eq!(view.get(Table::Events, key)?.as_ref(), Some(value));
    }
    Ok(found)
}

fn filled() -> SimDisk {
    let disk = SimDisk::new();
    let db = store::open(&disk, 1 << 20, &Failures::new()).unwrap();
    let fill = |store: &mut store::Transaction<'_>| {
        (0u64..500).try_for_each(|key| store.put(Table::Events, &key.to_be_bytes(), &[key as u8; 300]))
    };
    store::write(&db, true, fill).unwrap();
    disk
}

#[test]
fn r34_a_flipped_bit_of_the_state_is_damage_with_the_way_out_and_never_another_answer() {
    let disk = filled();
    let all = read(&disk.restart(), &Failures::new()).unwrap();
    assert_eq!(all.len(), 500);
    let bytes = disk.bytes("state.redb").unwrap();
    let used = (0..bytes.len() as u64).filter(|at| bytes[*at as usize] != 0);
    let (mut told, mut harmless) = (0, 0);
    for at in used.step_by(1_501) {
        let bad = disk.restart();
        bad.flip("state.redb", at, 1 << (at % 8));
        let failures = Failures::new();
        match read(&bad, &failures) {
            Ok(found) => {
                assert!(found == all, "byte {at}");
                harmless += 1;
            }
            Err(error) => {
                assert_eq!(error.exit_code(), EXIT_DAMAGED, "byte {at}: {error}");
                assert!(error.to_string().contains("--rebuild"), "byte {at}: {error}");
                // What is met behind the header ends the group, whoever met it.
                let told_so = failures.get().is_some_and(|failure| failure.exit_code == EXIT_DAMAGED);
                assert!(told_so || at < 512, "byte {at}: {error}");
                told += 1;
            }
        }
    }
    assert!(told > 50, "{told} told, {harmless} in free room");
}
