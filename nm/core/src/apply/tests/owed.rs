//! Versions that were acknowledged on one member only (R11, R12).

use super::*;

#[test]
fn a_request_far_ahead_of_the_lowest_unanswered_one_is_refused_r13() {
    let mut world = World::new();
    let mut write = world.write("a", 1);
    write.asker.as_mut().unwrap().number += 5000;
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::BadRequest);
}

#[test]
fn an_owed_version_comes_back_as_the_head_if_nothing_newer_was_written_r12() {
    let mut world = World::new();
    world.commit("a", 1);
    let (write, answer) = world.commit("a", 2);
    world.fail_over(vec![reference(&write, &answer)]);
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 1, number: 1 }, "readers get what the backup holds");
    assert!(file.versions[1].is(mark::OWED));
    assert_eq!(world.pair().owed, 1);
    let owed = world.state().owed_of(1, "ss1", 10).unwrap();
    assert_eq!(owed, [(file.id, vec![reference(&write, &answer)])]);
    let adopt =
        Adopt { pair: 1, epoch: 2, inode: file.id, holder: "ss1".into(), sessions: vec![write.session] };
    world.ok(Op::Adopt(adopt));
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 1, number: 2 });
    assert_eq!(file.versions[1].marks, 0);
    assert_eq!(world.pair().owed, 0);
}

#[test]
fn an_owed_version_becomes_a_conflict_if_something_newer_was_written_r12() {
    let mut world = World::new();
    world.commit("a", 1);
    let (write, answer) = world.commit("a", 2);
    world.fail_over(vec![reference(&write, &answer)]);
    world.commit("a", 3);
    let id = world.file("a").unwrap().id;
    world.ok(Op::Adopt(Adopt {
        pair: 1,
        epoch: 2,
        inode: id,
        holder: "ss1".into(),
        sessions: vec![write.session],
    }));
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 2, number: 3 }, "a number is never used twice");
    assert_eq!(file.versions.len(), 3);
    assert_eq!(file.versions[1].marks, mark::CONFLICT);
}

#[test]
fn moving_the_file_meanwhile_does_not_make_the_owed_version_a_conflict_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    assert!(world.file("a").unwrap().head().is_none(), "the only copy is away");
    let rename = world.rename("/a", "/b", false);
    world.ok(rename);
    let id = world.file("b").unwrap().id;
    world.ok(Op::Adopt(Adopt {
        pair: 1,
        epoch: 2,
        inode: id,
        holder: "ss1".into(),
        sessions: vec![write.session],
    }));
    assert_eq!(world.file("b").unwrap().head(), VersionNumber { epoch: 1, number: 1 });
}

#[test]
fn ancestors_of_an_adopted_head_take_their_old_places_r12() {
    let mut world = World::new();
    let (w1, a1) = world.commit("a", 1);
    let (w2, a2) = world.commit("a", 2);
    world.fail_over(vec![reference(&w1, &a1), reference(&w2, &a2)]);
    let id = world.file("a").unwrap().id;
    let sessions = vec![w1.session, w2.session];
    world.ok(Op::Adopt(Adopt { pair: 1, epoch: 2, inode: id, holder: "ss1".into(), sessions }));
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 1, number: 2 });
    assert!(file.versions.iter().all(|version| version.marks == 0));
}

#[test]
fn what_was_removed_during_the_outage_stays_removed_i4() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    let remove = world.remove("/a", false, false);
    let id = world.ok(remove).record.unwrap().id;
    world.ok(Op::Adopt(Adopt {
        pair: 1,
        epoch: 2,
        inode: id,
        holder: "ss1".into(),
        sessions: vec![write.session],
    }));
    assert!(world.file("a").is_none());
    let file = world.state().inode(id).unwrap().unwrap();
    assert!(file.trashed.is_some(), "kept in the trash with its history");
    assert_eq!(file.versions.len(), 1);
}

#[test]
fn a_purged_file_is_owed_no_more_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    let remove = world.remove("/a", false, true);
    world.ok(remove);
    assert_eq!(world.pair().owed, 0);
    assert!(world.state().owed_of(1, "ss1", 10).unwrap().is_empty());
}

