//! A server is frozen: it is there, but silent. When it wakes it must not believe that it still acts.

use pairfs_tests::cluster::{SOON, pair, server};
use pairfs_tests::wire::Wire;
use pairfs_tests::{Cluster, Options, within};
use std::time::{Duration, Instant};
use types::Code;
use types::capability::right;

/// When the last heartbeat of ss1 arrived, and when its backup acted; the name manager's own words,
/// sampled. `signal` is when the server was frozen.
struct Noticed {
    since_arrival: Duration,
    since_signal: Duration,
}

fn freeze_and_watch(cluster: &Cluster, most: Duration) -> Noticed {
    cluster.write("/file", b"before");
    cluster.wait_settled();
    cluster.freeze("ss1");
    let signal = Instant::now();
    let mut arrival = None;
    within(most, "ss1_backup to act", || {
        let asked = Instant::now();
        let status = cluster.try_status();
        let Some(status) = status else { return Err(status) };
        if pair(&status)["acting"] == "ss1_backup" {
            return Ok(());
        }
        if let Some(age) = server(&status, "ss1")["last_heartbeat_ms"].as_u64() {
            // The age was measured between asking and now: taken from asking it can only seem earlier, and
            // the latest of them all comes nearest.
            let seen = asked.checked_sub(Duration::from_millis(age));
            arrival = arrival.max(seen);
        }
        Err(Some(status))
    });
    let noticed = Noticed {
        since_arrival: arrival.expect("the age of a heartbeat was shown").elapsed(),
        since_signal: signal.elapsed(),
    };
    println!(
        "{:?} after the last heartbeat, {:?} after the signal",
        noticed.since_arrival, noticed.since_signal
    );
    assert_eq!(cluster.read("/file"), b"before");
    noticed
}

/// What a command and a slow machine add to what is measured.
const MEASURING: Duration = Duration::from_millis(700);

#[test]
fn a_frozen_server_is_found_15_to_20_s_after_its_last_heartbeat() {
    let cluster = Cluster::with(Options { fast: false, alone: true, ..Options::default() });
    let noticed = freeze_and_watch(&cluster, Duration::from_secs(30));
    assert!(noticed.since_arrival >= Duration::from_secs(15), "{:?}", noticed.since_arrival);
    assert!(noticed.since_arrival <= Duration::from_secs(20) + MEASURING, "{:?}", noticed.since_arrival);
    assert!(noticed.since_signal >= Duration::from_secs(10), "{:?}", noticed.since_signal);
    assert!(noticed.since_signal <= Duration::from_secs(20) + MEASURING, "{:?}", noticed.since_signal);
    cluster.thaw("ss1");
    cluster.assert_copies_equal();
}

#[test]
fn at_the_fast_pace_a_frozen_server_is_found_within_a_second_and_a_half() {
    let cluster = Cluster::with(Options { alone: true, ..Options::default() });
    let noticed = freeze_and_watch(&cluster, Duration::from_secs(10));
    assert!(noticed.since_arrival >= Duration::from_secs(1), "{:?}", noticed.since_arrival);
    assert!(noticed.since_arrival <= Duration::from_millis(1_500) + MEASURING, "{:?}", noticed.since_arrival);
    cluster.thaw("ss1");
    cluster.assert_copies_equal();
}

#[test]
fn a_server_that_wakes_after_its_replacement_neither_commits_nor_serves_a_read() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"old");
    cluster.wait_settled();
    let wire = Wire::open(&cluster);
    let located = wire.locate("/file", right::ALL).unwrap();
    let old = wire.to_server("ss1").unwrap();
    let (reply, body) = wire.read(&old, &located).expect("ss1 acts and serves");
    assert_eq!(&body[..], b"old");
    assert!(reply.version.is_some());

    cluster.freeze("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.write("/file", b"new");
    cluster.thaw("ss1");
    // From the moment it wakes until it acts again by right: the epoch of then is over for good.
    let refused = [Code::NotActing, Code::PastEpoch, Code::Handover, Code::Unavailable];
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let read = wire.read(&old, &located).map(|(_, body)| body).expect_err("an old read was served");
        let put = wire.put(&old, &located, b"from the past").expect_err("an old commit was taken");
        for error in [read, put] {
            assert!(refused.contains(&error.code), "{error}");
        }
    }
    cluster.assert_copies_equal();
    assert_eq!(cluster.read("/file"), b"new");
    let versions = cluster.info("/file")["versions"].as_array().unwrap().len();
    assert_eq!(versions, 2, "nothing came from the past");
}

#[test]
fn a_server_declared_failed_is_told_to_register_again_and_does() {
    let cluster = Cluster::start(true);
    let before = cluster.events_of("registered", "ss1").len();
    cluster.freeze("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.thaw("ss1");
    cluster.assert_copies_equal();
    assert!(cluster.events_of("registered", "ss1").len() > before, "the same process registers anew");
    assert_eq!(pair(&cluster.status())["acting"], "ss1");
}

#[test]
fn a_short_pause_changes_nothing() {
    let cluster = Cluster::with(Options { fast: false, ..Options::default() });
    cluster.write("/file", b"content");
    let before = cluster.wait_settled();
    cluster.freeze("ss1");
    std::thread::sleep(Duration::from_secs(2));
    cluster.thaw("ss1");
    assert_eq!(cluster.read("/file"), b"content");
    cluster.write("/file", b"and on");
    let after = cluster.wait_settled();
    assert_eq!(pair(&before)["epoch"], pair(&after)["epoch"]);
    assert!(cluster.events_of("failed", "ss1").is_empty());
}

#[test]
fn a_frozen_name_manager_does_not_take_its_own_silence_for_that_of_the_servers() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    let before = cluster.wait_settled();
    cluster.freeze("nm");
    // Three timeouts of the fast pace.
    std::thread::sleep(Duration::from_secs(3));
    cluster.thaw("nm");
    assert_eq!(cluster.read("/file"), b"content");
    cluster.write("/file", b"and on");
    let after = cluster.wait_settled();
    assert_eq!(pair(&before)["epoch"], pair(&after)["epoch"], "nobody was replaced");
    for name in ["ss1", "ss1_backup"] {
        assert!(cluster.events_of("failed", name).is_empty(), "{name} was never away");
    }
}
