//! A server comes back with another disk than it had: an empty one, an old image of its own, or it is there twice
//! (R7). Nothing old is served, nothing deleted returns, and in the end both copies are equal.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, number, pair, server};
use pairfs_tests::wait::until;
use pairfs_tests::workload::filled;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is there before anything happens, and what the copies are compared with.
const BEFORE: [(&str, u64, usize); 4] =
    [("/d/empty", 0, 0), ("/d/small", 1, 900), ("/d/medium", 2, 90_000), ("/d/large", 3, 5_000_000)];

fn write_before(cluster: &Cluster) {
    for (path, seed, length) in BEFORE {
        cluster.write(path, &filled(seed, length));
    }
    cluster.write("/gone", b"removed later");
    cluster.wait_settled();
}

fn check_before(cluster: &Cluster) {
    for (path, seed, length) in BEFORE {
        assert!(cluster.read(path) == filled(seed, length), "{path}");
    }
}

/// What happens after an image or a clone was taken: everything that an old disk could undo.
fn change_everything(cluster: &Cluster) {
    cluster.write("/changed", b"the new content");
    cluster.pairfs(&["mv", "/moved-from", "/moved-to"]).ok();
    cluster.pairfs(&["rm", "/gone"]).ok();
    cluster.pairfs(&["rm", "/gone-for-good", "--now"]).ok();
    cluster.write("/new", b"written since");
}

fn write_changeable(cluster: &Cluster) {
    cluster.write("/changed", b"the old content");
    cluster.write("/moved-from", b"moved");
    cluster.write("/gone-for-good", b"removed, past the trash");
    write_before(cluster);
}

fn check_changed(cluster: &Cluster) {
    check_before(cluster);
    assert_eq!(cluster.read("/changed"), b"the new content");
    assert_eq!(cluster.read("/moved-to"), b"moved");
    assert_eq!(cluster.read("/new"), b"written since");
    for path in ["/moved-from", "/gone", "/gone-for-good"] {
        cluster.pairfs(&["read", path]).exits(3);
    }
}

/// Both copies are equal, `member` acts, and what it serves alone is the newest.
fn check_alone(cluster: &Cluster, member: &str) {
    cluster.assert_copies_equal();
    if pair(&cluster.status())["acting"] != member {
        cluster.switch_over();
    }
    cluster.kill9(&partner(member));
    cluster.wait(SOON, "the pair to be one", |status| {
        server(status, &partner(member))["state"] == "failed" && pair(status)["acting"] == member
    });
    check_changed(cluster);
}

fn partner(member: &str) -> String {
    match member.strip_suffix("_backup") {
        Some(primary) => primary.to_owned(),
        None => format!("{member}_backup"),
    }
}

/// The other member acts, `member` is gone.
fn lose(cluster: &Cluster, member: &str) {
    cluster.kill9(member);
    let other = partner(member);
    cluster.wait(SOON, "the other member to go on alone", |status| {
        server(status, member)["state"] == "failed" && pair(status)["acting"] == other.as_str()
    });
}

/// A copy of a disk, beside the cluster.
fn copy(cluster: &Cluster, member: &str, name: &str) -> PathBuf {
    let copy = cluster.desk().join(name);
    copy_tree(&cluster.disk(member), &copy);
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn put_back(cluster: &Cluster, member: &str, image: &Path) {
    std::fs::remove_dir_all(cluster.disk(member)).unwrap();
    copy_tree(image, &cluster.disk(member));
}

fn wipe(cluster: &Cluster, member: &str) {
    std::fs::remove_dir_all(cluster.disk(member)).unwrap();
}

/// The events of `member` of one kind since it was counted.
fn count(cluster: &Cluster, kind: &str, member: &str) -> usize {
    cluster.events_of(kind, member).len()
}

fn an_empty_disk_gets_everything(member: &str) {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    lose(&cluster, member);
    change_everything(&cluster);
    wipe(&cluster, member);
    cluster.node_start(member);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    assert_eq!(pair(&cluster.status())["lost_versions"], 0);
    check_alone(&cluster, member);
}

#[test]
fn an_empty_disk_of_the_primary_is_accepted_by_itself_and_gets_everything() {
    an_empty_disk_gets_everything("ss1");
}

#[test]
fn an_empty_disk_of_the_backup_is_accepted_by_itself_and_gets_everything() {
    an_empty_disk_gets_everything("ss1_backup");
}

#[test]
fn an_empty_disk_whose_partner_is_away_needs_replace_disk_and_says_so() {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    lose(&cluster, "ss1");
    change_everything(&cluster);
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be down", |status| pair(status)["state"] == "down");
    wipe(&cluster, "ss1");
    let refused = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &[]).end().exits(5);
    assert!(refused.stderr.contains("--replace-disk"), "{}", refused.stderr);

    let started = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &["--replace-disk"]);
    cluster.wait(SOON, "it to be accepted", |status| server(status, "ss1")["state"] == "alive");
    // It has nothing and must not act, whatever the operator said.
    let status = cluster.status();
    assert_eq!(pair(&status)["state"], "down", "{status}");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    check_alone(&cluster, "ss1");
    drop(started);
}

