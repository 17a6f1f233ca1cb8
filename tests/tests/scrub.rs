//! Bytes go bad on one disk, or on both: they are found, never served, and repaired from the good copy (I6).

use pairfs_tests::cluster::{LATER, SOON};
use pairfs_tests::wire::{Wire, forge};
use pairfs_tests::workload::{filled, under_load};
use pairfs_tests::{Cluster, damage, until};
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use types::Code;
use types::capability::right;
use types::message::store::{Scrub, ScrubRequest};

const MIB: usize = 1 << 20;

/// Files of a folder of a member's store.
fn files(cluster: &Cluster, server: &str, folder: &str) -> Vec<PathBuf> {
    let folder = cluster.dir().join(server).join("store").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// Changes one byte of `content` on a member's disk: the byte at `offset` of it, in every place it lies.
#[track_caller]
fn flip(cluster: &Cluster, server: &str, folder: &str, content: &[u8], offset: usize) {
    damage::flip(&cluster.dir().join(server).join("store").join(folder), content, offset);
}

#[track_caller]
fn scrub(cluster: &Cluster, words: &[&str]) -> Value {
    cluster.pairfs(&[&["--json", "scrub"], words].concat()).ok().json()
}

/// What a scrub found: path, server, repaired.
fn found(report: &Value) -> Vec<(String, String, bool)> {
    let damage = report["damage"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut found: Vec<_> = damage
        .iter()
        .map(|one| (text(&one["path"]), text(&one["server"]), one["repaired"] == true))
        .collect();
    found.sort();
    found
}

fn repaired(path: &str, server: &str) -> (String, String, bool) {
    (path.to_owned(), server.to_owned(), true)
}

#[track_caller]
fn assert_all_well(cluster: &Cluster) {
    let again = scrub(cluster, &[]);
    assert_eq!((found(&again), &again["well"]), (vec![], &Value::Bool(true)), "the second scrub");
    cluster.assert_copies_equal();
}

#[test]
fn bad_bytes_on_either_disk_are_found_and_repaired_while_the_cluster_runs() {
    let cluster = Cluster::start(true);
    let large = filled(1, 9 * MIB);
    let medium = filled(2, 100_000);
    let whole = filled(3, 40_000);
    cluster.write("/a/large", &large);
    cluster.write("/a/medium", &medium);
    cluster.write("/b/untouched", &whole);
    cluster.write("/b/small", b"short");
    cluster.wait_settled();
    let clean = scrub(&cluster, &[]);
    assert_eq!(clean["members"][0]["files"], 4);
    let bytes = clean["members"][0]["bytes"].as_u64().unwrap();
    assert_eq!(bytes, (large.len() + medium.len() + whole.len() + 5) as u64, "every byte was looked at");

    // Two chunks of one file, each bad on another disk: between them there is one good copy.
    flip(&cluster, "ss1", "extents", &large, 5 * MIB);
    flip(&cluster, "ss1_backup", "extents", &large, 100);
    flip(&cluster, "ss1_backup", "extents", &medium, 77_000);
    let report = scrub(&cluster, &[]);
    let expected = [
        repaired("/a/large", "ss1"),
        repaired("/a/large", "ss1_backup"),
        repaired("/a/medium", "ss1_backup"),
    ];
    assert_eq!(found(&report), expected);
    assert_eq!((&report["well"], &report["repaired"]), (&Value::Bool(true), &Value::from(3)));
    assert!(cluster.read("/a/large") == large && cluster.read("/a/medium") == medium);
    assert_all_well(&cluster);
    // What was written anew is what a restart finds.
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    assert!(cluster.read("/a/large") == large && cluster.read("/a/medium") == medium);
    cluster.node_start("ss1");
    cluster.wait_settled();
    assert_all_well(&cluster);
}

#[test]
fn bad_bytes_and_a_lost_file_of_a_stopped_server_are_repaired_when_it_is_back() {
    let cluster = Cluster::start(true);
    let contents: Vec<Vec<u8>> = (0..4).map(|seed| filled(10 + seed, 3 * MIB)).collect();
    for (number, content) in contents.iter().enumerate() {
        cluster.write(&format!("/f{number}"), content);
    }
    cluster.wait_settled();
    cluster.node_stop("ss1_backup");
    flip(&cluster, "ss1_backup", "extents", &contents[2], MIB);
    cluster.node_start("ss1_backup");
    cluster.wait_settled();
    assert_eq!(found(&scrub(&cluster, &[])), [repaired("/f2", "ss1_backup")]);
    assert_all_well(&cluster);

    cluster.node_stop("ss1");
    files(&cluster, "ss1", "extents").iter().for_each(|file| std::fs::remove_file(file).unwrap());
    cluster.node_start("ss1");
    cluster.wait_settled();
    let all: Vec<_> = (0..4).map(|number| repaired(&format!("/f{number}"), "ss1")).collect();
    assert_eq!(found(&scrub(&cluster, &[])), all);
    for (number, content) in contents.iter().enumerate() {
        assert!(cluster.read(&format!("/f{number}")) == *content);
    }
    assert_all_well(&cluster);
}

#[test]
fn a_scrub_of_a_path_looks_at_that_path_only() {
    let cluster = Cluster::start(true);
    let (one, two) = (filled(1, 200_000), filled(2, 200_000));
    cluster.write("/a/b/one", &one);
    cluster.write("/c/two", &two);
    cluster.wait_settled();
    flip(&cluster, "ss1", "extents", &one, 1000);
    flip(&cluster, "ss1", "extents", &two, 1000);
    let report = scrub(&cluster, &["/a"]);
    assert_eq!(found(&report), [repaired("/a/b/one", "ss1")]);
    assert_eq!(report["members"][0]["files"], 1);
    assert_eq!(found(&scrub(&cluster, &["/a/b/one", "/c/two"])), [repaired("/c/two", "ss1")]);
    cluster.pairfs(&["scrub", "/missing"]).exits(3);
    let text = cluster.pairfs(&["scrub"]).ok().text();
    assert!(text.contains("all is well"), "{text}");
}

#[test]
fn small_contents_in_the_journal_are_repaired_too() {
    let cluster = Cluster::start(true);
    let (inline, chunk) = (filled(1, 9_000), filled(2, 50_000));
    cluster.write("/inline", &inline);
    cluster.write("/chunk", &chunk);
    cluster.wait_settled();
    flip(&cluster, "ss1_backup", "journal", &inline, 5_000);
    flip(&cluster, "ss1_backup", "journal", &chunk, 30_000);
    let expected = [repaired("/chunk", "ss1_backup"), repaired("/inline", "ss1_backup")];
    assert_eq!(found(&scrub(&cluster, &[])), expected);
    assert_all_well(&cluster);
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    assert!(cluster.read("/inline") == inline && cluster.read("/chunk") == chunk);
}

#[test]
fn what_is_bad_on_both_disks_is_reported_and_neither_served_nor_deleted() {
    let cluster = Cluster::start(true);
    let (bad, good) = (filled(1, 6 * MIB), filled(2, 300_000));
    cluster.write("/bad", &bad);
    cluster.write("/good", &good);
    cluster.wait_settled();
    for server in ["ss1", "ss1_backup"] {
        flip(&cluster, server, "extents", &bad, 5 * MIB);
    }
    for _ in 0..2 {
        let ran = cluster.pairfs(&["--json", "scrub"]).exits(7);
        let report = ran.json();
        let both: Vec<_> =
            ["ss1", "ss1_backup"].map(|server| ("/bad".to_owned(), server.to_owned(), false)).into();
        assert_eq!(found(&report), both);
        assert_eq!(report["no_good_copy"][0]["path"], "/bad");
        assert_eq!((report["well"] == true, ran.code().as_deref()), (false, Some("DAMAGED")));
    }
    cluster.pairfs(&["read", "/bad"]).exits(7);
    let range = cluster.pairfs(&["read", "/bad", "--range", "0-99"]).ok().stdout;
    assert!(range == bad[..100], "what is good of it can be had");
    assert!(cluster.read("/good") == good);
    assert_eq!(cluster.info("/bad")["size"], bad.len());
    // Whoever has it elsewhere puts it back.
    cluster.write("/bad", &bad[..5 * MIB]);
    assert!(cluster.read("/bad") == bad[..5 * MIB]);
}

#[test]
fn a_read_of_bad_bytes_gets_the_good_ones_and_they_are_repaired_at_once() {
    let cluster = Cluster::start(true);
    let (large, newer) = (filled(1, 9 * MIB), filled(2, 5_000));
    cluster.write("/large", &large);
    cluster.write("/inline", b"an older version");
    cluster.write("/inline", &newer);
    cluster.wait_settled();
    flip(&cluster, "ss1", "extents", &large, 6 * MIB);
    assert!(cluster.read("/large") == large);
    until(SOON, "the repair to be an event", || !cluster.events_of("repaired", "ss1").is_empty());
    assert_all_well(&cluster);

    // Without the partner there is no good copy: an error, and never the bad bytes.
    flip(&cluster, "ss1", "extents", &large, 2 * MIB);
    cluster.kill9("ss1_backup");
    cluster.pairfs(&["read", "/large"]).exits(7);
    let unrepaired = cluster.pairfs(&["--json", "scrub"]).exits(7).json();
    assert_eq!(found(&unrepaired), [("/large".to_owned(), "ss1".to_owned(), false)]);
    cluster.node_start("ss1_backup");
    cluster.wait_settled();
    assert!(cluster.read("/large") == large);
    assert_all_well(&cluster);
}

#[test]
fn a_head_whose_record_is_bad_is_repaired_by_a_read_and_no_older_version_is_served_for_it() {
    let cluster = Cluster::start(true);
    let newer = filled(1, 9_000);
    cluster.write("/file", b"an older version");
    cluster.write("/file", &newer);
    // More than a segment of the journal after it: a start does not read it again.
    let tree = cluster.desk().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for number in 0..400 {
        std::fs::write(tree.join(number.to_string()), filled(100 + number, 50_000)).unwrap();
    }
    cluster.pairfs(&["put", "-r", tree.to_str().unwrap(), "/tree"]).ok();
    cluster.wait_settled();
    cluster.node_stop("ss1");
    flip(&cluster, "ss1", "journal", &newer, 4_000);
    cluster.node_start("ss1");
    cluster.wait_settled();
    assert!(cluster.read("/file") == newer);
    until(SOON, "the repair to be an event", || !cluster.events_of("repaired", "ss1").is_empty());
    assert_all_well(&cluster);
}

#[test]
fn what_copies_of_a_file_share_is_read_once_in_a_scrub_and_repaired_for_all_of_them() {
    let cluster = Cluster::start(true);
    let content = filled(1, 9 * MIB);
    cluster.write("/file", &content);
    for copy in ["/copy", "/copy-of-copy", "/another"] {
        cluster.pairfs(&["cp", "/file", copy]).ok();
    }
    cluster.wait_settled();
    for words in [&[][..], &["/file", "/copy", "/another"]] {
        let clean = scrub(&cluster, words);
        for member in clean["members"].as_array().unwrap() {
            assert_eq!(member["bytes"], content.len() as u64, "{clean}");
        }
    }
    flip(&cluster, "ss1", "extents", &content, 5 * MIB);
    assert_eq!(found(&scrub(&cluster, &[])).len(), 1);
    assert!(cluster.read("/another") == content);
    assert_all_well(&cluster);
}

#[test]
fn a_scrub_during_writes_reports_nothing_that_is_not_so() {
    let cluster = Cluster::start(true);
    cluster.write("/large", &filled(1, 20 * MIB));
    let ledger = under_load(&cluster, 4, 1, |ledger| {
        for _ in 0..4 {
            ledger.wait_writes(10, LATER);
            let report = scrub(&cluster, &[]);
            assert_eq!((found(&report), &report["well"]), (vec![], &Value::Bool(true)));
        }
    });
    cluster.assert_copies_equal();
    ledger.verify(&cluster);
}

#[test]
fn a_scrub_is_for_administrators() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"x");
    let wire = Wire::open(&cluster);
    let located = wire.locate("/file", right::ALL).unwrap();
    let server = wire.to_server("ss1").unwrap();
    let pair = located.placement.as_ref().unwrap().pair;
    // Who may write a file may not have the disk read; nor does a forged word help.
    let capability = located.capability.unwrap();
    let forged = forge(&capability, |says| says.operator = true);
    for (cover, code) in
        [(None, Code::BadCapability), (Some(capability), Code::Denied), (Some(forged), Code::BadCapability)]
    {
        let request = ScrubRequest { pair, capability: cover, ..ScrubRequest::default() };
        let refused = wire.call::<Scrub>(&server, &request, b"").map(drop).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
}

/// The words that start ss1 by hand.
fn ss1_words(cluster: &Cluster) -> Vec<String> {
    let path = |name: &str| cluster.dir().join(name).to_str().unwrap().to_owned();
    let (addr, nm) = (cluster.addr("ss1"), cluster.addr("nm"));
    let words = ["ss", "--name", "ss1", "--data", &path("ss1"), "--listen", &addr, "--nm", &nm];
    let secret = ["--cluster-secret".to_owned(), path("cluster.secret")];
    words.iter().map(|word| (*word).to_owned()).chain(secret).collect()
}

#[test]
fn a_server_whose_journal_tells_nothing_any_more_ends_with_7_and_names_the_way_out_which_works() {
    let cluster = Cluster::start(true);
    let inline = filled(1, 9_000);
    cluster.write("/inline", &inline);
    cluster.write("/later", b"later");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    // The last segment's header: it alone says which segments there are. A hole behind it would be gone on behind.
    let last = files(&cluster, "ss1", "journal")
        .into_iter()
        .rfind(|file| file.extension().is_some_and(|e| e == "seg"));
    std::fs::OpenOptions::new().write(true).open(last.unwrap()).unwrap().write_all_at(&[0x55], 20).unwrap();
    let words = ss1_words(&cluster);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = cluster.pairfs(&words).exits(7);
    let last = ran.stderr.lines().last().unwrap_or_default();
    for part in ["DAMAGED", "journal", "--replace-disk", "empty"] {
        assert!(last.contains(part), "'{part}' is missing in: {}", ran.stderr);
    }
    assert!(cluster.read("/inline") == inline, "the partner serves");

    std::fs::rename(cluster.dir().join("ss1"), cluster.desk().join("set aside")).unwrap();
    let started = cluster.begin(&[&words[..], &["--replace-disk"]].concat());
    let pid = rustix::process::Pid::from_raw(started.pid() as i32).unwrap();
    // Ended whatever happens below: the test's own child.
    struct End(rustix::process::Pid);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = rustix::process::kill_process(self.0, rustix::process::Signal::KILL);
        }
    }
    let end = End(pid);
    cluster.wait_acting("ss1", LATER);
    cluster.assert_copies_equal();
    assert!(cluster.read("/inline") == inline);
    drop(end);
    until(SOON, "ss1 to be gone", || pairfs_tests::cluster::is_gone(pid));
    cluster.node_start("ss1");
    cluster.wait_settled();
    assert_all_well(&cluster);
}