#[test]
fn repeating_a_commit_whose_version_is_owed_settles_it_r12() {
    let mut world = World::new();
    let (mut write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    write.server = "ss1_backup".into();
    write.epoch = 2;
    write.incarnation = world.state().server("ss1_backup").unwrap().unwrap().incarnation;
    let again = world.ok(Op::WriteComplete(write));
    assert!(again.repeated);
    assert_eq!(world.pair().owed, 0);
    assert_eq!(world.file("a").unwrap().head(), VersionNumber { epoch: 1, number: 1 });
}

/// ss1 returns and follows the feed; before the debt is settled ss1_backup fails, and ss1 says what it lacks and holds.
fn return_and_act(world: &mut World, lacks: Vec<VersionRef>, holds: Vec<VersionRef>) {
    world.start("ss1");
    world.catch_up("ss1");
    let epoch = world.pair().epoch;
    world.fail("ss1_backup");
    world.ok(Op::Promote(Promote { pair: 1, epoch, to: "ss1".into(), ..Promote::default() }));
    world.ok(Op::Owe(Owe { pair: 1, epoch: epoch + 1, lacks, holds, done: true }));
}

#[test]
fn what_the_new_acting_member_holds_of_older_debts_is_settled_at_its_owe_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    let owed = reference(&write, &answer);
    world.fail_over(vec![owed.clone()]);
    return_and_act(&mut world, vec![], vec![owed]);
    assert_eq!(world.pair().owed, 0);
    assert_eq!(world.file("a").unwrap().head(), VersionNumber { epoch: 1, number: 1 });
}

#[test]
fn only_ten_versions_are_kept_and_owed_ones_stand_outside_r11() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 0);
    world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    for content in 2..30 {
        world.commit("a", content);
    }
    let file = world.file("a").unwrap();
    assert_eq!(file.versions.len(), 11);
    assert!(file.versions[0].is(mark::OWED));
    assert_eq!(file.head(), file.versions[10].version());
}

#[test]
fn i4_which_writes_ended_is_told_until_both_members_know_it() {
    let mut world = World::new();
    let sessions: Vec<_> = (0..13).map(|content| world.commit("a", content).0.session).collect();
    let ended = |world: &World| world.file("a").unwrap().ended;
    assert_eq!(ended(&world), sessions[..3].concat(), "the partner has applied none of these rows");
    world.acknowledge("ss1");
    world.commit("a", 13);
    assert_eq!(ended(&world), sessions[..4].concat());
    world.acknowledge("ss1");
    world.acknowledge("ss1_backup");
    world.commit("a", 14);
    assert_eq!(ended(&world), sessions[4]);
    for content in 15..100 {
        world.commit("a", content);
    }
    assert_eq!(ended(&world).len(), 16 * types::limits::ENDED_KEPT);
}

#[test]
fn i4_a_removal_tells_which_writes_ended_with_it() {
    for now in [true, false] {
        let mut world = World::new();
        let sessions: Vec<_> = (0..12).map(|content| world.commit("a", content).0.session).collect();
        let id = world.file("a").unwrap().id;
        let rename = world.rename("/a", "/b", false);
        world.ok(rename);
        let remove = world.remove("/b", false, now);
        world.ok(remove);
        if !now {
            world.time_ms += types::limits::TRASH_TIME.as_millis() as u64;
            purge_all(&mut world, 10, 0);
        }
        let gone = world.state().inode(id).unwrap().unwrap();
        assert!(gone.is_tombstone());
        assert_eq!(gone.ended, sessions.concat());
    }
}

#[test]
fn what_the_acting_member_should_have_brought_along_and_has_not_is_told_as_lost_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    let owed = reference(&write, &answer);
    world.fail_over(vec![owed.clone()]);
    return_and_act(&mut world, vec![owed], vec![]);
    assert_eq!((world.pair().owed, world.pair().lost), (0, 1));
    world.start("ss1_backup");
    world.catch_up("ss1_backup");
    world.ok(Op::Handover(Handover { pair: 1, epoch: 3, to: "ss1_backup".into() }));
}

#[test]
fn an_operator_may_accept_a_loss_and_what_is_lacking_is_listed_as_owed_r8() {
    let mut world = World::new();
    world.fail("ss1_backup");
    let (write, answer) = world.commit("a", 1);
    world.start("ss1_backup");
    world.fail("ss1");
    let promote = |accept_loss| {
        Op::Promote(Promote { pair: 1, epoch: 1, to: "ss1_backup".into(), accept_loss, ..Promote::default() })
    };
    assert_eq!(world.refused(promote(false)), Code::NoActingMember);
    world.ok(promote(true));
    let lacks = vec![reference(&write, &answer)];
    world.ok(Op::Owe(Owe { pair: 1, epoch: 2, lacks, holds: vec![], done: true }));
    assert!(world.file("a").unwrap().versions[0].is(mark::OWED), "it comes back if the disk does");
    world.commit("b", 1);
    // And the disk that is gone may be replaced now.
    let blank = Register { replace_disk: true, ..world.register("ss1", b"", b"new") };
    assert!(world.ok(Op::Register(blank)).server.unwrap().disk_lost);
}

#[test]
fn what_is_purged_is_owed_no_more_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 7);
    world.fail_over(vec![reference(&write, &answer)]);
    assert_eq!(world.pair().owed, 1);
    let remove = world.remove("/a", false, false);
    world.ok(remove);
    assert_eq!(purge_all(&mut world, 64, 1), [1]);
    assert_eq!(world.pair().owed, 0);
    assert!(world.state().owed_of(1, "ss1", 10).unwrap().is_empty());
}