#[test]
fn an_empty_disk_of_the_last_acting_member_never_passes_for_the_pair() {
    let cluster = Cluster::start(true);
    cluster.write("/both", b"on both");
    cluster.wait_settled();
    lose(&cluster, "ss1_backup");
    cluster.write("/folder/one", b"only on ss1");
    cluster.kill9("ss1");
    cluster.wait(SOON, "the pair to be down", |status| pair(status)["state"] == "down");
    wipe(&cluster, "ss1");
    for words in [&[][..], &["--replace-disk"]] {
        let refused = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, words).end().exits(5);
        assert!(refused.stderr.contains("--accept-loss"), "{}", refused.stderr);
    }
    cluster.node_start("ss1_backup");
    cluster.wait(SOON, "the backup to be back", |status| server(status, "ss1_backup")["state"] == "alive");
    assert!(pair(&cluster.status())["acting"].is_null(), "it missed something");
    cluster.pairfs(&["pair", "promote", "ss1", "--accept-loss"]).ok();
    cluster.wait_acting("ss1_backup", SOON);
    assert_eq!(cluster.read("/both"), b"on both");

    // What only the wiped disk had is still owed: it is not given up in silence.
    let refused = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &[]).end().exits(5);
    assert!(refused.stderr.contains("--replace-disk"), "{}", refused.stderr);
    let started = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &["--replace-disk"]);
    assert_lost(&cluster, &["/folder/one"]);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    assert_eq!(cluster.read("/both"), b"on both");
    drop(started);
}

/// Exactly these files have a lost version, and everybody says so.
fn assert_lost(cluster: &Cluster, paths: &[&str]) {
    cluster.wait(LATER, "what is lost to be told", |status| {
        pair(status)["lost_versions"] == paths.len() && pair(status)["owed_versions"] == 0
    });
    let reasons: Vec<String> =
        cluster.events_of("lost", "ss1").iter().map(|event| event["reason"].to_string()).collect();
    for path in paths {
        assert!(reasons.iter().any(|reason| reason.contains(path)), "{path} is not named in {reasons:?}");
        let info = cluster.info(path);
        let versions = info["versions"].as_array().expect("info lists versions");
        assert!(versions.iter().any(|version| version["lost"] == true), "{info}");
        let listed = cluster.pairfs(&["find", path]).ok().text();
        assert!(listed.contains(path), "it is not removed in silence: {listed}");
    }
}

