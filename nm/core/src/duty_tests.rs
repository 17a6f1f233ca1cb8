use super::*;
use proptest::prelude::*;
use std::time::Duration;

/// A pair and its two servers with all that the leader sees of them; plays the shell and a much reduced
/// state machine.
#[derive(Clone, Debug)]
struct World {
    pair: Pair,
    servers: [Server; 2],
    seen: [Seen; 2],
    /// Who holds a lease.
    lease: Option<String>,
    handover_in_time: bool,
    feed_end: u64,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    up: bool,
    gone: bool,
    ill: Option<Illness>,
    leaving: bool,
    owed: bool,
}

const NAMES: [&str; 2] = ["ss1", "ss1_backup"];

impl World {
    fn well() -> World {
        let server = |name: &str| Server {
            name: name.into(),
            pair: 1,
            incarnation: 1,
            fresh: true,
            recovered: true,
            pair_cursor: 10,
            ..Server::default()
        };
        World {
            pair: Pair {
                id: 1,
                primary: NAMES[0].into(),
                backup: NAMES[1].into(),
                acting: NAMES[0].into(),
                preferred: NAMES[0].into(),
                epoch: 1,
                formed: true,
                ..Pair::default()
            },
            servers: NAMES.map(server),
            seen: [(); 2].map(|()| Seen { up: true, ..Seen::default() }),
            lease: Some(NAMES[0].into()),
            handover_in_time: true,
            feed_end: 10,
        }
    }

    fn next(&self) -> Duty {
        let member = |i: usize| {
            let seen = &self.seen[i];
            Some(Member {
                server: &self.servers[i],
                gone: seen.gone.then_some("its process ended"),
                alive: seen.up && !seen.gone && !self.servers[i].failed,
                ill: seen.ill,
                connected: seen.up,
                leaving: seen.leaving,
                owed: seen.owed,
                close: self.feed_end - self.servers[i].pair_cursor <= 64,
                drained: self.servers[i].pair_cursor >= self.pair.handover_seq,
                passed: self.servers[i].pair_cursor >= self.servers[i].pair_mark,
            })
        };
        next(&Scene {
            pair: &self.pair,
            members: [member(0), member(1)],
            serving: self.lease.as_ref() == Some(&self.pair.acting),
            lease_ended: self.lease.is_none(),
            handover_in_time: self.handover_in_time,
            wish: None,
            auto_failback: true,
            may_hand_over: true,
            may_bring: true,
        })
    }

    fn index(name: &str) -> usize {
        usize::from(name != NAMES[0])
    }

    fn change_hands(&mut self, to: &str, phase: Phase) {
        self.pair.acting = to.into();
        self.pair.epoch += 1;
        self.pair.phase = phase.into();
    }

    /// What the shell and the state machine make of a duty; panics where the state machine would refuse.
    fn perform(&mut self, duty: &Duty) {
        match duty {
            Duty::Wait => {}
            Duty::Fail { server, promote, .. } => {
                let failed = &mut self.servers[Self::index(server)];
                failed.failed = true;
                if self.pair.acting != *server || promote.is_some() {
                    failed.fresh = false;
                }
                self.seen[Self::index(server)].leaving = false;
                if self.lease.as_ref() == Some(server) {
                    self.lease = None;
                }
                if let Some(to) = promote {
                    self.promote(to);
                }
            }
            Duty::Replace { server, to, .. } => {
                assert_eq!(self.pair.acting, *server);
                let failed = &mut self.servers[Self::index(server)];
                (failed.failed, failed.fresh) = (true, false);
                // It is told to register again, and gives its lease up.
                self.lease.take_if(|holder| holder == server);
                self.promote(to);
            }
            Duty::Promote { to, .. } => self.promote(to),
            Duty::Survey { server } => {
                assert_eq!((server, self.pair.phase()), (&self.pair.acting, Phase::Promoted));
                self.pair.phase = Phase::Steady.into();
            }
            Duty::Grant { server } => {
                assert!(self.pair.phase() == Phase::Steady && self.pair.acting == *server);
                assert!(self.lease.as_ref().is_none_or(|holder| holder == server), "two leases");
                self.lease = Some(server.clone());
            }
            Duty::Bring { acting, holder } => {
                assert!(self.lease.as_ref() == Some(acting) && acting != holder);
                self.seen[Self::index(holder)].owed = false;
            }
            Duty::Lose { server, .. } => {
                assert!(std::mem::take(&mut self.servers[Self::index(server)].disk_lost));
                self.seen[Self::index(server)].owed = false;
            }
            Duty::CaughtUp { server, .. } => self.servers[Self::index(server)].fresh = true,
            Duty::Handover { to } => {
                assert!(self.servers[Self::index(to)].fresh && !self.seen[Self::index(to)].owed);
                self.pair.phase = Phase::Handover.into();
                self.pair.handover_to = to.clone();
                self.pair.handover_seq = self.feed_end;
                self.handover_in_time = true;
            }
            Duty::LetGo { server } => {
                assert_eq!(*server, self.pair.acting);
                self.lease = None;
            }
            Duty::Restore => {
                assert!(self.lease.is_none(), "the old member may still serve");
                let to = self.pair.handover_to.clone();
                assert!(self.servers[Self::index(&to)].pair_cursor >= self.pair.handover_seq);
                self.change_hands(&to, Phase::Steady);
            }
            Duty::Abort { .. } => self.pair.phase = Phase::Steady.into(),
        }
    }

