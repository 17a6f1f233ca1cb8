//! How durable a write is when it is acknowledged (R19): as the request says, else the nearest folder above, else the
//! cluster; and that a receipt is true.

use pairfs_tests::Cluster;
use pairfs_tests::Ran;
use pairfs_tests::cluster::{LATER, SOON, pair, server};
use pairfs_tests::workload::filled;
use serde_json::Value;

const LARGE: usize = 6 << 20;

/// Writes a small and a large file.
fn write_both(cluster: &Cluster, folder: &str, seed: u64, words: &[&str]) -> [Ran; 2] {
    [("small", 3_000), ("large", LARGE)].map(|(name, length)| {
        let path = format!("{folder}/{name}");
        let words = [&["--json", "write", path.as_str(), "-"], words].concat();
        cluster.pairfs_with(&words, &filled(seed, length))
    })
}

#[track_caller]
fn assert_durable(written: [Ran; 2], expected: &str) {
    for ran in written {
        assert_eq!(ran.ok().json()["durable"], expected);
    }
}

/// The status 6 that says so, and nothing was made.
#[track_caller]
fn assert_refused(written: [Ran; 2]) {
    written.into_iter().for_each(|ran| drop(ran.exits(6)));
}

fn setting(cluster: &Cluster, path: &str) -> (Value, Value) {
    let told = cluster.pairfs(&["--json", "durability", path]).ok().json();
    (told["durability"].clone(), told["from"].clone())
}

fn degraded(cluster: &Cluster) {
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
}

#[test]
fn the_nearest_folder_says_how_durable_a_write_is_and_a_request_may_say_otherwise() {
    let cluster = Cluster::start(true);
    assert_eq!(setting(&cluster, "/"), ("async".into(), Value::Null));
    cluster.pairfs(&["durability", "/", "sync-if-up"]).ok();
    cluster.pairfs(&["mkdir", "/careful", "--durability", "sync"]).ok();
    cluster.pairfs(&["mkdir", "-p", "/careful/deep/down"]).ok();
    cluster.pairfs(&["mkdir", "/plain"]).ok();
    assert_eq!(setting(&cluster, "/plain"), ("sync-if-up".into(), "/".into()));
    assert_eq!(setting(&cluster, "/careful/deep/down"), ("sync".into(), "/careful".into()));
    cluster.pairfs(&["durability", "/careful/deep", "async"]).ok();
    assert_eq!(setting(&cluster, "/careful/deep/down"), ("async".into(), "/careful/deep".into()));
    assert_eq!(cluster.info("/careful")["durability"], "sync");
    let text = cluster.pairfs(&["durability", "/careful"]).ok().text();
    assert!(text.contains("sync") && text.contains("/careful"), "{text}");
    assert!(cluster.pairfs(&["info", "/careful"]).ok().text().contains("sync"));

    // All of it holds for what is written then, whoever writes.
    assert_durable(write_both(&cluster, "/careful", 1, &[]), "both");
    assert_durable(write_both(&cluster, "/plain", 1, &[]), "both");
    cluster.wait_settled();
    cluster.kill9("ss1_backup");
    degraded(&cluster);
    assert_durable(write_both(&cluster, "/plain", 2, &[]), "local");
    assert_durable(write_both(&cluster, "/careful/deep/down", 2, &[]), "local");
    assert_durable(write_both(&cluster, "/careful", 2, &["--durability", "async"]), "local");
    assert_refused(write_both(&cluster, "/careful", 3, &["--timeout", "2"]));
    cluster.pairfs(&["cp", "/plain/large", "/careful/copy", "--timeout", "2"]).exits(6);
    cluster.pairfs_with(&["write", "/careful/small", "-", "--append", "--timeout", "2"], b"more").exits(6);
    let local = cluster.desk().join("local");
    std::fs::write(&local, b"local").unwrap();
    cluster.pairfs(&["put", local.to_str().unwrap(), "/careful/put", "--timeout", "2"]).exits(6);
    assert!(cluster.read("/careful/large") == filled(2, LARGE), "what was refused is not there");
    cluster.pairfs(&["info", "/careful/copy"]).exits(3);
    cluster.pairfs(&["info", "/careful/put"]).exits(3);

    // Moved below another folder, that one says it; and what no folder says is the default.
    cluster.pairfs(&["mv", "/careful/deep", "/plain/deep"]).ok();
    cluster.pairfs(&["durability", "/plain/deep", "inherit"]).ok();
    assert_eq!(setting(&cluster, "/plain/deep/down"), ("sync-if-up".into(), "/".into()));
    cluster.pairfs(&["durability", "/careful", "inherit"]).ok();
    assert_durable(write_both(&cluster, "/careful", 4, &[]), "local");
    cluster.pairfs(&["durability", "/", "inherit"]).ok();
    assert_eq!(setting(&cluster, "/careful"), ("async".into(), Value::Null));
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
}

