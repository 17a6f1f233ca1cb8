//! Bulk extents (R30): room for chunks in large files beside the log.
//!
//! An extent is reserved, filled piece by piece while the disk already writes, synced, and only then named by
//! a record in the owner's log. The free map lives in memory and is built from the extents that the owner
//! names at the start. So a crash leaves an extent that nobody names, whose room is simply free again; and
//! nothing here needs a format beyond a header that says what the file is.
//!
//! An extent carries no checksum of its own: the owner's record has one of each block.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::LogError;
use crate::bytes::u64_at;
use crate::disk::{Disk, DiskFile, Open};
use crate::format::{Version, checksum, version_of};
use crate::freemap::FreeMap;
use crate::openfiles::OpenFiles;
use crate::shared::lock;

/// The first bytes of every extent file, in every version.
const MAGIC: [u8; 8] = *b"PairExt\n";
/// The version this build writes and reads.
const VERSION: u32 = 1;
/// What of a file's first block carries meaning.
const HEADER_USED: usize = 32;
/// Extents start at multiples of this, and occupy multiples of it; the first block is the file's header.
pub const EXTENT_ALIGN: u32 = 4096;
/// Length that an extent file may reach, in bytes.
pub const EXTENT_FILE_BYTES: u32 = 256 << 20;
/// Room given back in one piece of at least this many bytes goes back to the file system; smaller
/// pieces wait for their next use, because a hole costs more than it brings.
const PUNCH_BYTES: u32 = 1 << 20;

const _: () = assert!(EXTENT_FILE_BYTES.is_multiple_of(EXTENT_ALIGN) && EXTENT_ALIGN as usize >= HEADER_USED);

/// A range of bytes in an extent file.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Extent {
    /// Number of the file.
    pub file: u32,
    /// Where it starts in the file, in bytes: a multiple of [`EXTENT_ALIGN`].
    pub offset: u32,
    /// Its length in bytes. It occupies the next multiple of [`EXTENT_ALIGN`].
    pub len: u32,
}

impl Extent {
    /// Bytes that it occupies.
    fn room(&self) -> u32 {
        self.len.next_multiple_of(EXTENT_ALIGN)
    }
}

/// Where extents live. The default is what a server uses; tests take smaller files.
#[derive(Clone, Debug)]
pub struct ExtentsConfig {
    /// Folder on the [`Disk`]; nothing else may live there.
    pub folder: String,
    /// Length that a file may reach, in bytes: a multiple of [`EXTENT_ALIGN`], at least twice that. May
    /// change from one start to the next.
    pub file_bytes: u32,
    /// Files that are kept open, at least 1; others are opened when they are needed. What is under way at one moment
    /// may hold some more.
    pub open_files: usize,
}

impl Default for ExtentsConfig {
    /// Folder `extents`, files of [`EXTENT_FILE_BYTES`], 256 of them open.
    fn default() -> ExtentsConfig {
        ExtentsConfig { folder: "extents".into(), file_bytes: EXTENT_FILE_BYTES, open_files: 256 }
    }
}

/// All extents of one owner. Every method takes `&self`; reads and writes of different threads go on side by
/// side, only syncs wait for each other.
pub struct Extents {
    disk: Arc<dyn Disk>,
    config: ExtentsConfig,
    room: Mutex<Room>,
    files: OpenFiles,
    used: AtomicU64,
    /// Held while syncing. The system tells a failure to one of those who sync a file at the same time, so
    /// the others must not return before it is known here.
    syncing: Mutex<()>,
    /// A sync failed: what is durable is not known any more.
    failed: AtomicBool,
}

#[derive(Default)]
struct Room {
    free: FreeMap,
    /// The number that the next new file gets.
    next_file: u32,
    /// Files whose names are not durable yet.
    unsynced_names: BTreeSet<u32>,
    /// Files that hold live extents and were not there at the start.
    missing: BTreeSet<u32>,
}

