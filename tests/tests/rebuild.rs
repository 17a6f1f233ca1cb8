//! The data of the name manager is lost or damaged, and made anew from what the storage servers hold (R26, I7).

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, pair};
use pairfs_tests::tree::write;
use pairfs_tests::wait::until;
use pairfs_tests::workload::filled;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name manager dies and its data directory is gone; gives where that is now.
fn lose_nm(cluster: &Cluster) -> PathBuf {
    cluster.kill9("nm");
    let lost = cluster.dir().join("nm.lost");
    std::fs::rename(cluster.dir().join("nm"), &lost).unwrap();
    lost
}

fn rebuild(cluster: &Cluster, options: &[&str]) {
    cluster.pairfs(&[&["node", "start", "nm", "--rebuild"], options].concat()).ok();
}

/// Waits until the rebuilt name manager serves.
fn wait_rebuilt(cluster: &Cluster) {
    let serves = |status: &Value| status["rebuilding"].is_null() && pair(status)["acting"].is_string();
    cluster.wait(LATER, "the rebuilt name manager to serve", serves);
}

fn restart(cluster: &Cluster, server: &str) {
    cluster.kill9(server);
    cluster.node_start(server);
}

/// Everything that a user can see of the tree, by path: kind, versions with their digests, which of them is the head,
/// times and owner, and the target of a link.
fn seen(cluster: &Cluster) -> BTreeMap<String, Value> {
    let listed = cluster.pairfs(&["--json", "ls", "-R", "-a", "/"]).ok().json_lines();
    let paths = listed.iter().filter_map(|entry| entry["path"].as_str());
    let info = |path: &str| {
        let mut info = cluster.info(path);
        for place in ["acting", "epoch", "copies", "behind"] {
            info.as_object_mut().unwrap().remove(place);
        }
        (path.to_owned(), info)
    };
    paths.map(info).collect()
}

fn make_a_tree(cluster: &Cluster) {
    cluster.pairfs(&["mkdir", "-p", "/empty/inner"]).ok();
    cluster.pairfs(&["create", "/a file without content"]).ok();
    for version in 1..=3 {
        cluster.write("/docs/versions", format!("version {version}").as_bytes());
    }
    cluster.write("/docs/large", &filled(1, 5_000_000));
    cluster.write("/old name/inside", b"moved with its folder");
    cluster.pairfs(&["mv", "/old name", "/new name"]).ok();
    cluster.write("/docs/moved", b"moved alone");
    cluster.pairfs(&["mv", "/docs/moved", "/new name/moved"]).ok();
    cluster.write("/trashed", b"in the trash");
    cluster.pairfs(&["rm", "/trashed"]).ok();
    cluster.write("/trashed folder/file", b"in the trash with it");
    cluster.pairfs(&["rm", "-r", "/trashed folder"]).ok();
    cluster.write("/removed", b"gone");
    cluster.pairfs(&["rm", "--now", "/removed"]).ok();
    let local = cluster.desk().join("tree");
    std::fs::create_dir_all(&local).unwrap();
    std::os::unix::fs::symlink("a target", local.join("link")).unwrap();
    write(&local.join("script"), b"#!/bin/sh\n", 0o754, 0);
    cluster.pairfs(&["put", "-r", local.to_str().unwrap(), "/put"]).ok();
}

fn check_removed(cluster: &Cluster) {
    for path in ["/trashed", "/trashed folder/file", "/removed", "/old name/inside"] {
        cluster.pairfs(&["read", path]).exits(3);
    }
}

fn check_life_goes_on(cluster: &Cluster) {
    cluster.write("/docs/versions", b"written after the rebuild");
    cluster.write("/trashed", b"a new file of an old name");
    assert_eq!(cluster.read("/docs/versions"), b"written after the rebuild");
    cluster.assert_copies_equal();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", LATER);
    assert_eq!(cluster.read("/docs/versions"), b"written after the rebuild");
    cluster.write("/docs/versions", b"written after a failover");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/docs/versions"), b"written after a failover");
    assert_eq!(cluster.read("/trashed"), b"a new file of an old name");
}

