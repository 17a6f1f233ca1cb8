//! Which disk is which (R7).

use super::*;

#[test]
fn an_unknown_disk_is_accepted_only_if_nothing_can_be_lost_by_it_r7() {
    let mut world = World::new();
    let unknown = world.register("ss1", b"clone", b"x");
    assert_eq!(world.refused(Op::Register(unknown)), Code::Denied, "it acts");
    let backup = world.register("ss1_backup", b"", b"new");
    let server = world.ok(Op::Register(backup.clone())).server.unwrap();
    assert!(!server.fresh);
    assert_eq!(server.pair_cursor, 0, "an empty disk gets everything");
    let replay = Register { token: vec![], next_token: b"new".to_vec(), ..backup };
    assert!(world.run(Op::Register(replay)).is_ok());
}

#[test]
fn a_disk_that_owes_versions_is_not_replaced_in_silence_r7() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    let mut other = world.register("ss1", b"", b"new");
    assert_eq!(world.refused(Op::Register(other.clone())), Code::Denied);
    other.replace_disk = true;
    let incarnation = world.ok(Op::Register(other)).server.unwrap().incarnation;
    assert_eq!(world.pair().owed, 1, "marked by a command of its own, in slices");
    let lose = Op::Lose(Lose { server: "ss1".into(), incarnation });
    assert!(!world.ok(lose).server.unwrap().disk_lost);
    assert_eq!((world.pair().owed, world.pair().lost), (0, 1));
    assert_eq!(world.events("lost"), 1);
    assert!(world.file("a").unwrap().versions[0].is(mark::LOST), "told, never removed");
}

#[test]
fn an_old_image_of_a_disk_is_compared_from_the_start_r7() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    let token = world.state().server("ss1_backup").unwrap().unwrap().token;
    let server = world.ok(Op::Register(world.register("ss1_backup", &token, b"n"))).server.unwrap();
    let recovered = Recovered {
        server: server.name,
        incarnation: server.incarnation,
        control_cursor: server.control_cursor,
        pair_cursor: server.pair_cursor,
        journal: server.journal - 1,
        generation: 9,
        damaged: false,
    };
    let server = world.ok(Op::Recovered(recovered)).server.unwrap();
    assert_eq!((server.pair_cursor, server.fresh, server.compare), (0, false, true));
}

#[test]
fn a_report_that_is_repeated_is_not_taken_for_an_old_image_r6() {
    let mut world = World::new();
    let token = world.state().server("ss1").unwrap().unwrap().token;
    let server = world.ok(Op::Register(world.register("ss1", &token, b"n"))).server.unwrap();
    let report = Recovered {
        server: server.name.clone(),
        incarnation: server.incarnation,
        control_cursor: server.control_cursor,
        pair_cursor: server.pair_cursor,
        journal: server.journal,
        generation: 9,
        damaged: false,
    };
    world.ok(Op::Recovered(report.clone()));
    let before = world.state().server("ss1").unwrap().unwrap();
    // It acts and writes; the answer to its report was lost with the name manager.
    let write = world.write("a", 1);
    world.ok(Op::WriteComplete(WriteComplete { journal: before.journal + 100, ..write }));
    let now = world.state().server("ss1").unwrap().unwrap();
    assert!(now.journal > before.journal, "it has written since");
    assert_eq!(world.ok(Op::Recovered(report)).server.unwrap(), now, "a replay changes nothing");
}

#[test]
fn a_server_that_has_applied_what_the_log_does_not_know_shows_that_the_log_is_an_old_one() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    let token = world.state().server("ss1_backup").unwrap().unwrap().token;
    let server = world.ok(Op::Register(world.register("ss1_backup", &token, b"n"))).server.unwrap();
    let recovered = |control: u64, pair: u64, generation: u64| {
        Op::Recovered(Recovered {
            server: server.name.clone(),
            incarnation: server.incarnation,
            control_cursor: control,
            pair_cursor: pair,
            journal: server.journal,
            generation,
            damaged: false,
        })
    };
    let generation = world.state().cluster().unwrap().unwrap().generation;
    let (control, pair) = (world.state().feed_end(0).unwrap(), world.pair().feed_end);
    assert_eq!(world.refused(recovered(control, pair + 1, generation)), Code::Damaged);
    assert_eq!(world.refused(recovered(control + 1, pair, generation)), Code::Damaged);
    // Of another life of the feeds nothing can be said.
    assert!(world.ok(recovered(control, pair + 1, generation + 1)).server.unwrap().compare);
    world.ok(recovered(control, pair, generation));
}

#[test]
fn a_server_with_a_registration_that_the_log_does_not_know_replaces_no_disk() {
    let mut world = World::new();
    let generation = world.state().cluster().unwrap().unwrap().generation;
    let last = world.state().server("ss1_backup").unwrap().unwrap().incarnation;
    let known =
        |incarnation| Register { generation, incarnation, ..world.register("ss1_backup", b"later", b"n") };
    let (later, other) = (known(last + 1), Register { generation: generation + 1, ..known(last + 1) });
    assert_eq!(world.refused(Op::Register(later)), Code::Damaged);
    assert!(world.run(Op::Register(other)).is_ok(), "of another life of the log nothing can be said");
}

#[test]
fn a_second_server_under_a_living_name_is_refused_r7() {
    let mut world = World::new();
    let token = world.state().server("ss1").unwrap().unwrap().token;
    let mut twin = world.register("ss1", &token, b"n");
    twin.elsewhere = true;
    assert_eq!(world.refused(Op::Register(twin)), Code::Locked);
}

#[test]
fn a_first_registration_whose_answer_was_lost_may_be_repeated_r7() {
    let mut world = World::new();
    let first = world.register("ss2", b"", b"random");
    world.ok(Op::Register(first.clone()));
    let again = world.ok(Op::Register(first)).server.unwrap();
    assert_eq!(again.name, "ss2");
    let stranger = world.register("ss2", b"", b"other");
    assert_eq!(world.refused(Op::Register(stranger)), Code::Denied);
}

#[test]
fn an_old_image_that_owes_versions_is_not_taken_in_silence_r7() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.acknowledge("ss1");
    world.fail_over(vec![reference(&write, &answer)]);
    let token = world.state().server("ss1").unwrap().unwrap().token;
    for (replace, next) in [(false, b"n"), (true, b"m")] {
        let token = if replace { b"n".to_vec() } else { token.clone() };
        let register = Register { replace_disk: replace, ..world.register("ss1", &token, next) };
        let server = world.ok(Op::Register(register)).server.unwrap();
        let recovered = Recovered {
            server: server.name,
            incarnation: server.incarnation,
            journal: 1,
            generation: 9,
            ..Recovered::default()
        };
        match replace {
            false => assert_eq!(world.refused(Op::Recovered(recovered)), Code::Denied),
            true => assert!(world.ok(Op::Recovered(recovered)).server.unwrap().disk_lost),
        }
    }
}
