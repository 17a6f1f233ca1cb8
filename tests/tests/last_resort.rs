//! When only the member is left that missed something: an operator decides, and sees first what is at stake.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{SOON, pair};

#[test]
fn the_last_resort_lists_what_would_be_lost_and_what_was_thought_lost_may_still_return() {
    let cluster = Cluster::start(true);
    cluster.write("/both", b"on both");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the backup to be missed", |status| pair(status)["state"] == "degraded");
    cluster.write("/folder/one", b"only on ss1");
    cluster.write("/both", b"newer, only on ss1");
    // While somebody acts there is nothing to accept.
    cluster.pairfs(&["pair", "promote", "ss1", "--accept-loss"]).exits(4);
    cluster.kill9("ss1");
    cluster.node_start("ss1_backup");
    cluster.wait(SOON, "the backup to be back", |status| {
        pair(status)["state"] == "down" && status["servers"][1]["state"] == "alive"
    });

    let look = cluster.pairfs(&["pair", "promote", "ss1"]).exits(4);
    for path in ["/folder/one", "/both"] {
        assert!(look.text().contains(path), "{path} is missing in {}", look.text());
    }
    cluster.pairfs(&["pair", "promote", "ss1", "--accept-loss"]).ok();
    cluster.wait_acting("ss1_backup", SOON);
    assert_eq!(cluster.read("/both"), b"on both");
    assert_eq!(cluster.info("/both")["behind"], true);
    cluster.pairfs(&["read", "/folder/one", "--timeout", "3"]).exits(6);
    cluster.write("/new", b"written on");

    // The disk was not gone after all.
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/both"), b"newer, only on ss1");
    assert_eq!(cluster.read("/folder/one"), b"only on ss1");
    assert_eq!(cluster.read("/new"), b"written on");
}
