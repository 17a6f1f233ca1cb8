//! Recovery of a log: over a good one that was damaged, and over segments that check and make no sense.

use crate::input::Input;
use ::log::sim::SimDisk;
use ::log::{Disk, Hole, Log, LogConfig, LogError, Position};
use std::sync::{Arc, OnceLock};
use types::content::crc64;

const FOLDER: &str = "log";
/// Few bytes, so that few edits reach everything; records beyond one segment begin the next.
const SEGMENT: u32 = 8192;

type Record = (Position, u8, Vec<u8>);
type Image = Vec<(String, Vec<u8>)>;

fn config() -> LogConfig {
    LogConfig {
        folder: FOLDER.into(),
        segment_bytes: SEGMENT,
        spare_segments: 1,
        background_fill: false,
        open_segments: 2,
    }
}

fn open(disk: &SimDisk) -> Result<(Log, Vec<Record>), LogError> {
    let mut records = Vec::new();
    let mut take = |entry: ::log::Entry<'_>| {
        records.push((entry.position, entry.kind, entry.payload.to_vec()));
        Ok(())
    };
    let log = Log::open(Arc::new(disk.clone()), config(), Position::default(), &mut take)?;
    Ok((log, records))
}

/// The files of a log of several segments, with marks and a preamble, and what was written into it.
fn written() -> &'static (Image, Vec<Record>) {
    static WRITTEN: OnceLock<(Image, Vec<Record>)> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).expect("an empty disk takes a log");
        log.set_preamble(vec![(30, b"the vote".to_vec()), (31, b"purged".to_vec())]);
        for n in 0..24u8 {
            log.append(n % 7, &[&vec![n; usize::from(n) * 61 % 1500]]).expect("room");
            if n % 3 == 0 {
                log.sync().expect("it can be synced");
            }
            if n % 11 == 0 {
                log.mark().expect("it can be marked");
            }
        }
        log.sync().expect("it can be synced");
        drop(log);
        let (_, records) = open(&disk).expect("it is whole");
        assert!(records.last().expect("some").0.segment() >= 3);
        (disk.image(), records)
    })
}

/// Edits of the files of a good log, as a bad disk or a careless hand makes them. What is recovered is a beginning of what
/// was written, or it is said to be damaged; what is passed over is told; the log goes on either way.
pub fn damage(data: &[u8]) {
    let (image, records) = written();
    let mut image = image.clone();
    let mut input = Input(data);
    while !input.is_empty() {
        edit(&mut image, &mut input);
    }
    let disk = SimDisk::new();
    image.iter().for_each(|(name, bytes)| disk.put(name, bytes));
    let before = disk.image();
    over_damage(&disk.restart(), records);
    match open(&disk) {
        Ok((log, found)) => {
            assert!(records.starts_with(&found), "{} records that were not written", found.len());
            goes_on(&disk, log, &found);
        }
        Err(_) => assert_eq!(disk.image(), before, "a log that is refused is left as it is"),
    }
}

/// What is written from now on is there, right behind what was recovered, and nothing that was cut comes back.
fn goes_on(disk: &SimDisk, mut log: Log, found: &[Record]) {
    let new = b"it goes on";
    let at = log.append(3, &[new]).expect("it takes more");
    log.sync().expect("it can be synced");
    drop(log);
    let (_, mut again) = open(disk).expect("what was recovered can be opened");
    assert_eq!(again.pop(), Some((at, 3, new.to_vec())));
    // The head of a new segment restates nothing here: the preamble is the owner's to set.
    assert_eq!(again, found, "after a restart it is another log");
}

/// With a partner one may go on behind damage: what is found was written, in order.
fn over_damage(disk: &SimDisk, records: &[Record]) {
    let (mut found, mut holes) = (Vec::new(), Vec::new());
    let mut take = |entry: ::log::Entry<'_>| {
        found.push((entry.position, entry.kind, entry.payload.to_vec()));
        Ok(())
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = Log::open_over_damage(disk, config(), Position::default(), &mut take, &mut holes);
    if opened.is_err() {
        return;
    }
    let mut written = records.iter();
    for record in &found {
        assert!(written.any(|known| known == record), "the record at {} was not written", record.0);
        let inside = |hole: &Hole| (hole.from..hole.to).contains(&record.0);
        assert!(!holes.iter().any(inside), "a record is read where none can be");
    }
}