#[test]
fn i7_all_files_folders_and_versions_are_there_when_the_name_manager_was_made_anew_from_both_members() {
    let cluster = Cluster::start(true);
    make_a_tree(&cluster);
    cluster.wait_settled();
    let before = seen(&cluster);
    cluster.write("/docs/last", b"acknowledged right before the loss");
    lose_nm(&cluster);
    rebuild(&cluster, &[]);
    wait_rebuilt(&cluster);
    cluster.assert_copies_equal();
    let mut after = seen(&cluster);
    assert_eq!(cluster.read("/docs/last"), b"acknowledged right before the loss");
    after.remove("/docs/last").expect("it is listed");
    assert_eq!(after, before);
    assert_eq!(cluster.read("/docs/large"), filled(1, 5_000_000));
    let version = before["/docs/versions"]["versions"][1]["version"].as_str().unwrap().to_owned();
    let old = cluster.pairfs(&["read", "/docs/versions", "--version", &version]).ok();
    assert_eq!(old.stdout, b"version 2", "older versions are kept");
    check_removed(&cluster);
    check_life_goes_on(&cluster);
    let rebuilt = cluster.events().into_iter().filter(|event| event["kind"] == "rebuilt").count();
    assert_eq!(rebuilt, 1);
    assert!(cluster.events_of("not-compared", "ss1").is_empty());
}

#[test]
fn i7_the_accounts_key_is_new_and_the_one_before_opens_nothing() {
    let cluster = Cluster::start(true);
    let key = std::fs::read(cluster.dir().join("admin.key")).unwrap();
    lose_nm(&cluster);
    rebuild(&cluster, &[]);
    wait_rebuilt(&cluster);
    let aside = cluster.dir().join("admin.key.before-rebuild");
    assert_eq!(std::fs::read(&aside).unwrap(), key, "the old key is set aside");
    let now = cluster.dir().join("admin.key");
    std::fs::rename(&now, cluster.desk().join("new.key")).unwrap();
    std::fs::copy(&aside, &now).unwrap();
    cluster.pairfs(&["status", "--timeout", "2"]).exits(5);
    std::fs::copy(cluster.desk().join("new.key"), &now).unwrap();
    cluster.pairfs(&["status"]).ok();
}

#[test]
fn i2_writes_acknowledged_right_before_everything_is_lost_are_there_afterwards() {
    let cluster = Cluster::start(true);
    cluster.write("/known", b"known");
    cluster.wait_settled();
    for name in 0..12 {
        cluster.write(&format!("/late/{name}"), format!("content {name}").as_bytes());
    }
    cluster.write("/known", b"changed at last");
    // Nobody's memory outlives this; what no row has told yet is only prepared on the disks.
    for server in ["nm", "ss1", "ss1_backup"] {
        cluster.kill9(server);
    }
    std::fs::rename(cluster.dir().join("nm"), cluster.dir().join("nm.lost")).unwrap();
    rebuild(&cluster, &[]);
    cluster.node_start("ss1");
    cluster.node_start("ss1_backup");
    wait_rebuilt(&cluster);
    cluster.assert_copies_equal();
    for name in 0..12 {
        assert_eq!(cluster.read(&format!("/late/{name}")), format!("content {name}").as_bytes());
    }
    assert_eq!(cluster.read("/known"), b"changed at last");
}

#[test]
fn while_a_member_is_away_the_rebuild_waits_says_for_whom_and_serves_nobody() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    lose_nm(&cluster);
    rebuild(&cluster, &[]);
    let waits = |status: &Value| status["rebuilding"] == "waits for ss1_backup";
    let (status, _) = cluster.wait(SOON, "the rebuild to wait for ss1_backup", waits);
    assert_eq!(pair(&status)["state"], "down", "{status}");
    cluster.pairfs(&["read", "/file", "--timeout", "2"]).exits(6);
    cluster.pairfs_with(&["write", "/new", "-", "--timeout", "2"], b"x").exits(6);
    assert!(cluster.status()["rebuilding"].is_string(), "it still waits");
    // Whoever waits long enough gets an answer.
    let read = cluster.begin(&["read", "/file"]);
    cluster.node_start("ss1_backup");
    assert_eq!(read.end().ok().stdout, b"content");
    wait_rebuilt(&cluster);
    cluster.assert_copies_equal();
}

#[test]
fn one_member_is_enough_with_the_switch_and_what_could_not_be_compared_is_told() {
    let cluster = Cluster::start(true);
    make_a_tree(&cluster);
    cluster.wait_settled();
    let before = seen(&cluster);
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", LATER);
    lose_nm(&cluster);
    rebuild(&cluster, &["--accept-one-member"]);
    wait_rebuilt(&cluster);
    assert_eq!(seen(&cluster), before);
    assert_eq!(cluster.events_of("not-compared", "ss1").len(), 1);
    cluster.write("/docs/versions", b"written without ss1");
    // It comes back by itself on its own disk, and takes its role again.
    cluster.node_start("ss1");
    cluster.wait_acting("ss1", LATER);
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/docs/versions"), b"written without ss1");
    check_removed(&cluster);
}

