//! Eight writers and eight readers while everything happens: every acknowledged byte is there at the end.

use pairfs_tests::cluster::{LATER, SOON};
use pairfs_tests::workload::under_load;
use pairfs_tests::{Cluster, Options};

#[test]
fn no_acknowledged_byte_is_lost_whatever_fails_under_load() {
    let cluster = Cluster::with(Options { alone: true, ..Options::default() });
    let ledger = under_load(&cluster, 8, 8, |ledger| {
        ledger.wait_writes(30, LATER);
        cluster.kill9("ss1");
        ledger.wait_writes(30, LATER);
        cluster.node_start("ss1");
        cluster.wait_acting("ss1", LATER);
        ledger.wait_writes(20, LATER);

        cluster.freeze("ss1");
        cluster.wait_acting("ss1_backup", SOON);
        ledger.wait_writes(20, LATER);
        cluster.thaw("ss1");
        cluster.wait_acting("ss1", LATER);

        cluster.kill9("ss1_backup");
        ledger.wait_writes(20, LATER);
        cluster.node_start("ss1_backup");
        cluster.wait(LATER, "the pair to be active", pairfs_tests::cluster::all_active);

        cluster.kill9("nm");
        cluster.node_start("nm");
        ledger.wait_writes(20, LATER);
        cluster.switch_over();
        ledger.wait_writes(20, LATER);
    });
    println!("{} writes, {} reads, {} open", ledger.acknowledged(), ledger.reads(), ledger.unknown());
    cluster.assert_copies_equal();
    ledger.verify(&cluster);
    assert!(ledger.reads() >= 50);
}