#[test]
fn what_only_the_lost_disk_held_is_reported_lost_by_name_and_the_rest_stays() {
    // At the normal pace: the backup is frozen for far less than a timeout, so it stays fresh.
    let cluster = Cluster::start(false);
    cluster.write("/folder/known", b"known to both");
    cluster.write("/other", b"untouched");
    cluster.wait_settled();
    cluster.freeze("ss1_backup");
    for path in ["/folder/new", "/folder/known"] {
        // More than the sockets between two servers hold, less than a client's window.
        assert_eq!(cluster.write(path, &filled(path.len() as u64, 14 << 20))["durable"], "local");
    }
    cluster.kill9("ss1");
    cluster.thaw("ss1_backup");
    cluster.wait_acting("ss1_backup", LATER);
    assert_eq!(pair(&cluster.status())["owed_versions"], 2);

    wipe(&cluster, "ss1");
    let refused = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &[]).end().exits(5);
    assert!(refused.stderr.contains("--replace-disk"), "{}", refused.stderr);
    assert_eq!(pair(&cluster.status())["owed_versions"], 2, "nothing is given up by a try");
    let started = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &["--replace-disk"]);
    assert_lost(&cluster, &["/folder/new", "/folder/known"]);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", LATER);
    assert_eq!(cluster.read("/folder/known"), b"known to both");
    assert_eq!(cluster.read("/other"), b"untouched");
    let lost = cluster.pairfs(&["read", "/folder/new", "--timeout", "5"]);
    assert_ne!(lost.status, 0);
    assert!(lost.stderr.contains("lost"), "{}", lost.stderr);
    // A lost file can be written again.
    cluster.write("/folder/new", b"written again");
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/folder/new"), b"written again");
    drop(started);
}

fn an_old_image_is_brought_up_to_date(member: &str) {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    cluster.node_stop(member);
    let image = copy(&cluster, member, "image");
    cluster.node_start(member);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    change_everything(&cluster);
    cluster.assert_copies_equal();
    lose(&cluster, member);
    cluster.write("/changed", b"the new content");
    put_back(&cluster, member, &image);
    let (before, acting) = (count(&cluster, "recovering", member), partner(member));
    cluster.node_start(member);
    cluster.wait(SOON, "it to be compared", |status| {
        // Nobody promotes what is old.
        let now = &pair(status)["acting"];
        let caught_up = server(status, member)["fresh"] == true;
        assert!(caught_up || now.is_null() || *now == acting.as_str(), "{status}");
        caught_up
    });
    let recovering = cluster.events_of("recovering", member);
    assert!(recovering.len() > before, "it is recognised: {recovering:?}");
    let reason = recovering.last().unwrap()["reason"].to_string();
    assert!(reason.contains("compared"), "it is recognised: {reason}");
    check_alone(&cluster, member);
}

#[test]
fn an_old_image_of_the_primary_is_recognised_and_brought_up_to_date() {
    an_old_image_is_brought_up_to_date("ss1");
}

#[test]
fn an_old_image_of_the_backup_is_recognised_and_brought_up_to_date() {
    an_old_image_is_brought_up_to_date("ss1_backup");
}

/// An image taken while the server ran: its token is the present one, only its journal is behind.
fn a_running_image(cluster: &Cluster, member: &str) -> PathBuf {
    cluster.wait_settled();
    cluster.freeze(member);
    let image = copy(cluster, member, "image");
    cluster.thaw(member);
    cluster.wait_settled();
    image
}

fn an_image_taken_while_it_ran_is_recognised(member: &str) {
    // At the normal pace: it is frozen for less than a timeout.
    let cluster = Cluster::start(false);
    write_changeable(&cluster);
    let image = a_running_image(&cluster, member);
    change_everything(&cluster);
    cluster.assert_copies_equal();
    lose(&cluster, member);
    put_back(&cluster, member, &image);
    let before = count(&cluster, "recovering", member);
    cluster.node_start(member);
    cluster.assert_copies_equal();
    let recovering = cluster.events_of("recovering", member);
    assert!(recovering.len() > before && recovering.last().unwrap()["reason"].to_string().contains("image"));
    check_alone(&cluster, member);
}

#[test]
fn an_image_of_the_running_primary_is_recognised_by_its_journal() {
    an_image_taken_while_it_ran_is_recognised("ss1");
}

#[test]
fn an_image_of_the_running_backup_is_recognised_by_its_journal() {
    an_image_taken_while_it_ran_is_recognised("ss1_backup");
}

#[test]
fn an_old_image_of_the_last_acting_member_is_never_served() {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    cluster.node_stop("ss1");
    let old = copy(&cluster, "ss1", "old");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    lose(&cluster, "ss1_backup");
    change_everything(&cluster);
    cluster.kill9("ss1");
    cluster.wait(SOON, "the pair to be down", |status| pair(status)["state"] == "down");
    let newest = copy(&cluster, "ss1", "newest");

    put_back(&cluster, "ss1", &old);
    for words in [&[][..], &["--replace-disk"]] {
        let refused = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, words).end().exits(5);
        assert!(refused.stderr.contains("accept-loss"), "{}", refused.stderr);
    }
    assert_eq!(pair(&cluster.status())["state"], "down");
    put_back(&cluster, "ss1", &newest);
    cluster.node_start("ss1");
    cluster.node_start("ss1_backup");
    check_alone(&cluster, "ss1");
}

