//! The name manager dies at any moment and comes back.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, pair};
use pairfs_tests::workload::under_load;
use std::time::Duration;

#[test]
fn a_name_manager_that_was_killed_knows_every_file_when_it_is_back() {
    let cluster = Cluster::start(true);
    for name in 0..10 {
        cluster.write(&format!("/folder/{name}"), format!("content {name}").as_bytes());
    }
    cluster.pairfs(&["mv", "/folder/0", "/folder/moved"]).ok();
    cluster.pairfs(&["rm", "/folder/1"]).ok();
    let before = cluster.wait_settled();
    cluster.kill9("nm");
    cluster.pairfs(&["status", "--timeout", "1"]).exits(6);
    cluster.node_start("nm");
    let after = cluster.wait_settled();
    assert_eq!(pair(&before)["epoch"], pair(&after)["epoch"], "nobody had to be replaced");
    assert_eq!(cluster.read("/folder/moved"), b"content 0");
    cluster.pairfs(&["read", "/folder/1"]).exits(3);
    for name in 2..10 {
        assert_eq!(cluster.read(&format!("/folder/{name}")), format!("content {name}").as_bytes());
    }
    cluster.assert_copies_equal();
}

#[test]
fn commands_wait_for_a_name_manager_that_is_restarted_and_then_succeed() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"before");
    cluster.kill9("nm");
    let read = cluster.begin(&["read", "/file"]);
    let mut write = cluster.begin(&["write", "/other", "-"]);
    drop(write.input());
    std::thread::sleep(Duration::from_millis(500));
    cluster.node_start("nm");
    assert_eq!(read.end().ok().stdout, b"before");
    write.end().ok();
    assert_eq!(cluster.read("/other"), b"");
}

#[test]
fn a_name_manager_killed_in_the_middle_of_writes_loses_none_and_repeats_none() {
    let cluster = Cluster::start(true);
    let ledger = under_load(&cluster, 3, 2, |ledger| {
        for _ in 0..4 {
            ledger.wait_writes(6, LATER);
            cluster.kill9("nm");
            cluster.node_start("nm");
        }
        ledger.wait_writes(6, LATER);
    });
    cluster.assert_copies_equal();
    ledger.verify(&cluster);
    // An acknowledged write stands once: as many versions as writes, if none was left open.
    if ledger.unknown() == 0 {
        let versions = cluster.info(&ledger.path(0, 0))["versions"].as_array().unwrap().len();
        assert!(versions <= 6, "{versions} versions of at most 6 writes");
    }
}

#[test]
fn a_server_that_dies_while_the_name_manager_is_away_is_replaced_when_it_is_back() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.wait_settled();
    cluster.kill9("nm");
    cluster.kill9("ss1");
    cluster.node_start("nm");
    cluster.wait_acting("ss1_backup", SOON);
    assert_eq!(cluster.read("/file"), b"content");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
}

#[test]
fn everything_killed_at_once_is_everything_when_it_is_back() {
    let cluster = Cluster::start(true);
    let ledger = under_load(&cluster, 3, 0, |ledger| ledger.wait_writes(15, LATER));
    for name in ["nm", "ss1", "ss1_backup"] {
        cluster.kill9(name);
    }
    for name in ["ss1_backup", "ss1", "nm"] {
        cluster.node_start(name);
    }
    cluster.assert_copies_equal();
    ledger.verify(&cluster);
}
