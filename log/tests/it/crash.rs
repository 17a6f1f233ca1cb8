//! A power cut at every point of a workload: nothing durable is lost, nothing cut comes back.

use log::sim::{Count, SimDisk};
use log::{Log, LogError};
use proptest::prelude::*;

use crate::model::{Known, Record, Step, open};

fn scripted() -> Vec<Step> {
    use Step::*;
    vec![
        Append(10),
        Append(0),
        Sync,
        Append(700),
        Append(3),
        Mark,
        Append(900),
        Sync,
        Preamble,
        Append(1500),
        Append(1200),
        Append(100),
        Sync,
        Append(2000),
        Append(2000),
        Append(50),
        Sync,
        Mark,
        ReleaseBefore(0),
        Append(1900),
        Append(1800),
        Preamble,
        Append(300),
        Append(3000),
        Sync,
        ReleaseOne(1),
        Append(2500),
        Sync,
        Append(2400),
        Append(2300),
        ReleaseBefore(1),
        Append(5),
        Append(2600),
        Sync,
        Reopen,
        Append(40),
        Mark,
        Append(3500),
        ReleaseBefore(9),
        Append(60),
        Sync,
        Append(1700),
        Append(1600),
    ]
}

/// Recovers the disk, twice, and checks what comes back.
fn recover(known: &mut Known, disk: &SimDisk) -> Log {
    let image = disk.image();
    let (first, records) = open(disk).unwrap();
    drop(first);
    let again: Vec<Record> = open(disk).unwrap().1;
    assert_eq!(records, again, "a second recovery finds the same");
    // Only files that were no part of the log may have changed.
    let segments = |image: Vec<(String, Vec<u8>)>| {
        image.into_iter().filter(|(n, _)| n.ends_with(".seg")).collect::<Vec<_>>()
    };
    let (before, after) = (segments(image), segments(disk.image()));
    assert!(after.iter().all(|file| before.contains(file)), "recovery changes no segment");
    let (log, records) = open(disk).unwrap();
    known.check(&log, &records);
    log
}

/// Runs the steps, cuts the power at operation `at`, recovers; goes on, cuts it again, recovers.
/// Returns whether the first cut came at all.
fn crash_twice(steps: &[Step], at: u64, seed: u64) -> bool {
    let disk = SimDisk::new();
    let mut known = Known::default();
    let (log, _) = open(&disk).unwrap();
    disk.freeze_at(Count::Ops, at);
    let finished = known.run(&disk, log, steps).is_ok();
    let mut disk = disk.crash(seed);
    for round in 1..3 {
        let log = recover(&mut known, &disk);
        // What recovery showed is durable: cutting the power at once changes nothing.
        let cut = disk.crash(seed + round);
        recover(&mut known, &cut);
        disk.freeze_at(Count::Ops, 1 + (at * 7 + seed * 13 + round * 5) % 40);
        let _ = known.run(&disk, log, &steps[(at as usize) % steps.len()..]);
        disk = disk.crash(seed * 31 + round);
    }
    recover(&mut known, &disk);
    !finished
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_durable_and_revives_nothing_cut() {
    let steps = scripted();
    let mut at = 1;
    while (0..8).map(|seed| crash_twice(&steps, at, seed * 1000 + at)).filter(|cut| *cut).count() > 0 {
        at += 1;
    }
    assert!(at > 60, "the script has become too short: {at} operations");
}

#[test]
fn a_killed_process_and_then_a_power_cut_lose_nothing_that_was_replayed() {
    // The records of the last batch were written, not synced: they stand in the page cache only.
    for seed in 0..64 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        for n in 0..3u8 {
            log.append(1, &[&[n; 600]]).unwrap();
        }
        log.sync().unwrap();
        log.append(2, &[&[9; 700]]).unwrap();
        disk.freeze_at(Count::Syncs, disk.count(Count::Syncs) + 1);
        log.sync().unwrap_err();
        let disk = disk.restart();
        let (log, replayed) = open(&disk).unwrap();
        assert_eq!(replayed.len(), 4);
        let (after, again) = open(&disk.crash(seed)).unwrap();
        assert_eq!(replayed, again, "seed {seed}");
        assert_eq!(log.end(), after.end());
    }
}

