//! `--on-event`: the operator's command is run for each event, and cannot hold anything up.

use pairfs_tests::by_hand::Conditions;
use pairfs_tests::cluster::{LATER, SOON, all_active, is_gone};
use pairfs_tests::{Cluster, until};
use rustix::process::Pid;
use serde_json::Value;
use std::path::Path;

/// A cluster whose name manager runs `command`.
fn with_hook(command: &str) -> (Cluster, pairfs_tests::by_hand::ByHand) {
    let cluster = Cluster::start(true);
    let nm = cluster.restart_by_hand("nm", &Conditions::words(&["--on-event", command]));
    cluster.wait(LATER, "the pair to be active", all_active);
    (cluster, nm)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn an_operators_command_hears_of_every_event_in_order_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (told, kinds) = (folder.path().join("told"), folder.path().join("kinds"));
    let command = format!(
        "cat >> {}; echo $PAIRFS_EVENT_KIND $PAIRFS_EVENT_SERVER >> {}; exit 3",
        told.display(),
        kinds.display()
    );
    let (cluster, nm) = with_hook(&command);
    let before = cluster.events().last().map_or(0, |event| event["seq"].as_u64().unwrap());
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", LATER);
    cluster.node_start("ss1");
    cluster.wait_settled();
    let all_told = || {
        let events: Vec<Value> =
            cluster.events().into_iter().filter(|e| e["seq"].as_u64() > Some(before)).collect();
        let told: Vec<Value> =
            lines(&told).into_iter().filter(|e| e["seq"].as_u64() > Some(before)).collect();
        told == events
    };
    until(LATER, "every event to be told", all_told);
    let kinds = std::fs::read_to_string(&kinds).unwrap();
    assert!(kinds.contains("failed ss1\n") && kinds.contains("promoted ss1_backup\n"), "{kinds}");
    // What happens while nobody runs the command is told later, and nothing twice.
    let line = cluster.command_line("nm");
    // One that is killed before it has noted that would tell the last once more.
    let noted = cluster.disk("nm").join("on-event");
    until(LATER, "that to be noted", || {
        let last = cluster.events().last().and_then(|event| event["seq"].as_u64());
        std::fs::read_to_string(&noted).ok().and_then(|text| text.trim().parse().ok()) == last
    });
    nm.kill();
    let without: Vec<String> = line
        .iter()
        .filter(|word| !["--on-event", command.as_str()].contains(&word.as_str()))
        .cloned()
        .collect();
    let nm = cluster.start_by_hand("nm", &without, &Conditions::default());
    cluster.wait(LATER, "the pair to be active", all_active);
    cluster.switch_over();
    nm.kill();
    let _nm = cluster.start_by_hand("nm", &line, &Conditions::default());
    until(LATER, "every event to be told", all_told);
}

#[test]
fn a_command_for_events_that_hangs_holds_nothing_up_and_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let (cluster, _nm) = with_hook(&format!("sleep 1000 & echo $! >> {}; wait", pids.display()));
    let started = || -> Vec<Pid> {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    };
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.write("/file", b"on");
    cluster.node_start("ss1");
    cluster.wait_settled();
    until(LATER, "it to be run for a second event", || started().len() >= 2);
    assert!(is_gone(started()[0]), "the first one was killed");
    cluster.kill9("nm");
    for pid in started() {
        // A killed name manager cannot: this one is the test's to end.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    cluster.node_start("nm");
    cluster.assert_copies_equal();
}
