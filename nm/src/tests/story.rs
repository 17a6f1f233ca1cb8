//! What users see of a pair, from its first day on.

use super::fake::{Disk, Fake};
use super::house::House;
use crate::config::Failback;
use prost::Message;
use std::time::{Duration, Instant};
use types::Code;
use types::capability::right;
use types::command::{Make, Remove, VersionRef, WriteComplete};
use types::ids::InodeId;
use types::message::manager::*;
use types::record::{Kind, on};

async fn pair(house: &House) -> (Fake, Fake) {
    let primary = Fake::start(&house.addr, "ss1", Disk::default()).await.unwrap();
    let backup = Fake::start(&house.addr, "ss1_backup", Disk::default()).await.unwrap();
    house.until_state("active").await;
    (primary, backup)
}

fn write(house: &mut House, name: &str, session: u8) -> WriteComplete {
    WriteComplete {
        asker: Some(house.asker()),
        session: vec![session; 16],
        folder: InodeId::ROOT.0,
        name: name.into(),
        stamp: u64::MAX >> 1,
        size: 5,
        sha256: vec![session; 32],
        durable_on: on::PRIMARY,
        ..WriteComplete::default()
    }
}

async fn written(house: &mut House, server: &Fake, name: &str, session: u8) -> VersionRef {
    server.serving().await;
    let write = write(house, name, session);
    let sha256 = write.sha256.clone();
    let answer = server.complete(write).await.unwrap().answers.remove(0).into_result().unwrap();
    VersionRef { inode: answer.record.unwrap().id, session: vec![session; 16], sha256 }
}

async fn events(house: &House) -> Vec<String> {
    let reply = house.ask::<Events>(EventsRequest::default()).await.unwrap();
    reply.events.into_iter().map(|event| event.kind).collect()
}

/// Plays a story until its pause is shorter than `most`, three times at the most: on a machine with other work a process
/// may be stopped for longer than any pause that is meant, but not each time.
async fn quick<Story: Future<Output = Duration>>(most: Duration, story: impl Fn() -> Story) {
    let mut pauses = Vec::new();
    while pauses.len() < 3 {
        pauses.push(story().await);
        if pauses.last().is_some_and(|pause| *pause < most) {
            return;
        }
    }
    panic!("each time longer than {most:?}: {pauses:?}");
}

