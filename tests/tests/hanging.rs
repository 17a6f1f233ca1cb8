//! A disk that hangs in the kernel: whoever writes to it waits and cannot be killed. Needs root, `mkfs.ext4`, a loop device
//! and `fsfreeze`. What hangs by a library in the process instead, on any machine, is in `gray.rs`.

use pairfs_tests::by_hand::Conditions;
use pairfs_tests::cluster::{LATER, all_active, pair};
use pairfs_tests::mounted::with_disk;
use pairfs_tests::until;
use pairfs_tests::workload::under_load;

#[test]
fn a_primary_whose_disk_hangs_in_the_kernel_is_replaced_and_comes_back_when_it_thaws() {
    with_disk("ss1", |cluster, disk| {
        let mut ss1 = cluster.restart_by_hand("ss1", &Conditions::default());
        cluster.wait(LATER, "ss1 to act", |status| all_active(status) && pair(status)["acting"] == "ss1");
        let ledger = under_load(cluster, 3, 2, |ledger| {
            ledger.wait_writes(5, LATER);
            let frozen = disk.freeze();
            cluster.wait_acting("ss1_backup", LATER);
            ledger.wait_writes(10, LATER);
            until(LATER, "ss1 to be told failed because of its disk", || {
                let events = cluster.events_of("failed", "ss1");
                events.iter().any(|event| event["reason"].as_str().is_some_and(|why| why.contains("disk")))
            });
            assert!(ss1.runs(), "its heartbeats came all the time");
            drop(frozen);
            cluster.wait_acting("ss1", LATER);
            ledger.wait_writes(5, LATER);
            assert!(ss1.runs(), "it came back without a restart");
        });
        cluster.assert_whole(&ledger);
    });
}

#[test]
fn a_backup_whose_disk_hangs_in_the_kernel_is_shown_and_holds_up_nobody() {
    with_disk("ss1_backup", |cluster, disk| {
        let ledger = under_load(cluster, 2, 1, |ledger| {
            ledger.wait_writes(5, LATER);
            let frozen = disk.freeze();
            cluster.wait(LATER, "it to be told", |status| pair(status)["state"] == "degraded");
            ledger.wait_writes(10, LATER);
            drop(frozen);
            cluster.wait(LATER, "the pair to be active", all_active);
        });
        cluster.assert_whole(&ledger);
    });
}

#[test]
fn a_name_manager_whose_disk_hangs_tells_who_does_not_wait_and_loses_nothing() {
    with_disk("nm", |cluster, disk| {
        cluster.write("/known", b"known");
        let ledger = under_load(cluster, 2, 1, |ledger| {
            ledger.wait_writes(5, LATER);
            let frozen = disk.freeze();
            // Nobody can be told that a write is decided. Who waits less than the disk hangs hears what may have happened.
            let write = cluster.pairfs_with(&["--json", "write", "/late", "-", "--timeout", "5"], b"late");
            let told = write.code();
            let honest = ["OUTCOME_UNKNOWN", "TIMEOUT", "UNAVAILABLE"];
            assert!(
                write.status != 0 && told.as_deref().is_some_and(|code| honest.contains(&code)),
                "{write:?}"
            );
            drop(frozen);
            ledger.wait_writes(5, LATER);
        });
        assert_eq!(cluster.read("/known"), b"known");
        // It is there as a whole or not at all.
        let late = cluster.pairfs(&["read", "/late"]);
        assert!(late.status == 3 || late.stdout == b"late", "{late:?}");
        cluster.assert_whole(&ledger);
        assert!(cluster.events_of("failed", "ss1").is_empty(), "nobody failed but a disk that did not");
    });
}
