//! A part of a journal goes bad on the disk of one member: it comes back by itself, and takes from its partner what
//! stood there and nothing else (R31).

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, pair, server};
use pairfs_tests::command::Started;
use pairfs_tests::wait::until;
use pairfs_tests::workload::filled;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

fn partner(member: &str) -> &'static str {
    if member == "ss1" { "ss1_backup" } else { "ss1" }
}

/// Flips a bit of a content in the journal of a member that is not running.
fn damage(cluster: &Cluster, member: &str, content: &[u8]) {
    flip(cluster, member, &content[4000..4048], |bytes, wanted| {
        bytes.windows(wanted.len()).position(|part| part == wanted)
    });
}

/// Flips a bit of the row of a file: its name stands in the record of its content, and behind that in the row.
fn damage_row(cluster: &Cluster, member: &str, name: &str) {
    flip(cluster, member, name.as_bytes(), |bytes, wanted| {
        bytes.windows(wanted.len()).rposition(|part| part == wanted)
    });
}

fn flip(cluster: &Cluster, member: &str, wanted: &[u8], find: impl Fn(&[u8], &[u8]) -> Option<usize>) {
    for entry in std::fs::read_dir(cluster.disk(member).join("store/journal")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = find(&bytes, wanted) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            return file.write_all_at(&[wanted[0] ^ 0x20], at as u64).unwrap();
        }
    }
    panic!("it is not in the journal of {member}");
}

/// Small files stand in the journal, large ones beside it.
fn fill(cluster: &Cluster) {
    for n in 0..8 {
        cluster.write(&format!("/small{n}"), &filled(n, 9000));
        cluster.write(&format!("/medium{n}"), &filled(100 + n, 300_000));
    }
    cluster.write("/gone", &filled(50, 9000));
    cluster.pairfs(&["rm", "/gone", "--now"]).ok();
    cluster.write("/changed", &filled(51, 9000));
    cluster.write("/changed", &filled(52, 9000));
    cluster.wait_settled();
}

fn check(cluster: &Cluster) {
    for n in 0..8 {
        assert!(cluster.read(&format!("/small{n}")) == filled(n, 9000), "/small{n}");
        assert!(cluster.read(&format!("/medium{n}")) == filled(100 + n, 300_000), "/medium{n}");
    }
    cluster.pairfs(&["read", "/gone"]).exits(3);
    assert!(cluster.read("/changed") == filled(52, 9000));
}

fn copies(started: &Started) -> usize {
    started.said().matches("copying from the partner").count()
}

/// What `hurt` does to the journal of `member` costs it the contents of so many files.
fn it_comes_back_by_itself(member: &str, hurt: impl Fn(&Cluster), lost: usize) {
    let cluster = Cluster::start(true);
    fill(&cluster);
    cluster.kill9(member);
    cluster.wait(SOON, "the other to go on alone", |status| {
        server(status, member)["state"] == "failed" && pair(status)["acting"] == partner(member)
    });
    hurt(&cluster);
    // Something has to be fetched anyhow.
    cluster.write("/meanwhile", &filled(60, 9000));
    cluster.pairfs(&["rm", "/medium7", "--now"]).ok();
    cluster.write("/medium7", &filled(107, 300_000));

    let started = cluster.start_on_disk(member, &cluster.disk(member), false, &["-v"]);
    until(LATER, "it to be compared", || !cluster.events_of("compared", member).is_empty());
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    check(&cluster);
    let told = cluster.events_of("damaged", member).pop().expect("an event tells it");
    assert!(told["reason"].to_string().contains("journal cannot be read"), "{told}");
    let copied = copies(&started);
    assert_eq!(copied, lost + 2, "what was lost, and two that were missed: {}", started.said());
    cluster.pairfs(&["scrub"]).ok();
    let status = cluster.status();
    assert!(server(&status, member)["trouble"].is_null(), "it is over: {status}");

    // Also a start that reads all of that journal, and the bytes of this member alone.
    cluster.kill9(member);
    until(SOON, "it to be failed", || cluster.events_of("failed", member).len() >= 2);
    std::fs::remove_file(cluster.disk(member).join("store/index.redb")).unwrap();
    cluster.node_start(member);
    cluster.wait_settled();
    assert_eq!(cluster.events_of("damaged", member).len(), 1, "it has been dealt with");
    if cluster.status()["pairs"][0]["acting"] != member {
        cluster.switch_over();
    }
    cluster.kill9(partner(member));
    cluster.wait_acting(member, SOON);
    check(&cluster);
    drop(started);
}