fn a_clone_beside_the_living_server_is_refused(member: &str) {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    cluster.node_stop(member);
    let old = copy(&cluster, member, "old");
    cluster.node_start(member);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    // One that knows the present token, too: copied in an instant in which nothing was written.
    let twin = copy(&cluster, member, "twin");
    let (before, failed) = (cluster.status(), count(&cluster, "failed", member));
    for clone in [&old, &twin] {
        let refused = cluster.start_on_disk(member, clone, true, &[]).end().exits(4);
        assert!(refused.stderr.contains("alive"), "{}", refused.stderr);
        let refused = cluster.start_on_disk(member, clone, true, &["--replace-disk"]).end().exits(4);
        assert!(refused.stderr.contains("alive"), "{}", refused.stderr);
    }
    change_everything(&cluster);
    let after = cluster.status();
    assert_eq!(pair(&after)["epoch"], pair(&before)["epoch"]);
    assert_eq!(server(&after, member)["incarnation"], server(&before, member)["incarnation"]);
    assert_eq!(count(&cluster, "failed", member), failed, "the real one goes on undisturbed");
    check_alone(&cluster, member);
}

#[test]
fn a_clone_of_the_living_primary_is_refused_and_the_real_one_goes_on() {
    a_clone_beside_the_living_server_is_refused("ss1");
}

#[test]
fn a_clone_of_the_living_backup_is_refused_and_the_real_one_goes_on() {
    a_clone_beside_the_living_server_is_refused("ss1_backup");
}

fn a_clone_and_the_real_one_alternate(member: &str) {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    let clone = copy(&cluster, member, "clone");
    let mut round = 0;
    let mut write = |cluster: &Cluster| {
        round += 1;
        cluster.write("/changed", format!("round {round}").as_bytes());
        assert_eq!(cluster.read("/changed"), format!("round {round}").as_bytes());
    };
    for _ in 0..2 {
        // The clone takes the place of the real one.
        lose(&cluster, member);
        write(&cluster);
        let registered = count(&cluster, "registered", member);
        let started = cluster.start_on_disk(member, &clone, true, &[]);
        until(SOON, "the clone to be taken", || count(&cluster, "registered", member) > registered);
        cluster.assert_copies_equal();
        write(&cluster);
        // Now the real one is the second.
        let refused = cluster.start_on_disk(member, &cluster.disk(member), false, &[]).end().exits(4);
        assert!(refused.stderr.contains("alive"), "{}", refused.stderr);
        write(&cluster);
        started.kill();
        let other = partner(member);
        cluster.wait(SOON, "the other member to go on alone", |status| {
            server(status, member)["state"] == "failed" && pair(status)["acting"] == other.as_str()
        });
        write(&cluster);
        cluster.node_start(member);
        cluster.assert_copies_equal();
        cluster.wait_acting("ss1", SOON);
        write(&cluster);
    }
    change_everything(&cluster);
    check_alone(&cluster, member);
}

#[test]
fn a_clone_and_the_real_primary_that_alternate_never_both_serve() {
    a_clone_and_the_real_one_alternate("ss1");
}

#[test]
fn a_clone_and_the_real_backup_that_alternate_never_both_serve() {
    a_clone_and_the_real_one_alternate("ss1_backup");
}

