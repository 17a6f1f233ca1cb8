//! Who may serve: R1 to R9, R27.

use super::Table;
use super::stage::{A, B, LONG, Stage};
use crate::cluster::{BACKUP, NM, SS1};
use crate::host::DiskPace;
use crate::network::{Latency, Tick};

/// How long a handover may take in which nobody serves, ms: the bound of a try, and a heartbeat.
const HANDOVER_MAX: u64 = 700;

pub(super) const ALL: Table = &[
    ("r01_a_primary_that_wakes_after_the_promotion_does_not_commit", r01),
    ("r02_a_lease_ends_at_its_holder_before_anybody_else_serves", r02),
    ("r03_nobody_gets_a_lease_while_the_pair_changes_hands", r03),
    ("r03_a_lease_is_not_given_back_by_a_heartbeat_that_overtakes", r03_late),
    ("r03_a_handover_is_not_held_up_by_a_heartbeat", r03_prompt),
    ("r04_a_name_manager_that_slept_fails_nobody", r04_slept),
    ("r04_a_new_leader_waits_before_it_promotes", r04_new),
    ("r04_a_handover_that_its_leader_did_not_end_is_given_up", r04_open),
    ("r05_a_killed_server_is_replaced_at_once", r05_killed),
    ("r05_a_broken_connection_is_no_death", r05_broken),
    ("r06_a_start_fences_the_start_before", r06),
    ("r06_what_a_start_left_on_its_way_is_not_decided_after_the_next", r06_late),
    ("r07_an_old_image_of_a_disk_is_compared", r07),
    ("r08_who_missed_writes_does_not_act_when_both_were_down", r08),
    ("r09_a_restarted_primary_applies_before_it_serves", r09),
    ("r27_a_handover_gets_done_under_steady_writes", r27),
    ("r27_a_handover_waits_for_a_lease_that_cannot_be_called_back", r27_cut),
];

/// The primary is stopped with commits under way, by a client that nobody else can reach, and wakes in a later epoch.
fn r01(s: &mut Stage) {
    for round in 0..6 {
        let path = format!("/shared/{round}");
        s.write_sync(A, &path);
        s.read(A, &path);
        s.cluster.hosts[SS1].set_pace(DiskPace { jitter: 30 });
        s.cut(s.host_of(A), NM);
        let late = s.begin_write(A, &path, false);
        s.pass(3 + 4 * round);
        s.pause(SS1);
        s.until_serves(BACKUP, LONG);
        s.write(B, &path);
        s.cluster.hosts[SS1].set_pace(DiskPace { jitter: 1 });
        s.go_on(SS1);
        // What it acknowledges, others read.
        s.cluster.wait(3000, |_| late.is_done());
        s.read(B, &path);
        s.mend();
        s.settle();
        s.read(A, &path);
    }
}

/// The primary is cut off from the name manager only; a client goes on asking it.
fn r02(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    s.cut(SS1, NM);
    for _ in 0..60 {
        let asked = s.begin_read(A, "/shared/0");
        let written = s.begin_write(B, "/shared/0", false);
        s.pass(50);
        s.answer(&asked, 10_000);
        s.answer(&written, 10_000);
    }
    check!(s, s.cluster.serves(BACKUP).is_some(), "the backup does not serve");
    s.mend();
    s.settle();
}

/// Handovers one after the other. The member that lets go says so with a heartbeat at once; that it is over is decided
/// later, as the name manager's disk takes long.
fn r03(s: &mut Stage) {
    for round in 0..12 {
        s.cluster.hosts[NM].set_pace(DiskPace { jitter: 20 + 5 * (round % 4) });
        let jitter = if round % 3 == 0 { 8 } else { 1 };
        s.cluster.network.set_latency(Latency { jitter, ..Latency::default() });
        let written = s.begin_write(B, "/shared/0", true);
        s.switch_to(if round % 2 == 0 { BACKUP } else { SS1 });
        s.answer(&written, LONG);
        s.read(A, "/shared/0");
    }
    s.cluster.network.set_latency(Latency::default());
    s.cluster.hosts[NM].set_pace(DiskPace { jitter: 1 });
}

