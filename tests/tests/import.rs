//! `ss --import`: a new server brings a folder along, and all of it is in the cluster, once, and on its backup.

use pairfs_tests::cluster::{LATER, SOON, number};
use pairfs_tests::hosts::Hosts;
use pairfs_tests::tree::{shape, text, write};
use pairfs_tests::workload::filled;
use pairfs_tests::{until, within};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

fn imported(hosts: &Hosts) -> Value {
    within(LATER, "the import to end", || hosts.events("imported").pop().ok_or("no event")).0
}

fn settled(status: &Value) -> bool {
    let pairs = status["pairs"].as_array().unwrap();
    !pairs.is_empty() && pairs.iter().all(|pair| pair["state"] == "active" && pair["lag_rows"] == 0)
}

#[test]
fn a_folder_comes_in_whole_overwrites_nothing_and_reaches_the_backup() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let addrs: Vec<String> = (0..4).map(|_| hosts.addr(1)).collect();
    hosts.serve_ss(1, "ss1", &addrs[0], &[]);
    hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
    hosts.wait("the first pair", settled);
    hosts.pairfs_with(&["write", "/taken", "-"], b"was here before").ok();

    let folder = hosts.folder(1).join("photos");
    write(&folder.join("taken"), b"another one", 0o644, 0);
    write(&folder.join("small"), b"hello", 0o644, 1);
    write(&folder.join("empty"), b"", 0o600, 2);
    write(&folder.join("a/b/run.sh"), b"#!/bin/sh\n", 0o755, 3);
    write(&folder.join("a/large"), &filled(2, 9 << 20), 0o640, 4);
    write(&folder.join("a/medium \u{e9}"), &filled(3, 100_000), 0o644, 5);
    fs::create_dir_all(folder.join("hollow/inner")).unwrap();
    fs::set_permissions(folder.join("hollow"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("../small", folder.join("a/link")).unwrap();
    symlink("/nowhere", folder.join("dangling")).unwrap();
    fs::write(folder.join(OsString::from_vec(vec![b'x', 0xff])), b"no UTF-8").unwrap();
    let pipe = folder.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let before = shape(&folder);

    hosts.serve_ss(1, "ss2", &addrs[2], &["--import", text(&folder)]);
    hosts.serve_ss(1, "ss2_backup", &addrs[3], &[]);
    let event = imported(&hosts);
    let numbers = ["files", "folders", "links", "skipped"].map(|name| number(&event, name));
    // Skipped: the name that is taken, the pipe, the name that is not UTF-8.
    assert_eq!(numbers, [Some(5), Some(4), Some(2), Some(3)], "{event}");
    assert_eq!(number(&event, "bytes"), Some(5 + 10 + (9 << 20) + 100_000));
    assert_eq!(shape(&folder), before, "the folder is only read");
    assert_eq!(hosts.pairfs(&["read", "/taken"]).ok().stdout, b"was here before");
    let info = |path: &str| hosts.pairfs(&["--json", "info", path]).ok().json();
    assert_eq!(info("/a/large")["pair"], "ss2");
    assert_eq!(info("/a/large")["owner"], "admin");
    assert_eq!(info("/hollow")["mode"], "0750");
    let times = |path: &str| shape(&folder)[&OsString::from(path)].2;
    assert_eq!(stamp(&info("/hollow")["modified"]), times("hollow") / 1000);

    hosts.wait("the copies", settled);
    hosts.pairfs(&["fsck"]).ok();
    // What the backup has is the same.
    hosts.kill9("ss2");
    let back = hosts.folder(3).join("back");
    fs::create_dir(&back).unwrap();
    hosts.pairfs(&["get", "-r", "/a", "/small", "/empty", "/hollow", "/dangling", text(&back)]).ok();
    let (mut wanted, mut got) = (before, shape(&back));
    for odd in [OsString::from("taken"), OsString::from("pipe"), OsString::from_vec(vec![b'x', 0xff])] {
        wanted.remove(&odd);
    }
    // `get` gives folders and links what is usual here.
    for (what, mode, time) in wanted.values_mut().chain(got.values_mut()) {
        if what == "folder" || what.starts_with("link") {
            (*mode, *time) = (0, 0);
        }
    }
    assert!(got == wanted, "{:?} for {:?}", got.keys(), wanted.keys());

    // Another folder does not come in by it.
    let other = hosts.folder(1).join("other");
    write(&other.join("other"), b"other", 0o644, 0);
    let ended = hosts.run_ss(1, "ss2", &addrs[2], &["--import", text(&other)]).exits(4);
    assert_eq!(ended.code().as_deref(), Some("EXISTS"));
    assert!(ended.stderr.contains(text(&folder)), "{}", ended.stderr);
    hosts.serve_ss(1, "ss2", &addrs[2], &[]);
    hosts.wait("ss2 to be back", settled);
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn the_command_line_of_a_finished_import_starts_its_server_again_and_brings_nothing_back() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let folder = hosts.folder(1).join("photos");
    for name in ["removed", "kept"] {
        write(&folder.join(name), name.as_bytes(), 0o644, 0);
    }
    let addrs = [hosts.addr(1), hosts.addr(1)];
    let words = ["--import", text(&folder)];
    if cfg!(debug_assertions) {
        // It dies when the log knows of the end, and its disk does not know that.
        let ran = hosts.run_ss_with(1, "ss1", &addrs[0], &words, &[("PAIRFS_CRASH_AT", "import.ended:1")]);
        assert_eq!(ran.status, -1, "{}", ran.stderr);
    }
    hosts.serve_ss(1, "ss1", &addrs[0], &words);
    hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
    imported(&hosts);
    hosts.wait("the copies", settled);
    hosts.pairfs(&["rm", "--now", "/removed"]).ok();
    write(&folder.join("new"), b"new", 0o644, 0);
    // Again, as after a restart of the machine; and when the folder has gone.
    for round in 0..2 {
        hosts.kill9("ss1");
        hosts.serve_ss(1, "ss1", &addrs[0], &words);
        hosts.wait("ss1 to act again", |status| settled(status) && status["pairs"][0]["acting"] == "ss1");
        until(SOON, "it to say so", || hosts.said("ss1").contains("its import has ended before"));
        hosts.pairfs(&["read", "/removed"]).exits(3);
        hosts.pairfs(&["read", "/new"]).exits(3);
        assert_eq!(hosts.pairfs(&["read", "/kept"]).ok().stdout, b"kept");
        assert_eq!(hosts.events("imported").len(), 1);
        if round == 0 {
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    hosts.pairfs(&["fsck"]).ok();
}

/// Seconds of an RFC 3339 time in UTC.
fn stamp(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    let date = std::process::Command::new("date").args(["-u", "+%s", "-d", text]).output().unwrap();
    String::from_utf8_lossy(&date.stdout).trim().parse().unwrap()
}

/// A folder of so many files on host 1.
fn many(hosts: &Hosts, files: u64) -> PathBuf {
    let folder = hosts.folder(1).join("many");
    for number in 0..files {
        let path = folder.join(format!("{:02}/{number:04}", number / 100));
        write(&path, &filled(number, if number % 100 == 0 { 200_000 } else { 500 }), 0o644, number);
    }
    folder
}

/// Files of the first pair.
fn files(hosts: &Hosts) -> u64 {
    let status = hosts.pairfs(&["--json", "status"]).ok().json();
    status["pairs"][0]["files"].as_u64().unwrap_or(0)
}

#[test]
fn an_import_that_is_killed_goes_on_without_doubles_and_brings_nothing_removed_back() {
    const FILES: u64 = 3000;
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let folder = many(&hosts, FILES);
    let addrs = [hosts.addr(1), hosts.addr(1)];
    hosts.serve_ss(1, "ss1", &addrs[0], &["--import", text(&folder)]);
    until(SOON, "some files", || files(&hosts) >= 64);
    hosts.kill9("ss1");
    assert!(hosts.events("imported").is_empty(), "it was killed in the middle");
    hosts.pairfs(&["mv", "/00/0001", "/moved"]).ok();
    hosts.serve_ss(1, "ss1", &addrs[0], &["--import", text(&folder)]);
    hosts.pairfs(&["rm", "--now", "/00/0002"]).ok();
    // And once more.
    let so_far = files(&hosts);
    until(SOON, "some more files", || files(&hosts) >= so_far + 64);
    hosts.kill9("ss1");
    hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
    hosts.serve_ss(1, "ss1", &addrs[0], &["--import", text(&folder)]);
    let event = imported(&hosts);
    assert_eq!([number(&event, "files"), number(&event, "skipped")], [Some(FILES), Some(0)], "{event}");
    hosts.wait("the copies", settled);
    let found = hosts.pairfs(&["--json", "find", "*"]).ok().json_lines();
    let paths = found.iter().filter(|entry| entry["kind"] == "file").count() as u64;
    assert_eq!(paths, FILES - 1, "none twice, and the one that was removed is not back");
    assert_eq!(hosts.pairfs(&["read", "/moved"]).ok().stdout, filled(1, 500));
    hosts.pairfs(&["read", "/00/0002"]).exits(3);
    hosts.pairfs(&["fsck"]).ok();
}

/// An import is under way when the name manager is lost; `all` other servers are killed, too.
fn import_through_a_rebuild(all: bool) {
    const FILES: u64 = 2000;
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let folder = many(&hosts, FILES);
    let addrs = [hosts.addr(1), hosts.addr(1)];
    hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
    hosts.serve_ss(1, "ss1", &addrs[0], &["--import", text(&folder)]);
    until(SOON, "some files", || files(&hosts) >= 64);
    hosts.pairfs(&["mv", "/00/0001", "/moved"]).ok();
    hosts.pairfs(&["rm", "--now", "/00/0002"]).ok();
    let so_far = files(&hosts);
    until(SOON, "some more files", || files(&hosts) >= so_far + 64);
    assert!(hosts.events("imported").is_empty(), "it is in the middle");
    hosts.kill9("nm");
    let servers = if all { vec!["ss1", "ss1_backup"] } else { Vec::new() };
    servers.iter().for_each(|server| hosts.kill9(server));
    fs::rename(hosts.folder(0).join("nm"), hosts.folder(0).join("lost")).unwrap();

    let (nm, secret) = (hosts.nm_addr(), hosts.folder(1).join("cluster.secret"));
    hosts.serve_other_nm("rebuilt", &nm, &secret, &["--rebuild"]);
    if all {
        hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
        hosts.serve_ss(1, "ss1", &addrs[0], &["--import", text(&folder)]);
    }
    let event = within(LATER, "the import to end", || {
        // While it is being rebuilt it tells of nothing else.
        let ran = hosts.pairfs(&["--json", "events", "--timeout", "5"]);
        let events = if ran.status == 0 { ran.json_lines() } else { Vec::new() };
        events.into_iter().find(|event| event["kind"] == "imported").ok_or("no event")
    });
    hosts.wait("the copies", settled);
    let found = hosts.pairfs(&["--json", "find", "*"]).ok().json_lines();
    let mut paths: Vec<&str> = found
        .iter()
        .filter(|entry| entry["kind"] == "file")
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    let mut wanted: Vec<String> = (0..FILES)
        .filter(|number| ![1, 2].contains(number))
        .map(|number| format!("/{:02}/{number:04}", number / 100))
        .collect();
    wanted.push("/moved".to_owned());
    paths.sort_unstable();
    wanted.sort_unstable();
    assert!(
        paths == wanted,
        "each once, and nothing back that was removed: {} of {}",
        paths.len(),
        wanted.len()
    );
    for number in (0..FILES).step_by(97).filter(|number| *number > 2) {
        let path = format!("/{:02}/{number:04}", number / 100);
        let content = filled(number, if number % 100 == 0 { 200_000 } else { 500 });
        assert!(hosts.pairfs(&["read", &path]).ok().stdout == content, "{path}");
    }
    let count = |name| number(&event.0, name).unwrap();
    assert_eq!(count("files") + count("skipped"), FILES, "{:?}", event.0);
    // Only what was asked for in the last moment is looked at twice.
    assert!(count("skipped") <= 9 * 64, "{:?}", event.0);
    hosts.pairfs(&["fsck"]).ok();
    // Nothing is left to do.
    hosts.kill9("ss1");
    hosts.serve_ss(1, "ss1", &addrs[0], &["--import", text(&folder)]);
    hosts.wait("ss1 to be back", settled);
    until(SOON, "it to say so", || hosts.said("ss1").contains("its import has ended before"));
}

#[test]
fn r26_an_import_goes_on_to_its_end_when_the_name_manager_is_rebuilt_in_the_middle() {
    import_through_a_rebuild(false);
}

#[test]
fn r26_an_import_goes_on_after_everything_was_killed_and_the_name_manager_rebuilt() {
    import_through_a_rebuild(true);
}

#[test]
fn a_crash_after_an_import_noted_what_it_asks_for_costs_no_file_and_makes_none_twice() {
    if !cfg!(debug_assertions) {
        println!("skipped: there are no crash points in a release build");
        return;
    }
    const FILES: u64 = 600;
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let folder = hosts.folder(1).join("some");
    for number in 0..FILES {
        write(&folder.join(format!("{number:03}")), &filled(number, 700), 0o644, number);
    }
    let addrs = [hosts.addr(1), hosts.addr(1)];
    let words = ["--import", text(&folder)];
    for point in ["import.asked:1", "import.asked:2"] {
        let ran = hosts.run_ss_with(1, "ss1", &addrs[0], &words, &[("PAIRFS_CRASH_AT", point)]);
        assert_eq!(ran.status, -1, "{point}: {}", ran.stderr);
        assert!(hosts.events("imported").is_empty(), "it died in the middle");
    }
    hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
    hosts.serve_ss(1, "ss1", &addrs[0], &words);
    let event = imported(&hosts);
    assert_eq!([number(&event, "files"), number(&event, "skipped")], [Some(FILES), Some(0)], "{event}");
    hosts.wait("the copies", settled);
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn an_import_that_makes_no_sense_is_refused() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let addr = hosts.addr(1);
    let folder = hosts.folder(1).join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), b"x").unwrap();
    hosts.run_ss(1, "ss1", &addr, &["--import", "/no/such/folder"]).exits(3);
    hosts.run_ss(1, "ss1", &addr, &["--import", text(&folder.join("file"))]).exits(2);
    let around = hosts.folder(1);
    hosts.run_ss(1, "ss1", &addr, &["--import", text(&around)]).exits(2);
    hosts.run_ss(1, "ss1_backup", &addr, &["--import", text(&folder)]).exits(2);
    // A server that has files of its own.
    hosts.serve_ss(1, "ss1", &addr, &[]);
    hosts.wait("it to serve", |status| status["pairs"][0]["acting"] == "ss1");
    hosts.kill9("ss1");
    hosts.run_ss(1, "ss1", &addr, &["--import", text(&folder)]).exits(4);
    assert!(hosts.pairfs(&["--json", "find", "*"]).ok().json_lines().is_empty());
}
