//! A log under test and what is known of it: which records it must still have after a crash, which it may
//! have, and which it must not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use log::sim::SimDisk;
use log::{DiskFile, Entry, Log, LogConfig, LogError, Position};

pub const FOLDER: &str = "journal";
/// Kinds of the two preamble records; both carry the same version number.
pub const PREAMBLE: [u8; 2] = [100, 101];

pub fn config() -> LogConfig {
    LogConfig {
        folder: FOLDER.into(),
        segment_bytes: 8192,
        background_fill: false,
        open_segments: 2,
        ..LogConfig::default()
    }
}

pub fn segment_name(number: u32) -> String {
    format!("{FOLDER}/{number:010}.seg")
}

pub type Record = (Position, u8, Vec<u8>);

pub fn open_from(disk: &SimDisk, config: LogConfig, from: Position) -> Result<(Log, Vec<Record>), LogError> {
    let mut records = Vec::new();
    let mut replay = |e: Entry<'_>| {
        records.push((e.position, e.kind, e.payload.to_vec()));
        Ok(())
    };
    let log = Log::open(Arc::new(disk.clone()), config, from, &mut replay)?;
    Ok((log, records))
}

pub fn open(disk: &SimDisk) -> Result<(Log, Vec<Record>), LogError> {
    open_from(disk, config(), Position::default())
}

/// One thing an owner does.
#[derive(Clone, Debug)]
pub enum Step {
    Append(usize),
    Sync,
    Mark,
    /// Changes the preamble.
    Preamble,
    /// Gives back what stands before the end of the n-th of the segments.
    ReleaseBefore(usize),
    /// Gives back the n-th of the segments.
    ReleaseOne(usize),
    /// Opens the log anew, without a crash.
    Reopen,
}

/// What the owner knows.
#[derive(Clone, Default)]
pub struct Known {
    /// Records whose append succeeded and that no recovery cut.
    pub records: BTreeMap<Position, (u8, Vec<u8>)>,
    pub synced: Position,
    /// Segments whose release was asked for, and those for which it returned.
    pub maybe_released: BTreeSet<u32>,
    pub released: BTreeSet<u32>,
    /// Preamble version in force when a segment began, as far as known.
    pub heads: BTreeMap<u32, u64>,
    pub version: u64,
    pub counter: u64,
}

