//! Damage that a reader meets while the group runs.

use super::support::{Media, Member};
use crate::EXIT_DAMAGED;
use crate::store;
use nm_core::state::State;
use nm_core::store::{StoreError, StoreMut, Table};

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
