//! A server comes back: it gets exactly what it missed and acts again.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, number, pair};
use pairfs_tests::workload::{filled, under_load};

#[test]
fn a_returned_server_gets_exactly_what_it_missed_and_acts_again() {
    let cluster = Cluster::start(true);
    for name in 0..20 {
        cluster.write(&format!("/untouched/{name}"), b"the same all along");
    }
    for name in 0..4 {
        cluster.write(&format!("/changed/{name}"), b"before");
    }
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    for round in 0..3 {
        for name in 0..4 {
            cluster.write(&format!("/changed/{name}"), format!("during {round}").as_bytes());
        }
    }
    cluster.write("/changed/new", b"new");
    cluster.pairfs(&["rm", "/changed/3"]).ok();

    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert_eq!(pair(&cluster.status())["acting"], "ss1", "it acts again");
    let caught_up = cluster.events_of("caught-up", "ss1").pop().expect("it tells that it caught up");
    // Five files changed, however often.
    assert_eq!(number(&caught_up, "rows_missed"), Some(5), "{caught_up}");
    assert_eq!(number(&caught_up, "rows_resent"), Some(5), "{caught_up}");
    assert_eq!(cluster.events_of("restored", "ss1").len(), 1);
}

#[test]
fn writes_made_on_the_promoted_backup_are_on_the_returned_server() {
    let cluster = Cluster::start(true);
    cluster.write("/small", b"before");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    let large = filled(3, 9 << 20);
    cluster.write("/small", b"during");
    cluster.write("/large", &large);
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    // From ss1 alone: its partner is gone.
    cluster.kill9("ss1_backup");
    assert_eq!(pair(&cluster.status())["acting"], "ss1");
    assert_eq!(cluster.read("/small"), b"during");
    assert!(cluster.read("/large") == large);
}

#[test]
fn a_server_that_missed_nothing_is_resent_nothing() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.wait_settled();
    let lose_backup = || {
        cluster.kill9("ss1_backup");
        cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    };
    // How far it has come is written down a moment after its last row; once it has caught up, surely.
    lose_backup();
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    lose_backup();
    let before = cluster.events_of("caught-up", "ss1_backup").len();
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    let events = cluster.events_of("caught-up", "ss1_backup");
    assert!(events.len() > before);
    let caught_up = events.last().unwrap();
    assert_eq!(number(caught_up, "rows_missed"), Some(0), "{caught_up}");
    assert_eq!(number(caught_up, "rows_resent"), Some(0), "{caught_up}");
}

#[test]
fn a_server_comes_back_under_steady_writes_without_an_error_to_anyone() {
    let cluster = Cluster::start(true);
    let ledger = under_load(&cluster, 3, 2, |ledger| {
        ledger.wait_writes(5, SOON);
        cluster.kill9("ss1");
        cluster.wait_acting("ss1_backup", SOON);
        ledger.wait_writes(10, SOON);
        cluster.node_start("ss1");
        cluster.wait_acting("ss1", LATER);
        ledger.wait_writes(5, SOON);
    });
    ledger.verify(&cluster);
    cluster.assert_copies_equal();
}

#[test]
fn a_returned_server_that_dies_again_on_its_way_is_caught_up_the_next_time() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"before");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    for name in 0..30 {
        cluster.write(&format!("/during/{name}"), &filled(name, 100_000));
    }
    for _ in 0..3 {
        cluster.node_start("ss1");
        cluster.kill9("ss1");
    }
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    for name in 0..30 {
        assert!(cluster.read(&format!("/during/{name}")) == filled(name, 100_000));
    }
}
