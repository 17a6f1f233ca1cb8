//! A second failure while a server recovers, and a backup that was away (R8, R12, R21).

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, number, pair, server};
use pairfs_tests::wait::{until, within};
use pairfs_tests::workload::filled;
use std::time::Duration;

/// Enough that a resync takes a while.
const FILES: usize = 300;
const FILE: usize = 400_000;

fn content(n: usize) -> Vec<u8> {
    filled(n as u64 + 1, FILE + n)
}

/// Puts `FILES` files at once, in a folder of their own.
fn put_many(cluster: &Cluster, folder: usize) {
    let tree = cluster.desk().join(format!("many-{folder}"));
    std::fs::create_dir_all(&tree).unwrap();
    for n in 0..FILES {
        std::fs::write(tree.join(format!("f{n}")), content(n)).unwrap();
    }
    cluster.pairfs(&["put", "-r", tree.to_str().unwrap(), &format!("/many-{folder}")]).ok();
}

fn check_many(cluster: &Cluster, folder: usize) {
    let back = cluster.desk().join(format!("back-{folder}"));
    cluster.pairfs(&["get", "-r", &format!("/many-{folder}"), back.to_str().unwrap()]).ok();
    for n in 0..FILES {
        assert!(std::fs::read(back.join(format!("f{n}"))).unwrap() == content(n), "f{n}");
    }
}

/// ss1 is away and misses much; gives how many rows.
fn miss_much(cluster: &Cluster, folder: usize) -> u64 {
    cluster.write("/before", b"before");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait(SOON, "it to be missed", |status| {
        server(status, "ss1")["state"] == "failed" && pair(status)["acting"].is_string()
    });
    put_many(cluster, folder);
    cluster.pairfs(&["rm", "/before"]).ok();
    let lag = pair(&cluster.status())["lag_rows"].as_u64().unwrap();
    assert!(lag > FILES as u64, "{lag}");
    lag
}

/// A resync of ss1 that is under way.
struct Amid {
    /// Rows that it missed.
    lag: u64,
    /// Folders that were put.
    folders: usize,
}

/// Has ss1 miss much and starts it again, until it is met when it has applied some of that, but not all. A machine may
/// resync all of it between two looks.
fn amid_a_resync(cluster: &Cluster) -> Amid {
    for folders in 1..=5 {
        let lag = miss_much(cluster, folders);
        cluster.node_start("ss1");
        let (left, _) = within(LATER, "it to be amid its resync", || {
            let status = cluster.try_status().ok_or(0u64)?;
            let left = pair(&status)["lag_rows"].as_u64().unwrap_or(0);
            if left < lag && server(&status, "ss1")["state"] == "alive" { Ok(left) } else { Err(left) }
        });
        if left > 0 {
            return Amid { lag, folders };
        }
        cluster.wait_acting("ss1", SOON);
    }
    panic!("it was too quick to be disturbed, five times");
}

fn check_all(cluster: &Cluster, amid: &Amid) {
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    (1..=amid.folders).for_each(|folder| check_many(cluster, folder));
    cluster.pairfs(&["read", "/before"]).exits(3);
    assert_eq!(pair(&cluster.status())["lost_versions"], 0);
}

#[test]
fn a_server_that_is_killed_amid_its_resync_goes_on_where_it_was() {
    let cluster = Cluster::start(true);
    let amid = amid_a_resync(&cluster);
    cluster.kill9("ss1");
    cluster.node_start("ss1");
    check_all(&cluster, &amid);
    let caught_up = cluster.events_of("caught-up", "ss1").pop().expect("it caught up");
    assert!(number(&caught_up, "rows_missed").unwrap() <= amid.lag, "{caught_up}");
}

#[test]
fn nothing_is_lost_when_the_acting_member_dies_while_the_other_resyncs() {
    let cluster = Cluster::start(true);
    let amid = amid_a_resync(&cluster);
    cluster.kill9("ss1_backup");
    // The other has a part of it only: nobody may serve.
    cluster.wait(SOON, "the pair to be down", |status| pair(status)["state"] == "down");
    until(SOON, "it to be failed", || !cluster.events_of("failed", "ss1_backup").is_empty());
    cluster.pairfs(&["read", &format!("/many-{}/f0", amid.folders), "--timeout", "2"]).exits(6);
    assert!(pair(&cluster.status())["acting"].is_null());
    cluster.node_start("ss1_backup");
    check_all(&cluster, &amid);
}

