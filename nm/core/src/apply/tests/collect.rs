//! Tombstones go when everybody has them, and an old disk is compared (R24).

use super::*;
use proptest::prelude::*;

fn remove_now(world: &mut World, path: &str) {
    let remove = world.remove(path, false, true);
    world.ok(remove);
    purge_all(world, 64, 0);
}

fn tombstones(world: &World) -> Vec<u64> {
    world.state().tombstones(1, 0, u64::MAX, 100, 1000).unwrap().0
}

fn collect(upto: u64, tombstones: Vec<u64>) -> Op {
    Op::Collect(Collect { feed: 1, upto, tombstones })
}

#[test]
fn a_tombstone_goes_only_when_both_members_have_applied_it_r24() {
    let mut world = World::new();
    world.commit("gone", 1);
    world.commit("kept", 2);
    remove_now(&mut world, "/gone");
    let found = tombstones(&world);
    assert_eq!(found.len(), 1);
    world.acknowledge("ss1");
    assert_eq!(world.refused(collect(found[0], found.clone())), Code::Changed, "the backup lacks it");
    world.acknowledge("ss1_backup");
    world.ok(collect(found[0], found.clone()));
    assert_eq!(tombstones(&world), []);
    assert_eq!(world.state().collected(1).unwrap(), found[0]);
    assert_eq!(world.rows(1).len(), 1, "the other file stays");
    assert!(world.file("kept").is_some());
    world.ok(collect(found[0], found));
}

#[test]
fn nothing_but_tombstones_goes_whatever_the_command_says_r24() {
    let mut world = World::new();
    world.commit("kept", 1);
    world.acknowledge("ss1");
    world.acknowledge("ss1_backup");
    let seq = world.file("kept").unwrap().seq;
    world.ok(collect(seq, vec![seq, 1, 0]));
    assert_eq!(world.rows(1).len(), 1);
    assert!(world.file("kept").is_some());
}

#[test]
fn a_member_that_is_away_for_a_month_is_not_waited_for_and_is_compared_when_it_returns_r24() {
    let mut world = World::new();
    world.commit("gone", 1);
    world.catch_up("ss1_backup");
    world.fail("ss1_backup");
    remove_now(&mut world, "/gone");
    world.acknowledge("ss1");
    let found = tombstones(&world);
    assert_eq!(world.refused(collect(found[0], found.clone())), Code::Changed);
    world.time_ms += 31 * 24 * 3600 * 1000;
    world.ok(collect(found[0], found));
    world.start("ss1_backup");
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    assert!(server.compare, "it has not heard that the file is gone");
    world.acknowledge("ss1_backup");
    let caught_up = CaughtUp { server: server.name.clone(), incarnation: server.incarnation, rows_resent: 0 };
    assert_eq!(world.refused(Op::CaughtUp(caught_up.clone())), Code::Changed, "it may not act with it");
    let compared = Compared {
        server: server.name,
        incarnation: server.incarnation,
        set_aside: 1,
        names: vec!["gone".into()],
    };
    world.ok(Op::Compared(compared.clone()));
    world.ok(Op::Compared(compared));
    assert_eq!(world.events("compared"), 1);
    world.ok(Op::CaughtUp(caught_up));
}

#[test]
fn an_unknown_disk_is_compared_from_the_start_also_when_it_registers_again_meanwhile_r24() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    let ends = |world: &World| (world.state().feed_end(0).unwrap(), world.state().feed_end(1).unwrap());
    let mut token = b"an old one".to_vec();
    for (round, next) in [b"x".to_vec(), b"y".to_vec()].into_iter().enumerate() {
        let server = world.ok(Op::Register(world.register("ss1_backup", &token, &next))).server.unwrap();
        token = next;
        // Its own word on how far it is does not count.
        let (control_cursor, pair_cursor) = ends(&world);
        let recovered = Recovered {
            server: server.name,
            incarnation: server.incarnation,
            control_cursor,
            pair_cursor,
            journal: 99,
            generation: 9,
            damaged: false,
        };
        let server = world.ok(Op::Recovered(recovered)).server.unwrap();
        assert_eq!((server.pair_cursor, server.compare, server.fresh), (0, true, false), "round {round}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is written, removed and collected when: every file that is there stands in its feed and in the lists for
    /// a comparison, and what a member has not applied is never collected.
    #[test]
    fn collection_takes_nothing_that_anybody_needs_r24(steps in prop::collection::vec((0u8..6, 0u8..5), 1..60)) {
        let mut world = World::new();
        let mut backup = 0;
        for (what, name) in steps {
            let name = format!("f{name}");
            match what {
                0 | 1 => drop(world.commit(&name, what)),
                2 if world.file(&name).is_some() => remove_now(&mut world, &format!("/{name}")),
                3 => {
                    world.acknowledge("ss1_backup");
                    backup = world.state().feed_end(1).unwrap();
                }
                4 => world.acknowledge("ss1"),
                _ => {
                    let found = tombstones(&world);
                    if let Some(last) = found.last() {
                        let done = world.run(collect(*last, found.clone())).is_ok();
                        prop_assert!(!done || *last <= backup);
                    }
                }
            }
            let rows = world.rows(1);
            let mut inodes: Vec<u64> = rows.iter().filter_map(|row| match &row.subject {
                Some(Subject::Record(record)) => Some(record.id),
                _ => None,
            }).collect();
            inodes.sort_unstable();
            prop_assert_eq!(&world.state().ids_after(1, 0, 1000).unwrap(), &(inodes.clone(), u64::MAX));
            let mut paged = Vec::new();
            let mut after = 0;
            while after < u64::MAX {
                let (ids, reach) = world.state().ids_after(1, after, 2).unwrap();
                paged.extend(ids);
                after = reach;
            }
            prop_assert_eq!(&paged, &inodes);
            for name in 0..5u8 {
                if let Some(file) = world.file(&format!("f{name}")) {
                    prop_assert!(inodes.contains(&file.id));
                }
            }
        }
    }
}