impl Known {
    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.counter += 1;
        let word = self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        (0..len).map(|i| word[i % 8] ^ (i as u8)).collect()
    }

    fn preamble(&self) -> Vec<(u8, Vec<u8>)> {
        PREAMBLE.iter().map(|k| (*k, self.version.to_le_bytes().to_vec())).collect()
    }

    fn note(&mut self, log: &Log) {
        self.synced = self.synced.max(log.synced());
        for segment in log.segments() {
            self.heads.entry(segment.number).or_insert(self.version);
        }
    }

    /// Takes the steps until one fails; `Err` is what failed.
    pub fn run(&mut self, disk: &SimDisk, mut log: Log, steps: &[Step]) -> Result<Log, LogError> {
        log.set_preamble(self.preamble());
        for step in steps {
            log = self.step(disk, log, step)?;
        }
        Ok(log)
    }

    fn step(&mut self, disk: &SimDisk, mut log: Log, step: &Step) -> Result<Log, LogError> {
        let nth = |log: &Log, n: usize| {
            let all = log.segments();
            (!all.is_empty()).then(|| all[n % all.len()])
        };
        let outcome = match step {
            Step::Append(len) => {
                let payload = self.payload(*len);
                let (a, b) = payload.split_at(len / 2);
                log.append(1, &[a, b]).map(|at| {
                    assert!(self.records.insert(at, (1, payload.clone())).is_none(), "{at} was given twice");
                })
            }
            Step::Sync => log.sync().map(|end| assert_eq!((end, log.end()), (log.synced(), log.synced()))),
            Step::Mark => log.mark(),
            Step::Preamble => {
                self.version += 1;
                log.set_preamble(self.preamble());
                Ok(())
            }
            Step::ReleaseBefore(n) => match nth(&log, *n) {
                Some(segment) => {
                    let gone: Vec<u32> =
                        log.segments().iter().map(|s| s.number).filter(|s| *s <= segment.number).collect();
                    self.maybe_released.extend(&gone);
                    log.release_before(Position::new(segment.number, segment.bytes)).map(|()| {
                        let left: BTreeSet<u32> = log.segments().iter().map(|s| s.number).collect();
                        self.released.extend(gone.iter().filter(|n| !left.contains(n)));
                        self.maybe_released.retain(|n| !left.contains(n));
                    })
                }
                None => Ok(()),
            },
            Step::ReleaseOne(n) => match nth(&log, *n) {
                Some(segment) => {
                    self.maybe_released.insert(segment.number);
                    match log.release_segment(segment.number) {
                        Ok(()) => {
                            self.released.insert(segment.number);
                            Ok(())
                        }
                        Err(LogError::InUse(_)) => {
                            self.maybe_released.remove(&segment.number);
                            Ok(())
                        }
                        Err(e) => Err(e),
                    }
                }
                None => Ok(()),
            },
            Step::Reopen => {
                drop(log);
                let (new, records) = open(disk)?;
                log = new;
                self.check(&log, &records);
                log.set_preamble(self.preamble());
                Ok(())
            }
        };
        self.note(&log);
        outcome.map(|()| log)
    }

    /// Checks what a recovery replayed, and takes it for what is known from now on.
    pub fn check(&mut self, log: &Log, replayed: &[Record]) {
        assert!(replayed.windows(2).all(|w| w[0].0 < w[1].0), "records come in order");
        let present: BTreeSet<u32> = log.segments().iter().map(|s| s.number).collect();
        let mut found = BTreeMap::new();
        let mut heads: BTreeMap<u32, Vec<(u8, u64)>> = BTreeMap::new();
        for (at, kind, payload) in replayed {
            assert!(present.contains(&at.segment()), "{at} is in no segment");
            if PREAMBLE.contains(kind) {
                let version = u64::from_le_bytes(payload.as_slice().try_into().unwrap());
                heads.entry(at.segment()).or_default().push((*kind, version));
            } else {
                assert_eq!(
                    self.records.get(at),
                    Some(&(*kind, payload.clone())),
                    "{at} was never appended, or cut"
                );
                found.insert(*at, (*kind, payload.clone()));
            }
        }
        assert!(log.end() >= self.synced, "the log ends at {}, but {} was durable", log.end(), self.synced);
        let gone = |at: Position| !present.contains(&at.segment());
        for segment in self.heads.keys().filter(|n| Position::new(**n, 0) < self.synced) {
            assert!(
                present.contains(segment) || self.maybe_released.contains(segment),
                "segment {segment} is gone"
            );
        }
        for segment in &self.released {
            assert!(!present.contains(segment), "segment {segment} came back");
        }
        // Before the end no record is missing, so none stands behind a hole; behind the end there is none.
        let expected: BTreeMap<_, _> = self
            .records
            .iter()
            .filter(|(at, _)| **at < log.end() && !gone(**at))
            .map(|(a, r)| (*a, r.clone()))
            .collect();
        assert!(found == expected, "lost or undead records:\n{:?}\n{:?}", found.keys(), expected.keys());
        for segment in &present {
            let head = heads.get(segment).cloned().unwrap_or_default();
            let version = head.first().map(|h| h.1);
            assert_eq!(
                head.iter().map(|h| h.0).collect::<Vec<_>>(),
                PREAMBLE,
                "segment {segment} has a whole preamble"
            );
            assert!(head.iter().all(|h| Some(h.1) == version));
            let known = self.heads.get(segment).copied();
            self.heads.extend(version.map(|v| (*segment, v)));
            assert!(known.is_none() || known == version, "segment {segment} has the preamble of its time");
        }
        let reader = log.reader();
        for (at, record) in &found {
            let (kind, payload) = reader.read(*at).unwrap();
            assert_eq!((kind, payload.to_vec()), *record);
        }
        self.records = found;
        self.synced = log.end();
        self.heads.retain(|n, _| present.contains(n));
        self.maybe_released.retain(|n| !present.contains(n));
    }
}

/// Gives a file's header another version, with the checksum at `sum_at` that is right for it.
pub fn set_version(file: &dyn DiskFile, sum_at: usize, version: u32) {
    let mut bytes = vec![0; sum_at];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes);
    bytes.extend(sum.to_le_bytes());
    file.write_all_at(&bytes, 0).unwrap();
}