/// The old member has let go, and its word is late; its next heartbeat overtakes it.
fn r03_late(s: &mut Stage) {
    for round in 0..20 {
        s.cluster.network.set_latency(Latency { jitter: 2, slow_one_in: 3, slow: 150 });
        let to = if round % 2 == 0 { "ss1_backup" } else { "ss1" };
        // It may take more tries than a client waits for.
        s.ask(A, move |client, _| async move { client.switchover("ss1", to).await });
        s.read(B, "/shared/0");
        s.cluster.network.set_latency(Latency::default());
        s.pass(500);
    }
    s.switch_to(SS1);
}

/// A heartbeat of the member that has let go is on its way in each of these handovers: were it granted a lease, its
/// partner would have to wait for the end of it.
fn r03_prompt(s: &mut Stage) {
    s.cluster.hosts[NM].set_pace(DiskPace { jitter: 60 });
    let mut longest = 0;
    for round in 0..100 {
        let (to, host) = if round % 2 == 0 { ("ss1_backup", BACKUP) } else { ("ss1", SS1) };
        let switched = s.begin_ask(A, move |client, _| async move { client.switchover("ss1", to).await });
        let (mut nobody, mut ticks) = (0, 0);
        while s.cluster.serves(host).is_none() && ticks < LONG {
            s.pass(1);
            ticks += 1;
            nobody += u64::from(s.cluster.acting().is_none());
        }
        longest = longest.max(nobody);
        s.answer(&switched, LONG);
        s.pass(37);
    }
    s.cluster.hosts[NM].set_pace(DiskPace { jitter: 1 });
    s.cluster.timeline.note(s.cluster.now(), &format!("nobody served for {longest} ms at most"));
    check!(s, longest <= HANDOVER_MAX, &format!("nobody served for {longest} ms in a handover"));
}

fn r04_slept(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    let before = s.cluster.serves(SS1);
    s.pause(NM);
    s.pass(4000);
    s.go_on(NM);
    s.until_serves(SS1, 2000);
    s.pass(3000);
    check!(s, s.cluster.serves(SS1) == before, "the primary was replaced, and nothing had failed");
}

/// The name manager is killed while the primary is cut off from it, and is back before that one's lease has ended.
fn r04_new(s: &mut Stage) {
    for round in 0..6 {
        s.write_sync(A, "/shared/0");
        s.cut(NM, SS1);
        s.pass(1 + 30 * round);
        s.kill(NM);
        s.start(NM);
        s.pass(3000);
        s.until_serves(BACKUP, LONG);
        s.mend();
        s.settle();
    }
}

/// The name manager is killed in the middle of handovers.
fn r04_open(s: &mut Stage) {
    for round in 0..8 {
        s.write_sync(A, "/shared/0");
        let to = s.cluster.hosts[BACKUP].name.clone();
        let switched = s.begin_ask(A, move |client, _| async move { client.switchover("ss1", &to).await });
        s.pass(2 + round);
        s.kill(NM);
        s.pass(10);
        s.start(NM);
        s.until("somebody to serve", LONG, |cluster| cluster.acting().is_some());
        check!(s, s.write(B, "/shared/0").is_some(), "nothing can be written");
        s.answer(&switched, LONG);
        s.switch_to(SS1);
        s.settle();
    }
}

fn r05_killed(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    s.kill(SS1);
    // Long before three heartbeats could be missed.
    s.until_serves(BACKUP, 600);
    check!(s, s.write(A, "/shared/0").is_some(), "nothing can be written");
    s.start(SS1);
    s.settle();
}

/// Its connections break and it cannot be reached, but it lives and has a lease.
fn r05_broken(s: &mut Stage) {
    for _ in 0..4 {
        s.write_sync(A, "/shared/0");
        s.break_streams(NM, SS1);
        s.pass(2);
        s.cut(NM, SS1);
        s.pass(3000);
        s.mend();
        s.settle();
    }
}

/// Killed with commits under way, and started at once: with a partner that could take over, and without.
fn r06(s: &mut Stage) {
    for round in 0..10 {
        if round == 5 {
            s.kill(BACKUP);
            s.pass(2000);
        }
        let path = format!("/shared/{}", round % 3);
        let written = s.begin_write(A, &path, false);
        let other = s.begin_write(B, &path, false);
        s.pass(round);
        s.kill(SS1);
        s.start(SS1);
        s.answer(&written, LONG);
        s.answer(&other, LONG);
        s.read(B, &path);
        if round < 5 {
            s.settle();
        }
    }
}

