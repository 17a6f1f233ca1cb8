//! A server is killed: the backup takes over at once and nobody gets an error.

use pairfs_tests::cluster::{LATER, SOON, pair, server};
use pairfs_tests::workload::{filled, under_load};
use pairfs_tests::{Cluster, Options};
use std::io::Write;
use std::time::Duration;

/// A killed server is noticed by its closed connection, not by silence: far below a heartbeat interval of
/// the normal pace, even with slow commands in between.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn a_killed_server_is_replaced_at_once_also_at_the_normal_pace() {
    let cluster = Cluster::with(Options { fast: false, alone: true, ..Options::default() });
    cluster.write("/file", b"content");
    let before = cluster.wait_settled();
    cluster.kill9("ss1");
    let took = cluster.wait_acting("ss1_backup", AT_ONCE);
    println!("promoted within {took:?}");
    assert_eq!(cluster.read("/file"), b"content");
    let status = cluster.status();
    assert_eq!(server(&status, "ss1")["state"], "failed");
    assert_eq!(pair(&status)["state"], "failed_over");
    assert!(pair(&status)["epoch"].as_u64() > pair(&before)["epoch"].as_u64());
    assert_eq!(cluster.events_of("failed", "ss1").len(), 1);
    assert_eq!(cluster.events_of("promoted", "ss1_backup").len(), 1);
}

#[test]
fn a_killed_backup_disturbs_nobody_and_is_reported() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"before");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    assert_eq!(cluster.read("/file"), b"before");
    cluster.write("/file", b"alone");
    let (status, _) = cluster.wait(SOON, "the risk to be shown", |status| pair(status)["at_risk_files"] != 0);
    assert_eq!(pair(&status)["acting"], "ss1");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    cluster.switch_over();
    assert_eq!(cluster.read("/file"), b"alone");
}

#[test]
fn reading_and_writing_go_on_while_a_server_is_lost() {
    let cluster = Cluster::start(true);
    let ledger = under_load(&cluster, 2, 2, |ledger| {
        ledger.wait_writes(5, SOON);
        cluster.kill9("ss1");
        ledger.wait_writes(10, SOON);
        cluster.wait_acting("ss1_backup", SOON);
    });
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    ledger.verify(&cluster);
    assert!(ledger.reads() > 0);
}

#[test]
fn a_stream_goes_on_where_it_was_when_its_server_dies() {
    let cluster = Cluster::start(true);
    let words: Vec<String> = (0..60).map(|number| format!("word{number}")).collect();
    let text = words.join(" ");
    cluster.write("/story", text.as_bytes());
    cluster.wait_settled();
    let stream = cluster.begin(&["stream", "/story", "--delay", "50ms"]);
    std::thread::sleep(Duration::from_millis(600));
    cluster.kill9("ss1");
    let ran = stream.end().ok();
    assert!(ran.took >= Duration::from_secs(2), "it was still streaming when its server died");
    assert_eq!(ran.text().split_whitespace().collect::<Vec<_>>(), words);
}

#[test]
fn a_stream_whose_servers_are_all_lost_says_so_clearly() {
    let cluster = Cluster::start(true);
    let text = "word ".repeat(200);
    cluster.write("/story", text.as_bytes());
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    cluster.kill9("ss1");
    let ran = cluster.pairfs(&["stream", "/story", "--timeout", "3"]).exits(6);
    assert!(ran.stderr.starts_with("error["), "{}", ran.stderr);
    assert!(ran.stderr.lines().count() == 1, "{}", ran.stderr);
}

#[test]
fn an_upload_from_a_pipe_outlives_the_server_it_went_to() {
    let cluster = Cluster::start(true);
    let content = filled(7, 24 << 20);
    let mut upload = cluster.begin(&["--json", "write", "/large", "-"]);
    let mut input = upload.input();
    let (first, rest) = content.split_at(10 << 20);
    input.write_all(first).unwrap();
    cluster.kill9("ss1");
    input.write_all(rest).unwrap();
    drop(input);
    let receipt = upload.end().ok().json();
    assert_eq!(receipt["size"], content.len());
    assert!(cluster.read("/large") == content);
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert!(cluster.read("/large") == content);
}

#[test]
fn an_upload_from_a_pipe_outlives_the_way_back_to_the_preferred_server() {
    let cluster = Cluster::start(true);
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    let content = filled(9, 30 << 20);
    let mut upload = cluster.begin(&["--json", "write", "/large", "-"]);
    let mut input = upload.input();
    let (first, rest) = content.split_at(26 << 20);
    input.write_all(first).unwrap();
    cluster.node_start("ss1");
    cluster.wait_acting("ss1", LATER);
    input.write_all(rest).unwrap();
    drop(input);
    let receipt = upload.end().ok().json();
    assert_eq!(receipt["size"], content.len());
    assert!(cluster.read("/large") == content);
    cluster.assert_copies_equal();
}

#[test]
fn a_planned_handover_shows_no_error_to_anyone() {
    let cluster = Cluster::start(true);
    let ledger = under_load(&cluster, 3, 3, |ledger| {
        for _ in 0..3 {
            ledger.wait_writes(5, SOON);
            cluster.switch_over();
        }
        ledger.wait_writes(5, SOON);
    });
    assert_eq!(ledger.unknown(), 0);
    ledger.verify(&cluster);
    assert!(cluster.events_of("failed", "ss1").is_empty(), "nobody failed");
}

#[test]
fn a_server_that_is_stopped_hands_over_first() {
    let cluster = Cluster::with(Options { fast: false, ..Options::default() });
    cluster.write("/file", b"content");
    cluster.wait_settled();
    cluster.node_stop("ss1");
    // At the normal pace this is far too early for anyone to have noticed silence.
    cluster.wait_acting("ss1_backup", Duration::from_secs(3));
    assert_eq!(cluster.read("/file"), b"content");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert_eq!(pair(&cluster.status())["acting"], "ss1");
}

#[test]
fn the_backup_that_acts_may_be_lost_in_its_turn() {
    let cluster = Cluster::start(true);
    cluster.write("/one", b"1");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.write("/two", b"2");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.node_start("ss1");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    assert_eq!(cluster.read("/one"), b"1");
    assert_eq!(cluster.read("/two"), b"2");
}