    fn promote(&mut self, to: &str) {
        let heir = &self.servers[Self::index(to)];
        assert!(heir.fresh && !heir.failed && self.seen[Self::index(to)].up, "{to} must not be promoted");
        self.change_hands(to, Phase::Promoted);
    }

    /// One thing that happens by itself.
    fn happen(&mut self, what: u8, who: usize) {
        let acting = self.pair.acting == NAMES[who];
        match what {
            0 => {
                self.seen[who].up = false;
                self.seen[who].gone = true;
                self.lease.take_if(|holder| *holder == NAMES[who]);
            }
            1 => self.seen[who].up = false,
            2 => {
                if self.servers[who].failed || !self.seen[who].up {
                    self.start(who, acting);
                }
            }
            3 => self.feed_end += 5,
            4 => self.servers[who].pair_cursor = self.feed_end,
            5 => self.seen[who].leaving = true,
            6 => self.seen[who].owed = !acting,
            7 => self.handover_in_time = false,
            8 => self.seen[who].ill = Some(Illness::Disk(Duration::from_secs(9))),
            9 => self.seen[who].ill = Some(Illness::Port(Duration::from_secs(9))),
            10 => self.seen[who].ill = None,
            _ => self.lease = None,
        }
    }

    fn start(&mut self, who: usize, acting: bool) {
        let server = &mut self.servers[who];
        server.incarnation += 1;
        server.failed = false;
        server.fresh &= acting;
        server.fresh |= acting;
        server.recovered = true;
        server.pair_mark = self.feed_end;
        self.lease.take_if(|holder| *holder == NAMES[who]);
        self.seen[who] = Seen { up: true, ..Seen::default() };
    }
}

#[test]
fn a_well_pair_is_left_alone() {
    assert_eq!(World::well().next(), Duty::Wait);
}

#[test]
fn a_killed_server_is_replaced_in_one_entry_surveyed_and_then_served() {
    let mut world = World::well();
    world.happen(0, 0);
    let mut story = Vec::new();
    for _ in 0..4 {
        let duty = world.next();
        world.perform(&duty);
        story.push(duty);
    }
    let backup = || NAMES[1].to_owned();
    assert!(matches!(&story[0], Duty::Fail { promote: Some(to), .. } if *to == backup()));
    assert_eq!(story[1..], [Duty::Survey { server: backup() }, Duty::Grant { server: backup() }, Duty::Wait]);
}

#[test]
fn the_server_that_returns_brings_back_what_it_owes_catches_up_and_acts_again() {
    let mut world = World::well();
    world.happen(0, 0);
    for _ in 0..3 {
        world.perform(&world.next());
    }
    world.happen(3, 0);
    world.happen(2, 0);
    world.seen[0].owed = true;
    let mut story = vec![world.next()];
    world.perform(&story[0]);
    assert_eq!(world.next(), Duty::Wait, "it has not applied what it missed");
    world.happen(4, 0);
    for _ in 0..6 {
        let duty = world.next();
        world.perform(&duty);
        story.push(duty);
    }
    let [ss1, backup] = NAMES.map(str::to_owned);
    assert_eq!(
        story,
        [
            Duty::Bring { acting: backup.clone(), holder: ss1.clone() },
            Duty::CaughtUp { server: ss1.clone(), incarnation: 2 },
            Duty::Handover { to: ss1.clone() },
            Duty::LetGo { server: backup },
            Duty::Restore,
            Duty::Grant { server: ss1 },
            Duty::Wait,
        ]
    );
}

#[test]
fn a_server_that_hangs_is_replaced_by_one_that_works_and_acts_again_when_it_is_well() {
    for illness in [8, 9] {
        let mut world = World::well();
        world.happen(illness, 0);
        let duty = world.next();
        assert!(matches!(&duty, Duty::Replace { to, .. } if to == NAMES[1]), "{duty:?}");
        world.perform(&duty);
        for _ in 0..2 {
            world.perform(&world.next());
        }
        assert_eq!(world.lease.as_deref(), Some(NAMES[1]));
        // It registers again, hanging still: it is neither failed again and again nor fresh.
        world.start(0, false);
        world.happen(illness, 0);
        world.happen(4, 0);
        assert_eq!(world.next(), Duty::Wait);
        world.happen(10, 0);
        for _ in 0..5 {
            world.perform(&world.next());
        }
        assert_eq!((world.pair.acting.as_str(), world.lease.as_deref()), (NAMES[0], Some(NAMES[0])));
    }
}

