//! Format version 1 stays readable: the bytes of a small log, written once and kept here.

use log::sim::SimDisk;
use log::{LogConfig, Position};

use crate::model::{FOLDER, Record, config, open_from, segment_name};

/// Segment 2 of a log whose first segment was given back, up to its last byte that is not zero, as
/// `offset: bytes` of each run; all between is zero.
const SEGMENT: &[(usize, &str)] = &[
    (0, "506169724c6f670a0100000002000000c15c0289ec2d0a91c35c0289ec2d0a91"),
    (32, "0020000058100000a01f0000010000000000000000000000048c474fc7bef514"),
    (4096, "0c000000f1000000c35c0289ec2d0a91a01f0000010000005cbb53fe9f1869ca"),
    (4128, "01000000020000000000000000000000040000001e000000c35c0289ec2d0a91"),
    (4160, "a01f000001000000b5baf93d6fa2caa4766f7465000000000b00000002000000"),
    (4192, "c35c0289ec2d0a915810000002000000ca91fcc3a8486d8f68656c6c6f20776f"),
    (4224, "726c64000000000000000000ef000000c35c0289ec2d0a918810000002000000"),
    (4256, "cf39e10cdbf87b370c000000f1000000c35c0289ec2d0a918810000002000000"),
    (4288, "1f1ad20997985b470200000002000000000000000000000000000000f0000000"),
    (4320, "c35c0289ec2d0a91d81000000200000038df4471a44c157b0000000000000000"),
];

fn expected() -> Vec<Record> {
    vec![
        (Position::new(2, 4144), 30, b"vote".to_vec()),
        (Position::new(2, 4184), 2, b"hello world".to_vec()),
        (Position::new(2, 4232), 239, Vec::new()),
    ]
}

/// The log that the bytes are of.
fn written() -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) =
        open_from(&disk, LogConfig { spare_segments: 0, ..config() }, Position::default()).unwrap();
    log.set_preamble(vec![(30, b"vote".to_vec())]);
    log.append(1, &[&vec![1; log.max_payload()]]).unwrap();
    log.append(2, &[b"hello ", b"world"]).unwrap();
    log.sync().unwrap();
    log.append(239, &[]).unwrap();
    log.release_before(Position::new(2, 0)).unwrap();
    log.mark().unwrap();
    disk
}

#[test]
fn a_log_of_format_version_1_stays_readable() {
    let mut bytes = vec![0; 8192];
    for (offset, hex) in SEGMENT {
        for (n, pair) in hex.as_bytes().chunks(2).enumerate() {
            bytes[offset + n] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }
    let disk = SimDisk::new();
    disk.put(&segment_name(2), &bytes);
    let (mut log, replayed) = open_from(&disk, config(), Position::default()).unwrap();
    assert_eq!(replayed, expected());
    let at = log.append(3, &[b"and it can be written on"]).unwrap();
    log.sync().unwrap();
    assert_eq!((at.segment(), open_from(&disk, config(), at).unwrap().1.len()), (2, 1));
}

#[test]
fn this_build_writes_what_is_kept_here() {
    let disk = written();
    let bytes = disk.bytes(&segment_name(2)).unwrap();
    let mut runs: Vec<(usize, String)> = Vec::new();
    for (n, chunk) in bytes.chunks(32).enumerate().filter(|(_, c)| c.iter().any(|b| *b != 0)) {
        runs.push((n * 32, chunk.iter().map(|b| format!("{b:02x}")).collect()));
    }
    let kept: Vec<(usize, String)> = SEGMENT.iter().map(|(o, h)| (*o, h.to_string())).collect();
    assert_eq!(runs, kept, "{FOLDER}");
}
