//! The background scrubber: bad bytes are found and repaired though nobody asks, and `status` tells what is verified.

use pairfs_tests::by_hand::{ByHand, Conditions};
use pairfs_tests::cluster::{LATER, all_active, pair, server};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, damage, until, within};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// Starts both members anew with these words.
fn restart(cluster: &Cluster, words: &[&str]) -> [ByHand; 2] {
    ["ss1_backup", "ss1"].map(|name| {
        let member = cluster.restart_by_hand(name, &Conditions::words(words));
        cluster.wait(LATER, "the pair to be active", |status| {
            all_active(status) && pair(status)["acting"] == "ss1" && server(status, name)["state"] == "alive"
        });
        member
    })
}

/// Changes a byte of `content` on a member's disk.
#[track_caller]
fn flip(cluster: &Cluster, server: &str, content: &[u8], offset: usize) {
    damage::flip(&cluster.disk(server).join("store").join("extents"), content, offset);
}

/// Files at risk by path, each with the names of its reasons and the servers they are about.
fn at_risk(cluster: &Cluster, words: &[&str]) -> Vec<(String, Vec<(String, Value)>)> {
    let status = cluster.pairfs(&[&["--json", "status", "--files"], words].concat()).ok().json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let reasons = |file: &Value| {
        let reasons = file["reasons"].as_array().expect("reasons").iter();
        reasons.map(|reason| (text(&reason["reason"]), reason["server"].clone())).collect()
    };
    let files = status["files_at_risk"].as_array().expect("a list").iter();
    files.map(|file| (text(&file["path"]), reasons(file))).collect()
}

#[test]
fn bad_bytes_are_found_and_repaired_from_the_good_copy_though_nobody_asks() {
    let cluster = Cluster::start(true);
    let content = filled(1, 9 * MIB);
    cluster.write("/folder/file", &content);
    let _members = restart(&cluster, &["--scrub-period", "4"]);
    cluster.wait_settled();
    for name in ["ss1", "ss1_backup"] {
        flip(&cluster, name, &content, if name == "ss1" { 5 * MIB } else { 100 });
        until(LATER, "the repair to be an event", || !cluster.events_of("repaired", name).is_empty());
    }
    // A later round has seen both copies whole.
    let (before, _) =
        cluster.wait(LATER, "them to be verified", |status| pair(status)["verified"].is_string());
    let verified = pair(&before)["verified"].as_str().unwrap().to_owned();
    let (status, _) = cluster.wait(LATER, "them to be verified again", |status| {
        pair(status)["verified"].as_str().is_some_and(|at| *at > *verified)
    });
    assert_eq!((&pair(&status)["replicated"], &pair(&status)["bad_files"]), (&true.into(), &0.into()));
    assert!(cluster.read("/folder/file") == content);
    assert_eq!(at_risk(&cluster, &[]), []);
    let text = cluster.pairfs(&["status", "--files"]).ok().text();
    assert!(text.contains("no file is at risk") && text.contains("ago"), "{text}");
    cluster.assert_copies_equal();
}

#[test]
fn a_file_of_which_both_copies_are_bad_is_named_and_never_deleted() {
    let cluster = Cluster::start(true);
    let (bad, good) = (filled(1, 6 * MIB), filled(2, 300_000));
    cluster.write("/folder/bad", &bad);
    cluster.write("/good", &good);
    cluster.wait_settled();
    let _members = restart(&cluster, &["--scrub-period", "4"]);
    for name in ["ss1", "ss1_backup"] {
        flip(&cluster, name, &bad, 5 * MIB);
    }
    cluster.wait(LATER, "both to be found", |status| pair(status)["bad_files"] == 2);
    let both: Vec<(String, Value)> =
        ["ss1", "ss1_backup"].map(|name| ("bad_copy".to_owned(), name.into())).into();
    assert_eq!(at_risk(&cluster, &[]), [("/folder/bad".to_owned(), both)]);
    cluster.pairfs(&["read", "/folder/bad"]).exits(7);
    let range = cluster.pairfs(&["read", "/folder/bad", "--range", "0-99"]).ok().stdout;
    assert!(range == bad[..100], "what is good of it can be had");
    assert!(cluster.read("/good") == good);
    assert!(!cluster.events_of("damaged", "ss1").is_empty());
    // Whoever gives it up has the rest verified.
    cluster.pairfs(&["rm", "/folder/bad", "--now"]).ok();
    cluster.wait(LATER, "it to be forgotten", |status| pair(status)["bad_files"] == 0);
}

