//! The same engine on a real file system.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use log::{Disk, Entry, Log, LogConfig, LogError, Open, Position, RealDisk};

fn open(disk: &Arc<RealDisk>, config: &LogConfig) -> (Log, Vec<(Position, Vec<u8>)>) {
    let mut records = Vec::new();
    let mut replay = |e: Entry<'_>| {
        records.push((e.position, e.payload.to_vec()));
        Ok(())
    };
    let log = Log::open(disk.clone(), config.clone(), Position::default(), &mut replay).unwrap();
    (log, records)
}

#[test]
fn a_log_on_a_real_disk_rolls_recycles_and_reopens() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path().join("data/deep")).unwrap());
    let config = LogConfig { segment_bytes: 64 << 10, spare_segments: 2, ..LogConfig::default() };
    let (mut log, records) = open(&disk, &config);
    assert!(records.is_empty());
    let mut written = Vec::new();
    for n in 0..400usize {
        let payload = vec![n as u8; n * 7];
        written.push((log.append(1, &[&payload[..n], &payload[n..]]).unwrap(), payload));
        if n % 10 == 0 {
            log.sync().unwrap();
        }
        if n == 300 {
            log.release_before(Position::new(3, 0)).unwrap();
            log.release_segment(5).unwrap();
        }
    }
    log.mark().unwrap();
    written.retain(|(at, _)| at.segment() > 2 && at.segment() != 5);
    let reader = log.reader();
    for (at, payload) in &written {
        assert_eq!(reader.read(*at).unwrap().1, payload);
    }
    drop(log);
    let (_, records) = open(&disk, &config);
    assert_eq!(records, written);
}

#[test]
fn files_and_folders_are_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let disk = RealDisk::new(root.clone()).unwrap();
    disk.open("log/a", Open::CreateNew).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(root.clone()), mode(root.join("log")), mode(root.join("log/a"))), (0o700, 0o700, 0o600));
}

#[test]
fn names_do_not_lead_out_of_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().join("data")).unwrap();
    for name in ["../x", "/etc/passwd", "a/../../x", "", "a//b", "."] {
        assert!(disk.open(name, Open::Create).is_err(), "{name}");
    }
}

#[test]
fn the_real_disk_does_what_the_simulated_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let real: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.path().into()).unwrap());
    let sim: Arc<dyn Disk> = Arc::new(log::sim::SimDisk::new());
    for disk in [real, sim] {
        assert!(disk.list("f").unwrap().is_empty());
        assert!(disk.open("f/a", Open::Existing).is_err());
        let a = disk.open("f/a", Open::CreateNew).unwrap();
        assert!(disk.open("f/a", Open::CreateNew).is_err());
        a.write_all_vectored_at(&[b"", b"hello", b"", b" ", b"world"], 3).unwrap();
        a.sync_data().unwrap();
        a.drop_cache().unwrap();
        let mut buf = [9; 20];
        assert_eq!(a.read_at(&mut buf, 0).unwrap(), 14);
        assert_eq!(&buf[..14], b"\0\0\0hello world");
        assert!(a.read_exact_at(&mut buf, 0).is_err());
        a.allocate(0, 10_000).unwrap();
        assert_eq!(a.len().unwrap(), 10_000);
        a.write_all_at(&[1; 8192], 0).unwrap();
        a.start_writeback(0, 8192).unwrap();
        a.punch_hole(0, 4096).unwrap();
        assert_eq!((a.len().unwrap(), a.is_empty().unwrap()), (10_000, false));
        a.read_exact_at(&mut buf, 4090).unwrap();
        assert_eq!((&buf[..6], &buf[6..]), (&[0; 6][..], &[1; 14][..]));
        a.set_len(5).unwrap();
        disk.open("f/b", Open::Create).unwrap();
        disk.rename("f/a", "f/c").unwrap();
        disk.sync_folder("f").unwrap();
        assert_eq!(disk.list("f").unwrap(), ["b", "c"]);
        disk.remove("f/b").unwrap();
        assert!(disk.remove("f/b").is_err() && disk.rename("f/b", "f/d").is_err());
        assert_eq!(disk.list("f").unwrap(), ["c"]);
        assert!(disk.free_bytes().unwrap() > 0);
        assert_ne!(disk.salt(), disk.salt());
    }
}

#[test]
fn many_parts_are_written_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().into()).unwrap();
    let parts: Vec<Vec<u8>> = (0..500usize).map(|n| vec![n as u8; n % 90]).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let file = disk.open("x", Open::Create).unwrap();
    file.write_all_vectored_at(&slices, 7).unwrap();
    assert_eq!(std::fs::read(folder.path().join("x")).unwrap()[7..], parts.concat());
    assert!(file.as_std().is_some());
}

#[test]
fn an_error_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().into()).unwrap();
    std::fs::create_dir_all(folder.path().join("log/0000000001.seg")).unwrap();
    std::fs::write(folder.path().join("log/0000000002.seg"), b"no segment").unwrap();
    let opened = Log::open(Arc::new(disk), LogConfig::default(), Position::default(), &mut |_| Ok(()));
    match opened {
        Err(e @ LogError::Damaged { segment: 2, .. }) => {
            assert!(e.to_string().contains("log 2 is damaged"), "{e}")
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn what_was_just_written_is_read_without_a_wait_and_what_is_not_there_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().to_owned()).unwrap();
    let file = disk.open("file", Open::Create).unwrap();
    file.write_all_at(&[7; 10_000], 0).unwrap();
    let mut bytes = [0; 5_000];
    // A file system may not be able to say; then it never does.
    if file.read_now(&mut bytes, 5_000) {
        assert_eq!(bytes, [7; 5_000]);
    }
    assert!(!file.read_now(&mut bytes, 5_001), "half of it is not enough");
}
