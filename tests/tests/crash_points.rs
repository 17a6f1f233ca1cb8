//! A server that dies (SIGKILL) between any two steps of a commit, an apply, a handover, a compaction or a checkpoint
//! costs no acknowledged byte and no client an error: one test for each point that the sources name (`log::crash`).

use pairfs_tests::by_hand::Conditions;
use pairfs_tests::cluster::{LATER, all_active, pair};
use pairfs_tests::workload::{Ledger, filled, under_load};
use pairfs_tests::{Cluster, wait::until};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is done so that the server comes to the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stir {
    /// Writes, which go on in all tests but one kind.
    Writes,
    /// One write, and then nothing: it has to be idle.
    Quiet,
    /// The roles are exchanged.
    SwitchOver,
    /// It is asked to stop.
    Stop,
    /// A file is removed for good.
    Remove,
    /// Much is written and removed for good: more than half of its journal is not needed any more.
    Churn,
}

macro_rules! points {
    ($($test:ident: $point:literal of $server:literal, hit $nth:literal, by $stir:ident;)*) => {
        const TESTED: &[&str] = &[$($point),*];
        $(
            #[test]
            fn $test() {
                crash(concat!($point, ":", $nth), $server, Stir::$stir);
            }
        )*
    };
}

points! {
    a_crash_before_a_write_is_prepared_loses_nothing: "commit.begin" of "ss1", hit 3, by Writes;
    a_crash_after_a_write_is_prepared_loses_nothing: "commit.prepared" of "ss1", hit 3, by Writes;
    a_crash_after_the_name_manager_was_asked_loses_nothing: "commit.sent" of "ss1", hit 3, by Writes;
    a_crash_before_the_acknowledgement_loses_nothing: "commit.answered" of "ss1", hit 3, by Writes;
    a_crash_after_an_entry_is_logged_loses_nothing: "nm.logged" of "nm", hit 5, by Writes;
    a_crash_after_an_entry_is_applied_loses_nothing: "nm.applied" of "nm", hit 5, by Writes;
    a_crash_after_a_copy_was_fetched_loses_nothing: "apply.fetched" of "ss1_backup", hit 1, by Writes;
    a_crash_after_rows_are_durable_loses_nothing: "apply.rows" of "ss1_backup", hit 3, by Writes;
    a_crash_after_the_cursor_moved_loses_nothing: "apply.advanced" of "ss1_backup", hit 3, by Writes;
    a_crash_of_the_name_manager_in_a_handover_loses_nothing: "nm.handover" of "nm", hit 1, by SwitchOver;
    a_crash_after_the_lease_was_given_up_loses_nothing: "handover.let-go" of "ss1", hit 1, by SwitchOver;
    a_crash_after_the_lease_was_taken_over_loses_nothing: "handover.granted" of "ss1", hit 1, by Writes;
    a_crash_of_the_name_manager_after_a_handover_loses_nothing: "nm.restored" of "nm", hit 1, by SwitchOver;
    a_crash_after_a_collection_was_noted_loses_nothing: "collect.recorded" of "ss1", hit 1, by Remove;
    a_crash_after_a_collection_is_durable_loses_nothing: "collect.settled" of "ss1_backup", hit 1, by Remove;
    a_crash_after_a_segment_was_copied_loses_nothing: "compact.copied" of "ss1", hit 1, by Churn;
    a_crash_after_a_copied_segment_is_durable_loses_nothing: "compact.settled" of "ss1_backup", hit 1, by Churn;
    a_crash_before_an_old_segment_is_given_back_loses_nothing: "compact.switched" of "ss1", hit 1, by Churn;
    a_crash_after_an_old_segment_was_given_back_loses_nothing: "compact.released" of "ss1_backup", hit 2, by Churn;
    a_crash_before_the_index_is_durable_loses_nothing: "index.begin" of "ss1", hit 1, by Quiet;
    a_crash_after_the_index_is_durable_loses_nothing: "index.durable" of "ss1_backup", hit 1, by Quiet;
    a_crash_after_a_slice_of_the_trash_was_purged_loses_nothing: "nm.trash-purged" of "nm", hit 1, by Churn;
    a_crash_before_the_state_is_durable_loses_nothing: "nm.checkpoint-begin" of "nm", hit 1, by Stop;
    a_crash_after_the_state_is_durable_loses_nothing: "nm.checkpoint" of "nm", hit 1, by Stop;
    a_crash_after_the_log_was_purged_loses_nothing: "nm.purged" of "nm", hit 1, by Writes;
}

/// Points that need more than a cluster under load, and the file whose test comes to them.
const ELSEWHERE: [(&str, &str); 2] = [("import.asked", "import.rs"), ("import.ended", "import.rs")];

