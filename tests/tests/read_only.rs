//! The file system of a server turns read-only under it, as ext4 does when its disk fails: the server is failed over, says
//! why it ended, and takes its role back when the disk is well. Needs root, `mkfs.ext4` and a loop device.

use pairfs_tests::Cluster;
use pairfs_tests::by_hand::Conditions;
use pairfs_tests::cluster::{LATER, all_active, pair};
use pairfs_tests::mounted::with_disk;
use pairfs_tests::workload::under_load;

/// The member's word when it ended.
fn last_word(cluster: &Cluster, member: &str) -> String {
    let log = std::fs::read_to_string(cluster.dir().join(format!("{member}.log"))).unwrap();
    log.lines().rfind(|line| line.contains("error[")).expect("it says why it ended").to_owned()
}

#[test]
fn a_primary_whose_disk_turns_read_only_is_failed_over_loses_nothing_and_comes_back() {
    with_disk("ss1", |cluster, disk| {
        let ledger = under_load(cluster, 2, 1, |ledger| {
            let mut ss1 = cluster.restart_by_hand("ss1", &Conditions::default());
            cluster.wait(LATER, "ss1 to act", |status| all_active(status) && pair(status)["acting"] == "ss1");
            ledger.wait_writes(5, LATER);
            disk.turn_read_only();
            assert_eq!(ss1.wait_ended(LATER).code(), Some(1));
            let told = last_word(cluster, "ss1");
            assert!(told.contains("Read-only") && told.contains("check the server's disk"), "{told}");
            cluster.wait_acting("ss1_backup", LATER);
            ledger.wait_writes(5, LATER);
            // Started on it as it is, it says so again and harms nothing.
            assert_ne!(cluster.pairfs(&["node", "start", "ss1"]).status, 0);
            disk.come_back();
            cluster.node_start("ss1");
            cluster.wait_acting("ss1", LATER);
            ledger.wait_writes(5, LATER);
        });
        cluster.assert_whole(&ledger);
    });
}

#[test]
fn a_name_manager_whose_disk_turns_read_only_ends_and_goes_on_where_it_was() {
    with_disk("nm", |cluster, disk| {
        let ledger = under_load(cluster, 2, 1, |ledger| {
            let mut nm = cluster.restart_by_hand("nm", &Conditions::default());
            ledger.wait_writes(5, LATER);
            disk.turn_read_only();
            assert_eq!(nm.wait_ended(LATER).code(), Some(1));
            let told = last_word(cluster, "nm");
            assert!(told.contains("Read-only"), "{told}");
            disk.come_back();
            cluster.node_start("nm");
            ledger.wait_writes(5, LATER);
        });
        cluster.assert_whole(&ledger);
    });
}
