//! A file was acknowledged, its server died before the backup had it, and the backup acts: the file comes
//! back with its server (R11, R12), whatever was written meanwhile.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::workload::filled;
use serde_json::Value;

/// More than the sockets between two servers hold, so that a frozen backup cannot find all of it there when
/// it wakes; less than a client's window, so that the write does not wait for it.
const OWED: usize = 14 << 20;

/// What is written to `path` on ss1 alone.
fn only_on_ss1(path: &str) -> Vec<u8> {
    filled(path.len() as u64, OWED)
}

/// Writes `paths` on ss1 while the backup is frozen, kills ss1 and lets the backup act without them.
///
/// At the normal pace: the backup is frozen for far less than a timeout, so it stays fresh.
fn leave_owed(cluster: &Cluster, paths: &[&str]) {
    cluster.wait_settled();
    cluster.freeze("ss1_backup");
    for path in paths {
        let receipt = cluster.write(path, &only_on_ss1(path));
        assert_eq!(receipt["durable"], "local");
    }
    cluster.kill9("ss1");
    cluster.thaw("ss1_backup");
    cluster.wait_acting("ss1_backup", LATER);
}

fn version<'a>(info: &'a Value, number: &Value) -> &'a Value {
    let versions = info["versions"].as_array().expect("info lists versions");
    versions
        .iter()
        .find(|version| version["version"] == *number)
        .unwrap_or_else(|| panic!("{number} in {info}"))
}

fn marked(version: &Value, mark: &str) -> bool {
    let listed = version["marks"].as_array().is_some_and(|marks| marks.iter().any(|known| known == mark));
    version[mark] == true || listed
}

#[test]
fn a_file_that_only_the_lost_server_has_is_reported_and_returns_with_it() {
    let cluster = Cluster::start(false);
    cluster.write("/folder/known", b"known to both");
    leave_owed(&cluster, &["/folder/new", "/folder/known"]);

    assert_eq!(pair(&cluster.status())["owed_versions"], 2);
    // New on ss1: nothing to show. Changed on ss1: what was before, and info says that it is behind.
    let ran = cluster.pairfs(&["read", "/folder/new", "--timeout", "5"]).exits(6);
    assert!(ran.stderr.contains("ss1"), "it says where the only copy is: {}", ran.stderr);
    assert_eq!(cluster.read("/folder/known"), b"known to both");
    assert_eq!(cluster.info("/folder/known")["behind"], true);

    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert!(cluster.read("/folder/new") == only_on_ss1("/folder/new"));
    assert!(cluster.read("/folder/known") == only_on_ss1("/folder/known"), "it is the newest: the head");
    assert_eq!(pair(&cluster.status())["owed_versions"], 0);
}

#[test]
fn a_file_that_was_also_written_meanwhile_keeps_both_contents() {
    let cluster = Cluster::start(false);
    cluster.write("/file", b"known to both");
    leave_owed(&cluster, &["/file"]);
    let owed = {
        let info = cluster.info("/file");
        let versions = info["versions"].as_array().unwrap().clone();
        let owed: Vec<&Value> = versions.iter().filter(|version| marked(version, "owed")).collect();
        assert_eq!(owed.len(), 1, "{info}");
        owed[0]["version"].clone()
    };
    cluster.write("/file", b"written meanwhile");

    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/file"), b"written meanwhile", "the newer write stays the head");
    let info = cluster.info("/file");
    assert!(marked(version(&info, &owed), "conflict"), "{info}");
    assert!(!marked(version(&info, &owed), "owed"), "{info}");
    let owed = owed.as_str().unwrap();
    assert!(cluster.pairfs(&["read", "/file", "--version", owed]).ok().stdout == only_on_ss1("/file"));
}

#[test]
fn a_file_that_was_moved_meanwhile_still_gets_its_owed_content() {
    let cluster = Cluster::start(false);
    cluster.write("/file", b"known to both");
    leave_owed(&cluster, &["/file"]);
    cluster.pairfs(&["mv", "/file", "/renamed"]).ok();
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert!(cluster.read("/renamed") == only_on_ss1("/file"));
    cluster.pairfs(&["read", "/file"]).exits(3);
}

#[test]
fn a_file_that_was_deleted_meanwhile_stays_deleted() {
    let cluster = Cluster::start(false);
    cluster.write("/file", b"known to both");
    leave_owed(&cluster, &["/file"]);
    cluster.pairfs(&["rm", "/file"]).ok();
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.pairfs(&["read", "/file"]).exits(3);
}

#[test]
fn a_synchronous_write_is_never_owed() {
    let cluster = Cluster::start(false);
    cluster.write("/file", b"known to both");
    cluster.wait_settled();
    cluster.pairfs_with(&["write", "/file", "-", "--durability", "sync"], b"on both").ok();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", LATER);
    assert_eq!(pair(&cluster.status())["owed_versions"], 0);
    assert_eq!(cluster.read("/file"), b"on both");
}
