//! A wall clock that jumps and a disk that makes nothing durable, each for one process alone.

use pairfs_tests::cluster::{LATER, all_active, pair};
use pairfs_tests::shim::Shim;
use pairfs_tests::wait::until;
use pairfs_tests::workload::{filled, under_load};
use pairfs_tests::{Cluster, command};
use serde_json::Value;

const HOUR: i64 = 3600;

#[test]
fn clocks_that_jump_by_an_hour_disturb_no_client_and_no_lease() {
    // At the normal pace: only a clock could end a lease here.
    let cluster = Cluster::start(false);
    let (server, manager) = (Shim::build(), Shim::build());
    let mut nm = cluster.restart_by_hand("nm", &manager.conditions());
    let mut ss1 = cluster.restart_by_hand("ss1", &server.conditions());
    cluster.wait(LATER, "ss1 to act again", |status| all_active(status) && pair(status)["acting"] == "ss1");
    let epoch = pair(&cluster.status())["epoch"].clone();
    cluster.write("/before", b"before");
    let ledger = under_load(&cluster, 2, 2, |ledger| {
        for jumps in [[-HOUR, 0], [0, -HOUR], [HOUR, 0], [0, HOUR], [-HOUR, HOUR], [0, 0]] {
            server.set_clock(jumps[0]);
            manager.set_clock(jumps[1]);
            ledger.wait_writes(8, LATER);
            cluster.pairfs(&["info", "/before"]).ok();
            // The trash goes by log time, which did not jump back.
            cluster.write("/folder/file", b"x");
            cluster.pairfs(&["rm", "-r", "/folder", "--now"]).ok();
        }
    });
    assert_eq!(ledger.unknown(), 0);
    let status = cluster.status();
    assert_eq!(pair(&status)["epoch"], epoch, "a lease ended although nothing failed");
    assert_eq!(pair(&status)["acting"], "ss1");
    assert!(nm.runs() && ss1.runs());
    let times: Vec<String> = cluster.events().iter().filter_map(time).collect();
    assert!(times.len() > 3 && times.is_sorted(), "log time went back: {times:?}");
    // With clocks that disagree, failing over goes on as ever, and so does a restart of the one whose clock went back.
    manager.set_clock(-HOUR);
    server.set_clock(HOUR);
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", LATER);
    cluster.write("/after", b"after");
    let line = cluster.command_line("nm");
    cluster.kill9("nm");
    nm.wait_killed(LATER);
    let _nm = cluster.start_by_hand("nm", &line, &manager.conditions());
    until(LATER, "the name manager to serve", || cluster.try_status().is_some());
    cluster.node_start("ss1");
    cluster.write("/later", b"later");
    let times: Vec<String> = cluster.events().iter().filter_map(time).collect();
    assert!(times.is_sorted(), "log time went back with a restart: {times:?}");
    cluster.assert_copies_equal();
    ledger.verify(&cluster);
}

/// RFC 3339 in UTC with the same number of digits: sorts as it is.
fn time(event: &Value) -> Option<String> {
    event["time"].as_str().map(str::to_owned)
}

#[test]
fn a_client_whose_clock_is_wrong_by_an_hour_is_served() {
    let cluster = Cluster::start(true);
    let client = Shim::build();
    for (n, seconds) in [-HOUR, HOUR, -48 * HOUR, 48 * HOUR].into_iter().enumerate() {
        client.set_clock(seconds);
        let path = format!("/f{n}");
        let content = filled(n as u64, 300_000);
        let run = |words: &[&str], input: &[u8]| {
            let mut command = command::command(Some(&cluster.dir()), words);
            command.envs(client.environment());
            command::run(command, input).ok()
        };
        run(&["write", &path, "-"], &content);
        assert!(run(&["read", &path], b"").stdout == content);
        run(&["cp", &path, "/copy"], b"");
        run(&["rm", "/copy"], b"");
    }
}

#[test]
fn a_journal_that_cannot_be_made_durable_is_failed_over_and_loses_nothing() {
    broken_member("/store/journal/");
}

#[test]
fn extents_that_cannot_be_made_durable_are_failed_over_and_lose_nothing() {
    broken_member("/store/extents/");
}

/// The acting member's disk answers EIO to fsync: it ends its service and itself, and says what to do (R31).
fn broken_member(part: &str) {
    let cluster = Cluster::start(true);
    let world = Shim::build();
    let ledger = under_load(&cluster, 3, 2, |ledger| {
        let mut ss1 = cluster.restart_by_hand("ss1", &world.conditions());
        cluster.wait(LATER, "ss1 to act", |status| all_active(status) && pair(status)["acting"] == "ss1");
        ledger.wait_writes(5, LATER);
        world.fail_syncs_of(part);
        let status = ss1.wait_ended(LATER);
        assert_eq!(status.code(), Some(1), "{status}");
        let log = std::fs::read_to_string(cluster.dir().join("ss1.log")).unwrap();
        let told = log.lines().rfind(|line| line.contains("error[")).expect("it says why it ended");
        assert!(told.contains("error[IO]") && told.contains("check the server's disk"), "{told}");
        cluster.wait_acting("ss1_backup", LATER);
        ledger.wait_writes(10, LATER);
        cluster.node_start("ss1");
        cluster.wait_acting("ss1", LATER);
        ledger.wait_writes(5, LATER);
    });
    cluster.assert_whole(&ledger);
}

#[test]
fn a_backup_whose_disk_fails_holds_up_nobody() {
    let cluster = Cluster::start(true);
    let world = Shim::build();
    let ledger = under_load(&cluster, 2, 1, |ledger| {
        let mut backup = cluster.restart_by_hand("ss1_backup", &world.conditions());
        cluster.wait(LATER, "the pair to be active", all_active);
        world.fail_syncs_of("/store/");
        assert_eq!(backup.wait_ended(LATER).code(), Some(1));
        ledger.wait_writes(10, LATER);
        cluster.node_start("ss1_backup");
        ledger.wait_writes(5, LATER);
    });
    cluster.assert_whole(&ledger);
}

#[test]
fn a_name_manager_whose_log_cannot_be_made_durable_ends_and_says_so() {
    broken_manager("/nm/raft/");
}

/// The name manager's disk answers EIO to fsync: it ends, and started on a good disk it has all it acknowledged.
fn broken_manager(part: &str) {
    let cluster = Cluster::start(true);
    let world = Shim::build();
    let ledger = under_load(&cluster, 2, 1, |ledger| {
        ledger.wait_writes(5, LATER);
        let mut nm = cluster.restart_by_hand("nm", &world.conditions());
        ledger.wait_writes(5, LATER);
        world.fail_syncs_of(part);
        let status = nm.wait_ended(LATER);
        assert_eq!(status.code(), Some(1), "{status}");
        let log = std::fs::read_to_string(cluster.dir().join("nm.log")).unwrap();
        let told = log.lines().rfind(|line| line.contains("error[")).expect("it says why it ended");
        assert!(told.contains("disk") && told.contains("start"), "{told}");
        cluster.node_start("nm");
        ledger.wait_writes(5, LATER);
    });
    cluster.assert_whole(&ledger);
}
