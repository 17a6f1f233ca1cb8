//! Members of whose journals a part cannot be read (R31).

use super::*;
use types::record::{Damage, Server};

/// Starts a server that asks whether it may go on.
fn start_damaged(world: &mut World, name: &str) -> Server {
    let mut next = world.state().server(name).unwrap().unwrap().token;
    let token = next.clone();
    next.push(8);
    world.ok(Op::Register(world.register(name, &token, &next)));
    ask(world, name)
}

fn ask(world: &mut World, name: &str) -> Server {
    let incarnation = world.state().server(name).unwrap().unwrap().incarnation;
    let asks =
        Recovered { server: name.into(), incarnation, generation: 9, damaged: true, ..Recovered::default() };
    world.ok(Op::Recovered(asks)).server.unwrap()
}

fn promote_backup(world: &mut World) -> types::Result<Answer> {
    let epoch = world.pair().epoch;
    let to = "ss1_backup".into();
    let answer =
        world.run(Op::Promote(Promote { pair: 1, epoch, to, reason: "".into(), accept_loss: false }))?;
    world.ok(Op::Owe(Owe { pair: 1, epoch: epoch + 1, lacks: vec![], holds: vec![], done: true }));
    Ok(answer)
}

#[test]
fn a_damaged_backup_gets_everything_anew_and_is_stale_until_it_is_compared_r31() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    let server = start_damaged(&mut world, "ss1_backup");
    assert_eq!((server.damage(), server.recovered), (Damage::GoesOn, false));
    assert_eq!(
        (server.control_cursor, server.pair_cursor, server.fresh, server.compare),
        (0, 0, false, true)
    );
    assert_eq!(world.events("damaged"), 1);
    // What it says of its cursors counts for nothing, nor what it acknowledged before.
    let recovered = Recovered {
        server: server.name.clone(),
        incarnation: server.incarnation,
        control_cursor: world.state().feed_end(0).unwrap(),
        pair_cursor: world.pair().feed_end,
        journal: u64::MAX,
        generation: 9,
        damaged: false,
    };
    let server = world.ok(Op::Recovered(recovered)).server.unwrap();
    assert_eq!((server.pair_cursor, server.recovered, server.compare), (0, true, true));
    world.acknowledge("ss1_backup");
    let caught_up = CaughtUp { server: server.name.clone(), incarnation: server.incarnation, rows_resent: 0 };
    assert_eq!(world.refused(Op::CaughtUp(caught_up)), Code::Changed, "it is not compared");
    let compared =
        Compared { server: server.name.clone(), incarnation: server.incarnation, ..Compared::default() };
    world.ok(Op::Compared(compared));
    world.catch_up("ss1_backup");
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    assert_eq!((server.damage(), server.fresh), (Damage::None, true));
}

#[test]
fn a_damaged_acting_member_waits_until_its_fresh_partner_acts_r31() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    assert!(promote_backup(&mut world).is_err(), "ss1 is well");
    assert_eq!(start_damaged(&mut world, "ss1").damage(), Damage::Waits);
    // Started anew it lacks rows that are no contents.
    world.start("ss1_backup");
    assert_eq!(ask(&mut world, "ss1").damage(), Damage::Waits, "its partner is to act first");
    world.catch_up("ss1_backup");
    assert_eq!(ask(&mut world, "ss1").damage(), Damage::Waits, "its partner is to act first");
    promote_backup(&mut world).unwrap();
    assert_eq!(ask(&mut world, "ss1").damage(), Damage::GoesOn);
}

#[test]
fn a_damaged_acting_member_with_a_stale_partner_is_not_replaced_by_it_r31() {
    let mut world = World::new();
    world.fail("ss1_backup");
    world.commit("a", 1);
    world.start("ss1_backup");
    assert_eq!(start_damaged(&mut world, "ss1").damage(), Damage::Waits, "it may catch up");
    assert!(promote_backup(&mut world).is_err());
    world.time_ms += types::limits::DAMAGE_PATIENCE.as_millis() as u64;
    assert_eq!(ask(&mut world, "ss1").damage(), Damage::Hopeless);
    assert!(promote_backup(&mut world).is_err());
}

#[test]
fn when_both_members_are_damaged_neither_goes_on_r31() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    world.fail("ss1");
    world.fail("ss1_backup");
    assert_eq!(start_damaged(&mut world, "ss1_backup").damage(), Damage::Waits);
    assert_eq!(start_damaged(&mut world, "ss1").damage(), Damage::Hopeless);
    assert_eq!(ask(&mut world, "ss1_backup").damage(), Damage::Hopeless);
}

#[test]
fn a_damaged_server_without_a_partner_ends_r31() {
    let mut world = World::new();
    world.start("ss2");
    assert_eq!(start_damaged(&mut world, "ss2").damage(), Damage::Hopeless);
}