/// Files that are written and removed, and their length: more than four segments of a journal, in which contents of up
/// to 64 KiB stand.
const CHURN: (u64, usize) = (1_150, 64 << 10);

/// Runs writers and readers while `server` is started with the crash point, comes to it, dies, and is started again.
fn crash(point: &str, server: &str, stir: Stir) {
    if !cfg!(debug_assertions) {
        println!("skipped: there are no crash points in a release build");
        return;
    }
    let cluster = Cluster::start(true);
    let before = under_load(&cluster, 2, 1, |ledger| {
        ledger.wait_writes(5, LATER);
        if stir != Stir::Quiet {
            come_to(&cluster, point, server, stir);
            back_to_work(&cluster, server, ledger);
        }
    });
    let mut ledgers = vec![before];
    if stir == Stir::Quiet {
        come_to(&cluster, point, server, stir);
        ledgers.push(under_load(&cluster, 2, 1, |ledger| back_to_work(&cluster, server, ledger)));
    }
    cluster.assert_copies_equal();
    for ledger in &ledgers {
        assert_eq!(ledger.unknown(), 0, "a client was left without an answer");
        ledger.verify(&cluster);
    }
}

/// Starts the server with the point and has it come there.
fn come_to(cluster: &Cluster, point: &str, server: &str, stir: Stir) {
    if stir == Stir::Churn {
        write_much(cluster);
    }
    if stir == Stir::Remove {
        cluster.write("/gone", &filled(99, 20_000));
        cluster.wait_settled();
    }
    let mut conditions = Conditions::env("PAIRFS_CRASH_AT", point);
    if point.starts_with("nm.purged") {
        conditions.words = vec!["--checkpoint-entries".into(), "10".into()];
    }
    let mut by_hand = cluster.restart_by_hand(server, &conditions);
    match stir {
        Stir::Writes => {}
        Stir::Quiet => {
            // Something that is not in the durable index, and then silence.
            until(LATER, "the pair to be active", || {
                !by_hand.runs() || cluster.try_status().is_some_and(|status| all_active(&status))
            });
            cluster.write("/quiet", b"quiet");
        }
        Stir::SwitchOver => {
            until(LATER, "ss1 to act and to be followed", || {
                !by_hand.runs() || cluster.try_status().is_some_and(|status| settled(&status))
            });
            // Whether it is told of is not what is tested: the name manager may be gone.
            cluster.pairfs(&["pair", "switchover", "ss1", "--timeout", "5"]);
        }
        Stir::Stop => {
            until(LATER, "the name manager to serve", || cluster.try_status().is_some());
            by_hand.signal(Signal::TERM);
        }
        Stir::Remove => drop(cluster.pairfs(&["rm", "/gone", "--now"]).ok()),
        Stir::Churn => drop(cluster.pairfs(&["rm", "-r", "/churn", "--now"]).ok()),
    }
    by_hand.wait_killed(LATER);
}

fn settled(status: &serde_json::Value) -> bool {
    all_active(status) && pair(status)["acting"] == "ss1"
}

fn back_to_work(cluster: &Cluster, server: &str, ledger: &Ledger) {
    if server != "nm" {
        ledger.wait_writes(3, LATER);
    }
    cluster.node_start(server);
    ledger.wait_writes(5, LATER);
}

fn write_much(cluster: &Cluster) {
    let folder = cluster.desk().join("churn");
    std::fs::create_dir(&folder).unwrap();
    for n in 0..CHURN.0 {
        std::fs::write(folder.join(format!("f{n}")), filled(n, CHURN.1)).unwrap();
    }
    cluster.pairfs(&["put", "-r", folder.to_str().unwrap(), "/"]).ok();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_crash_point_of_the_sources_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = BTreeSet::new();
    for folder in ["common", "log", "nm", "ss", "client", "pairfs"] {
        for source in sources(&root.join(folder)) {
            let text = std::fs::read_to_string(source).unwrap();
            for call in ["crash_point(\"", "crash_point_waiting(\""] {
                for rest in text.split(call).skip(1) {
                    named.insert(rest.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    named.remove("no.such-point");
    let mut tested: BTreeSet<String> = TESTED.iter().map(|point| point.to_string()).collect();
    assert_eq!(tested.len(), TESTED.len(), "a point is tested twice");
    for (point, file) in ELSEWHERE {
        let text = std::fs::read_to_string(root.join("tests/tests").join(file)).unwrap();
        assert!(text.contains(&format!("\"{point}:")), "{file} tests {point}");
        assert!(tested.insert(point.to_owned()), "{point} is tested twice");
    }
    assert_eq!(named, tested, "left: points in the sources, right: points with a test");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
