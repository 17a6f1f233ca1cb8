//! Bulk extents: room, crashes, damage.

use std::collections::BTreeSet;
use std::sync::Arc;

use log::sim::{Count, SimDisk};
use log::{Disk, EXTENT_ALIGN, Extent, Extents, ExtentsConfig, LogError, Open, RealDisk};

use crate::model::set_version;

fn config() -> ExtentsConfig {
    ExtentsConfig { file_bytes: 64 << 10, ..ExtentsConfig::default() }
}

fn open(disk: &SimDisk, live: &[Extent]) -> Result<Extents, LogError> {
    Extents::open_with(Arc::new(disk.clone()), config(), live.iter().copied())
}

#[test]
fn what_was_synced_is_there_after_a_power_cut_and_the_rest_is_free_room() {
    for seed in 0..40 {
        let disk = SimDisk::new();
        let extents = open(&disk, &[]).unwrap();
        let kept = extents.reserve(10_000).unwrap();
        extents.write_at(&kept, 0, &[1; 5000]).unwrap();
        extents.write_at(&kept, 5000, &[2; 5000]).unwrap();
        extents.writeback(&kept, 0, 10_000).unwrap();
        extents.sync(&BTreeSet::from([kept.file])).unwrap();
        let unnamed = extents.reserve(30_000).unwrap();
        extents.write_at(&unnamed, 0, &[3; 30_000]).unwrap();
        let far = extents.reserve(50_000).unwrap();
        assert_eq!(far.file, kept.file + 1);
        extents.write_at(&far, 0, &[4; 50_000]).unwrap();

        let disk = disk.crash(seed);
        let extents = open(&disk, &[kept]).unwrap();
        assert_eq!(extents.used_bytes(), 12_288);
        let mut bytes = [0; 10_000];
        extents.read_at(&kept, 0, &mut bytes).unwrap();
        assert!(bytes[..5000] == [1; 5000] && bytes[5000..] == [2; 5000]);
        // The room of the other two is given out again, and not that of the live one.
        let mut seen = BTreeSet::from([kept.offset]);
        for _ in 0..3 {
            let next = extents.reserve(16_000).unwrap();
            extents.write_at(&next, 0, &[9; 16_000]).unwrap();
            assert!(next.file != kept.file || seen.insert(next.offset));
        }
        extents.read_at(&kept, 0, &mut bytes).unwrap();
        assert!(bytes[..5000] == [1; 5000] && bytes[5000..] == [2; 5000]);
    }
}

#[test]
fn every_crash_point_leaves_extents_that_open() {
    let mut at = 1;
    loop {
        let disk = SimDisk::new();
        disk.freeze_at(Count::Ops, at);
        let mut durable = Vec::new();
        let extents = open(&disk, &[]).unwrap();
        for n in 0..8u8 {
            let Ok(extent) = extents.reserve(20_000) else { break };
            if extents.write_at(&extent, 0, &[n; 20_000]).is_err() {
                break;
            }
            if extents.sync(&BTreeSet::from([extent.file])).is_err() {
                break;
            }
            durable.push((extent, n));
        }
        for seed in 0..6 {
            let live: Vec<Extent> = durable.iter().map(|d| d.0).collect();
            let disk = disk.crash(seed);
            let extents = open(&disk, &live).unwrap();
            let more = extents.reserve(40_000).unwrap();
            extents.write_at(&more, 0, &[99; 40_000]).unwrap();
            extents.sync(&BTreeSet::from([more.file])).unwrap();
            let disk = disk.crash(seed + 1);
            let extents = open(&disk, &[live, vec![more]].concat()).unwrap();
            let mut bytes = vec![0; 20_000];
            for (extent, n) in &durable {
                extents.read_at(extent, 0, &mut bytes).unwrap();
                assert!(bytes.iter().all(|b| b == n), "operation {at}, seed {seed}");
            }
            extents.read_at(&more, 20_000, &mut bytes).unwrap();
            assert!(bytes.iter().all(|b| *b == 99), "operation {at}, seed {seed}");
        }
        if !disk.frozen() {
            break;
        }
        at += 1;
    }
    assert!(at > 20);
}

#[test]
fn room_given_back_is_used_again_and_never_twice() {
    let disk = SimDisk::new();
    let extents = open(&disk, &[]).unwrap();
    let a = extents.reserve(20_000).unwrap();
    let b = extents.reserve(20_000).unwrap();
    assert!(a.file == b.file && a.offset.is_multiple_of(EXTENT_ALIGN) && b.offset >= a.offset + 20_000);
    let a = extents.shrink(a, 100).unwrap();
    assert_eq!(extents.used_bytes(), 4096 + 20_480);
    let c = extents.reserve(16_000).unwrap();
    assert_eq!((c.file, c.offset), (a.file, a.offset + 4096));
    extents.free(b).unwrap();
    assert!(matches!(extents.free(b), Err(LogError::Invalid(_))));
    extents.free(a).unwrap();
    extents.free(c).unwrap();
    assert_eq!(extents.used_bytes(), 0);
    assert_eq!(extents.reserve(60_000).unwrap().offset, EXTENT_ALIGN);
}

