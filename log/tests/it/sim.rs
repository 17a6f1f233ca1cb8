//! The simulated disk itself: it must be able to show every failure, and the same ones for the same seed.

use std::collections::BTreeSet;

use log::sim::{Count, SimDisk};
use log::{Disk, Open};

fn pattern(bytes: &[u8]) -> String {
    bytes.chunks(512).map(|sector| char::from(b'0' + sector[0])).collect()
}

#[test]
fn an_unsynced_page_is_lost_kept_or_torn_by_sectors_and_a_synced_one_is_none_of_that() {
    let disk = SimDisk::new();
    let file = disk.open("f/a", Open::Create).unwrap();
    file.write_all_at(&[1; 8192], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_folder("f").unwrap();
    file.write_all_at(&[2; 4096], 0).unwrap();
    file.write_all_at(&[3; 4096], 0).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let bytes = disk.crash(seed).bytes("f/a").unwrap();
        assert_eq!(bytes, disk.crash(seed).bytes("f/a").unwrap(), "one seed, one disk");
        assert_eq!(pattern(&bytes[4096..]), "11111111");
        seen.insert(pattern(&bytes[..4096]));
    }
    for whole in ["11111111", "22222222", "33333333"] {
        assert!(seen.contains(whole), "{whole}");
    }
    assert!(seen.len() > 20, "torn in many ways: {}", seen.len());
    assert_eq!(pattern(&disk.bytes("f/a").unwrap()[..512]), "3", "the disk itself goes on");
}

#[test]
fn names_and_lengths_survive_a_power_cut_by_luck_until_they_are_synced() {
    let disk = SimDisk::new();
    disk.put("f/old", b"old");
    disk.open("f/new", Open::Create).unwrap().write_all_at(b"new", 0).unwrap();
    disk.rename("f/old", "f/renamed").unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk.crash(seed);
        let len = disk.bytes("f/new").map(|b| b.len());
        seen.insert((disk.list("f").unwrap(), len));
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    disk.sync_folder("f").unwrap();
    disk.open("f/new", Open::Existing).unwrap().sync_data().unwrap();
    for seed in 0..100 {
        let disk = disk.crash(seed);
        assert_eq!(disk.list("f").unwrap(), ["new", "renamed"]);
        assert_eq!(disk.bytes("f/new").unwrap(), b"new");
    }
}

#[test]
fn a_sync_after_a_failed_one_reports_success_and_saves_nothing() {
    let disk = SimDisk::new();
    disk.put("a", &[1; 512]);
    let file = disk.open("a", Open::Existing).unwrap();
    file.write_all_at(&[2; 512], 0).unwrap();
    disk.fail_next_sync();
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.bytes("a").unwrap(), [2; 512], "the cache still has it");
    assert_eq!(disk.crash(1).bytes("a").unwrap(), [1; 512]);
    file.drop_cache().unwrap();
    assert_eq!(disk.bytes("a").unwrap(), [1; 512]);
}

#[test]
fn a_frozen_disk_answers_nothing_and_the_operation_it_froze_in_may_have_happened() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new();
        disk.put("a", &[1; 512]);
        let file = disk.open("a", Open::Existing).unwrap();
        disk.freeze_at(Count::Writes, 2);
        file.write_all_at(&[2; 512], 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[3; 512], 0).unwrap_err();
        assert!(disk.frozen());
        assert!(file.sync_data().is_err() && file.read_at(&mut [0], 0).is_err());
        assert!(disk.remove("a").is_err() && disk.open("b", Open::Create).is_err());
        seen.insert(disk.crash(seed).bytes("a").unwrap()[0]);
    }
    assert_eq!(seen, BTreeSet::from([2, 3]));
}

#[test]
fn handles_go_where_they_are_needed() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    send::<log::Log>();
    shared::<log::LogReader>();
    shared::<log::Extents>();
    shared::<log::LogError>();
    shared::<log::Committer<u8>>();
}