#[test]
fn a_real_server_that_wakes_beside_its_clone_is_refused() {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    let clone = copy(&cluster, "ss1", "clone");
    cluster.freeze("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    let registered = count(&cluster, "registered", "ss1");
    let started = cluster.start_on_disk("ss1", &clone, true, &[]);
    until(SOON, "the clone to be taken", || count(&cluster, "registered", "ss1") > registered);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    change_everything(&cluster);
    let before = cluster.status();
    let real = cluster.pid("ss1");
    cluster.thaw("ss1");
    until(SOON, "the real one to end", || pairfs_tests::cluster::is_gone(real));
    check_changed(&cluster);
    let after = cluster.status();
    assert_eq!(server(&after, "ss1")["incarnation"], server(&before, "ss1")["incarnation"]);
    assert_eq!(pair(&after)["epoch"], pair(&before)["epoch"]);
    cluster.assert_copies_equal();
    started.kill();
}

/// A file is removed for good and its tombstone collected while `member`'s image lies in a drawer.
fn an_image_from_before_a_collection_is_swept(member: &str) {
    let cluster = Cluster::start(true);
    write_changeable(&cluster);
    cluster.pairfs(&["mkdir", "/empty-folder"]).ok();
    cluster.write("/large", &filled(9, 12 << 20));
    cluster.wait_settled();
    cluster.node_stop(member);
    let image = copy(&cluster, member, "image");
    cluster.node_start(member);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    let live = |cluster: &Cluster| ids(&cluster.disk(&partner(member)).join("store"));
    change_everything(&cluster);
    cluster.pairfs(&["rm", "-r", "/empty-folder", "--now"]).ok();
    cluster.assert_copies_equal();
    // The name manager tells in its log; with the fast pace it collects every second.
    until(LATER, "the tombstones to be collected", || {
        let log = std::fs::read_to_string(cluster.dir().join("nm.log")).unwrap();
        log.matches("tombstones were collected").count() >= 2
    });
    cluster.wait_settled();
    lose(&cluster, member);
    cluster.write("/changed", b"the new content");
    put_back(&cluster, member, &image);
    let started = cluster.start_on_disk(member, &cluster.disk(member), false, &["-v"]);
    until(LATER, "it to be compared", || count(&cluster, "compared", member) > 0);
    cluster.assert_copies_equal();
    let compared = cluster.events_of("compared", member).pop().unwrap();
    assert_eq!(number(&compared, "set_aside"), Some(2), "{compared}");
    for name in ["gone-for-good", "empty-folder"] {
        assert!(compared["reason"].to_string().contains(name), "{compared}");
    }
    let said = cluster.wait(SOON, "status to tell", |status| server(status, member)["set_aside"] == 2);
    assert_eq!(server(&said.0, &partner(member))["set_aside"], 0);
    // What it held was recognised, not copied again.
    let copied = started.said().matches("copying from the partner").count();
    assert!((1..=3).contains(&copied), "{copied} contents were copied: {}", started.said());
    cluster.wait_acting("ss1", SOON);
    check_alone(&cluster, member);
    // Also on the disk: no record of what is gone, neither as a file nor as a tombstone.
    cluster.node_stop(member);
    assert_eq!(ids(&cluster.disk(member).join("store")), live(&cluster));
    drop(started);
}

/// Ids of all records in a store that is not in use, tombstones too.
fn ids(store: &Path) -> Vec<u64> {
    let disk = std::sync::Arc::new(log::RealDisk::new(store.to_owned()).unwrap());
    let store = ss::store::Store::open_read_only(disk, ss::store::StoreConfig::default()).unwrap();
    store.records_after(0, 1000).unwrap().iter().map(|record| record.id).collect()
}

#[test]
fn an_image_of_the_primary_does_not_bring_back_what_was_removed_and_forgotten() {
    an_image_from_before_a_collection_is_swept("ss1");
}

#[test]
fn an_image_of_the_backup_does_not_bring_back_what_was_removed_and_forgotten() {
    an_image_from_before_a_collection_is_swept("ss1_backup");
}

#[test]
fn an_empty_disk_is_resent_each_file_once() {
    let cluster = Cluster::start(true);
    for name in 0..30 {
        cluster.write(&format!("/f{name}"), &filled(name, 3000));
    }
    cluster.wait_settled();
    lose(&cluster, "ss1_backup");
    wipe(&cluster, "ss1_backup");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
    let caught_up = cluster.events_of("caught-up", "ss1_backup").pop().expect("it caught up");
    assert_eq!(number(&caught_up, "rows_missed"), Some(30), "{caught_up}");
    assert_eq!(number(&caught_up, "rows_resent"), Some(30), "{caught_up}");
    let value: &Value = &cluster.status();
    assert_eq!(pair(value)["state"], "active");
}