#[test]
fn both_may_die_amid_a_resync() {
    let cluster = Cluster::start(true);
    let amid = amid_a_resync(&cluster);
    cluster.kill9("ss1_backup");
    cluster.kill9("ss1");
    cluster.node_start("ss1");
    cluster.wait(SOON, "it to be back", |status| server(status, "ss1")["state"] == "alive");
    assert!(pair(&cluster.status())["acting"].is_null(), "it may not serve a part");
    cluster.node_start("ss1_backup");
    check_all(&cluster, &amid);
}

#[test]
fn a_resync_goes_on_when_the_name_manager_is_killed_amid_it() {
    let cluster = Cluster::start(true);
    let amid = amid_a_resync(&cluster);
    cluster.kill9("nm");
    cluster.node_start("nm");
    check_all(&cluster, &amid);
}

#[test]
fn a_backup_that_was_down_gets_exactly_what_it_missed_and_the_pair_says_what_was_at_risk() {
    let cluster = Cluster::start(true);
    let on_both = |path: &str, content: &[u8]| {
        cluster.pairfs_with(&["write", "-p", path, "-", "--durability", "sync"], content).ok();
    };
    for n in 0..12 {
        on_both(&format!("/kept/{n}"), b"the same all along");
    }
    // Written without waiting for the other copy: it is on both all the same once it is settled.
    cluster.write("/kept/9", b"the same all along");
    cluster.write("/gone", b"removed while it was away");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    let (status, _) = cluster.wait(SOON, "the pair to be degraded", |s| pair(s)["state"] == "degraded");
    assert_eq!(pair(&status)["acting"], "ss1");
    assert_eq!(pair(&status)["at_risk_files"], 0);
    for round in 0..3 {
        for n in 0..4 {
            cluster.write(&format!("/kept/{n}"), format!("changed {round}").as_bytes());
        }
    }
    cluster.write("/new", b"new");
    cluster.pairfs(&["mv", "/kept/9", "/kept/moved"]).ok();
    cluster.pairfs(&["rm", "/gone"]).ok();
    let status = cluster.status();
    assert_eq!(pair(&status)["state"], "degraded");
    // Four changed, one new, one moved, one removed; the content of the moved one is on both, and the other is no file.
    assert_eq!(pair(&status)["lag_rows"], 7, "{status}");
    assert_eq!(pair(&status)["at_risk_files"], 5, "{status}");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    let caught_up = cluster.events_of("caught-up", "ss1_backup").pop().expect("it caught up");
    assert_eq!(number(&caught_up, "rows_missed"), Some(7), "{caught_up}");
    assert_eq!(number(&caught_up, "rows_resent"), Some(7), "{caught_up}");
    let status = cluster.status();
    assert_eq!(pair(&status)["acting"], "ss1");
    assert_eq!(pair(&status)["state"], "active");
    assert_eq!(pair(&status)["at_risk_files"], 0);
    // It has what it missed: it serves alone.
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    assert_eq!(cluster.read("/kept/0"), b"changed 2");
    assert_eq!(cluster.read("/new"), b"new");
    assert_eq!(cluster.read("/kept/moved"), b"the same all along");
    cluster.pairfs(&["read", "/gone"]).exits(3);
}

#[test]
fn a_backup_that_flaps_under_writes_ends_up_equal() {
    let cluster = Cluster::start(true);
    for round in 0..4 {
        cluster.kill9("ss1_backup");
        for n in 0..6 {
            cluster.write(&format!("/f{n}"), &filled(round * 10 + n, 50_000));
        }
        cluster.node_start("ss1_backup");
        // Sometimes it has time to catch up, sometimes not.
        std::thread::sleep(Duration::from_millis(100 * round));
    }
    cluster.assert_copies_equal();
    for n in 0..6 {
        assert!(cluster.read(&format!("/f{n}")) == filled(30 + n, 50_000));
    }
}
