//! Damage to what was durable is told from a torn tail, and refused with nothing changed.

use log::sim::{Count, SimDisk};
use log::{Disk, LogError, Open, Position};

use crate::model::{Record, config, open, open_from, segment_name, set_version};

/// A log of several segments whose last records are, in this order: durable and named so, durable.
fn filled() -> (SimDisk, Vec<Record>, Position) {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    for n in 0..12u8 {
        log.append(1, &[&[n; 1000]]).unwrap();
        log.sync().unwrap();
    }
    let vouched = log.synced();
    log.append(1, &[b"the last one: durable, but nothing behind it says so"]).unwrap();
    log.sync().unwrap();
    let (_, records) = open(&disk).unwrap();
    (disk, records, vouched)
}

fn is_damaged(result: Result<impl Sized, LogError>) -> (u32, u32) {
    match result {
        Err(LogError::Damaged { segment, offset, .. }) => (segment, offset),
        Err(other) => panic!("not damage: {other}"),
        Ok(_) => panic!("damage went unnoticed"),
    }
}

#[test]
fn a_flipped_bit_in_any_durable_record_is_damage_and_changes_nothing() {
    let (disk, records, vouched) = filled();
    let mut flips = 0;
    for (at, _, payload) in records.iter().filter(|r| r.0 < vouched) {
        for byte in [0, 4, 9, 17, 25, 31, 32, 31 + payload.len() as u64] {
            let disk = disk.restart();
            assert!(disk.flip(&segment_name(at.segment()), u64::from(at.offset()) + byte, 0x10));
            let before = disk.image();
            assert_eq!(is_damaged(open(&disk)), (at.segment(), at.offset()), "byte {byte} of {at}");
            assert_eq!(disk.image(), before);
            flips += 1;
        }
    }
    assert_eq!(flips, 12 * 8);
}

#[test]
fn a_flipped_bit_in_the_unsynced_tail_is_cut() {
    let (disk, records, vouched) = filled();
    let (last, earlier) = records.split_last().unwrap();
    assert_eq!(last.0, vouched);
    for byte in [0, 4, 9, 17, 25, 31, 32, 40] {
        let disk = disk.restart();
        assert!(disk.flip(&segment_name(last.0.segment()), u64::from(last.0.offset()) + byte, 1));
        let (mut log, replayed) = open(&disk).unwrap();
        assert_eq!(replayed, earlier, "byte {byte}");
        assert_eq!(log.end(), last.0);
        log.append(2, &[b"on it goes"]).unwrap();
        log.sync().unwrap();
        assert_eq!(open(&disk).unwrap().1.len(), records.len());
    }
}

#[test]
fn a_mark_makes_the_last_record_provably_durable() {
    let (disk, records, _) = filled();
    let (mut log, _) = open(&disk).unwrap();
    log.mark().unwrap();
    let writes = disk.count(Count::Writes);
    log.mark().unwrap();
    assert_eq!(disk.count(Count::Writes), writes, "one mark suffices");
    let last = records.last().unwrap().0;
    disk.flip(&segment_name(last.segment()), u64::from(last.offset()) + 33, 1);
    assert_eq!(is_damaged(open(&disk)), (last.segment(), last.offset()));
}

#[test]
fn a_durable_record_lost_with_all_behind_it_but_one_is_damage() {
    // Only the last record, far behind the hole, names what was durable.
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let first = log.append(1, &[&[1; 100]]).unwrap();
    let second = log.append(1, &[&[2; 100]]).unwrap();
    log.sync().unwrap();
    log.append(1, &[&[3; 100]]).unwrap();
    log.sync().unwrap();
    let name = segment_name(first.segment());
    for at in [first, second] {
        let disk = disk.restart();
        for byte in 0..4 {
            disk.flip(&name, u64::from(at.offset()) + byte, 0xff); // its length, so that the next must be found
        }
        assert_eq!(is_damaged(open(&disk)), (at.segment(), at.offset()));
    }
}

