//! Hosts that are suspended, copies of disks, and requests that arrive after what came later.

use super::Table;
use super::stage::{A, B, LONG, Stage};
use crate::cluster::{BACKUP, SS1};

pub(super) const ALL: Table = &[
    ("r02_a_suspended_holder_has_no_lease_when_it_wakes", r02),
    ("r07_a_copy_of_a_living_server_is_refused", r07_beside),
    ("r07_a_copy_in_the_place_of_its_server_is_that_server", r07_instead),
    ("r13_a_request_that_arrives_after_its_repetition_is_not_done_again", r13),
];

/// Its timers have stood still, and its lease has not: it was counted on the clock that goes on.
fn r02(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    s.cluster.hosts[SS1].suspend();
    s.until_serves(BACKUP, LONG);
    let written = s.write(A, "/shared/0");
    s.cluster.hosts[SS1].resume();
    // Whoever serves beside somebody else is noticed in each tick.
    s.pass(300);
    check!(s, s.read(B, "/shared/0") == Some(written), "what was written meanwhile is not read");
}

fn r07_beside(s: &mut Stage) {
    let written = s.write_sync(A, "/shared/0");
    s.settle();
    let started = s.cluster.start_twin(SS1);
    check!(s, started.is_ok(), "there is no copy");
    let before = s.cluster.serves(SS1);
    s.until("the copy to be refused", LONG, |cluster| !cluster.twin_runs());
    check!(s, before.is_some() && s.cluster.serves(SS1) == before, "the real one does not go on");
    check!(s, s.cluster.end_twin(false).is_ok(), "the copy stays");
    check!(s, s.read(B, "/shared/0") == Some(written), "what was written is not read");
}

fn r07_instead(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    s.settle();
    s.kill(SS1);
    check!(s, s.cluster.start_twin(SS1).is_ok(), "there is no copy");
    s.until("the copy to act", LONG, |cluster| cluster.twin_serves().is_some());
    let written = s.write_sync(A, "/shared/0");
    s.cluster.stop_twins();
    check!(s, s.cluster.end_twin(true).is_ok(), "the copy is not put in place");
    s.until_serves(SS1, LONG);
    check!(s, s.read(B, "/shared/0") == Some(written), "what the copy took is gone");
}

/// At each of some moments of a write its connection breaks, and what it carried arrives later than the next write.
fn r13(s: &mut Stage) {
    for moment in 1..12 {
        let first = s.begin_write(A, "/shared/0", moment % 2 == 0);
        s.pass(moment);
        let (client, server) = (s.cluster.hosts[s.host_of(A)].ip, s.cluster.hosts[SS1].ip);
        s.cluster.network.break_streams_late(client, server, 1500);
        let first = s.answer(&first, LONG).flatten();
        let second = s.write_sync(B, "/shared/0");
        s.pass(2000);
        let read = s.read(A, "/shared/0");
        check!(s, first.is_some() && second.is_some() && read == Some(second), "the late one is done again");
    }
}