fn locate(path: &str) -> LocateRequest {
    LocateRequest {
        path: path.into(),
        rights: right::WRITE,
        may_be_missing: true,
        ..LocateRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_placed_written_found_replicated_and_removed() {
    quick(Duration::from_secs(1), life_of_a_file).await;
}

async fn life_of_a_file() -> Duration {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    let located = house.ask::<Locate>(locate("/a")).await.unwrap();
    let placement = located.placement.unwrap();
    assert_eq!((placement.acting.as_str(), placement.degraded), ("ss1", false));
    assert_eq!(located.capability.unwrap().macs.len(), 2);
    let version = written(&mut house, &primary, "a", 7).await;
    let found = house.ask::<Locate>(locate("/a")).await.unwrap();
    assert_eq!(found.record.unwrap().id, version.inode);
    house.until_state("active").await;
    assert_eq!(primary.disk().files[&version.inode], backup.disk().files[&version.inode]);

    let remove = Remove { asker: Some(house.asker()), path: "/a".into(), ..Remove::default() };
    let before = primary.disk().files[&version.inode];
    let begun = Instant::now();
    house.ask::<RemoveEntry>(remove).await.unwrap();
    assert!(primary.disk().files[&version.inode] > before, "the acting member knew before the answer");
    let pause = begun.elapsed();
    let again = Remove { asker: Some(house.asker()), path: "/a".into(), ..Remove::default() };
    assert_eq!(house.ask::<RemoveEntry>(again).await.unwrap_err().code, Code::NotFound);
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_replaced_at_once_and_acts_again_when_it_is_back() {
    quick(Duration::from_millis(500), a_kill_and_a_return).await;
}

async fn a_kill_and_a_return() -> Duration {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    let version = written(&mut house, &primary, "a", 7).await;
    house.until_state("active").await;
    backup.lack(version.clone());
    let mut pushes = house.client.pushes();

    let killed = Instant::now();
    let disk = primary.kill().await;
    backup.serving().await;
    let pause = killed.elapsed();
    let failed_over = house.until("failed_over", |pair| pair.state == "failed_over").await;
    assert_eq!((failed_over.acting.as_str(), failed_over.epoch), ("ss1_backup", 2));
    let told = async {
        loop {
            let push = pushes.recv().await.expect("a push");
            let placement = Placement::decode(push.head).unwrap();
            if push.method == PUSH_PLACEMENT && placement.acting == "ss1_backup" {
                break placement;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), told).await.expect("clients are told").epoch, 2);
    written(&mut house, &backup, "b", 8).await;

    let primary = Fake::start(&house.addr, "ss1", disk).await.unwrap();
    primary.serving().await;
    let active = house.until_state("active").await;
    assert_eq!((active.acting.as_str(), active.epoch, active.owed_versions), ("ss1", 3, 0));
    assert!(!backup.serves());
    let story = events(&house).await;
    let at = |kind: &str| {
        story.iter().rposition(|event| event == kind).unwrap_or_else(|| panic!("{kind}: {story:?}"))
    };
    let order = ["failed", "promoted", "recovering", "restored"].map(at);
    assert!(order.is_sorted(), "{story:?}");
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_dead_server_holds_is_owed_and_comes_back_with_it() {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    // The survey of a member that has applied everything sees no rows: the row must still be under way.
    let before = backup.disk();
    let backup_disk = backup.kill().await;
    house.until("degraded", |pair| pair.state == "degraded").await;
    assert_eq!(before.files, backup_disk.files);
    let backup = Fake::start(&house.addr, "ss1_backup", backup_disk).await.unwrap();
    house.until_state("active").await;
    let version = write(&mut house, "a", 7);
    let reference =
        VersionRef { inode: 16, session: version.session.clone(), sha256: version.sha256.clone() };
    backup.lack(reference);
    primary.complete(version).await.unwrap();
    let disk = primary.kill().await;
    backup.serving().await;
    let primary = Fake::start(&house.addr, "ss1", disk).await.unwrap();
    primary.serving().await;
    let active = house.until_state("active").await;
    assert_eq!(active.owed_versions, 0);
    let found = house.ask::<Locate>(locate("/a")).await.unwrap().record.unwrap();
    assert_eq!(
        found.head_version().unwrap().session,
        vec![7; 16],
        "the acknowledged write is the head again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_switches_over_and_it_stays_so() {
    quick(Duration::from_secs(1), a_switchover).await;
}

async fn a_switchover() -> Duration {
    let house = House::open().await;
    let (_primary, backup) = pair(&house).await;
    let request = SwitchoverRequest { pair: "ss1".into(), ..SwitchoverRequest::default() };
    let begun = Instant::now();
    let placement = house.ask::<Switchover>(request).await.unwrap();
    assert_eq!((placement.acting.as_str(), placement.epoch), ("ss1_backup", 2));
    // The lease was granted before the answer, but comes to the member over another connection.
    backup.serving().await;
    let pause = begun.elapsed();
    let pair = house.until_state("active").await;
    assert_eq!(pair.preferred, "ss1_backup");
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_hands_over_before_it_goes() {
    quick(Duration::from_secs(1), a_stop).await;
}

async fn a_stop() -> Duration {
    let house = House::open().await;
    let (primary, backup) = pair(&house).await;
    let begun = Instant::now();
    let disk = primary.leave().await;
    // The lease was granted before the stopping server closed, but comes to the member over another connection.
    backup.serving().await;
    let pause = begun.elapsed();
    house.until("failed_over", |pair| pair.state == "failed_over").await;
    let primary = Fake::start(&house.addr, "ss1", disk).await.unwrap();
    primary.serving().await;
    house.until_state("active").await;
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_manual_failback_it_waits_for_an_operator() {
    let house = House::open_in(tempfile::tempdir().unwrap(), Failback::Manual).await;
    let (primary, backup) = pair(&house).await;
    let disk = primary.kill().await;
    backup.serving().await;
    let _primary = Fake::start(&house.addr, "ss1", disk).await.unwrap();
    house.until("waiting", |pair| pair.state == "failed_over" && pair.lag_rows == 0).await;
    let waits = |pair: &PairStatus| pair.state == "failed_over" && pair.acting == "ss1_backup";
    house.all_along(Duration::from_millis(500), "waiting", waits).await;
    let request = SwitchoverRequest { pair: "ss1".into(), to: "ss1".into(), wait_ms: 0 };
    assert_eq!(house.ask::<Switchover>(request).await.unwrap().acting, "ss1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_name_manager_knows_the_files_and_the_same_key() {
    let mut house = House::open().await;
    let make = Make {
        asker: Some(house.asker()),
        path: "/docs".into(),
        kind: Kind::Folder.into(),
        ..Make::default()
    };
    house.ask::<MakeEntry>(make).await.unwrap();
    let folder = house.close().await;
    let house = House::open_in(folder, Failback::Auto).await;
    let request = ListRequest { path: "/".into(), ..ListRequest::default() };
    let names: Vec<_> =
        house.ask::<List>(request).await.unwrap().entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["docs"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_lost_its_server_is_told_the_new_one_as_soon_as_it_serves() {
    quick(Duration::from_millis(500), a_client_that_asks).await;
}

async fn a_client_that_asks() -> Duration {
    let house = House::open().await;
    let (primary, backup) = pair(&house).await;
    let known = house.ask::<Whereabouts>(WhereaboutsRequest { pair: 1, ..Default::default() }).await.unwrap();
    let incarnation = known.members.iter().find(|member| member.name == "ss1").unwrap().incarnation;
    let request = WhereaboutsRequest {
        pair: 1,
        known_epoch: known.epoch,
        known_incarnation: incarnation,
        wait_ms: 10_000,
    };
    let asked = Instant::now();
    let (told, _) = tokio::join!(house.ask::<Whereabouts>(request), primary.kill());
    assert_eq!(told.unwrap().acting, "ss1_backup");
    let pause = asked.elapsed();
    drop(backup);
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_replaced_when_its_heartbeats_stop_and_fenced() {
    quick(Duration::from_millis(2000), a_freeze).await;
}

async fn a_freeze() -> Duration {
    let mut house = House::open().await;
    let (mut primary, backup) = pair(&house).await;
    primary.serving().await;
    let frozen = Instant::now();
    primary.freeze().await;
    backup.serving().await;
    let pause = frozen.elapsed();
    assert!(pause >= Duration::from_millis(800), "{pause:?}: before its lease could have ended");
    let write = write(&mut house, "late", 9);
    let late = primary.complete(write).await.unwrap().answers.remove(0).into_result().unwrap_err();
    assert!([Code::PastEpoch, Code::RegisterAgain].contains(&late.code), "{late}");
    assert!(events(&house).await.contains(&"suspect".to_owned()));
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_steady_writes_a_switchover_loses_none_and_gets_done() {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    primary.serving().await;
    let writes: Vec<_> = (0..400u32).map(|i| write(&mut house, &format!("f{i}"), (i % 250) as u8)).collect();
    let request = SwitchoverRequest { pair: "ss1".into(), ..SwitchoverRequest::default() };
    let writing = async {
        let deadline = Instant::now() + Duration::from_secs(60);
        for write in writes {
            loop {
                assert!(Instant::now() < deadline, "a write is refused again and again");
                let server = if backup.serves() { &backup } else { &primary };
                let answer = server.complete(write.clone()).await.unwrap().answers.remove(0);
                match answer.into_result() {
                    Ok(_) => break,
                    Err(error) => assert!(error.code.is_retryable(), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let begun = Instant::now();
    let (placement, ()) = tokio::join!(house.ask::<Switchover>(request), writing);
    assert_eq!(placement.unwrap().acting, "ss1_backup");
    eprintln!("400 writes around a switchover in {:?}", begun.elapsed());
    let pair = house.until_state("active").await;
    assert_eq!((pair.epoch, pair.files), (2, 400));
    // The acting member's own rows come back to it in their time.
    let deadline = Instant::now() + Duration::from_secs(5);
    while primary.disk().files != backup.disk().files {
        assert!(Instant::now() < deadline, "the copies differ");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_after_three_failed_handovers_commits_wait_for_both_until_it_is_done() {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    primary.told_both_first(false).await;
    backup.set_stuck(true);
    written(&mut house, &primary, "a", 7).await;
    let request = SwitchoverRequest { pair: "ss1".into(), ..SwitchoverRequest::default() };
    // It may be answered before it is done, and then that is an error to the operator.
    let asked = async {
        if let Err(error) = house.ask::<Switchover>(request).await {
            assert!(error.code.is_retryable() || error.code == Code::Timeout, "{error}");
        }
    };
    let handed = async {
        primary.told_both_first(true).await;
        backup.set_stuck(false);
        backup.serving().await;
    };
    tokio::join!(asked, handed);
    backup.told_both_first(false).await;
    assert!(!primary.serves());
    let aborted = events(&house).await.into_iter().filter(|kind| kind.contains("abort")).count();
    assert!(aborted >= 3, "{:?}", events(&house).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_store_is_out_of_service_is_replaced_though_it_lives_r31() {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    written(&mut house, &primary, "a", 7).await;
    house.until_state("active").await;
    primary.break_store();
    backup.serving().await;
    house.until("failed_over", |pair| pair.state == "failed_over" && pair.acting == "ss1_backup").await;
    written(&mut house, &backup, "b", 8).await;
    assert!(!primary.serves());
    // Started again on its disk it is a server like any other.
    let disk = primary.kill().await;
    let primary = Fake::start(&house.addr, "ss1", disk).await.unwrap();
    primary.serving().await;
    house.until_state("active").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_store_without_a_stand_in_goes_on_serving_reads() {
    let mut house = House::open().await;
    let (primary, backup) = pair(&house).await;
    written(&mut house, &primary, "a", 7).await;
    house.until_state("active").await;
    backup.break_store();
    let degraded = house.until("degraded", |pair| pair.state == "degraded").await;
    assert_eq!(degraded.acting, "ss1");
    primary.break_store();
    house
        .all_along(Duration::from_secs(2), "served by it", |pair| pair.acting == "ss1" && primary.serves())
        .await;
    assert!(primary.serves(), "there is nobody who could stand in for it");
}

/// The rebuild may end between its telling a server to stand and the server's doing so; the server must not take the
/// answer for one of an older program, and end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_a_server_that_stands_for_a_rebuild_when_it_is_over_is_told_to_register() {
    let house = House::open().await;
    let (primary, _backup) = pair(&house).await;
    assert_eq!(primary.stand().await.unwrap_err().code, Code::RegisterAgain);
}