#[test]
fn large_room_goes_back_to_the_file_system() {
    let disk = SimDisk::new();
    disk.set_full(8 << 20);
    let extents = Extents::open(Arc::new(disk.clone()), []).unwrap();
    let large = extents.reserve(6 << 20).unwrap();
    let free = log::Disk::free_bytes(&disk).unwrap();
    assert!(free < 3 << 20);
    assert!(matches!(extents.reserve(6 << 20), Err(LogError::Full { .. })));
    assert_eq!(extents.used_bytes(), 6 << 20, "what was refused occupies nothing");
    extents.free(large).unwrap();
    assert_eq!(log::Disk::free_bytes(&disk).unwrap(), free + (6 << 20));
    extents.reserve(6 << 20).unwrap();
}

#[test]
fn ranges_outside_of_an_extent_are_refused() {
    let disk = SimDisk::new();
    let extents = open(&disk, &[]).unwrap();
    let a = extents.reserve(100).unwrap();
    assert!(matches!(extents.write_at(&a, 90, &[0; 11]), Err(LogError::Invalid(_))));
    assert!(matches!(extents.read_at(&a, 101, &mut []), Err(LogError::Invalid(_))));
    assert!(matches!(extents.writeback(&a, u32::MAX, u32::MAX), Err(LogError::Invalid(_))));
    assert!(matches!(extents.reserve(0), Err(LogError::Invalid(_))));
    assert!(matches!(extents.reserve(61_441), Err(LogError::TooLarge { .. })));
    assert!(matches!(extents.shrink(a, 0), Err(LogError::Invalid(_))));
    assert!(matches!(extents.shrink(a, 101), Err(LogError::Invalid(_))));
    for nonsense in [
        Extent { file: 77, offset: 4096, len: 1 },
        Extent { file: a.file, offset: 0, len: 1 },
        Extent { file: a.file, offset: 4097, len: 1 },
    ] {
        assert!(matches!(extents.free(nonsense), Err(LogError::Invalid(_))));
    }
    assert!(extents.file(77).is_err());
    assert!(extents.file(a.file).is_ok());
}

#[test]
fn live_extents_that_cannot_be_are_damage() {
    let disk = SimDisk::new();
    let extents = open(&disk, &[]).unwrap();
    let a = extents.reserve(9000).unwrap();
    extents.sync(&BTreeSet::from([a.file])).unwrap();
    let bad = [
        vec![a, a],
        vec![a, Extent { len: 1, ..a }],
        vec![Extent { offset: 0, ..a }],
        vec![Extent { offset: a.offset + 1, ..a }],
        vec![Extent { file: 0, ..a }],
        vec![Extent { len: 0, ..a }],
        vec![Extent { len: u32::MAX, ..a }],
        vec![Extent { offset: u32::MAX - 4095, ..a }],
    ];
    for live in bad {
        assert!(matches!(open(&disk, &live), Err(LogError::Damaged { .. })), "{live:?}");
    }
    disk.flip("extents/00000001", 3, 1);
    assert!(open(&disk, &[]).is_ok(), "without live extents it is the torn beginning of a file");
    disk.flip("extents/00000001", 8, 2);
    assert!(open(&disk, &[]).is_ok(), "so is one with a flipped bit in its version");
    set_version(&*disk.open("extents/00000001", Open::Existing).unwrap(), 24, 3);
    assert!(matches!(open(&disk, &[]), Err(LogError::UnknownFormat { version: 3, .. })));
}

#[test]
fn a_file_that_is_lost_or_cut_costs_only_what_was_in_it() {
    let disk = SimDisk::new();
    let extents = open(&disk, &[]).unwrap();
    let kept = extents.reserve(100).unwrap();
    extents.write_at(&kept, 0, &[7; 100]).unwrap();
    extents.sync(&BTreeSet::from([kept.file])).unwrap();
    // A bad header, a file that is not there, and one that ends too early.
    disk.flip("extents/00000001", 3, 1);
    let mut bytes = [0; 100];
    let beyond = Extent { offset: 61_440 - 4096, ..kept };
    let extents = open(&disk, &[kept, beyond]).unwrap();
    assert!(matches!(extents.read_at(&beyond, 0, &mut bytes), Err(LogError::Damaged { segment: 1, .. })));
    let lost = Extent { file: 9, ..kept };
    let extents = open(&disk, &[kept, lost]).unwrap();
    extents.read_at(&kept, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 100]);
    assert!(matches!(extents.read_at(&lost, 0, &mut bytes), Err(LogError::Damaged { segment: 9, .. })));
    assert_eq!(extents.used_bytes(), 4096);
    extents.free(lost).unwrap();
    assert_eq!(extents.used_bytes(), 4096, "what is lost gives no room");
    // Its number stays unused: a new file gets a later one.
    while extents.reserve(50_000).unwrap().file == kept.file {}
    assert!(disk.bytes("extents/00000010").is_some() && disk.bytes("extents/00000009").is_none());
}