#[test]
fn a_server_that_hangs_and_has_nobody_to_stand_in_for_it_goes_on() {
    let mut world = World::well();
    world.happen(8, 0);
    world.happen(9, 1);
    assert_eq!(world.next(), Duty::Wait, "the other one cannot be reached");
    world.lease = None;
    assert_eq!(world.next(), Duty::Grant { server: NAMES[0].into() });
}

#[test]
fn a_backup_whose_disk_hangs_is_told_to_be_away_and_one_that_is_out_of_reach_stays_fresh() {
    let mut world = World::well();
    world.happen(9, 1);
    assert_eq!(world.next(), Duty::Wait);
    world.happen(8, 1);
    let duty = world.next();
    assert!(matches!(&duty, Duty::Fail { server, promote: None, .. } if server == NAMES[1]), "{duty:?}");
    world.perform(&duty);
    assert_eq!(world.next(), Duty::Wait);
}

#[test]
fn a_stale_member_is_never_promoted_though_the_files_cannot_be_read_meanwhile() {
    let mut world = World::well();
    world.servers[1].fresh = false;
    world.servers[1].pair_mark = 1_000;
    world.happen(0, 0);
    assert!(matches!(world.next(), Duty::Fail { promote: None, .. }));
    world.perform(&world.next());
    assert_eq!(world.next(), Duty::Wait);
    world.happen(2, 0);
    assert_eq!(world.next(), Duty::Grant { server: NAMES[0].into() }, "the last acting member may return");
}

#[test]
fn a_handover_that_takes_too_long_is_given_up_and_the_old_member_serves_on() {
    let mut world = World::well();
    world.pair.acting = NAMES[1].into();
    world.lease = Some(NAMES[1].into());
    for expected in ["Handover", "LetGo"] {
        let duty = world.next();
        assert!(format!("{duty:?}").starts_with(expected), "{duty:?}");
        world.perform(&duty);
    }
    world.pair.handover_seq += 5;
    assert_eq!(world.next(), Duty::Wait);
    world.happen(7, 0);
    assert!(matches!(world.next(), Duty::Abort { .. }));
    world.perform(&world.next());
    assert_eq!(world.next(), Duty::Grant { server: NAMES[1].into() });
}

#[test]
fn a_server_that_is_stopped_hands_over_first_and_gets_nothing_back() {
    let mut world = World::well();
    world.happen(5, 0);
    for _ in 0..4 {
        world.perform(&world.next());
    }
    assert_eq!((world.pair.acting.as_str(), world.lease.as_deref()), (NAMES[1], Some(NAMES[1])));
    assert_eq!(world.next(), Duty::Wait, "no failback to one that leaves");
}

#[test]
fn a_promoted_member_that_dies_before_its_survey_is_not_passed_over() {
    let mut world = World::well();
    world.happen(0, 0);
    world.perform(&world.next());
    world.happen(0, 1);
    assert!(matches!(world.next(), Duty::Fail { promote: None, .. }), "the other one is failed and stale");
    world.perform(&world.next());
    world.happen(2, 0);
    world.happen(4, 0);
    world.perform(&world.next());
    assert_eq!(world.next(), Duty::Wait);
    world.happen(2, 1);
    assert_eq!(world.next(), Duty::Survey { server: NAMES[1].into() });
}

proptest! {
    /// Whatever happens: every duty is one that the state machine accepts, and once faults stop the pair
    /// is served by its preferred member again.
    #[test]
    fn the_preferred_member_serves_again_when_faults_stop(
        steps in prop::collection::vec((0u8..12, 0usize..2, any::<bool>()), 0..60)
    ) {
        let mut world = World::well();
        for (what, who, act) in steps {
            world.happen(what, who);
            if act {
                world.perform(&world.next());
            }
        }
        for who in 0..2 {
            world.happen(10, who);
        }
        for _ in 0..40 {
            for (who, name) in NAMES.into_iter().enumerate() {
                if !world.seen[who].up || world.seen[who].gone || world.servers[who].failed || world.seen[who].leaving {
                    let duty = world.next();
                    world.perform(&duty);
                    let acting = world.pair.acting == name;
                    world.start(who, acting);
                }
                world.happen(4, who);
            }
            world.perform(&world.next());
        }
        prop_assert_eq!(world.pair.acting.as_str(), NAMES[0]);
        prop_assert_eq!(world.lease.as_deref(), Some(NAMES[0]));
        prop_assert_eq!(world.next(), Duty::Wait);
    }
}