impl Extents {
    /// Opens the extents in the folder `extents`. `live` are all that the owner's records name; all other
    /// room is free.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub fn open(disk: Arc<dyn Disk>, live: impl IntoIterator<Item = Extent>) -> Result<Extents, LogError> {
        Extents::open_with(disk, ExtentsConfig::default(), live)
    }

    /// Like [`open`](Self::open), with another folder or file length.
    ///
    /// A file that is gone, cut short or has a bad header costs what was in it, not the rest: reads there say
    /// `Damaged`, and the owner, who has a partner, writes those extents anew elsewhere.
    ///
    /// # Errors
    /// `Damaged` when two live extents overlap or one makes no sense; `UnknownFormat`; `Invalid` for a bad
    /// `config`; `Io`.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        config: ExtentsConfig,
        live: impl IntoIterator<Item = Extent>,
    ) -> Result<Extents, LogError> {
        if !config.file_bytes.is_multiple_of(EXTENT_ALIGN) || config.file_bytes < 2 * EXTENT_ALIGN {
            return Err(LogError::Invalid("file_bytes is no multiple of EXTENT_ALIGN or too small"));
        }
        let start = Start { disk: disk.as_ref(), config: &config };
        let (room, used) = start.build(live)?;
        Ok(Extents {
            disk,
            files: OpenFiles::new(config.open_files),
            config,
            room: Mutex::new(room),
            used: AtomicU64::new(used),
            syncing: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// Reserves room for `len` bytes. Nothing on the disk says that it is taken: name the extent in a
    /// durable record after [`sync`](Self::sync), or [`free`](Self::free) it.
    ///
    /// # Errors
    /// `Full`; `TooLarge` when a file cannot hold it; `Invalid` for no bytes; `Failed`; `Io`.
    pub fn reserve(&self, len: u32) -> Result<Extent, LogError> {
        self.check()?;
        let limit = self.config.file_bytes - EXTENT_ALIGN;
        if len > limit {
            return Err(LogError::TooLarge { bytes: len.into(), limit: limit.into() });
        }
        if len == 0 {
            return Err(LogError::Invalid("an extent has at least one byte"));
        }
        let room = len.next_multiple_of(EXTENT_ALIGN);
        let (file, offset) = self.take_room(room)?;
        let extent = Extent { file, offset, len };
        let allocated = self.open_file(file).and_then(|f| {
            f.allocate(offset.into(), room.into())
                .map_err(|e| LogError::io(self.what("allocate in", file), e))
        });
        match allocated {
            Ok(()) => {
                self.used.fetch_add(room.into(), Ordering::Relaxed);
                Ok(extent)
            }
            Err(e) => {
                lock(&self.room).free.give(file, offset, room);
                Err(e)
            }
        }
    }

    fn take_room(&self, len: u32) -> Result<(u32, u32), LogError> {
        let mut room = lock(&self.room);
        if let Some(place) = room.free.take(len) {
            return Ok(place);
        }
        let file = room.next_file;
        room.next_file = file.checked_add(1).ok_or(LogError::Invalid("extent file numbers are used up"))?;
        room.unsynced_names.insert(file);
        room.free.give(file, EXTENT_ALIGN, self.config.file_bytes - EXTENT_ALIGN);
        room.free.take(len).ok_or(LogError::Invalid("an extent larger than a file"))
    }

    /// Keeps the first `len` bytes of an extent and gives the rest of its room back (an upload that ended
    /// early). Returns what is left, to be used instead.
    ///
    /// # Errors
    /// `Invalid` when `len` is 0 or longer than the extent.
    pub fn shrink(&self, extent: Extent, len: u32) -> Result<Extent, LogError> {
        if len == 0 || len > extent.len {
            return Err(LogError::Invalid("an extent shrinks to between one byte and its length"));
        }
        let left = Extent { len, ..extent };
        self.give_room(extent.file, extent.offset + left.room(), extent.room() - left.room())?;
        Ok(left)
    }

    /// Gives an extent back. Call it only after the record that stops naming it is durable, and when no
    /// reader is left (R32): its room may be given out at once.
    ///
    /// # Errors
    /// `Invalid` when (part of) it is free already.
    pub fn free(&self, extent: Extent) -> Result<(), LogError> {
        self.give_room(extent.file, extent.offset, extent.room())
    }

    fn give_room(&self, file: u32, offset: u32, len: u32) -> Result<(), LogError> {
        if len == 0 || lock(&self.room).missing.contains(&file) {
            return Ok(());
        }
        let known = file > 0 && file < lock(&self.room).next_file;
        if !known || offset < EXTENT_ALIGN || !offset.is_multiple_of(EXTENT_ALIGN) {
            return Err(LogError::Invalid("this is no extent"));
        }
        if len >= PUNCH_BYTES {
            // Before others can have the room. That a hole could not be made costs room, nothing else.
            let punched = self.open_file(file).map(|f| f.punch_hole(offset.into(), len.into()));
            if let Ok(Err(e)) = punched {
                tracing::warn!(file, error = %e, "cannot give an extent's room back to the file system");
            }
        }
        if !lock(&self.room).free.give(file, offset, len) {
            return Err(LogError::Invalid("the extent is free already"));
        }
        self.used.fetch_sub(len.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Writes `data` at byte `offset` of the extent.
    ///
    /// # Errors
    /// `Invalid` when it goes beyond the extent; `Full` on a file system that allocates at the write; `Io`.
    pub fn write_at(&self, extent: &Extent, offset: u32, data: &[u8]) -> Result<(), LogError> {
        let at = self.place(extent, offset, data.len())?;
        let file = self.open_to_write(extent.file)?;
        file.write_all_at(data, at).map_err(|e| LogError::io(self.what("write", extent.file), e))
    }

    /// Hints that `len` bytes from byte `offset` of the extent on should go to the disk soon, so that the sync
    /// finds little to do.
    ///
    /// # Errors
    /// `Invalid` when the range goes beyond the extent; `Io`.
    pub fn writeback(&self, extent: &Extent, offset: u32, len: u32) -> Result<(), LogError> {
        let at = self.place(extent, offset, len as usize)?;
        let file = self.open_file(extent.file)?;
        file.start_writeback(at, len.into())
            .map_err(|e| LogError::io(self.what("write back", extent.file), e))
    }

    /// Makes all that was written to these files durable, names included.
    ///
    /// # Errors
    /// `Io` at the first failure, `Failed` ever after: it is not tried again (R31).
    pub fn sync(&self, files: &BTreeSet<u32>) -> Result<(), LogError> {
        let fail = |e: LogError| {
            tracing::error!(error = %e, "the extents are out of service: a sync failed");
            self.failed.store(true, Ordering::Release);
            e
        };
        let _alone = lock(&self.syncing);
        self.check()?;
        for &file in files {
            let open = self.open_file(file)?;
            self.files.cleaned(file);
            open.sync_data().map_err(|e| fail(LogError::io(self.what("sync", file), e)))?;
        }
        let new: Vec<u32> = lock(&self.room).unsynced_names.intersection(files).copied().collect();
        if !new.is_empty() {
            let folder = &self.config.folder;
            self.disk.sync_folder(folder).map_err(|e| fail(LogError::io(format!("sync {folder}"), e)))?;
            lock(&self.room).unsynced_names.retain(|f| !new.contains(f));
        }
        Ok(())
    }

    /// Fills `buf` from byte `offset` of the extent on. The caller checks the bytes: extents carry no checksum.
    ///
    /// # Errors
    /// `Invalid` when it goes beyond the extent; `Damaged` when the file is gone or cut short; `Io`.
    pub fn read_at(&self, extent: &Extent, offset: u32, buf: &mut [u8]) -> Result<(), LogError> {
        let at = self.place(extent, offset, buf.len())?;
        let damaged = |why| LogError::Damaged {
            folder: self.config.folder.clone(),
            segment: extent.file,
            offset: extent.offset,
            why,
        };
        if lock(&self.room).missing.contains(&extent.file) {
            return Err(damaged("the file is missing"));
        }
        let file = self.open_file(extent.file)?;
        file.read_exact_at(buf, at).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged("the file is shorter than what lies in it"),
            _ => LogError::io(self.what("read", extent.file), e),
        })
    }

    /// [`read_at`](Self::read_at) if the bytes are in memory; `false` if they are not, or something is wrong.
    pub fn read_now(&self, extent: &Extent, offset: u32, buf: &mut [u8]) -> bool {
        let file =
            self.place(extent, offset, buf.len()).and_then(|at| Ok((at, self.open_file(extent.file)?)));
        file.is_ok_and(|(at, file)| file.read_now(buf, at))
    }

    /// The file that holds extents of this number, for sendfile: an extent's bytes start at its `offset`.
    ///
    /// # Errors
    /// `Io`.
    pub fn file(&self, number: u32) -> Result<Arc<dyn DiskFile>, LogError> {
        self.open_file(number)
    }

    /// Room that extents occupy, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), LogError> {
        if self.failed.load(Ordering::Acquire) { Err(LogError::Failed) } else { Ok(()) }
    }

    fn place(&self, extent: &Extent, offset: u32, len: usize) -> Result<u64, LogError> {
        let end = u64::from(offset).saturating_add(len as u64);
        match end <= u64::from(extent.len) {
            true => Ok(u64::from(extent.offset) + u64::from(offset)),
            false => Err(LogError::Invalid("the range is outside of the extent")),
        }
    }

    fn what(&self, verb: &str, file: u32) -> String {
        format!("{verb} {}", file_name(&self.config, file))
    }

    fn open_file(&self, number: u32) -> Result<Arc<dyn DiskFile>, LogError> {
        self.opened(number, false)
    }

    fn open_to_write(&self, number: u32) -> Result<Arc<dyn DiskFile>, LogError> {
        self.opened(number, true)
    }

    fn opened(&self, number: u32, to_write: bool) -> Result<Arc<dyn DiskFile>, LogError> {
        if let Some(file) = self.files.get(number, to_write) {
            return Ok(file);
        }
        let opened = self.files.get_or_open(number, to_write, || self.open_anew(number));
        opened.map_err(|e| {
            self.failed.store(true, Ordering::Release);
            LogError::io(self.what("sync a file before it is closed for", number), e)
        })?
    }

    fn open_anew(&self, number: u32) -> Result<Arc<dyn DiskFile>, LogError> {
        let name = file_name(&self.config, number);
        let is_new = {
            let room = lock(&self.room);
            if number == 0 || number >= room.next_file || room.missing.contains(&number) {
                return Err(LogError::Invalid("there is no extent file of this number"));
            }
            room.unsynced_names.contains(&number)
        };
        // Only a file that was just numbered is created.
        let how = if is_new { Open::Create } else { Open::Existing };
        let file = self.disk.open(&name, how).map_err(|e| LogError::io(format!("open {name}"), e))?;
        if is_new && file.is_empty().map_err(|e| LogError::io(format!("look at {name}"), e))? {
            file.write_all_at(&header(number), 0).map_err(|e| LogError::io(format!("create {name}"), e))?;
        }
        Ok(file)
    }
}

fn file_name(config: &ExtentsConfig, file: u32) -> String {
    format!("{}/{file:08}", config.folder)
}

/// The header's bytes: magic, version, number of the file, checksum of these.
fn header(number: u32) -> [u8; HEADER_USED] {
    let mut out = [0; HEADER_USED];
    out[0..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&number.to_le_bytes());
    let crc = checksum(&[&out[..HEADER_USED - 8]]);
    out[HEADER_USED - 8..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Builds the free map from what lies in the folder and what is live.
struct Start<'a> {
    disk: &'a dyn Disk,
    config: &'a ExtentsConfig,
}

impl Start<'_> {
    fn build(&self, live: impl IntoIterator<Item = Extent>) -> Result<(Room, u64), LogError> {
        let folder = &self.config.folder;
        let names = self.disk.list(folder).map_err(|e| LogError::io(format!("list {folder}"), e))?;
        let numbers: BTreeSet<u32> = names.iter().filter_map(|n| n.parse().ok()).collect();
        let mut room = Room { next_file: numbers.last().map_or(1, |n| n + 1), ..Room::default() };
        let (mut torn, mut holed, mut used) = (BTreeSet::new(), BTreeSet::new(), 0);
        for &number in &numbers {
            let (file, whole) = self.open(number)?;
            // A file may be longer than files become now, if `file_bytes` was larger once.
            let len =
                file.len().map_err(|e| self.io("look at", number, e))?.min((u32::MAX - EXTENT_ALIGN).into());
            let len = (len as u32).next_multiple_of(EXTENT_ALIGN).max(self.config.file_bytes);
            room.free.give(number, EXTENT_ALIGN, len - EXTENT_ALIGN);
            if !whole {
                torn.insert(number);
            }
        }
        for extent in live {
            if extent.file > 0 && extent.file < u32::MAX && !numbers.contains(&extent.file) {
                if room.missing.insert(extent.file) {
                    tracing::error!(file = file_name(self.config, extent.file), "the file is missing");
                }
                // Its number is not given out again: what names it would find another's bytes.
                room.next_file = room.next_file.max(extent.file + 1);
                continue;
            }
            if torn.contains(&extent.file) {
                holed.insert(extent.file);
            }
            let sound = (1..=u32::MAX - EXTENT_ALIGN).contains(&extent.len)
                && extent.offset.is_multiple_of(EXTENT_ALIGN);
            if !sound || !room.free.take_at(extent.file, extent.offset, extent.room()) {
                return Err(
                    self.damaged(extent, "a live extent overlaps another or lies outside of any file")
                );
            }
            used += u64::from(extent.room());
        }
        for &number in &holed {
            // Headers say nothing of what lies behind them, and that has checksums of its own.
            tracing::error!(file = file_name(self.config, number), "the header was bad and is written anew");
        }
        // Else the torn beginning of a file that a crash interrupted: nothing is in it, so it begins again.
        for number in torn {
            let file = self.open(number)?.0;
            file.write_all_at(&header(number), 0).map_err(|e| self.io("write", number, e))?;
        }
        if !numbers.is_empty() {
            // A file that a killed process created may not have a durable name yet.
            self.disk.sync_folder(folder).map_err(|e| LogError::io(format!("sync {folder}"), e))?;
        }
        Ok((room, used))
    }

    /// Opens a file; says whether its header is whole.
    fn open(&self, number: u32) -> Result<(Arc<dyn DiskFile>, bool), LogError> {
        let name = file_name(self.config, number);
        let file = self.disk.open(&name, Open::Existing).map_err(|e| self.io("open", number, e))?;
        let mut bytes = [0; HEADER_USED];
        match file.read_exact_at(&mut bytes, 0) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok((file, false)),
            other => other.map_err(|e| self.io("read", number, e))?,
        }
        let (covered, sum) = (&bytes[..HEADER_USED - 8], u64_at(&bytes, HEADER_USED - 8));
        if bytes[..8] == MAGIC
            && let Version::Other(version) = version_of(covered, sum, VERSION)
        {
            return Err(LogError::UnknownFormat { name, version, known: VERSION });
        }
        Ok((file, bytes == header(number)))
    }

    fn io(&self, verb: &str, number: u32, e: std::io::Error) -> LogError {
        LogError::io(format!("{verb} {}", file_name(self.config, number)), e)
    }

    fn damaged(&self, at: Extent, why: &'static str) -> LogError {
        LogError::Damaged { folder: self.config.folder.clone(), segment: at.file, offset: at.offset, why }
    }
}