#[test]
fn a_round_goes_on_after_a_crash_where_it_was_and_shows_how_far_it_is() {
    let cluster = Cluster::start(true);
    for number in 0..6 {
        cluster.write(&format!("/f{number}"), &filled(number, 4 * MIB));
    }
    cluster.wait_settled();
    let words = ["--scrub-period", "6", "--scrub-rate", "1500000"];
    let [_backup, ss1] = restart(&cluster, &words);
    let scrub = |status: &Value| server(status, "ss1")["scrub"].clone();
    cluster.wait(LATER, "the time left to be shown", |status| {
        let scrub = scrub(status);
        scrub["eta_seconds"].is_u64() && scrub["bytes_per_second"].as_u64() <= Some(3_000_000)
    });
    let file = cluster.disk("ss1").join("scrub");
    let saved = || -> Option<u64> {
        let text = std::fs::read_to_string(&file).ok()?;
        text.split("bytes = ").nth(1)?.lines().next()?.parse().ok()
    };
    let (bytes, _) = within(LATER, "some of it to be written down", || match saved() {
        Some(bytes) if bytes >= 4 * MIB as u64 => Ok(bytes),
        other => Err(other),
    });
    let before = cluster.status();
    let incarnation = |status: &Value| server(status, "ss1")["incarnation"].as_u64();
    ss1.kill();
    let _ss1 = cluster.start_by_hand("ss1", &line(&cluster), &Conditions::words(&words));
    // It had looked at that already.
    let (status, _) = cluster.wait(LATER, "it to be there again", |status| {
        incarnation(status) > incarnation(&before) && scrub(status)["started"].is_string()
    });
    let before = scrub(&before);
    let after = scrub(&status);
    assert_eq!(after["started"], before["started"], "it is the same round");
    assert!(after["bytes"].as_u64() >= Some(bytes), "{before} {after}");
    cluster.wait(LATER, "its end", |status| pair(status)["verified"].is_string());
}

/// The words that start ss1 as `up` does.
fn line(cluster: &Cluster) -> Vec<String> {
    let (addr, nm) = (cluster.addr("ss1"), cluster.addr("nm"));
    let path = |name: &str| cluster.dir().join(name).to_str().unwrap().to_owned();
    let program = pairfs_tests::binary::pairfs().to_str().unwrap().to_owned();
    let words = ["ss", "--name", "ss1", "--data", &path("ss1"), "--listen", &addr, "--nm", &nm];
    let secret = ["--cluster-secret".to_owned(), path("cluster.secret")];
    [program].into_iter().chain(words.iter().map(|word| (*word).to_owned())).chain(secret).collect()
}

#[test]
fn files_that_nobody_has_verified_for_longer_than_the_period_are_named() {
    let cluster = Cluster::start(true);
    cluster.write("/one", &filled(1, 300_000));
    cluster.write("/two", &filled(2, 300_000));
    cluster.write("/empty", b"");
    cluster.wait_settled();
    // So slow that it never comes to an end.
    let _members = restart(&cluster, &["--scrub-period", "3", "--scrub-rate", "1000"]);
    until(LATER, "both to be named", || {
        let files = at_risk(&cluster, &[]);
        let unverified = |(_, reasons): &(String, Vec<(String, Value)>)| {
            reasons.len() == 2 && reasons.iter().all(|(reason, _)| reason == "unverified")
        };
        let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        paths == ["/one", "/two"] && files.iter().all(unverified)
    });
    assert_eq!(at_risk(&cluster, &["--limit", "1"]).len(), 1);
    let text = cluster.pairfs(&["status", "--files", "--limit", "1"]).ok().text();
    assert!(text.contains("there are more"), "{text}");
}
