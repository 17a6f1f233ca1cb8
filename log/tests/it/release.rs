//! Giving segments back, recycling them, and reading meanwhile.

use log::sim::{Count, SimDisk};
use log::{LogError, Position};

use crate::model::{open, segment_name};

fn fill(log: &mut log::Log, segments: u32) -> Vec<Position> {
    let mut at = Vec::new();
    while log.segments().last().is_none_or(|s| s.number < segments) {
        at.push(log.append(1, &[&[at.len() as u8; 900]]).unwrap());
    }
    log.sync().unwrap();
    at
}

#[test]
fn a_segment_given_back_becomes_the_next_one_without_a_new_file() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let at = fill(&mut log, 3);
    log.release_before(Position::new(2, 0)).unwrap();
    let files = disk.image().len();
    assert_eq!(files, 3, "two segments and a spare");
    let room = log::Disk::free_bytes(&disk).unwrap();
    while log.segments().last().unwrap().number < 4 {
        log.append(1, &[&[1; 900]]).unwrap();
    }
    assert_eq!(disk.image().len(), files);
    assert_eq!(log::Disk::free_bytes(&disk).unwrap(), room);
    assert!(matches!(log.reader().read(at[0]), Err(LogError::NotFound(_))));
}

#[test]
fn old_records_of_a_recycled_segment_are_not_valid_in_its_next_use() {
    // Every record has the same length, so old ones stand exactly where new ones would.
    for seed in 0..50 {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        fill(&mut log, 2);
        log.release_before(Position::new(1, u32::MAX)).unwrap();
        fill(&mut log, 3);
        let before = log.end();
        let last = log.append(2, &[&[77; 900]]).unwrap();
        disk.freeze_at(Count::Syncs, disk.count(Count::Syncs) + 1);
        log.sync().unwrap_err();
        let (log, replayed) = open(&disk.crash(seed)).unwrap();
        assert!(log.end() >= before);
        assert!(replayed.iter().all(|r| r.0.segment() >= 2 && (r.0 < before || r.0 == last)), "seed {seed}");
    }
}

#[test]
fn a_gap_left_by_compaction_is_no_damage_and_the_segment_before_it_is_still_checked() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let at = fill(&mut log, 6);
    log.release_segment(3).unwrap();
    log.release_segment(4).unwrap();
    assert!(matches!(log.release_segment(4), Err(LogError::NotFound(_))));
    assert!(matches!(log.release_segment(6), Err(LogError::InUse(6))));
    assert_eq!(log.segments().iter().map(|s| s.number).collect::<Vec<_>>(), [1, 2, 5, 6]);
    let disk = disk.crash(5);
    let (log, replayed) = open(&disk).unwrap();
    let expected: Vec<_> = at.iter().filter(|p| ![3, 4].contains(&p.segment())).copied().collect();
    assert_eq!(replayed.iter().map(|r| r.0).collect::<Vec<_>>(), expected);
    assert_eq!(log.segments().len(), 4);
    let last = *expected.iter().rfind(|p| p.segment() == 2).unwrap();
    disk.flip(&segment_name(2), u64::from(last.offset()) + 40, 1);
    assert!(matches!(open(&disk), Err(LogError::Damaged { segment: 2, .. })));
}

#[test]
fn a_segment_whose_release_was_decided_does_not_come_back() {
    // The file is still there when the power fails: the log's own list counts.
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    fill(&mut log, 3);
    let old = disk.bytes(&segment_name(1)).unwrap();
    log.release_before(Position::new(1, u32::MAX)).unwrap();
    disk.put(&segment_name(1), &old);
    let (log, replayed) = open(&disk).unwrap();
    assert!(replayed.iter().all(|r| r.0.segment() > 1));
    assert_eq!(log.segments()[0].number, 2);
    assert!(disk.bytes(&segment_name(1)).is_none());
}