#[test]
fn i4_a_server_that_slept_through_a_removal_does_not_bring_the_file_back_by_a_rebuild() {
    let cluster = Cluster::start(true);
    for path in ["/trashed later", "/removed later", "/changed later", "/moved later"] {
        cluster.write(path, b"before");
    }
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    cluster.pairfs(&["rm", "/trashed later"]).ok();
    cluster.pairfs(&["rm", "--now", "/removed later"]).ok();
    cluster.write("/changed later", b"after");
    cluster.pairfs(&["mv", "/moved later", "/moved"]).ok();
    lose_nm(&cluster);
    rebuild(&cluster, &[]);
    cluster.node_start("ss1_backup");
    wait_rebuilt(&cluster);
    for path in ["/trashed later", "/removed later", "/moved later"] {
        cluster.pairfs(&["read", path]).exits(3);
    }
    assert_eq!(cluster.read("/changed later"), b"after");
    assert_eq!(cluster.read("/moved"), b"before");
    cluster.assert_copies_equal();
    assert_eq!(cluster.info("/changed later")["copies"].as_array().unwrap().len(), 2);
}

#[test]
fn the_old_name_manager_that_comes_back_is_followed_by_nobody() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"before the loss");
    cluster.wait_settled();
    let lost = lose_nm(&cluster);
    let old_key = std::fs::read(cluster.dir().join("admin.key")).unwrap();
    rebuild(&cluster, &[]);
    wait_rebuilt(&cluster);
    cluster.write("/file", b"after the rebuild");
    cluster.assert_copies_equal();
    let new_key = std::fs::read(cluster.dir().join("admin.key")).unwrap();

    // The lost data is found again, and somebody starts the name manager on it.
    cluster.kill9("nm");
    let (data, new) = (cluster.dir().join("nm"), cluster.dir().join("nm.new"));
    std::fs::rename(&data, &new).unwrap();
    std::fs::rename(&lost, &data).unwrap();
    std::fs::write(cluster.dir().join("admin.key"), &old_key).unwrap();
    cluster.node_start("nm");
    for server in ["ss1", "ss1_backup"] {
        restart(&cluster, server);
    }
    let log = || std::fs::read_to_string(cluster.dir().join("nm.log")).unwrap();
    until(SOON, "both to be refused", || {
        let refused = |server: &str| {
            let told = |line: &str| line.contains("this name manager is an old one") && line.contains(server);
            log().lines().any(told)
        };
        refused("ss1_backup") && refused("ss1")
    });
    cluster.pairfs(&["read", "/file", "--timeout", "2"]).exits(6);
    let status = cluster.status();
    assert!(pair(&status)["acting"].is_null(), "{status}");

    cluster.kill9("nm");
    std::fs::rename(&data, &lost).unwrap();
    std::fs::rename(&new, &data).unwrap();
    std::fs::write(cluster.dir().join("admin.key"), &new_key).unwrap();
    cluster.node_start("nm");
    cluster.wait_acting("ss1", LATER);
    assert_eq!(cluster.read("/file"), b"after the rebuild");
    // Each comes back by itself, when its time to ask again has come.
    until(LATER, "both copies to be equal", || cluster.pairfs(&["fsck"]).status == 0);
}

#[test]
fn a_damaged_log_ends_the_name_manager_with_exit_7_and_the_way_out_which_works() {
    let cluster = Cluster::start(true);
    for name in 0..20 {
        cluster.write(&format!("/{name}"), format!("content {name}").as_bytes());
    }
    cluster.wait_settled();
    let before = seen(&cluster);
    cluster.node_stop("nm");
    let folder = cluster.dir().join("nm/raft");
    let segments = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.filter(|path| path.extension().is_some_and(|end| end == "seg")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // In the records behind the segment's head, well before what was written last.
    bytes[4096..12_288].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&segment, bytes).unwrap();

    let refused = cluster.pairfs(&["node", "start", "nm"]).exits(7);
    assert!(refused.stderr.contains("--rebuild"), "{}", refused.stderr);
    rebuild(&cluster, &[]);
    wait_rebuilt(&cluster);
    cluster.assert_copies_equal();
    assert_eq!(seen(&cluster), before);
    let aside = std::fs::read_dir(cluster.dir().join("nm")).unwrap();
    let aside =
        aside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-"));
    assert_eq!(aside.count(), 1, "the damaged data is kept");
}

