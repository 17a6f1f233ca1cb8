//! Both members are down: only the one that acted last may serve first.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{SOON, pair, server};
use pairfs_tests::wait::all_along;
use std::time::{Duration, Instant};

/// The backup misses `missed` writes, then the primary dies, too.
fn lose_both(cluster: &Cluster, missed: u32) {
    cluster.write("/known", b"known to both");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    for name in 0..missed {
        cluster.write(&format!("/missed/{name}"), format!("{name}").as_bytes());
    }
    cluster.write("/known", b"changed since");
    cluster.kill9("ss1");
    cluster.wait(SOON, "the pair to be down", |status| pair(status)["state"] == "down");
}

fn check_all(cluster: &Cluster, missed: u32) {
    for name in 0..missed {
        assert_eq!(cluster.read(&format!("/missed/{name}")), format!("{name}").as_bytes());
    }
    assert_eq!(cluster.read("/known"), b"changed since");
}

/// The name manager hears the member, and for several timeouts of the fast pace it does not let it serve.
fn nobody_serves_though_it_is_back(cluster: &Cluster, member: &str) {
    cluster.wait(SOON, "it to be heard", |status| server(status, member)["state"] == "alive");
    all_along(Duration::from_secs(4), "nobody serves", || {
        let status = cluster.status();
        pair(&status)["state"] == "down" && pair(&status)["acting"].is_null()
    });
}

#[test]
fn the_member_that_missed_writes_does_not_serve_when_it_returns_first() {
    let cluster = Cluster::start(true);
    lose_both(&cluster, 20);
    cluster.node_start("ss1_backup");
    nobody_serves_though_it_is_back(&cluster, "ss1_backup");
    cluster.pairfs(&["read", "/known", "--timeout", "2"]).exits(6);
    cluster.pairfs_with(&["write", "/new", "-", "--timeout", "2"], b"x").exits(6);
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    check_all(&cluster, 20);
}

#[test]
fn the_member_that_acted_last_serves_as_soon_as_it_is_back() {
    let cluster = Cluster::start(true);
    lose_both(&cluster, 20);
    cluster.node_start("ss1");
    cluster.wait_acting("ss1", SOON);
    check_all(&cluster, 20);
    cluster.write("/new", b"served alone");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    cluster.switch_over();
    check_all(&cluster, 20);
    assert_eq!(cluster.read("/new"), b"served alone");
}

#[test]
fn a_promoted_backup_that_dies_as_well_is_the_one_that_serves_first() {
    let cluster = Cluster::start(true);
    cluster.write("/known", b"known to both");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.write("/known", b"changed since");
    cluster.kill9("ss1_backup");
    cluster.node_start("ss1");
    nobody_serves_though_it_is_back(&cluster, "ss1");
    cluster.pairfs(&["read", "/known", "--timeout", "2"]).exits(6);
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/known"), b"changed since");
}

#[test]
fn a_command_that_waits_for_both_gets_its_answer_when_one_is_back() {
    let cluster = Cluster::start(true);
    lose_both(&cluster, 1);
    let read = cluster.begin(&["read", "/known"]);
    std::thread::sleep(Duration::from_millis(500));
    cluster.node_start("ss1");
    assert_eq!(read.end().ok().stdout, b"changed since");
}

#[test]
fn what_waits_for_a_pair_that_is_down_waits_once() {
    let cluster = Cluster::start(true);
    for name in 0..40 {
        cluster.write(&format!("/many/{name}"), b"some words");
    }
    lose_both(&cluster, 0);
    let begun = Instant::now();
    let listed = cluster.pairfs(&["ls", "-l", "/many", "--timeout", "3"]).ok().text();
    assert_eq!(listed.lines().count(), 41, "{listed}");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    // Nobody is told later of a change that was refused.
    let refused = cluster.pairfs(&["pair", "switchover", "ss1", "--timeout", "3"]).exits(6);
    assert!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
    assert_eq!(pair(&cluster.status())["preferred"], "ss1");
}
