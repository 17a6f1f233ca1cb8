//! Storage: R31 to R34, and invariants that no rule tells of an interleaving for.

use super::Table;
use super::stage::{A, B, LONG, Stage};
use crate::cluster::{BACKUP, NM, SS1};
use crate::faults::find;
use crate::load::bytes_of;

pub(super) const ALL: Table = &[
    ("r31_what_a_server_acknowledged_survives_a_power_cut", r31),
    ("r32_what_a_version_names_is_not_collected", r32),
    ("r33_what_the_name_manager_acknowledged_survives_a_power_cut", r33),
    ("r34_the_log_is_purged_of_what_is_durable_only", r34),
    ("i3_a_big_file_is_read_whole_while_it_is_written", i3),
    ("i6_a_flipped_bit_is_never_read", i6),
    ("i9_a_request_gives_up_in_its_time", i9),
];

fn r31(s: &mut Stage) {
    s.kill(BACKUP);
    s.pass(2000);
    for round in 0..6 {
        let path = format!("/own/{}", round % 2);
        let written = s.write(A, &path);
        s.cut_power(SS1, round);
        s.start(SS1);
        let read = s.read(B, &path);
        check!(s, written.is_some() && read == Some(written), "what was acknowledged is gone");
    }
}

fn r32(s: &mut Stage) {
    let small = s.write_sync(A, "/shared/0");
    let big = s.write_big(A, "/own/0");
    s.pass(8000);
    check!(s, s.read(B, "/shared/0") == Some(small), "a small content is gone");
    check!(s, s.read(B, "/own/0") == Some(Some(big)), "a big content is gone");
}

fn r33(s: &mut Stage) {
    for round in 0..6 {
        let path = format!("/shared/{}", round % 2);
        let written = s.write_sync(A, &path);
        s.cut_power(NM, round);
        s.start(NM);
        let read = s.read(B, &path);
        check!(s, written.is_some() && read == Some(written), "what was acknowledged is gone");
    }
}

/// More is decided than the name manager keeps in its log, then the power goes.
fn r34(s: &mut Stage) {
    for round in 0..4 {
        let done = s.ask(A, move |client, _| async move {
            for number in 0..150 {
                client.mkdir(&format!("/many/{round}/{number}"), true, None).await?;
            }
            Ok::<_, types::Error>(())
        });
        check!(s, matches!(done, Some(Ok(()))), "folders cannot be made");
        s.cut_power(NM, round);
        s.pass(50);
        s.start(NM);
        s.until_serves(SS1, LONG);
    }
    let last = s.ask(B, |client, _| async move { client.entry("/many/3/149").await });
    check!(s, matches!(last, Some(Ok(Some(_)))), "what was acknowledged is gone");
}

fn i3(s: &mut Stage) {
    s.write_big(A, "/own/0");
    for _ in 0..6 {
        let mut reads = Vec::new();
        for _ in 0..4 {
            reads.push(s.begin_read(B, "/own/0"));
            s.pass(1);
        }
        s.write_big(A, "/own/0");
        for read in reads {
            s.answer(&read, LONG);
        }
    }
}

/// Bits flip on one copy, in an extent and in the journal; the other is sound.
fn i6(s: &mut Stage) {
    let big = s.write_big(A, "/own/0");
    let small = s.write_sync(A, "/shared/0");
    s.settle();
    for value in [Some(big), small].into_iter().flatten() {
        check!(s, flip(s, SS1, &bytes_of(value)), "its bytes are not found on the disk");
    }
    check!(s, s.read(B, "/own/0") == Some(Some(big)), "bad bytes are read, or none");
    // Small contents are remembered: it reads them from the disk after a start.
    s.kill(SS1);
    s.start(SS1);
    s.settle();
    check!(s, s.read(B, "/shared/0") == Some(small), "bad bytes are read, or none");
    let scrubbed =
        s.ask(A, |client, _| async move { client.scrub(&Default::default(), &Default::default()).await });
    check!(s, matches!(&scrubbed, Some(Ok(report)) if report.stays().count() == 0), "damage stays");
}

/// Flips a bit of a content where it stands on a disk; whether it does.
fn flip(s: &mut Stage, host: usize, content: &[u8]) -> bool {
    let disk = s.cluster.hosts[host].disk.clone();
    find(&disk, content).is_some_and(|(name, at)| disk.flip(&name, at + 1, 4))
}

fn i9(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    for host in [SS1, BACKUP] {
        s.kill(host);
    }
    let (read, written) = (s.begin_read(B, "/shared/0"), s.begin_write(B, "/shared/0", false));
    s.pass(12_000);
    check!(s, read.is_done() && written.is_done(), "a client waits longer than it was told to");
    s.pause(NM);
    let read = s.begin_read(B, "/shared/0");
    s.pass(12_000);
    check!(s, read.is_done(), "a client waits for a name manager longer than it was told to");
    s.pass(20_000);
}
