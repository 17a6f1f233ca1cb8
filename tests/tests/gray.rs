//! Gray failures: a server that answers heartbeats and does no work. It is found, told of, and replaced.

use pairfs_tests::by_hand::ByHand;
use pairfs_tests::cluster::{LATER, all_active, pair, server};
use pairfs_tests::shim::Shim;
use pairfs_tests::workload::under_load;
use pairfs_tests::{Cluster, until};

/// Starts `name` anew in a world of its own; the pair is active with ss1 acting when this returns.
fn restart(cluster: &Cluster, name: &str, world: &Shim) -> ByHand {
    let member = cluster.restart_by_hand(name, &world.conditions());
    cluster.wait(LATER, "the pair to be active", |status| {
        all_active(status) && pair(status)["acting"] == "ss1" && server(status, name)["state"] == "alive"
    });
    member
}

/// Waits until an event of this kind about `server` gives a reason with this word.
fn wait_told(cluster: &Cluster, kind: &str, server: &str, word: &str) {
    until(LATER, &format!("{kind} of {server} because of its {word}"), || {
        let events = cluster.events_of(kind, server);
        events.iter().any(|event| event["reason"].as_str().is_some_and(|reason| reason.contains(word)))
    });
}

/// The acting member hangs: its backup acts, nothing is lost, no client sees an error, and it acts again once it works.
fn hanging_member(word: &str, hangs: impl Fn(&Shim, bool)) {
    let cluster = Cluster::start(true);
    let world = Shim::build();
    let mut ss1 = restart(&cluster, "ss1", &world);
    let ledger = under_load(&cluster, 3, 2, |ledger| {
        ledger.wait_writes(5, LATER);
        hangs(&world, true);
        cluster.wait_acting("ss1_backup", LATER);
        ledger.wait_writes(10, LATER);
        wait_told(&cluster, "failed", "ss1", word);
        assert!(ss1.runs(), "it was not dead");
        hangs(&world, false);
        cluster.wait_acting("ss1", LATER);
        ledger.wait_writes(5, LATER);
    });
    cluster.assert_whole(&ledger);
}

#[test]
fn a_server_whose_disk_hangs_is_replaced_though_its_heartbeats_come() {
    hanging_member("disk", |world, hangs| world.hang_disk(if hangs { "/store/" } else { "" }));
}

#[test]
fn a_server_whose_data_port_does_not_answer_is_replaced_though_its_heartbeats_come() {
    hanging_member("data port", Shim::mute);
}

#[test]
fn a_backup_whose_disk_hangs_is_shown_and_holds_up_nobody() {
    let cluster = Cluster::start(true);
    let world = Shim::build();
    let _backup = restart(&cluster, "ss1_backup", &world);
    let ledger = under_load(&cluster, 2, 1, |ledger| {
        let fine = cluster.status();
        let fine = server(&fine, "ss1_backup");
        assert!(fine["trouble"].is_null() && fine["last_sync_ms"].is_u64(), "{fine}");
        world.hang_disk("/store/");
        cluster.wait(LATER, "it to be told", |status| {
            let backup = server(status, "ss1_backup");
            pair(status)["state"] == "degraded"
                && backup["trouble"].as_str().is_some_and(|trouble| trouble.contains("disk"))
                && backup["oldest_io_ms"].as_u64().is_some_and(|age| age >= 10_000)
        });
        ledger.wait_writes(10, LATER);
        world.hang_disk("");
        wait_told(&cluster, "well", "ss1_backup", "again");
        cluster.wait(LATER, "the pair to be active", all_active);
    });
    cluster.assert_whole(&ledger);
}

#[test]
fn a_server_whose_disk_hangs_and_has_no_partner_goes_on_serving_what_it_can() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"in memory");
    cluster.wait_settled();
    let world = Shim::build();
    let _ss1 = restart(&cluster, "ss1", &world);
    assert_eq!(cluster.read("/file"), b"in memory");
    cluster.kill9("ss1_backup");
    world.hang_disk("/store/journal/");
    let write = cluster.begin(&["write", "/late", "--timeout", "120"]);
    wait_told(&cluster, "unwell", "ss1", "disk");
    assert_eq!(cluster.read("/file"), b"in memory");
    assert!(cluster.events_of("failed", "ss1").len() <= 1, "only its restart");
    world.hang_disk("");
    assert_eq!(write.end().status, 0);
    wait_told(&cluster, "well", "ss1", "again");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
}