fn two_contents(cluster: &Cluster, member: &str) {
    damage(cluster, member, &filled(3, 9000));
    damage(cluster, member, &filled(5, 9000));
}

fn two_rows(cluster: &Cluster, member: &str) {
    damage_row(cluster, member, "small4");
    damage_row(cluster, member, "medium2");
}

#[test]
fn a_backup_that_lost_rows_of_its_journal_gets_them_again_and_copies_no_content_for_them_r31() {
    it_comes_back_by_itself("ss1_backup", |cluster| two_rows(cluster, "ss1_backup"), 0);
}

#[test]
fn a_primary_that_lost_rows_of_its_journal_gets_them_again_and_copies_no_content_for_them_r31() {
    it_comes_back_by_itself("ss1", |cluster| two_rows(cluster, "ss1"), 0);
}

#[test]
fn a_backup_whose_journal_is_damaged_comes_back_by_itself_and_copies_only_what_was_lost_r31() {
    it_comes_back_by_itself("ss1_backup", |cluster| two_contents(cluster, "ss1_backup"), 2);
}

#[test]
fn a_primary_whose_journal_is_damaged_comes_back_by_itself_and_copies_only_what_was_lost_r31() {
    it_comes_back_by_itself("ss1", |cluster| two_contents(cluster, "ss1"), 2);
}

#[test]
fn the_last_acting_member_with_a_damaged_journal_lets_its_partner_act_first_r31() {
    let cluster = Cluster::start(true);
    fill(&cluster);
    // Nothing is handed over: all are gone at once.
    cluster.kill9("nm");
    cluster.kill9("ss1");
    cluster.kill9("ss1_backup");
    damage(&cluster, "ss1", &filled(3, 9000));
    cluster.node_start("nm");
    let mut started = cluster.start_on_disk("ss1", &cluster.disk("ss1"), false, &[]);
    cluster.wait(SOON, "it to say that it waits", |status| {
        server(status, "ss1")["trouble"].to_string().contains("waits for its partner")
    });
    assert!(pair(&cluster.status())["acting"].is_null());
    assert!(started.runs());
    cluster.node_start("ss1_backup");
    until(LATER, "it to be compared", || !cluster.events_of("compared", "ss1").is_empty());
    assert_eq!(cluster.events_of("promoted", "ss1_backup").len(), 1);
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    check(&cluster);
}

/// Every file below a folder, with its bytes.
fn image(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(image(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn with_both_journals_damaged_both_end_with_exit_7_and_nothing_is_changed_r31() {
    let cluster = Cluster::start(true);
    fill(&cluster);
    cluster.kill9("ss1");
    cluster.kill9("ss1_backup");
    let members = ["ss1", "ss1_backup"];
    members.iter().for_each(|member| damage(&cluster, member, &filled(3, 9000)));
    let journals = || members.map(|member| image(&cluster.disk(member).join("store/journal")));
    let before = journals();
    let started = members.map(|member| cluster.start_on_disk(member, &cluster.disk(member), false, &[]));
    for (member, started) in members.iter().zip(started) {
        let ran = started.end().exits(7);
        let last = ran.stderr.lines().last().unwrap_or_default();
        for part in ["DAMAGED", "journal", member] {
            assert!(last.contains(part), "'{part}' is missing in: {}", ran.stderr);
        }
    }
    assert!(journals() == before, "nothing may be changed");
}