#[test]
fn releasing_nothing_writes_nothing() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.release_before(Position(u64::MAX)).unwrap();
    fill(&mut log, 2);
    log.release_before(Position::new(1, 0)).unwrap();
    log.release_before(Position(u64::MAX)).unwrap();
    let ops = disk.count(Count::Ops);
    log.release_before(Position(u64::MAX)).unwrap();
    assert_eq!(disk.count(Count::Ops), ops);
    assert_eq!(log.segments().len(), 1);
}

#[test]
fn a_batch_is_one_write_and_one_sync() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(1, &[b"the first makes the segment"]).unwrap();
    log.sync().unwrap();
    let before = (disk.count(Count::Writes), disk.count(Count::Syncs));
    for n in 0..20u8 {
        log.append(1, &[&[n; 50], &[n; 9]]).unwrap();
    }
    assert_eq!((disk.count(Count::Writes), disk.count(Count::Syncs)), before, "appending touches no disk");
    log.sync().unwrap();
    log.sync().unwrap();
    assert_eq!((disk.count(Count::Writes), disk.count(Count::Syncs)), (before.0 + 1, before.1 + 1));
}

#[test]
fn readers_see_buffered_and_written_records_and_only_whole_ones() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let reader = log.reader();
    let a = log.append(7, &[b"hel", b"lo"]).unwrap();
    let b = log.append(8, &[&[3; 3000]]).unwrap();
    for synced in [false, true] {
        assert_eq!(reader.read(a).unwrap(), (7, "hello".into()));
        assert_eq!(reader.read(b).unwrap(), (8, vec![3; 3000].into()));
        assert_eq!(reader.read_hinted(b, 3000).unwrap().1.len(), 3000);
        assert_eq!(reader.read_hinted(b, 5).unwrap().1.len(), 3000);
        assert_eq!(reader.read_range(a, 1, 3).unwrap(), "ell");
        assert_eq!(reader.read_range(b, 2999, 1).unwrap().as_ref(), [3]);
        assert!(matches!(reader.read_range(a, 3, 3), Err(LogError::Invalid(_))));
        assert!(matches!(reader.read(log.end()), Err(LogError::NotFound(_))));
        assert!(matches!(reader.read(Position::new(9, 4096)), Err(LogError::NotFound(_))));
        assert!(matches!(reader.read(Position::default()), Err(LogError::NotFound(_))));
        assert!(reader.read(Position(b.0 + 8)).is_err(), "no record starts there");
        if !synced {
            log.sync().unwrap();
        }
    }
    disk.flip(&segment_name(1), u64::from(b.offset()) + 100, 1);
    assert!(matches!(reader.read(b), Err(LogError::Damaged { .. })));
}

#[test]
fn readers_on_other_threads_find_every_record_while_the_log_rolls_and_recycles() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let (tell, told) = crossbeam_channel::unbounded::<(Position, u8)>();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, told) = (log.reader(), told.clone());
            std::thread::spawn(move || {
                let mut found = 0;
                for (at, byte) in told {
                    match reader.read(at) {
                        Ok((1, payload)) => {
                            assert_eq!(payload, vec![byte; 700]);
                            found += 1;
                        }
                        Err(LogError::NotFound(_)) => {} // given back meanwhile
                        other => panic!("{other:?}"),
                    }
                }
                found
            })
        })
        .collect();
    for n in 0..2000usize {
        let at = log.append(1, &[&[n as u8; 700]]).unwrap();
        tell.send((at, n as u8)).unwrap();
        if n % 3 == 0 {
            log.sync().unwrap();
        }
        if n % 40 == 39 {
            log.release_before(Position::new(at.segment().saturating_sub(2), u32::MAX)).unwrap();
        }
    }
    drop(tell);
    assert!(readers.into_iter().map(|r| r.join().unwrap()).sum::<usize>() > 0);
}

#[test]
fn many_segments_need_few_descriptors_and_stay_readable() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let at = fill(&mut log, 600);
    let (log, _) = open(&disk).unwrap();
    let reader = log.reader();
    for position in at.iter().chain(&at) {
        reader.read(*position).unwrap();
    }
}
