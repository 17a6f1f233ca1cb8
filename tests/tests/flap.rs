//! A server that fails again and again does not take its role back at once.

use pairfs_tests::by_hand::Conditions;
use pairfs_tests::cluster::{LATER, all_active, pair, server};
use pairfs_tests::wait::all_along;
use pairfs_tests::{Cluster, until};
use std::time::Duration;

#[test]
fn a_server_that_failed_twice_in_a_while_takes_its_role_back_only_when_it_was_stable() {
    let cluster = Cluster::start(true);
    let words = Conditions::words(&["--flap-failures", "2", "--flap-window", "30"]);
    let _nm = cluster.restart_by_hand("nm", &words);
    cluster.wait(LATER, "the pair to be active", all_active);
    cluster.write("/file", b"before");
    let fail_and_return = || {
        cluster.kill9("ss1");
        cluster.wait_acting("ss1_backup", LATER);
        cluster.node_start("ss1");
        cluster.wait(LATER, "ss1 to catch up", |status| server(status, "ss1")["fresh"] == true);
    };
    // A clean stop is no failure.
    cluster.node_stop("ss1");
    cluster.node_start("ss1");
    cluster.wait_acting("ss1", LATER);
    fail_and_return();
    cluster.wait_acting("ss1", LATER);
    fail_and_return();
    let is_damped = |status: &serde_json::Value| {
        let pair = pair(status);
        pair["acting"] == "ss1_backup" && pair["state"] == "failed_over" && pair["damped_ms"].is_u64()
    };
    all_along(Duration::from_secs(3), "ss1 is kept from its role", || {
        cluster.try_status().is_none_or(|status| is_damped(&status))
    });
    until(LATER, "that to be an event", || !cluster.events_of("damped", "ss1").is_empty());
    assert_eq!(cluster.events_of("damped", "ss1").len(), 1);
    let text = cluster.pairfs(&["status"]).ok().text();
    assert!(text.contains("takes its role back in"), "{text}");
    // Its copy is kept up to date meanwhile.
    cluster.write("/file", b"meanwhile");
    cluster.wait(LATER, "it to have that", |status| pair(status)["lag_rows"] == 0);
    cluster.wait_acting("ss1", LATER);
    assert!(pair(&cluster.status())["damped_ms"].is_null());
    assert_eq!(cluster.read("/file"), b"meanwhile");
    cluster.assert_copies_equal();
}