#[test]
fn a_data_directory_that_opens_is_not_rebuilt() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.node_stop("nm");
    let refused = cluster.pairfs(&["node", "start", "nm", "--rebuild"]).exits(4);
    assert!(refused.stderr.contains("holds a cluster that opens"), "{}", refused.stderr);
    cluster.node_start("nm");
    cluster.wait_acting("ss1", LATER);
    assert_eq!(cluster.read("/file"), b"content");
    cluster.pairfs(&["node", "start", "ss1", "--rebuild"]).exits(2);
}

#[test]
fn a_storage_server_whose_index_was_deleted_makes_it_anew_at_its_start() {
    let cluster = Cluster::start(true);
    make_a_tree(&cluster);
    cluster.wait_settled();
    let before = seen(&cluster);
    cluster.node_stop("ss1_backup");
    std::fs::remove_file(cluster.dir().join("ss1_backup/store/index.redb")).unwrap();
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    cluster.switch_over();
    assert_eq!(seen(&cluster), before);
    assert_eq!(cluster.read("/docs/large"), filled(1, 5_000_000));
}

#[test]
fn an_old_image_of_the_name_manager_is_noticed_by_its_servers_and_a_rebuild_brings_everything_back() {
    let cluster = Cluster::start(true);
    cluster.write("/before", b"in the image");
    cluster.wait_settled();
    for member in ["nm", "ss1", "ss1_backup"] {
        cluster.node_stop(member);
    }
    let (data, image) = (cluster.dir().join("nm"), cluster.dir().join("nm.image"));
    copy_folder(&data, &image);
    for member in ["nm", "ss1", "ss1_backup"] {
        cluster.node_start(member);
    }
    cluster.wait_settled();
    cluster.write("/before", b"changed since");
    cluster.write("/since", b"written since");
    cluster.wait_settled();
    for member in ["ss1", "ss1_backup", "nm"] {
        cluster.kill9(member);
    }
    // A machine is set back to a snapshot.
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&image, &data);
    cluster.node_start("nm");
    for member in ["ss1", "ss1_backup"] {
        let told = cluster.start_on_disk(member, &cluster.disk(member), false, &[]).end().exits(7);
        assert!(told.stderr.contains("older than what"), "{}", told.stderr);
        assert!(told.stderr.contains("--rebuild"), "{}", told.stderr);
    }
    assert!(pair(&cluster.status())["acting"].is_null(), "nobody serves what is not all");

    lose_nm(&cluster);
    rebuild(&cluster, &[]);
    for member in ["ss1", "ss1_backup"] {
        cluster.node_start(member);
    }
    wait_rebuilt(&cluster);
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/before"), b"changed since");
    assert_eq!(cluster.read("/since"), b"written since");
}

#[test]
fn r24_a_name_manager_that_has_lost_the_end_of_its_log_ends_although_its_servers_never_left() {
    let cluster = Cluster::start(true);
    cluster.write("/before", b"in the image");
    cluster.wait_settled();
    let (data, image) = (cluster.dir().join("nm"), cluster.dir().join("nm.image"));
    cluster.kill9("nm");
    copy_folder(&data, &image);
    cluster.node_start("nm");
    cluster.wait_settled();
    cluster.write("/before", b"changed since");
    cluster.write("/since", b"written since");
    cluster.wait_settled();
    cluster.kill9("nm");
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&image, &data);

    // It may end before or after it is seen to serve.
    let started = cluster.pairfs(&["node", "start", "nm"]);
    assert!([0, 7].contains(&started.status), "{}", started.stderr);
    let said = || std::fs::read_to_string(cluster.dir().join("nm.log")).unwrap_or_default();
    until(LATER, "it to end with the way out", || {
        said().lines().any(|line| line.starts_with("error[DAMAGED]") && line.contains("--rebuild"))
    });
    assert!(said().contains("older than what ss1"), "{}", said());
    let old = cluster.pairfs(&["read", "/before", "--timeout", "1"]);
    assert!(old.status != 0 || old.stdout == b"changed since", "an old version is read");

    // Its servers run on: they stand for the rebuild.
    rebuild(&cluster, &[]);
    wait_rebuilt(&cluster);
    cluster.wait_settled();
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/before"), b"changed since");
    assert_eq!(cluster.read("/since"), b"written since");
}

#[test]
fn a_name_manager_whose_data_is_gone_does_not_begin_anew_beside_servers_that_have_files() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.wait_settled();
    lose_nm(&cluster);
    let refused = cluster.pairfs(&["node", "start", "nm"]).exits(7);
    assert!(refused.stderr.contains("pairfs node start nm --rebuild"), "{}", refused.stderr);
    rebuild(&cluster, &[]);
    wait_rebuilt(&cluster);
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/file"), b"content");
}

fn copy_folder(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]).status().unwrap();
    assert!(done.success());
}
