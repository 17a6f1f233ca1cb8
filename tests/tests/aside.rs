//! What a server has set aside because the index does not know it: shown, listed, and given up by a command only (R24).

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, server};
use pairfs_tests::wait::until;
use pairfs_tests::workload::filled;
use serde_json::Value;
use std::process::Command;

const MEMBER: &str = "ss1_backup";
const MIB: usize = 1 << 20;

fn list(cluster: &Cluster) -> Vec<Value> {
    let text = cluster.pairfs(&["--json", "aside", "list"]).ok().text();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn set_aside(cluster: &Cluster) -> u64 {
    server(&cluster.status(), MEMBER)["set_aside"].as_u64().unwrap()
}

fn used(cluster: &Cluster) -> u64 {
    server(&cluster.status(), MEMBER)["used_bytes"].as_u64().unwrap()
}

/// A cluster whose backup has an old disk: with two files that are removed and forgotten.
fn with_an_old_disk() -> Cluster {
    let cluster = Cluster::start(true);
    cluster.write("/kept", &filled(1, 5 * MIB));
    cluster.write("/gone", &filled(2, 9 * MIB));
    cluster.write("/small", &filled(3, 500));
    cluster.wait_settled();
    cluster.node_stop(MEMBER);
    let (disk, image) = (cluster.disk(MEMBER), cluster.desk().join("image"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(&disk, &image);
    cluster.node_start(MEMBER);
    cluster.wait_settled();
    cluster.pairfs(&["rm", "/gone", "--now"]).ok();
    cluster.pairfs(&["rm", "/small", "--now"]).ok();
    until(LATER, "the tombstones to be collected", || {
        let log = std::fs::read_to_string(cluster.dir().join("nm.log")).unwrap();
        log.contains("tombstones were collected")
    });
    cluster.wait_settled();
    cluster.node_stop(MEMBER);
    std::fs::remove_dir_all(&disk).unwrap();
    copy(&image, &disk);
    cluster.node_start(MEMBER);
    until(LATER, "it to be compared", || !cluster.events_of("compared", MEMBER).is_empty());
    cluster.wait_settled();
    until(SOON, "status to count them", || set_aside(&cluster) == 2);
    cluster
}

#[test]
fn what_is_set_aside_is_listed_and_keeps_its_room_until_an_operator_gives_it_up() {
    let cluster = with_an_old_disk();
    let listed = list(&cluster);
    let names: Vec<&str> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gone", "small"]);
    assert!(listed.iter().all(|one| one["server"] == MEMBER));
    assert_eq!(listed[0]["bytes"], 9 * MIB);
    let doctor = cluster.pairfs(&["doctor"]);
    assert!(doctor.text().contains("pairfs aside list"), "{}", doctor.text());

    // Without the word nothing goes, nor while a member is away, nor what is not there.
    let id = listed[0]["id"].to_string();
    let refused = cluster.pairfs(&["aside", "drop", MEMBER, &id]).exits(4);
    assert!(refused.stderr.contains("--accept-loss") && refused.text().contains("gone"));
    cluster.pairfs(&["aside", "drop", MEMBER, "999999", "--accept-loss"]).exits(3);
    cluster.pairfs(&["aside", "drop", "ss1", "--all", "--accept-loss"]).exits(3);
    cluster.kill9("ss1");
    cluster.wait_acting(MEMBER, SOON);
    cluster.pairfs(&["aside", "drop", MEMBER, &id, "--accept-loss"]).exits(6);
    cluster.node_start("ss1");
    cluster.wait_settled();
    cluster.wait_acting("ss1", SOON);
    assert_eq!(list(&cluster), listed);

    let before = used(&cluster);
    cluster.pairfs(&["aside", "drop", MEMBER, &id, "--accept-loss"]).ok();
    assert_eq!(list(&cluster), listed[1..]);
    until(SOON, "its room to be free", || used(&cluster) + 8 * MIB as u64 <= before);
    cluster.pairfs(&["aside", "drop", MEMBER, "--all", "--accept-loss"]).ok();
    until(SOON, "nothing to be set aside", || set_aside(&cluster) == 0);
    // Also after a start that reads the whole journal.
    cluster.kill9(MEMBER);
    std::fs::remove_file(cluster.disk(MEMBER).join("store/index.redb")).unwrap();
    cluster.node_start(MEMBER);
    cluster.wait_settled();
    assert_eq!(list(&cluster), [] as [Value; 0]);
    assert_eq!(set_aside(&cluster), 0);
    assert!(cluster.read("/kept") == filled(1, 5 * MIB));
    cluster.assert_copies_equal();
}
