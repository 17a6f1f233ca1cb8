//! What a user does on the acting member is on the backup, too.

use pairfs_tests::cluster::{SOON, pair};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, Options};
use std::time::Duration;

#[test]
fn what_is_created_written_moved_and_deleted_on_ss1_is_so_on_ss1_backup() {
    let cluster = Cluster::start(true);
    cluster.pairfs(&["create", "/made"]).ok();
    cluster.write("/folder/written", b"first");
    cluster.write("/folder/written", b"second");
    cluster.write("/folder/moved", b"moved");
    cluster.pairfs(&["mv", "/folder/moved", "/elsewhere"]).ok();
    cluster.write("/folder/deleted", b"deleted");
    cluster.pairfs(&["rm", "/folder/deleted"]).ok();
    cluster.assert_copies_equal();

    assert_eq!(cluster.switch_over(), "ss1_backup");
    assert_eq!(cluster.read("/made"), b"");
    assert_eq!(cluster.read("/folder/written"), b"second");
    assert_eq!(cluster.read("/elsewhere"), b"moved");
    cluster.pairfs(&["read", "/folder/moved"]).exits(3);
    cluster.pairfs(&["read", "/folder/deleted"]).exits(3);
}

#[test]
fn every_kept_version_is_on_the_backup_not_only_the_newest() {
    let cluster = Cluster::start(true);
    let versions: Vec<(String, Vec<u8>)> = (0..5)
        .map(|round| {
            let content = filled(round, 1_000 + 20_000 * usize::try_from(round).unwrap());
            let receipt = cluster.write("/file", &content);
            (receipt["version"].as_str().unwrap().to_owned(), content)
        })
        .collect();
    cluster.assert_copies_equal();
    cluster.switch_over();
    for (version, content) in versions {
        assert_eq!(cluster.pairfs(&["read", "/file", "--version", &version]).ok().stdout, content);
    }
}

#[test]
fn empty_files_and_folders_are_on_the_backup() {
    let cluster = Cluster::start(true);
    cluster.pairfs(&["mkdir", "-p", "/a/b/c"]).ok();
    cluster.pairfs(&["create", "/a/b/empty"]).ok();
    cluster.write("/a/b/emptied", b"x");
    cluster.write("/a/b/emptied", b"");
    cluster.assert_copies_equal();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    assert_eq!(cluster.read("/a/b/empty"), b"");
    assert_eq!(cluster.read("/a/b/emptied"), b"");
    let listed = cluster.pairfs(&["ls", "/a/b"]).ok().text();
    for name in ["c", "empty", "emptied"] {
        assert!(listed.contains(name), "{name} is missing in {listed}");
    }
    cluster.write("/a/b/c/new", b"the empty folder can be used");
}

#[test]
fn a_file_of_many_chunks_is_the_same_on_both() {
    let cluster = Cluster::start(true);
    let content = filled(1, (21 << 20) + 5);
    let local = cluster.desk().join("large");
    std::fs::write(&local, &content).unwrap();
    let local = local.to_str().unwrap();
    let receipt = cluster.pairfs(&["--json", "write", "/large", local]).ok().json();
    let digest = cluster.pairfs(&["--json", "digest", local]).ok().json();
    assert_eq!(receipt["digest"], digest["digest"]);
    assert_eq!(receipt["size"], content.len());
    cluster.assert_copies_equal();
    assert!(cluster.read("/large") == content);
    cluster.switch_over();
    assert!(cluster.read("/large") == content);
    let range = cluster.pairfs(&["read", "/large", "--range", "4194300-4194310"]).ok().stdout;
    assert_eq!(range, content[4_194_300..=4_194_310]);
}

#[test]
fn a_receipt_says_how_many_copies_are_durable_and_keeps_its_word() {
    let cluster = Cluster::start(true);
    let write = |durability: &str, timeout: &str| {
        let words = ["--json", "write", "/file", "-", "--durability", durability, "--timeout", timeout];
        cluster.pairfs_with(&words, durability.as_bytes())
    };
    assert_eq!(write("sync", "20").ok().json()["durable"], "both");
    assert_eq!(write("sync-if-up", "20").ok().json()["durable"], "both");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    assert_eq!(write("sync-if-up", "20").ok().json()["durable"], "local");
    assert_eq!(write("async", "20").ok().json()["durable"], "local");
    write("sync", "3").exits(6);
    assert_eq!(cluster.read("/file"), b"async");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    assert_eq!(write("sync", "20").ok().json()["durable"], "both");
}

#[test]
fn the_backup_may_come_before_its_primary() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"kept");
    cluster.wait_settled();
    let up = cluster.take_up();
    cluster.pairfs(&["down"]).ok();
    up.end().ok();
    // One after the other by hand, the backup first.
    cluster.node_start("nm");
    cluster.node_start("ss1_backup");
    std::thread::sleep(Duration::from_millis(300));
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/file"), b"kept");
}

#[test]
fn files_of_several_pairs_live_through_the_loss_of_one_server_of_each() {
    let cluster = Cluster::with(Options { pairs: 2, alone: true, ..Options::default() });
    let paths: Vec<String> = (0..12).map(|number| format!("/folder{number}/file")).collect();
    for path in &paths {
        cluster.write(path, path.as_bytes());
    }
    cluster.assert_copies_equal();
    cluster.kill9("ss1");
    cluster.kill9("ss2_backup");
    for path in &paths {
        assert_eq!(cluster.read(path), path.as_bytes());
        cluster.write(path, format!("{path} again").as_bytes());
    }
    cluster.node_start("ss1");
    cluster.node_start("ss2_backup");
    cluster.assert_copies_equal();
    for path in &paths {
        assert_eq!(cluster.read(path), format!("{path} again").as_bytes());
    }
}
