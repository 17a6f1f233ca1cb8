//! Who acts: fences, failures, promotions, handovers.

use super::*;
use types::limits::FAILURES_KEPT;

#[test]
fn a_paused_old_primary_that_wakes_after_the_promotion_cannot_commit_r1() {
    let mut world = World::new();
    let late = world.write("a", 1);
    world.fail_over(vec![]);
    assert_eq!(world.refused(Op::WriteComplete(late)), Code::PastEpoch);
}

#[test]
fn a_start_fences_the_start_before_r6() {
    let mut world = World::new();
    let late = world.write("a", 1);
    world.start("ss1");
    assert_eq!(world.refused(Op::WriteComplete(late)), Code::RegisterAgain);
    world.commit("a", 2);
}

#[test]
fn what_a_server_acknowledged_before_it_failed_is_not_counted_as_missed() {
    let mut world = World::new();
    world.commit("a", 1);
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    let pair_cursor = world.state().feed_end(1).unwrap();
    let fail = Fail { server: server.name, incarnation: server.incarnation, pair_cursor, ..Fail::default() };
    world.ok(Op::Fail(fail));
    world.commit("b", 1);
    world.start("ss1_backup");
    assert_eq!(world.state().server("ss1_backup").unwrap().unwrap().rows_missed, 1);
}

#[test]
fn how_often_a_server_failed_is_kept_within_bounds_and_a_clean_stop_is_no_failure() {
    let mut world = World::new();
    let failures = |world: &World| world.state().server("ss1_backup").unwrap().unwrap().failures_ms;
    for count in 1..=FAILURES_KEPT + 3 {
        world.fail("ss1_backup");
        world.start("ss1_backup");
        assert_eq!(failures(&world).len(), count.min(FAILURES_KEPT));
    }
    let before = failures(&world);
    assert!(before.is_sorted() && before[0] > 0);
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    let fail =
        Fail { server: server.name, incarnation: server.incarnation, stopped: true, ..Fail::default() };
    world.ok(Op::Fail(fail));
    assert_eq!(failures(&world), before);
}

#[test]
fn a_server_declared_failed_cannot_commit_before_it_registers_again() {
    let mut world = World::new();
    world.fail("ss1_backup");
    let late = world.write("a", 1);
    world.fail("ss1");
    assert_eq!(world.refused(Op::WriteComplete(late)), Code::RegisterAgain);
    world.start("ss1");
    world.commit("a", 2);
}

#[test]
fn a_commit_repeated_through_the_promoted_backup_is_answered_with_the_first_outcome() {
    let mut world = World::new();
    let (mut write, first) = world.commit("a", 1);
    world.fail_over(vec![]);
    write.server = "ss1_backup".into();
    write.epoch = 2;
    assert_eq!(world.ok(Op::WriteComplete(write)).version, first.version);
}

#[test]
fn a_server_that_missed_writes_is_not_promoted_r8() {
    let mut world = World::new();
    world.fail("ss1_backup");
    world.commit("a", 1);
    world.start("ss1_backup");
    world.fail("ss1");
    let promote = Op::Promote(Promote {
        pair: 1,
        epoch: 1,
        to: "ss1_backup".into(),
        reason: String::new(),
        accept_loss: false,
    });
    assert_eq!(world.refused(promote), Code::NoActingMember);
    world.start("ss1");
    let server = world.state().server("ss1").unwrap().unwrap();
    assert!(server.fresh, "the last acting member lacks rows, not bytes");
}

#[test]
fn a_member_that_returns_with_nothing_missed_stays_fresh_unless_it_was_declared_failed_r8() {
    let mut world = World::new();
    world.acknowledge("ss1_backup");
    // Its registration itself is announced in the control feed; a restart within the same rows is behind
    // by that one, so it catches up by the ordinary way.
    world.start("ss1_backup");
    world.catch_up("ss1_backup");
    assert!(world.state().server("ss1_backup").unwrap().unwrap().fresh);
}

