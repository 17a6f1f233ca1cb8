//! Failing syncs and writes end the service; a full disk does not.

use log::sim::{Count, SimDisk};
use log::{LogError, MAX_OWNER_KIND, Position};

use crate::model::{config, open, segment_name};

fn one_record() -> (SimDisk, log::Log, Position) {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let at = log.append(1, &[b"first"]).unwrap();
    log.sync().unwrap();
    (disk, log, at)
}

#[test]
fn a_failed_sync_ends_the_service_and_is_not_tried_again() {
    let (disk, mut log, at) = one_record();
    log.append(1, &[b"second"]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(log.sync(), Err(LogError::Io { .. })));
    let syncs = disk.count(Count::Syncs);
    assert!(matches!(log.sync(), Err(LogError::Failed)));
    assert!(matches!(log.append(1, &[b"x"]), Err(LogError::Failed)));
    assert!(matches!(log.mark(), Err(LogError::Failed)));
    assert!(matches!(log.release_before(log.end()), Err(LogError::Failed)));
    assert!(matches!(log.release_segment(1), Err(LogError::Failed)));
    assert!(log.failed());
    assert_eq!(disk.count(Count::Syncs), syncs);
    assert_eq!(log.reader().read(at).unwrap().1, "first", "reads go on");
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_not_believed_after_a_restart() {
    let (disk, mut log, _) = one_record();
    log.append(1, &[b"second"]).unwrap();
    disk.fail_next_sync();
    log.sync().unwrap_err();
    let disk = disk.restart(); // the page cache, which has the record, survives
    let (_, replayed) = open(&disk).unwrap();
    let (_, after_cut) = open(&disk.crash(1)).unwrap();
    assert_eq!(replayed, after_cut, "what was replayed must not vanish with the power");
}

/// Appends, rolls and releases until the `nth` sync fails. Returns whether that ended the service.
fn fail_nth_sync(nth: u64) -> bool {
    let (disk, mut log, _) = one_record();
    let at = disk.count(Count::Syncs) + nth;
    let mut synced = Vec::new();
    let mut failed = None;
    for n in 0..40u8 {
        let mut work = |log: &mut log::Log| {
            let at = log.append(1, &[&[n; 900]])?;
            log.sync()?;
            synced.push(at);
            log.release_before(Position::new(at.segment().saturating_sub(2), u32::MAX))
        };
        disk.fail_sync_at(at);
        if let Err(e) = work(&mut log) {
            failed.get_or_insert(e);
        }
    }
    assert!(matches!(failed, Some(LogError::Io { .. })), "sync {nth}: {failed:?}");
    let kept: Vec<u32> = log.segments().iter().map(|s| s.number).collect();
    let (_, replayed) = open(&disk.crash(nth)).unwrap();
    let replayed: Vec<Position> = replayed.iter().map(|r| r.0).collect();
    for at in synced.iter().filter(|at| kept.contains(&at.segment())) {
        assert!(replayed.contains(at), "sync {nth}: {at} was durable");
    }
    log.failed()
}

#[test]
fn every_failing_sync_ends_the_service_but_that_of_a_file_that_is_no_segment_yet() {
    let ended: Vec<bool> = (1..40).map(fail_nth_sync).collect();
    assert!(ended.iter().filter(|e| !**e).count() >= 2, "filling a spare with zeros is no part of the log");
    assert!(ended.iter().filter(|e| **e).count() >= 25);
}

#[test]
fn a_failed_write_ends_the_service() {
    let (disk, mut log, _) = one_record();
    log.append(1, &[b"second"]).unwrap();
    disk.fail_writes(0);
    assert!(matches!(log.sync(), Err(LogError::Io { .. })));
    assert!(matches!(log.sync(), Err(LogError::Failed)));
}

#[test]
fn a_full_disk_refuses_the_append_and_leaves_the_log_usable() {
    let disk = SimDisk::new();
    disk.set_full(3 * 8192 + 4096);
    let (mut log, _) = open(&disk).unwrap();
    let mut records = Vec::new();
    let full = loop {
        match log.append(1, &[&[records.len() as u8; 1000]]) {
            Ok(at) => records.push(at),
            Err(e) => break e,
        }
    };
    assert!(matches!(full, LogError::Full { .. }), "{full}");
    let (end, segments) = (log.end(), log.segments());
    assert_eq!(segments.len(), 3);
    assert!(matches!(log.append(1, &[&[0; 1000]]), Err(LogError::Full { .. })));
    assert_eq!((log.end(), log.segments()), (end, segments));
    // What was appended before can still be made durable, and room can be made.
    log.sync().unwrap();
    log.mark().unwrap();
    log.release_before(Position::new(2, 0)).unwrap();
    let more = log.append(1, &[&[7; 1000]]).unwrap();
    log.sync().unwrap();
    assert!(matches!(log.reader().read(records[0]), Err(LogError::NotFound(_))));
    let (_, replayed) = open(&disk.crash(3)).unwrap();
    assert_eq!(replayed.last().unwrap().0, more);
    let kept = records.iter().filter(|p| p.segment() > 1).count();
    assert_eq!(replayed.len(), kept + 1);
}

#[test]
fn a_full_disk_never_keeps_room_from_being_made() {
    // Segments full to the last byte that owners get, gaps everywhere, and not one free byte.
    let fill = |log: &mut log::Log| while log.append(1, &[]).is_ok() {};
    for odd in 0..8 {
        let disk = SimDisk::new();
        disk.set_full(12 * 8192);
        let (mut log, _) = open(&disk).unwrap();
        log.append(1, &[&vec![0; odd * 8]]).unwrap(); // shifts what is left at the segments' ends
        fill(&mut log);
        assert_eq!(log.segments().len(), 12);
        for segment in [2, 4, 6, 8, 10] {
            log.sync().unwrap();
            log.mark().unwrap();
            log.release_segment(segment).unwrap();
            fill(&mut log);
            assert_eq!(log.segments().len(), 12, "the room that was made is used");
        }
        drop(log);
        assert!(open(&disk.crash(1)).is_ok());
    }
}

#[test]
fn what_no_segment_can_hold_is_refused() {
    let (_, mut log, _) = one_record();
    let most = log.max_payload();
    assert!(most > 3000);
    assert!(matches!(log.append(1, &[&vec![0; most + 1]]), Err(LogError::TooLarge { .. })));
    let at = log.append(1, &[&vec![5; most]]).unwrap();
    assert_eq!(log.reader().read(at).unwrap().1, vec![5; most]);
    assert!(matches!(log.append(MAX_OWNER_KIND + 1, &[]), Err(LogError::Invalid(_))));
}

#[test]
fn a_preamble_that_no_segment_can_hold_fails_the_roll_and_nothing_else() {
    let (disk, mut log, at) = one_record();
    log.set_preamble(vec![(9, vec![0; 5000])]);
    while log.append(1, &[&[0; 100]]).is_ok() {}
    assert!(matches!(log.append(1, &[&[0; 100]]), Err(LogError::TooLarge { .. })));
    log.set_preamble(vec![(9, vec![0; 50])]);
    while log.segments().len() < 2 {
        log.append(1, &[&[0; 100]]).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(log.reader().read(at).unwrap().1, "first");
    assert!(open(&disk.crash(0)).is_ok());
}

#[test]
fn a_bad_configuration_is_refused() {
    let bad = [
        log::LogConfig { segment_bytes: 4096, ..config() },
        log::LogConfig { segment_bytes: 10_000, ..config() },
        log::LogConfig { spare_segments: 1000, ..config() },
        log::LogConfig { folder: String::new(), ..config() },
    ];
    for config in bad {
        let opened = crate::model::open_from(&SimDisk::new(), config, Position::default());
        assert!(matches!(opened, Err(LogError::Invalid(_))));
    }
}

#[test]
fn a_log_goes_on_with_another_segment_length() {
    let (disk, mut log, _) = one_record();
    for n in 0..10u8 {
        log.append(1, &[&[n; 900]]).unwrap();
    }
    log.sync().unwrap();
    let large = log::LogConfig { segment_bytes: 32768, ..config() };
    let (mut log, replayed) = crate::model::open_from(&disk, large, Position::default()).unwrap();
    assert_eq!(replayed.len(), 11);
    for n in 0..40u8 {
        log.append(1, &[&[n; 900]]).unwrap();
    }
    log.sync().unwrap();
    log.release_before(Position::new(2, u32::MAX)).unwrap();
    assert!(disk.image().iter().all(|(name, bytes)| name.ends_with(".seg") && bytes.len() >= 8192));
    let (_, replayed) = open(&disk.crash(0)).unwrap();
    assert_eq!(replayed.last().unwrap().2, [39; 900]);
    assert!(disk.bytes(&segment_name(1)).is_none());
}