#[test]
fn a_process_killed_before_a_segments_name_was_durable_loses_nothing_that_came_later() {
    for seed in 0..32 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        // The syncs of the first roll: the zeros of the new file, its head, its name.
        disk.freeze_at(Count::Syncs, 3);
        log.append(1, &[b"x"]).unwrap_err();
        let disk = disk.restart();
        let (mut log, _) = open(&disk).unwrap();
        assert_eq!(log.segments().len(), 1);
        log.append(1, &[b"y"]).unwrap();
        log.sync().unwrap();
        assert_eq!(open(&disk.crash(seed)).unwrap().1.len(), 1, "seed {seed}");
    }
}

#[test]
fn what_stands_behind_a_hole_does_not_come_back_when_the_hole_is_filled() {
    // Two unsynced batches; the first is lost, the second survives, in another page.
    let mut holes = 0;
    for seed in 0..200 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        let kept = log.append(1, &[b"durable"]).unwrap();
        log.sync().unwrap();
        for n in 0..6u8 {
            log.append(2, &[&[n; 480]]).unwrap();
        }
        disk.freeze_at(Count::Syncs, disk.count(Count::Syncs) + 1);
        log.sync().unwrap_err();
        let disk = disk.crash(seed);
        let (mut log, replayed) = open(&disk).unwrap();
        assert_eq!(replayed[0].0, kept);
        let survivors = replayed.len();
        if survivors == 7 {
            continue;
        }
        // The same length as what was cut: written in its place it would join with what stands behind.
        let end = log.end();
        let new = log.append(3, &[&[77; 480]]).unwrap();
        log.sync().unwrap();
        holes += usize::from(new.segment() > end.segment());
        let (_, replayed) = open(&disk.crash(seed)).unwrap();
        let kinds: Vec<u8> = replayed.iter().map(|r| r.1).collect();
        assert_eq!(kinds.len(), survivors + 1, "seed {seed}");
        assert_eq!(kinds.last(), Some(&3));
    }
    assert!(holes > 20, "too few seeds left something behind a hole: {holes}");
}

#[test]
fn a_restart_after_a_clean_end_goes_on_in_the_same_segment() {
    let disk = SimDisk::new();
    for n in 0..20u8 {
        let (mut log, replayed) = open(&disk).unwrap();
        assert_eq!(replayed.len(), usize::from(n));
        log.append(1, &[&[n]]).unwrap();
        log.mark().unwrap();
        assert_eq!(log.segments().len(), 1);
    }
}

#[test]
fn an_empty_log_stays_empty_and_touches_nothing() {
    let disk = SimDisk::new();
    let (mut log, replayed) = open(&disk).unwrap();
    assert!(replayed.is_empty() && log.segments().is_empty());
    log.mark().unwrap();
    log.sync().unwrap();
    assert!(disk.image().is_empty());
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3500).prop_map(Step::Append),
        4 => (0usize..300).prop_map(Step::Append),
        4 => Just(Step::Sync),
        1 => Just(Step::Mark),
        1 => Just(Step::Preamble),
        1 => (0usize..9).prop_map(Step::ReleaseBefore),
        1 => (0usize..9).prop_map(Step::ReleaseOne),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_workloads_survive_power_cuts(
        steps in proptest::collection::vec(step(), 1..50),
        at in 1u64..160,
        seed in any::<u32>(),
    ) {
        crash_twice(&steps, at, seed.into());
    }

    #[test]
    fn random_workloads_survive_a_disk_that_fills_up(
        steps in proptest::collection::vec(step(), 1..50),
        room in 0u64..80_000,
        seed in any::<u32>(),
    ) {
        let disk = SimDisk::new();
        disk.set_full(room);
        let mut known = Known::default();
        let (mut log, _) = open(&disk).unwrap();
        for step in &steps {
            match known.run(&disk, log, std::slice::from_ref(step)) {
                Ok(same) => log = same,
                Err(LogError::Full { .. }) => { log = recover(&mut known, &disk); }
                Err(e) => panic!("{e}"),
            }
        }
        drop(log);
        recover(&mut known, &disk.crash(seed.into()));
    }
}