/// What a server asks of the name manager is on its way for minutes; meanwhile it is killed and started, hears that the write
/// is not in the log, and gives its content up when its client does not come back.
fn r06_late(s: &mut Stage) {
    const LATE: Tick = 200_000;
    s.kill(BACKUP);
    s.pass(2000);
    let writer = s.host_of(B);
    for round in 0..8 {
        let written = s.begin_write(B, &format!("/shared/{round}"), false);
        s.pass(round);
        s.cut(writer, SS1);
        s.break_streams_late(SS1, NM, LATE);
        s.kill(SS1);
        s.start(SS1);
        s.answer(&written, LONG);
        s.mend();
        s.until_serves(SS1, LONG);
    }
    s.pass(LATE);
    s.start(BACKUP);
    s.settle();
}

fn r07(s: &mut Stage) {
    for name in 0..4 {
        s.write_sync(A, &format!("/shared/{name}"));
    }
    s.settle();
    s.kill(BACKUP);
    let image = s.cluster.hosts[BACKUP].disk.restart();
    s.start(BACKUP);
    s.settle();
    s.write_sync(A, "/shared/0");
    s.remove(A, "/shared/1");
    s.write_sync(A, "/shared/5");
    s.settle();
    // The tombstone is collected, and nobody remembers the removal.
    s.pass(5000);
    s.kill(BACKUP);
    s.cluster.hosts[BACKUP].disk = image;
    s.start(BACKUP);
    s.settle();
    s.kill(SS1);
    s.until_serves(BACKUP, LONG);
    check!(s, s.read(B, "/shared/1") == Some(None), "a removed file is back");
    s.start(SS1);
}

fn r08(s: &mut Stage) {
    let first = s.write_sync(A, "/shared/0");
    s.kill(BACKUP);
    s.pass(2000);
    let second = s.write(A, "/shared/0");
    check!(s, first.is_some() && second.is_some(), "nothing can be written");
    s.kill(SS1);
    s.start(BACKUP);
    let read = s.begin_read(B, "/shared/0");
    s.pass(5000);
    check!(s, s.cluster.acting().is_none(), "the one that missed writes serves");
    s.answer(&read, LONG);
    s.start(SS1);
    s.settle();
    check!(s, s.read(B, "/shared/0") == Some(second), "an older content is read");
}

/// Without a partner it is granted again at once; what was decided just before may not have come back as rows yet.
fn r09(s: &mut Stage) {
    s.kill(BACKUP);
    s.pass(2000);
    for round in 0..8 {
        // The row of a second one waits for a moment.
        s.write(A, "/shared/0");
        let written = s.write(A, "/shared/0");
        s.pass(round % 3);
        s.kill(SS1);
        // Its rows take long; what it has heard before would be quick to read.
        s.cluster.hosts[SS1].set_pace(DiskPace { jitter: 100 });
        s.start(SS1);
        let read = s.read(B, "/shared/0");
        s.cluster.hosts[SS1].set_pace(DiskPace { jitter: 1 });
        check!(s, read == Some(written), "what was acknowledged is not read after a restart");
    }
}

fn r27(s: &mut Stage) {
    let mut pending = Vec::new();
    for round in 0..4 {
        for path in ["/own/0", "/own/1", "/own/2"] {
            pending.push(s.begin_write(B, path, false));
        }
        s.switch_to(if round % 2 == 0 { BACKUP } else { SS1 });
        for asked in pending.drain(..) {
            s.answer(&asked, LONG);
        }
    }
    check!(s, s.cluster.serves(SS1).is_some(), "the primary does not serve in the end");
}

/// Nothing gets to the primary any more, while its heartbeats still come; then it is to hand over.
fn r27_cut(s: &mut Stage) {
    for round in 0..4 {
        s.write_sync(A, "/shared/0");
        s.pass(50 * round);
        s.cut_one_way(NM, SS1);
        let to = s.cluster.hosts[BACKUP].name.clone();
        let switched = s.begin_ask(A, move |client, _| async move { client.switchover("ss1", &to).await });
        s.pass(3000);
        s.mend();
        s.answer(&switched, LONG);
        s.switch_to(SS1);
        s.settle();
    }
}