#[test]
fn a_failed_sync_ends_the_service_of_extents() {
    let disk = SimDisk::new();
    let extents = open(&disk, &[]).unwrap();
    let a = extents.reserve(100).unwrap();
    extents.write_at(&a, 0, &[7; 100]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(extents.sync(&BTreeSet::from([a.file])), Err(LogError::Io { .. })));
    assert!(matches!(extents.sync(&BTreeSet::from([a.file])), Err(LogError::Failed)));
    assert!(matches!(extents.reserve(1), Err(LogError::Failed)));
    let mut byte = [0];
    extents.read_at(&a, 50, &mut byte).unwrap();
    assert_eq!(byte, [7]);
}

#[test]
fn the_first_bytes_of_an_extent_file_stay_as_they_are() {
    let disk = SimDisk::new();
    let extents = open(&disk, &[]).unwrap();
    let a = extents.reserve(100).unwrap();
    let bytes = disk.bytes(&format!("extents/{:08}", a.file)).unwrap();
    let hex: String = bytes[..32].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "506169724578740a010000000100000000000000000000001c3d055c7897cd5f");
    assert!(bytes[32..4096].iter().all(|b| *b == 0));
}

#[test]
fn extents_work_on_a_real_disk_from_several_threads() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path().into()).unwrap());
    let config = ExtentsConfig { file_bytes: 4 << 20, ..ExtentsConfig::default() };
    let extents = Arc::new(Extents::open_with(disk.clone(), config.clone(), []).unwrap());
    let workers: Vec<_> = (0..4u8)
        .map(|n| {
            let extents = extents.clone();
            std::thread::spawn(move || {
                let mut mine = Vec::new();
                for i in 0..10u32 {
                    let extent = extents.reserve(100_000 + i).unwrap();
                    for piece in 0..2 {
                        extents.write_at(&extent, piece * 50_000, &[n; 50_000]).unwrap();
                        extents.writeback(&extent, piece * 50_000, 50_000).unwrap();
                    }
                    extents.sync(&BTreeSet::from([extent.file])).unwrap();
                    mine.push((n, extent));
                }
                mine
            })
        })
        .collect();
    let all: Vec<(u8, Extent)> = workers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    drop(extents);
    let extents = Extents::open_with(disk, config, all.iter().map(|a| a.1)).unwrap();
    let mut bytes = vec![0; 100_000];
    for (n, extent) in &all {
        extents.read_at(extent, 0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|b| b == n));
        assert!(extents.file(extent.file).unwrap().as_std().is_some());
    }
}

#[test]
fn many_files_are_written_and_read_with_few_of_them_open() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn log::Disk> = Arc::new(log::RealDisk::new(folder.path().to_owned()).unwrap());
    let config = || ExtentsConfig { file_bytes: 8192, open_files: 3, ..ExtentsConfig::default() };
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        links.filter(|link| link.starts_with(folder.path())).count()
    };
    let extents = Extents::open_with(disk.clone(), config(), []).unwrap();
    let mut all = Vec::new();
    for n in 0..40u8 {
        let extent = extents.reserve(4096).unwrap();
        extents.write_at(&extent, 0, &[n; 4096]).unwrap();
        all.push(extent);
        assert!(open() <= 3, "{} are open", open());
    }
    extents.sync(&all.iter().map(|extent| extent.file).collect()).unwrap();
    let check = |extents: &Extents| {
        for (n, extent) in all.iter().enumerate().rev() {
            let mut bytes = [0; 4096];
            extents.read_at(extent, 0, &mut bytes).unwrap();
            assert_eq!(bytes, [n as u8; 4096]);
            assert!(open() <= 3);
        }
    };
    check(&extents);
    drop(extents);
    let extents = Extents::open_with(disk, config(), all.clone()).unwrap();
    check(&extents);
    assert_eq!(extents.used_bytes(), 40 * 4096);
}

#[test]
fn a_failed_sync_of_a_file_that_is_closed_for_another_ends_the_service() {
    let disk = SimDisk::new();
    let config = ExtentsConfig { file_bytes: 8192, open_files: 1, ..ExtentsConfig::default() };
    let extents = Extents::open_with(Arc::new(disk.clone()), config, []).unwrap();
    let first = extents.reserve(4096).unwrap();
    extents.write_at(&first, 0, &[1; 4096]).unwrap();
    disk.fail_next_sync();
    // The system would tell nobody of it once the file is closed.
    assert!(extents.reserve(4096).is_err());
    assert!(matches!(extents.sync(&[first.file].into()), Err(LogError::Failed)));
}