#[test]
fn settings_survive_restarts_and_failovers() {
    let cluster = Cluster::start(true);
    cluster.pairfs(&["mkdir", "/careful", "--durability", "sync"]).ok();
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.kill9("nm");
    cluster.node_start("nm");
    cluster.wait(LATER, "ss1_backup to act again", |status| pair(status)["acting"] == "ss1_backup");
    assert_eq!(setting(&cluster, "/careful"), ("sync".into(), "/careful".into()));
    assert_refused(write_both(&cluster, "/careful", 1, &["--timeout", "2"]));
    cluster.node_start("ss1");
    cluster.wait_settled();
    assert_durable(write_both(&cluster, "/careful", 2, &[]), "both");
    cluster.assert_copies_equal();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"x");
    cluster.pairfs(&["durability", "/missing", "sync"]).exits(3);
    cluster.pairfs(&["durability", "/missing"]).exits(3);
    cluster.pairfs(&["durability", "/file", "sync"]).exits(2);
    cluster.pairfs(&["durability", "/", "somehow"]).exits(2);
    assert_eq!(setting(&cluster, "/file"), ("async".into(), Value::Null));
    cluster.pairfs(&["mkdir", "-p", "/d", "--durability", "sync"]).ok();
    cluster.pairfs(&["mkdir", "-p", "/d", "--durability", "sync"]).ok();
    cluster.pairfs(&["mkdir", "-p", "/d", "--durability", "async"]).exits(4);
    assert_eq!(setting(&cluster, "/d"), ("sync".into(), "/d".into()));
}

#[test]
fn with_a_frozen_partner_sync_waits_for_it_sync_if_up_for_the_log_and_async_for_nobody() {
    let cluster = Cluster::start(true);
    for (folder, durability) in [("/a", "async"), ("/s", "sync"), ("/u", "sync-if-up")] {
        cluster.pairfs(&["mkdir", folder, "--durability", durability]).ok();
    }
    cluster.wait_settled();
    cluster.freeze("ss1_backup");
    // `local` is the truth only once the log knows: until then it waits.
    assert_durable(write_both(&cluster, "/u", 1, &[]), "local");
    assert_eq!(pair(&cluster.status())["state"], "degraded");
    assert_durable(write_both(&cluster, "/a", 1, &[]), "local");
    assert_refused(write_both(&cluster, "/s", 1, &["--timeout", "2"]));
    let key = {
        let refused = cluster.pairfs_with(&["write", "/s/small", "-", "--timeout", "2"], b"frozen").exits(6);
        let text = refused.stderr.clone();
        text.split_once("--request-key ").map(|(_, rest)| {
            rest.split_whitespace()
                .next()
                .unwrap_or_default()
                .trim_end_matches([',', '.', ';', '`'])
                .to_owned()
        })
    };
    cluster.thaw("ss1_backup");
    cluster.wait_settled();
    if let Some(key) = key {
        // Repeated under its key it is done once.
        let words = ["--json", "write", "/s/small", "-", "--request-key", key.as_str()];
        let again = cluster.pairfs_with(&words, b"frozen").ok().json();
        assert_eq!(again["durable"], "both");
    } else {
        cluster.pairfs(&["info", "/s/small"]).exits(3);
    }
    assert_durable(write_both(&cluster, "/s", 2, &[]), "both");
    cluster.assert_copies_equal();
}

#[test]
fn a_sync_receipt_survives_the_loss_of_its_server_at_that_moment() {
    let cluster = Cluster::start(true);
    cluster.pairfs(&["mkdir", "/s", "--durability", "sync"]).ok();
    for (round, length) in [3_000, LARGE, 50_000].into_iter().enumerate() {
        cluster.wait_settled();
        let (path, content) = (format!("/s/{round}"), filled(round as u64, length));
        let receipt = cluster.pairfs_with(&["--json", "write", &path, "-"], &content).ok().json();
        cluster.kill9("ss1");
        assert_eq!(receipt["durable"], "both");
        cluster.wait_acting("ss1_backup", SOON);
        assert!(cluster.read(&path) == content, "the backup has it");
        let status = cluster.status();
        assert_eq!(pair(&status)["owed_versions"], 0, "nothing is owed");
        assert_eq!(cluster.info(&path)["version"], receipt["version"]);
        assert_ne!(server(&status, "ss1")["state"], "alive");
        cluster.node_start("ss1");
    }
    cluster.assert_copies_equal();
}
