//! Several pairs: files spread over them, copies stay beside their originals, and nothing new goes where nobody serves.

use pairfs_tests::cluster::SOON;
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, Options};
use serde_json::Value;
use std::collections::BTreeMap;

fn pairs(count: u32) -> Cluster {
    Cluster::with(Options { pairs: count, ..Options::default() })
}

fn files(status: &Value) -> BTreeMap<String, u64> {
    let pairs = status["pairs"].as_array().unwrap();
    pairs
        .iter()
        .map(|pair| (pair["name"].as_str().unwrap().to_owned(), pair["files"].as_u64().unwrap()))
        .collect()
}

fn pair_of(cluster: &Cluster, path: &str) -> String {
    cluster.info(path)["pair"].as_str().unwrap().to_owned()
}

#[test]
fn one_folder_is_spread_over_four_pairs_and_comes_back_whole() {
    let cluster = pairs(4);
    let tree = cluster.desk().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    for number in 0..120 {
        let length = if number % 10 == 0 { 300_000 } else { 1000 + number };
        std::fs::write(tree.join(format!("file {number}")), filled(number as u64, length)).unwrap();
    }
    std::fs::write(tree.join("sub/one"), b"one").unwrap();
    cluster.pairfs(&["put", "-r", tree.to_str().unwrap(), "/"]).ok();
    let counts = files(&cluster.wait_settled());
    assert_eq!(counts.values().sum::<u64>(), 121, "{counts:?}");
    // 30 each, give or take what chance may do.
    assert!(counts.len() == 4 && counts.values().all(|count| (10..=60).contains(count)), "{counts:?}");
    let back = cluster.desk().join("back");
    std::fs::create_dir(&back).unwrap();
    cluster.pairfs(&["get", "-r", "/tree", back.to_str().unwrap()]).ok();
    for number in 0..120 {
        let name = format!("file {number}");
        let same =
            std::fs::read(tree.join(&name)).unwrap() == std::fs::read(back.join("tree").join(&name)).unwrap();
        assert!(same, "{name}");
    }
    // Written again: it stays where it is.
    cluster.pairfs(&["write", "/tree/file 1", "-"]).ok();
    cluster.pairfs(&["rm", "-r", "/tree/sub"]).ok();
    assert_eq!(files(&cluster.wait_settled()), counts);
    cluster.pairfs(&["fsck"]).ok();
}

#[test]
fn a_copy_is_placed_beside_its_original_and_shares_its_chunks() {
    let cluster = pairs(4);
    let large = filled(1, 5 << 20);
    for number in 0..4 {
        cluster.write(&format!("/original {number}"), &large);
    }
    let used = |status: &Value| -> u64 {
        let servers = status["servers"].as_array().unwrap();
        servers.iter().map(|server| server["used_bytes"].as_u64().unwrap()).sum()
    };
    let before = used(&cluster.wait_settled());
    for number in 0..4 {
        let path = format!("/original {number}");
        for copy in 0..3 {
            let to = format!("/copy {copy} of {number}");
            cluster.pairfs(&["cp", &path, &to]).ok();
            assert_eq!(pair_of(&cluster, &to), pair_of(&cluster, &path), "{to}");
        }
    }
    let grown = used(&cluster.wait_settled()).saturating_sub(before);
    assert!(grown < 12 * large.len() as u64 / 2, "twelve copies take {grown} bytes");
    assert!(cluster.read("/copy 2 of 3") == large);
    cluster.pairfs(&["fsck"]).ok();
}

#[test]
fn new_files_never_go_to_a_pair_that_nobody_serves() {
    let cluster = pairs(2);
    for name in ["ss2", "ss2_backup"] {
        cluster.kill9(name);
    }
    let down = |status: &Value| {
        status["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|pair| pair["name"] == "ss2" && pair["acting"].is_null())
    };
    cluster.wait(SOON, "the second pair to be down", down);
    for number in 0..12 {
        let (written, made) = (format!("/written {number}"), format!("/made {number}"));
        cluster.write(&written, b"x");
        cluster.pairfs(&["create", &made]).ok();
        assert_eq!(pair_of(&cluster, &written), "ss1");
        assert_eq!(pair_of(&cluster, &made), "ss1");
    }
    for name in ["ss2", "ss2_backup"] {
        cluster.node_start(name);
    }
    cluster.wait_settled();
    let settled = (0..40).map(|number| format!("/later {number}")).any(|path| {
        cluster.write(&path, b"x");
        pair_of(&cluster, &path) == "ss2"
    });
    assert!(settled, "the pair that is back gets files again");
    cluster.pairfs(&["fsck"]).ok();
}
