//! `up`, `down` and `node`: one machine, everything; nothing is left running, nothing is lost.

use pairfs_tests::cluster::{SOON, is_gone, pair};
use pairfs_tests::{Cluster, until};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;

fn pids(cluster: &Cluster) -> Vec<Pid> {
    cluster.members().iter().map(|name| cluster.pid(name)).collect()
}

fn to_pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

#[test]
fn up_again_in_the_same_folder_finds_the_same_files() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    let addr = cluster.addr("ss1");
    let up = cluster.take_up();
    let before = pids(&cluster);
    kill_process(to_pid(up.pid()), Signal::INT).unwrap();
    up.end().ok();
    assert!(before.iter().all(|pid| is_gone(*pid)), "Ctrl-C stops every server");
    cluster.up(&["up"]);
    assert_eq!(cluster.read("/file"), b"content");
    assert_eq!(cluster.addr("ss1"), addr);
    cluster.assert_copies_equal();
}

#[test]
fn a_cluster_that_runs_is_not_started_twice() {
    let cluster = Cluster::start(true);
    let before = pids(&cluster);
    let ran = cluster.pairfs(&["up"]).exits(4);
    assert_eq!(ran.code().as_deref(), Some("ALREADY_RUNNING"));
    cluster.pairfs(&["up", "--detach"]).exits(4);
    cluster.pairfs(&["node", "start", "ss1"]).exits(4);
    assert_eq!(pids(&cluster), before);
    assert_eq!(pair(&cluster.status())["state"], "active");
}

#[test]
fn the_servers_end_when_up_is_killed() {
    let cluster = Cluster::start(true);
    // Also one that came back later.
    cluster.kill9("ss1");
    cluster.node_start("ss1");
    cluster.write("/file", b"content");
    let members = pids(&cluster);
    let up = cluster.take_up();
    kill_process(to_pid(up.pid()), Signal::KILL).unwrap();
    up.end();
    until(SOON, "the servers to be gone", || members.iter().all(|pid| is_gone(*pid)));
    cluster.up(&["up"]);
    assert_eq!(cluster.read("/file"), b"content");
}

#[test]
fn a_detached_cluster_serves_when_up_returns_and_ends_with_down() {
    let cluster = Cluster::empty(false);
    let ran = cluster.pairfs(&["up", "--fast", "--detach"]).ok();
    assert!(ran.text().contains("pairfs"), "it says what to try: {}", ran.text());
    assert_eq!(pair(&cluster.status())["state"], "active");
    cluster.write("/file", b"content");
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    let members = pids(&cluster);
    cluster.pairfs(&["down"]).ok();
    assert!(members.iter().all(|pid| is_gone(*pid)), "nothing is left running");
    cluster.pairfs(&["down"]).ok();
    cluster.pairfs(&["up", "--detach"]).ok();
    assert_eq!(cluster.read("/file"), b"content");
    cluster.pairfs(&["down"]).ok();
}

#[test]
fn down_stops_an_up_in_another_terminal() {
    let cluster = Cluster::start(true);
    let members = pids(&cluster);
    let up = cluster.take_up();
    cluster.pairfs(&["down"]).ok();
    up.end().ok();
    assert!(members.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn a_left_over_process_id_is_not_taken_for_a_server() {
    let cluster = Cluster::start(true);
    cluster.kill9("ss1");
    // What a crash of the machine leaves behind: the number of some other process, here this test's.
    std::fs::write(cluster.dir().join("ss1.pid"), format!("{}\n", std::process::id())).unwrap();
    cluster.pairfs(&["node", "kill", "ss1"]).ok();
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
}

#[test]
fn up_leaves_a_killed_member_down_until_it_is_started() {
    let cluster = Cluster::start(true);
    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
}

#[test]
fn secrets_and_data_are_for_their_owner_only() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    let mut folders = vec![cluster.dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let mode = meta.permissions().mode() & 0o777;
            if meta.is_dir() {
                assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
                folders.push(entry.path());
            } else if meta.is_file()
                && !["pid", "toml", "lock"]
                    .iter()
                    .any(|end| entry.path().extension().is_some_and(|it| it == *end))
            {
                assert_eq!(mode & 0o177, 0, "{} has mode {mode:o}", entry.path().display());
            }
        }
    }
}

#[test]
fn two_servers_never_open_one_data_folder() {
    let cluster = Cluster::start(true);
    let data = cluster.dir().join("ss1");
    let secret = cluster.dir().join("cluster.secret");
    let nm = cluster.addr("nm");
    let words = ["ss", "--name", "ss1", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let words = [&words[..], &["--nm", &nm, "--cluster-secret", secret.to_str().unwrap()]].concat();
    let ran = pairfs_tests::command::run(pairfs_tests::command::command(None, &words), b"");
    assert_eq!(ran.exits(4).code().as_deref(), Some("ALREADY_RUNNING"));
    assert_eq!(pair(&cluster.status())["state"], "active");
}

#[test]
fn up_with_another_pace_is_refused_and_the_cluster_starts_as_before() {
    let cluster = Cluster::empty(false);
    cluster.up(&["up"]);
    cluster.write("/file", b"content");
    cluster.pairfs(&["down"]).ok();
    let refused = cluster.pairfs(&["up", "--fast", "--detach"]).exits(2);
    assert!(refused.stderr.contains("without --fast"), "{}", refused.stderr);
    cluster.up(&["up"]);
    assert_eq!(cluster.read("/file"), b"content");
}

#[test]
fn up_waits_as_long_as_it_is_told_and_leaves_nothing_behind_when_that_was_too_short() {
    let cluster = Cluster::empty(false);
    for words in [&["up", "--timeout", "1ms"][..], &["up", "--timeout", "1ms", "--detach"]] {
        let ran = cluster.pairfs(words).exits(6);
        assert_eq!(ran.code().as_deref(), Some("TIMEOUT"), "{}", ran.stderr);
        assert!(ran.took < SOON, "it waited {:?}", ran.took);
        for name in ["nm", "ss1", "ss1_backup"] {
            assert!(!cluster.dir().join(format!("{name}.pid")).exists(), "{name} was left behind");
        }
    }
    cluster.up(&["up", "--timeout", "110s"]);
    cluster.write("/file", b"content");
    assert_eq!(cluster.read("/file"), b"content");
}
