//! `cp` and `digest`: a copy shares what is stored, outlives its original, and has the digest it should have.

use pairfs_tests::cluster::{SOON, server};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, Options};
use serde_json::Value;

const LARGE: usize = 40 << 20;

fn used(status: &Value, name: &str) -> u64 {
    server(status, name)["used_bytes"].as_u64().unwrap()
}

#[test]
fn a_copy_takes_no_room_on_either_member_and_outlives_its_original() {
    let cluster = Cluster::start(true);
    let large = filled(1, LARGE);
    cluster.write("/a/large", &large);
    let before = cluster.wait_settled();
    let receipt = cluster.pairfs(&["--json", "cp", "/a/large", "/b"]).ok().json();
    assert_eq!(receipt["size"], LARGE);
    assert_eq!(receipt["digest"], cluster.info("/a/large")["digest"]);
    for number in 0..4 {
        cluster.pairfs(&["cp", "/a/large", &format!("/a/copy{number}"), "--durability", "sync"]).ok();
    }
    let after = cluster.wait_settled();
    for name in ["ss1", "ss1_backup"] {
        let grown = used(&after, name) - used(&before, name);
        assert!(grown < LARGE as u64 / 2, "{name} has grown by {grown} bytes for five copies");
    }
    cluster.pairfs(&["rm", "--now", "/a/large"]).ok();
    assert!(cluster.read("/b") == large);
    cluster.pairfs(&["fsck"]).ok();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    assert!(cluster.read("/a/copy3") == large, "the partner shares it, too");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.kill9("ss1_backup");
    cluster.node_start("ss1_backup");
    cluster.wait_settled();
    assert!(cluster.read("/b") == large, "also after a restart");
}

#[test]
fn a_copy_is_a_file_of_its_own() {
    let cluster = Cluster::start(true);
    for (name, length) in [("empty", 0), ("small", 100), ("medium", 50_000), ("large", 9 << 20)] {
        let content = if length == 0 { Vec::new() } else { filled(7, length) };
        let (from, to) = (format!("/{name}"), format!("/copy of {name}"));
        cluster.write(&from, &content);
        cluster.pairfs(&["cp", &from, &to]).ok();
        assert!(cluster.read(&to) == content, "{name}");
        cluster.write(&from, b"changed");
        assert!(cluster.read(&to) == content, "{name}");
    }
    cluster.pairfs(&["create", "/made"]).ok();
    cluster.pairfs(&["cp", "/made", "/made too"]).ok();
    assert_eq!(cluster.read("/made too"), b"");
    // Onto a file: one more version of it. Into a folder: the same name.
    cluster.pairfs(&["cp", "/copy of large", "/small"]).ok();
    assert_eq!(cluster.info("/small")["versions"].as_array().map(Vec::len), Some(3));
    cluster.pairfs(&["mkdir", "/folder"]).ok();
    cluster.pairfs(&["cp", "/copy of medium", "/folder"]).ok();
    assert!(cluster.read("/folder/copy of medium") == filled(7, 50_000));
    cluster.assert_copies_equal();
}

#[test]
fn a_copy_that_makes_no_sense_says_so() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"x");
    cluster.pairfs(&["mkdir", "/folder"]).ok();
    cluster.pairfs(&["cp", "/missing", "/b"]).exits(3);
    cluster.pairfs(&["cp", "/file", "/missing/b"]).exits(3);
    cluster.pairfs(&["cp", "/folder", "/b"]).exits(2);
    cluster.pairfs(&["cp", "/file", "/file"]).exits(2);
    cluster.write("/there", &filled(1, 100));
    cluster.pairfs(&["cp", "--no-clobber", "/file", "/there"]).exits(4);
    assert_eq!(cluster.read("/there"), filled(1, 100));
}

#[test]
fn a_copy_survives_the_loss_of_its_server() {
    let cluster = Cluster::start(true);
    let large = filled(3, 12 << 20);
    cluster.write("/large", &large);
    cluster.wait_settled();
    cluster.freeze("ss1");
    cluster.pairfs(&["cp", "/large", "/copy"]).ok();
    assert!(cluster.read("/copy") == large);
    cluster.thaw("ss1");
    cluster.assert_copies_equal();
}

#[test]
fn a_copy_to_another_pair_is_whole() {
    let cluster = Cluster::with(Options { pairs: 2, ..Options::default() });
    let large = filled(5, 5 << 20);
    cluster.write("/one", &large);
    let first = cluster.info("/one")["pair"].as_str().unwrap().to_owned();
    // While nobody serves that pair, new files go to the other one.
    let members = [first.clone(), format!("{first}_backup")];
    members.iter().for_each(|name| cluster.kill9(name));
    cluster.wait(SOON, "the pair to be down", |status| {
        status["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|pair| pair["name"] == *first && pair["acting"].is_null())
    });
    cluster.write("/two", b"before");
    members.iter().for_each(|name| cluster.node_start(name));
    cluster.wait_settled();
    assert_ne!(cluster.info("/two")["pair"], first);
    let receipt = cluster.pairfs(&["--json", "cp", "/one", "/two"]).ok().json();
    assert_eq!(receipt["digest"], cluster.info("/one")["digest"]);
    assert!(cluster.read("/two") == large);
    cluster.assert_copies_equal();
}

#[test]
fn the_digest_of_a_local_file_is_that_of_the_receipt() {
    let cluster = Cluster::start(true);
    for length in [25, 16 << 10, 100_000, 4 << 20, (4 << 20) + 1, 13 << 20] {
        let content = filled(9, length);
        let local = cluster.desk().join("local");
        std::fs::write(&local, &content).unwrap();
        let told = cluster.pairfs(&["--json", "digest", local.to_str().unwrap()]).ok().json();
        let receipt = cluster.write("/file", &content);
        assert_eq!(told["digest"], receipt["digest"], "{length} bytes");
        let kind = if length > 4 << 20 { "sha256-tree:" } else { "sha256:" };
        assert!(told["digest"].as_str().unwrap().starts_with(kind), "{told}");
        let text = cluster.pairfs(&["digest", local.to_str().unwrap()]).ok().text();
        assert!(text.starts_with(told["digest"].as_str().unwrap()), "{text}");
        let stdin = cluster.pairfs_with(&["--json", "digest", "-"], &content).ok().json();
        assert_eq!(stdin["digest"], receipt["digest"]);
    }
    cluster.pairfs(&["digest", "no such file"]).exits(3);
}