#[test]
fn catching_up_is_refused_while_rows_of_before_the_registration_are_missing_r8() {
    let mut world = World::new();
    world.fail("ss1_backup");
    world.commit("a", 1);
    world.start("ss1_backup");
    let incarnation = world.state().server("ss1_backup").unwrap().unwrap().incarnation;
    let caught_up = Op::CaughtUp(CaughtUp { server: "ss1_backup".into(), incarnation, rows_resent: 1 });
    assert_eq!(world.refused(caught_up.clone()), Code::Changed);
    world.acknowledge("ss1_backup");
    world.ok(caught_up);
    let event = world.state().events_after(0, 1000).unwrap().pop().unwrap();
    assert_eq!(event.kind, "caught-up");
    let numbers: Vec<_> = event.numbers.iter().map(|number| (number.name.as_str(), number.value)).collect();
    assert_eq!(numbers, [("rows_missed", 1), ("rows_resent", 1)]);
}

#[test]
fn a_handover_ends_only_when_the_target_has_every_row_r27() {
    let mut world = World::new();
    world.commit("a", 1);
    world.ok(Op::Handover(Handover { pair: 1, epoch: 1, to: "ss1_backup".into() }));
    let held = world.write("b", 1);
    assert_eq!(world.refused(Op::WriteComplete(held.clone())), Code::Handover);
    let restore = Op::Restore(Restore { pair: 1, epoch: 1 });
    assert_eq!(world.refused(restore.clone()), Code::Changed);
    world.acknowledge("ss1_backup");
    world.ok(restore);
    let pair = world.pair();
    assert_eq!((pair.acting.as_str(), pair.epoch, pair.phase()), ("ss1_backup", 2, Phase::Steady));
    assert!(world.state().server("ss1").unwrap().unwrap().fresh, "a planned change leaves both fresh");
    assert_eq!(world.refused(Op::WriteComplete(held)), Code::PastEpoch);
}

#[test]
fn a_handover_waits_for_a_row_that_a_move_carried_behind_it_r27() {
    let mut world = World::new();
    world.commit("a", 1);
    world.ok(Op::Handover(Handover { pair: 1, epoch: 1, to: "ss1_backup".into() }));
    let before = world.pair().handover_seq;
    let rename = world.rename("/a", "/b", false);
    world.ok(rename);
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    let control = world.state().feed_end(0).unwrap();
    world.ok(Op::Acknowledge(Acknowledge {
        server: server.name,
        incarnation: server.incarnation,
        control_cursor: control,
        pair_cursor: before,
        journal: 6,
    }));
    assert_eq!(world.refused(Op::Restore(Restore { pair: 1, epoch: 1 })), Code::Changed);
}

#[test]
fn an_aborted_handover_lets_the_acting_member_go_on() {
    let mut world = World::new();
    world.ok(Op::Handover(Handover { pair: 1, epoch: 1, to: "ss1_backup".into() }));
    world.ok(Op::AbortHandover(AbortHandover { pair: 1, epoch: 1, reason: "slow".into() }));
    world.commit("a", 1);
    assert_eq!(world.pair().handover_tries, 1);
}

#[test]
fn a_server_that_started_anew_meanwhile_is_not_deposed_r6() {
    let mut world = World::new();
    let before = world.state().server("ss1").unwrap().unwrap().incarnation;
    world.start("ss1");
    let fail = Op::Fail(Fail { server: "ss1".into(), incarnation: before, ..Fail::default() });
    let to = "ss1_backup".to_owned();
    let promote = Op::Promote(Promote { pair: 1, epoch: 1, to, ..Promote::default() });
    let answers = world.run_batch(vec![fail, promote]);
    assert!(answers.iter().all(|answer| answer.code != 0), "{answers:?}");
    assert_eq!(world.pair().acting, "ss1");
}
