//! The log engine: segments, group commit, recovery, and bulk extents, above a replaceable disk.
//!
//! One engine carries two users: the journal of a storage server and the Raft log of the name manager. What
//! their records mean is theirs; framing, durability and recovery are here.
//!
//! - [`Disk`], [`DiskFile`]: what the engine asks of a disk. [`RealDisk`] is a folder of the operating
//!   system, [`sim::SimDisk`] loses, tears and fails on request.
//! - [`Log`] appends and syncs, [`LogReader`] reads by [`Position`], [`Committer`] gives many jobs one sync.
//! - [`Extents`]: room for large chunks beside the log.
//! - [`open_database`]: redb on such a disk, for the indexes behind a log.
//!
//! # What a log promises
//!
//! 1. What [`Log::sync`] returned for is there after any power cut, in order, unless its segment was given back.
//! 2. What was not synced may be lost, but only from some point on: no record survives behind a lost one,
//!    and none that recovery cut ever comes back.
//! 3. What recovery replays is durable.
//! 4. Damage to what was durable is told from an unsynced tail wherever anything behind it, or a
//!    [mark](Log::mark), says so; then nothing is changed and [`LogError::Damaged`] names the place.
//! 5. After a failed write or sync the log is out of service; nothing is tried again.
//!
//! Deliberately absent: a lock against a second process (the owner of the data directory has one), and
//! truncation of a suffix (Raft writes a record that says so).
//!
//! # Format, version 1
//!
//! A log is a folder of segment files `NNNNNNNNNN.seg` (ten digits, from 1 on, never used twice) of fixed
//! length, and of spares, `spare-NNNNNNNNNN`, which are no part of it. Integers are little-endian. A
//! [`Position`] is a segment's number (high 32 bits) and a byte offset in its file.
//!
//! A segment starts with a header of 4096 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `PairLog\n` |
//! | 8 | 4 | format version: 1 |
//! | 12 | 4 | number of the segment |
//! | 16 | 8 | number of the log, drawn at its creation |
//! | 24 | 8 | *use number*: the log's number plus 1, 2, …; unique to each use of a file as a segment |
//! | 32 | 4 | length of the file in bytes |
//! | 36 | 4 | offset behind the segment's *head* |
//! | 40 | 8 | position at which the segment before ends (0 for the first) |
//! | 48 | 8 | zero |
//! | 56 | 8 | CRC-64/NVME of bytes 0 to 55 |
//! | 64 | 4032 | zero |
//!
//! Magic, version and checksum keep their places in all later versions, and the checksum what it covers: one that does not fit is
//! damage, whatever version the header names. Records follow, each padded with zeros to a
//! multiple of 8 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | length of the payload in bytes |
//! | 4 | 1 | kind: 0 to 239 are the owner's, 240 a mark, 241 the list of live segments |
//! | 5 | 3 | zero |
//! | 8 | 8 | use number of the segment |
//! | 16 | 8 | position before which all was known to be durable when the record was appended |
//! | 24 | 8 | CRC-64/NVME of the record's position (8 bytes), bytes 0 to 23, and the payload |
//! | 32 | | payload |
//!
//! A mark has no payload. The list of live segments has 12 bytes for each range of consecutive numbers: first,
//! last, and the offset at which the last one ends (4 bytes each). The last range reaches to the segment that
//! holds the list, and its end is 0. The *head* of a segment is its header, one list, and the
//! owner's preamble.
//!
//! # How it holds
//!
//! **Order of a roll.** The old segment is synced; the new one's head is written into a spare and synced; the
//! spare is renamed to its segment's name; the folder is synced. So a torn head is never a segment's, a bad
//! one is damage, and only the last segment can have an unsynced tail: the head of the next one vouches
//! for all before it.
//!
//! **Torn tail or damage (R31).** Unsynced pages survive a power cut in any order. In the last segment the
//! log ends at the first record that does not check. If the segment's head, a record before or any
//! valid record *behind* that place names a later position as durable, it is damage.
//!
//! **Going on behind damage.** An owner with a partner may have the records behind a hole replayed, too
//! ([`Log::open_over_damage`]). It then owes to itself what stood there. What is appended after such a start stands in a
//! new segment, so that starts which do not read the holed one again are as ever.
//!
//! **A cut is for good.** If anything of the segment's use number stands behind the end, the log goes on in a
//! new segment, whose head names the end: what stands behind it never counts again. Otherwise nothing
//! can come back and the same segment is written on, so that restarts do not cost a segment each.
//! Recovery itself writes nothing: the new segment comes with the first append, after the owner has set
//! its preamble. A crash during recovery therefore finds what recovery found.
//!
//! **Recycling.** Use numbers start at a random number and only count up, and each record carries its segment's;
//! its checksum also covers its position. So no old record, no misplaced write and no segment
//! that somebody stored as content is ever taken for a record. Spares are removed at the start, so none holds
//! a use number that recovery did not see.
//!
//! **Giving back.** First a durable list without the segment, then its file goes. Recovery believes the last list:
//! a segment that is listed and missing is damage; one that is there and not listed is dropped unread. Owners' records
//! leave room at the end of a segment for such a list and a mark, so a full disk never keeps room from being made.
//!
//! **A killed process.** The last batch may stand in the page cache only: recovery syncs the last segment before
//! it believes it, and drops its cache, because after a failed sync the cache may hold what the disk does not.
//!
//! What is assumed of the disk: a sector of 512 bytes is written whole or not at all; a rename happens or
//! does not; `fdatasync` tells the truth. The last batch before a crash has nothing behind it that vouches
//! for it, unless the log was idle and is marked: damage to exactly that is taken for an unsynced tail. So is the
//! loss of the last segment's file, unless the owner names a later position to [`Log::open`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod bytes;
mod committer;
mod config;
pub mod crash;
mod database;
mod disk;
mod error;
mod extents;
mod format;
mod freemap;
mod host;
mod openfiles;
mod position;
mod reader;
mod real;
mod recover;
mod shared;
pub mod sim;
mod spares;
mod writer;

pub use committer::{Bounds, Committer, OwnerHandle, Refused, Stage};
pub use config::{LogConfig, MAX_SEGMENT_BYTES, MAX_SPARES, MIN_SEGMENT_BYTES};
pub use crash::{crash_point, crash_point_waiting};
pub use database::{OnDamage, open_database};
pub use disk::{Disk, DiskFile, Open};
pub use error::LogError;
pub use extents::{EXTENT_ALIGN, EXTENT_FILE_BYTES, Extent, Extents, ExtentsConfig};
pub use format::MAX_OWNER_KIND;
pub use host::{Disks, disk_of, simulate_disks};
pub use position::Position;
pub use reader::LogReader;
pub use real::RealDisk;
pub use recover::Hole;
pub use writer::{Entry, Log, SegmentInfo};