#[test]
fn a_bad_header_is_damage() {
    let (disk, records, _) = filled();
    let last = records.last().unwrap().0.segment();
    for segment in 1..=last {
        for byte in [0, 8, 11, 12, 16, 24, 32, 36, 40, 48, 63] {
            let disk = disk.restart();
            disk.flip(&segment_name(segment), byte, 1);
            assert_eq!(is_damaged(open(&disk)).0, segment, "byte {byte} of segment {segment}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_preamble_of_a_segment_is_damage_although_nothing_follows_it() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.set_preamble(vec![(30, b"the vote".to_vec()), (31, b"purged until now".to_vec())]);
    let at = log.append(1, &[b"makes the segment, is never synced"]).unwrap();
    drop(log);
    assert_eq!(open(&disk).unwrap().1.len(), 2);
    // The list of live segments has 12 bytes, then padding that means nothing.
    let list_end = 4096 + 32 + 12;
    for byte in (4096..list_end).chain(list_end + 4..u64::from(at.offset())) {
        let disk = disk.restart();
        disk.flip(&segment_name(1), byte, 1);
        is_damaged(open(&disk));
    }
}

#[test]
fn a_segment_of_an_unknown_version_is_refused_and_named() {
    let (disk, ..) = filled();
    for segment in [1, 2] {
        let disk = disk.restart();
        let file = disk.open(&segment_name(segment), Open::Existing).unwrap();
        set_version(&*file, 56, 3);
        match open(&disk).map(|_| ()) {
            Err(LogError::UnknownFormat { name, version, known }) => {
                assert_eq!((name, version, known), (segment_name(segment), 3, 1));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_missing_segment_is_damage_wherever_it_stood() {
    let (disk, records, _) = filled();
    let last = records.last().unwrap().0.segment();
    assert!(last >= 3);
    for segment in 1..last {
        let disk = disk.restart();
        assert!(disk.lose(&segment_name(segment)));
        assert_eq!(is_damaged(open(&disk)).0, segment);
    }
    // Of the last one nothing but the owner's knowledge tells.
    let known = records.last().unwrap().0;
    disk.lose(&segment_name(last));
    is_damaged(open_from(&disk, config(), known));
}

#[test]
fn a_segment_that_is_cut_short_is_damage_though_its_records_are_not_read_again() {
    let (disk, records, _) = filled();
    let known = records.last().unwrap().0;
    for segment in 1..known.segment() {
        let disk = disk.restart();
        let inside = records.iter().rfind(|record| record.0.segment() == segment).unwrap().0;
        let bytes = disk.bytes(&segment_name(segment)).unwrap();
        disk.put(&segment_name(segment), &bytes[..inside.offset() as usize + 3]);
        assert_eq!(is_damaged(open_from(&disk, config(), known)), (segment, inside.offset() + 3));
    }
}

#[test]
fn a_log_that_is_gone_is_noticed_by_an_owner_who_knows_a_position() {
    let (disk, records, _) = filled();
    for segment in 1..=records.last().unwrap().0.segment() {
        disk.lose(&segment_name(segment));
    }
    is_damaged(open_from(&disk, config(), records[3].0));
}

#[test]
fn a_segment_under_anothers_name_is_damage() {
    let (disk, ..) = filled();
    let bytes = disk.bytes(&segment_name(1)).unwrap();
    disk.put(&segment_name(2), &bytes);
    assert_eq!(is_damaged(open(&disk)).0, 2);
}

#[test]
fn a_segment_of_another_log_is_damage() {
    let (disk, records, _) = filled();
    // A second log on the same disk has another number, but the same segments.
    let other = log::LogConfig { folder: "other".into(), ..config() };
    let (mut log, _) = open_from(&disk, other, Position::default()).unwrap();
    log.append(1, &[b"x"]).unwrap();
    log.sync().unwrap();
    disk.put(&segment_name(1), &disk.bytes("other/0000000001.seg").unwrap());
    assert_eq!(is_damaged(open(&disk)).0, 1);
    // Also when its records are not asked for.
    let third = records.iter().find(|r| r.0.segment() == 3).unwrap().0;
    assert_eq!(is_damaged(open_from(&disk, config(), third)).0, 1);
}

#[test]
fn replay_starts_where_the_owner_says_and_does_not_read_older_segments() {
    let (disk, records, _) = filled();
    for from in [records[5].0, Position(records[5].0.0 + 8)] {
        let (_, replayed) = open_from(&disk, config(), from).unwrap();
        let expected: Vec<_> = records.iter().filter(|r| r.0 >= from).cloned().collect();
        assert_eq!(replayed, expected);
    }
    // Damage in a segment that the owner does not ask for is for its scrub to find.
    disk.flip(&segment_name(1), 4200, 1);
    let third = records.iter().find(|r| r.0.segment() == 3).unwrap().0;
    assert!(open_from(&disk, config(), third).is_ok());
    is_damaged(open(&disk));
}

#[test]
fn an_owner_that_refuses_a_record_stops_the_replay() {
    let (disk, ..) = filled();
    let mut seen = 0;
    let mut replay = |_: log::Entry<'_>| {
        seen += 1;
        if seen == 3 { Err(LogError::Owner("no".into())) } else { Ok(()) }
    };
    let opened = log::Log::open(std::sync::Arc::new(disk), config(), Position::default(), &mut replay);
    assert!(matches!(opened, Err(LogError::Owner(_))));
    assert_eq!(seen, 3);
}

#[test]
fn a_payload_that_holds_a_copy_of_a_segment_is_not_taken_for_records() {
    // A torn record whose payload holds, at the right distance, a record of the same use.
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(1, &[b"a"]).unwrap();
    log.sync().unwrap();
    log.append(1, &[b"b"]).unwrap();
    log.sync().unwrap();
    let copy = disk.bytes(&segment_name(1)).unwrap()[4096..4400].to_vec();
    let at = log.append(1, &[&copy]).unwrap();
    log.sync().unwrap();
    disk.flip(&segment_name(1), u64::from(at.offset()), 0xff);
    assert_eq!(open(&disk).unwrap().1.len(), 2);
}

/// Opens the log over its damage; gives what was read and the holes.
fn open_over(disk: &SimDisk) -> (log::Log, Vec<Record>, Vec<log::Hole>) {
    let (mut records, mut holes) = (Vec::new(), Vec::new());
    let mut replay = |e: log::Entry<'_>| {
        records.push((e.position, e.kind, e.payload.to_vec()));
        Ok(())
    };
    let disk = std::sync::Arc::new(disk.clone());
    let log = log::Log::open_over_damage(disk, config(), Position::default(), &mut replay, &mut holes);
    (log.unwrap(), records, holes)
}

#[test]
fn an_owner_with_a_partner_gets_everything_but_the_damaged_records() {
    let (disk, records, vouched) = filled();
    for (n, (at, _, payload)) in records.iter().enumerate().filter(|(_, r)| r.0 < vouched) {
        for byte in [0, 9, 31, 32] {
            let disk = disk.restart();
            disk.flip(&segment_name(at.segment()), u64::from(at.offset()) + byte, 0x10);
            let before = disk.image();
            let looked = log::Log::look(&disk, &config(), &mut |_| Ok(())).unwrap();
            assert_eq!(disk.image(), before);
            let (mut log, found, holes) = open_over(&disk);
            let expected: Vec<_> =
                records.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, r)| r.clone()).collect();
            assert_eq!(found, expected, "byte {byte} of {at}");
            let to = Position(at.0 + (32 + payload.len() as u64).next_multiple_of(8));
            assert_eq!(holes, [log::Hole { from: *at, to }]);
            assert_eq!(looked, holes);
            // What comes now stands behind all, and the hole stays the one it was.
            let new = log.append(1, &[b"behind the hole"]).unwrap();
            log.sync().unwrap();
            assert!(new > records.last().unwrap().0);
            drop(log);
            let (_, found, again) = open_over(&disk);
            assert_eq!((found.len(), again), (records.len(), holes));
            assert!(open_from(&disk, config(), new).is_ok(), "a start from behind the hole is as ever");
        }
    }
}

#[test]
fn a_segment_that_cannot_be_read_at_all_is_a_hole_too() {
    let (disk, records, _) = filled();
    let last = records.last().unwrap().0.segment();
    for segment in 1..last {
        for lost in [true, false] {
            let disk = disk.restart();
            match lost {
                true => disk.lose(&segment_name(segment)),
                false => disk.flip(&segment_name(segment), 17, 1),
            };
            let (mut log, found, holes) = open_over(&disk);
            let expected: Vec<_> = records.iter().filter(|r| r.0.segment() != segment).cloned().collect();
            assert_eq!(found, expected, "segment {segment}");
            let to = Position::new(segment, u32::MAX);
            assert_eq!(holes, [log::Hole { from: Position::new(segment, 0), to }]);
            log.append(1, &[&[1; 3500]]).unwrap();
            log.append(1, &[&[2; 3500]]).unwrap();
            log.sync().unwrap();
            drop(log);
            assert_eq!(open(&disk).unwrap().1.len(), expected.len() + 2, "it is no part of the log any more");
        }
    }
}