fn edit(image: &mut Image, input: &mut Input<'_>) {
    let (op, file, at) = (input.byte(), usize::from(input.byte()), usize::from(input.short()));
    if image.is_empty() {
        return;
    }
    let file = file % image.len();
    let len = image[file].1.len();
    let at = at.min(len);
    match op % 8 {
        0 if at < len => image[file].1[at] ^= input.byte().max(1),
        1 => {
            let bytes = input.piece();
            let end = (at + bytes.len()).min(len);
            image[file].1[at..end].copy_from_slice(&bytes[..end - at]);
        }
        2 => {
            let end = len.min(at + usize::from(input.short()));
            image[file].1[at..end].fill(0);
        }
        3 => image[file].1.truncate(at),
        4 => {
            image.remove(file);
        }
        // A write that the disk misplaced.
        5 => {
            let (other, from) = (usize::from(input.byte()) % image.len(), usize::from(input.short()));
            let part: Vec<u8> =
                image[other].1.iter().skip(from).take(usize::from(input.short())).copied().collect();
            let end = len.min(at + part.len());
            image[file].1[at..end].copy_from_slice(&part[..end - at]);
        }
        6 => {
            let other = at % image.len();
            let bytes = image[other].1.clone();
            image[file].1 = bytes;
        }
        _ => image[file].1.resize((len + usize::from(input.short())).min(4 * SEGMENT as usize), input.byte()),
    }
}

/// Segments whose checksums are right, whatever they say: as a program that errs would write them. They are read or refused,
/// in bounded time and memory.
pub fn segment(data: &[u8]) {
    let mut input = Input(data);
    let disk = SimDisk::new();
    for number in 1..=u32::from(input.byte() % 3) + 1 {
        let bytes = checked_segment(number, &mut input);
        disk.put(&format!("{FOLDER}/{number:010}.seg"), &bytes);
    }
    let over = disk.restart();
    if let Ok((log, found)) = open(&disk) {
        goes_on(&disk, log, &found);
    }
    let disk: Arc<dyn Disk> = Arc::new(over);
    let mut holes = Vec::new();
    let _ = Log::open_over_damage(disk, config(), Position::default(), &mut |_| Ok(()), &mut holes);
}

/// A header, its fields as they should be where the input has a zero, and so many records.
fn checked_segment(number: u32, input: &mut Input<'_>) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[0..8].copy_from_slice(b"PairLog\n");
    page[8..12].copy_from_slice(&1u32.to_le_bytes());
    page[12..16].copy_from_slice(&number.to_le_bytes());
    let use_number = 70 + u64::from(number);
    let strange = input.byte();
    let mut field = |bit: u8, right: u64| if strange >> bit & 1 == 1 { input.long() } else { right };
    let list = 4096 + 32 + 16;
    let previous = if number == 1 { 0 } else { u64::from(number - 1) << 32 | list };
    let fields =
        (field(0, 70), field(1, use_number), field(2, SEGMENT.into()), field(3, list), field(4, previous));
    page[16..24].copy_from_slice(&fields.0.to_le_bytes());
    page[24..32].copy_from_slice(&fields.1.to_le_bytes());
    page[32..36].copy_from_slice(&fields.2.to_le_bytes()[..4]);
    page[36..40].copy_from_slice(&fields.3.to_le_bytes()[..4]);
    page[40..48].copy_from_slice(&fields.4.to_le_bytes());
    let crc = crc64(&page[..56]);
    page[56..64].copy_from_slice(&crc.to_le_bytes());
    if strange >> 5 & 1 == 0 {
        let live = [1u32, number, 0].map(u32::to_le_bytes).concat();
        put_record(&mut page, number, fields.1, 241, 0, &live);
    }
    for _ in 0..input.byte() % 8 {
        let (kind, synced) = (input.byte(), input.long());
        put_record(&mut page, number, fields.1, kind, synced, input.piece());
    }
    page.resize(page.len().max(SEGMENT as usize), 0);
    page
}

fn put_record(page: &mut Vec<u8>, segment: u32, use_number: u64, kind: u8, synced: u64, payload: &[u8]) {
    let at = u64::from(segment) << 32 | page.len() as u64;
    let mut header = (payload.len() as u32).to_le_bytes().to_vec();
    header.extend_from_slice(&[kind, 0, 0, 0]);
    header.extend_from_slice(&use_number.to_le_bytes());
    header.extend_from_slice(&synced.to_le_bytes());
    let crc = crc64(&[&at.to_le_bytes()[..], &header, payload].concat());
    page.extend_from_slice(&header);
    page.extend_from_slice(&crc.to_le_bytes());
    page.extend_from_slice(payload);
    page.resize(page.len().next_multiple_of(8), 0);
}
