//! The index: what the journal says, ordered for looking up. A file of redb that can be deleted at any time;
//! it holds nothing that the journal does not.
//!
//! Every batch is one transaction that is not durable by itself; now and then one is. The index remembers up
//! to where it has followed the journal, and the next start replays what is behind that.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use log::bytes::u64_at;
use log::{Disk, Extent, Position};
use prost::Message;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend,
};
use types::ids::SessionId;
use types::record::{Pair, Record, User};
use types::{Code, Error, Result};

use super::damage::IndexDamage;
use super::entry::{ChunkEntry, ContentEntry, Location};
use super::schema::{
    ASIDE, CHUNKS, CONTENT_CHUNKS, CONTENTS, LOOSE, META, PAIRS, PENDING, RECORDS, TOMBSTONES, Tables, USERS,
    meta,
};
use super::trouble::index_error;

/// Where it is.
const FILE: &str = "index.redb";

/// What stands under `format`.
const FORMAT: u64 = 3;

/// How far a store has applied its feeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// The life of the feeds that the cursors count in.
    pub generation: u64,
    /// Control feed.
    pub control: u64,
    /// Feed of the server's pair.
    pub pair: u64,
}

/// See the module's description. Readers are many, the writer is one.
pub(crate) struct Index {
    db: Database,
}

impl Index {
    /// Opens the index of `disk`, or makes it. One that is broken or of another format is made anew. One that is found damaged
    /// later is gone at the next start, and `damage` says so.
    pub fn open(
        disk: &Arc<dyn Disk>,
        cache_bytes: usize,
        fresh: bool,
        damage: &IndexDamage,
    ) -> Result<Index> {
        if fresh {
            remove(&**disk)?;
            damage.forget();
        }
        let on_damage = || {
            let (disk, damage) = (disk.clone(), damage.clone());
            Box::new(move |what: &str| {
                // Whoever has it open keeps it; a start finds none, and needs nothing of it.
                if let Err(error) = remove(&*disk) {
                    tracing::error!(%error, file = FILE, "the damaged index cannot be removed: remove it by hand");
                }
                damage.note(what);
            })
        };
        let open = || Self::check(log::open_database(&**disk, FILE, cache_bytes, on_damage()));
        match open() {
            Err(Unusable::Never(error)) => Err(error),
            Err(Unusable::Replace(why)) => {
                tracing::warn!(file = FILE, why, "the index is rebuilt from the journal");
                remove(&**disk)?;
                damage.forget();
                open().map_err(|unusable| match unusable {
                    Unusable::Never(error) => error,
                    Unusable::Replace(why) => index_error(why),
                })
            }
            Ok(index) => Ok(index),
        }
    }

    /// An index on another medium than a file.
    pub fn open_on(backend: impl StorageBackend, cache_bytes: usize) -> Result<Index> {
        Self::check(Database::builder().set_cache_size(cache_bytes).create_with_backend(backend)).map_err(
            |e| match e {
                Unusable::Never(error) => error,
                Unusable::Replace(why) => index_error(why),
            },
        )
    }

    fn check(opened: Result<Database, DatabaseError>) -> Result<Index, Unusable> {
        let db = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Unusable::Never(Error::new(
                Code::AlreadyRunning,
                "the index is open in another process",
                "stop that one first",
            )),
            // A file that is cut short is broken, and not the disk.
            DatabaseError::Storage(redb::StorageError::Io(e))
                if !matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Unusable::Never(e.into())
            }
            other => Unusable::Replace(other.to_string()),
        })?;
        let index = Index { db };
        let broken = |error: Error| Unusable::Replace(error.message);
        match index.meta(meta::FORMAT).map_err(broken)? {
            Some(FORMAT) => Ok(index),
            Some(other) => {
                Err(Unusable::Replace(format!("it is in format {other}, this build reads {FORMAT}")))
            }
            None => {
                let write = |t: &mut Tables<'_>| {
                    t.meta.insert(meta::FORMAT, FORMAT).map_err(index_error)?;
                    t.make()
                };
                index.write(true, write).map_err(broken)?;
                Ok(index)
            }
        }
    }

    /// Runs `change` in one transaction. With `durable`, it and all before it are durable afterwards. With an
    /// error nothing has changed.
    pub fn write<T>(&self, durable: bool, change: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let mut txn = self.db.begin_write().map_err(index_error)?;
        // Quick repair notes what the next start would otherwise find out by reading the whole file.
        txn.set_quick_repair(durable);
        let durability = if durable { Durability::Immediate } else { Durability::None };
        txn.set_durability(durability).map_err(index_error)?;
        let mut tables = Tables::open(&txn).map_err(index_error)?;
        let value = change(&mut tables)?;
        drop(tables);
        txn.commit().map_err(index_error)?;
        Ok(value)
    }

    fn meta(&self, key: &str) -> Result<Option<u64>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        match txn.open_table(META) {
            Ok(table) => Ok(table.get(key).map_err(index_error)?.map(|v| v.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(index_error(error)),
        }
    }

    /// Everything before this position of the journal is in the index.
    pub fn upto(&self) -> Result<Position> {
        Ok(Position(self.meta(meta::UPTO)?.unwrap_or_default()))
    }

    /// Bytes of the journal's records that are needed, about.
    pub fn live_bytes(&self) -> Result<u64> {
        Ok(self.meta(meta::LIVE)?.unwrap_or_default())
    }

    /// The cursors.
    pub fn cursors(&self) -> Result<Cursors> {
        Ok(Cursors {
            generation: self.meta(meta::GENERATION)?.unwrap_or_default(),
            control: self.meta(meta::CONTROL)?.unwrap_or_default(),
            pair: self.meta(meta::PAIR)?.unwrap_or_default(),
        })
    }

    /// A content.
    pub fn content(&self, session: SessionId) -> Result<Option<ContentEntry>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CONTENTS).map_err(index_error)?;
        let found = table.get(&session.0).map_err(index_error)?;
        found.map(|v| ContentEntry::decode(v.value())).transpose()
    }

    /// Sessions of contents after `after`, in order.
    pub fn contents_after(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<SessionId>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CONTENTS).map_err(index_error)?;
        let from = after.as_ref().map_or(Unbounded, |s| Excluded(&s.0));
        let rows = table.range::<&[u8; 16]>((from, Unbounded)).map_err(index_error)?.take(limit);
        rows.map(|row| Ok(SessionId(*row.map_err(index_error)?.0.value()))).collect()
    }

    /// Sessions that are prepared or open again.
    pub fn pending(&self) -> Result<Vec<SessionId>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(PENDING).map_err(index_error)?;
        let rows = table.iter().map_err(index_error)?;
        rows.map(|row| Ok(SessionId(*row.map_err(index_error)?.0.value()))).collect()
    }

    /// The first sessions that wait to be collected and that `take` takes, at most `limit`.
    pub fn loose(&self, limit: usize, mut take: impl FnMut(SessionId) -> bool) -> Result<Vec<SessionId>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(LOOSE).map_err(index_error)?;
        let mut found = Vec::new();
        for row in table.iter().map_err(index_error)? {
            let session = SessionId(*row.map_err(index_error)?.0.value());
            if take(session) {
                found.push(session);
                if found.len() >= limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// A chunk.
    pub fn chunk(&self, sha256: &[u8; 32]) -> Result<Option<ChunkEntry>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CHUNKS).map_err(index_error)?;
        let found = table.get(sha256).map_err(index_error)?;
        found.map(|v| ChunkEntry::decode(v.value())).transpose()
    }

    /// All extents that chunks are in.
    pub fn extents(&self) -> Result<Vec<Extent>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CHUNKS).map_err(index_error)?;
        let mut extents = Vec::new();
        for row in table.iter().map_err(index_error)? {
            let row = row.map_err(index_error)?;
            extents.extend(ChunkEntry::decode(row.1.value())?.extent());
        }
        Ok(extents)
    }

    /// Shows each chunk.
    pub fn each_chunk(&self, mut show: impl FnMut([u8; 32], ChunkEntry) -> Result<()>) -> Result<()> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CHUNKS).map_err(index_error)?;
        for row in table.iter().map_err(index_error)? {
            let row = row.map_err(index_error)?;
            show(*row.0.value(), ChunkEntry::decode(row.1.value())?)?;
        }
        Ok(())
    }

    /// Shows the digests of each content's chunks, 32 bytes each.
    pub fn each_chunk_list(&self, mut show: impl FnMut(SessionId, &[u8]) -> Result<()>) -> Result<()> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CONTENT_CHUNKS).map_err(index_error)?;
        for row in table.iter().map_err(index_error)? {
            let row = row.map_err(index_error)?;
            show(SessionId(*row.0.value()), row.1.value())?;
        }
        Ok(())
    }

    /// Whether a record of the journal in this range is one that a content or a chunk is found in; one of its positions.
    pub fn found_in(&self, range: Range<Position>) -> Result<Option<Position>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CONTENTS).map_err(index_error)?;
        for row in table.iter().map_err(index_error)? {
            let entry = ContentEntry::decode(row.map_err(index_error)?.1.value())?;
            if range.contains(&entry.position) {
                return Ok(Some(entry.position));
            }
        }
        let mut found = None;
        self.each_chunk(|_, chunk| {
            if let Location::Journal { position, .. } = chunk.location {
                found = found.or(range.contains(&position).then_some(position));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Chunks with digests behind `after`, in order.
    pub fn chunks_after(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<([u8; 32], ChunkEntry)>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CHUNKS).map_err(index_error)?;
        let from = after.as_ref().map_or(Unbounded, Excluded);
        let rows = table.range::<&[u8; 32]>((from, Unbounded)).map_err(index_error)?.take(limit);
        rows.map(|row| {
            let row = row.map_err(index_error)?;
            Ok((*row.0.value(), ChunkEntry::decode(row.1.value())?))
        })
        .collect()
    }

    /// All chunks, for comparing.
    #[cfg(test)]
    pub fn chunks(&self) -> Result<Vec<([u8; 32], ChunkEntry)>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(CHUNKS).map_err(index_error)?;
        let rows = table.iter().map_err(index_error)?;
        rows.map(|row| {
            let row = row.map_err(index_error)?;
            Ok((*row.0.value(), ChunkEntry::decode(row.1.value())?))
        })
        .collect()
    }

    /// A record.
    pub fn record(&self, inode: u64) -> Result<Option<Record>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(RECORDS).map_err(index_error)?;
        let found = table.get(inode).map_err(index_error)?;
        found.map(|v| Record::decode(v.value()).map_err(index_error)).transpose()
    }

    /// Records with an id above `inode`, in order.
    pub fn records_after(&self, inode: u64, limit: usize) -> Result<BTreeMap<u64, Record>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(RECORDS).map_err(index_error)?;
        let rows = table.range::<u64>((Excluded(inode), Unbounded)).map_err(index_error)?.take(limit);
        rows.map(|row| {
            let row = row.map_err(index_error)?;
            Ok((row.0.value(), Record::decode(row.1.value()).map_err(index_error)?))
        })
        .collect()
    }

    /// Up to where tombstones of a feed are forgotten.
    pub fn forgotten(&self, feed: u32) -> Result<u64> {
        Ok(self.meta(meta::forgotten(feed))?.unwrap_or_default())
    }

    /// Numbers of the first tombstones of a feed up to `upto`, in order.
    pub fn tombstones(&self, feed: u32, upto: u64, limit: usize) -> Result<Vec<u64>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(TOMBSTONES).map_err(index_error)?;
        let rows = table.range((feed, 0)..=(feed, upto)).map_err(index_error)?.take(limit);
        rows.map(|row| Ok(row.map_err(index_error)?.0.value().1)).collect()
    }

    /// A record that is set aside.
    pub fn aside(&self, inode: u64) -> Result<Option<Record>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(ASIDE).map_err(index_error)?;
        let found = table.get(inode).map_err(index_error)?;
        found.map(|v| Record::decode(v.value()).map_err(index_error)).transpose()
    }

    /// Records that are set aside, with ids above `inode`, in order.
    pub fn aside_after(&self, inode: u64, limit: usize) -> Result<Vec<Record>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(ASIDE).map_err(index_error)?;
        let rows = table.range::<u64>((Excluded(inode), Unbounded)).map_err(index_error)?.take(limit);
        rows.map(|row| Record::decode(row.map_err(index_error)?.1.value()).map_err(index_error)).collect()
    }

    /// All records that are set aside.
    pub fn all_aside(&self) -> Result<Vec<Record>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(ASIDE).map_err(index_error)?;
        let rows = table.iter().map_err(index_error)?;
        rows.map(|row| Record::decode(row.map_err(index_error)?.1.value()).map_err(index_error)).collect()
    }

    /// How many records are set aside.
    pub fn aside_count(&self) -> Result<u64> {
        let txn = self.db.begin_read().map_err(index_error)?;
        txn.open_table(ASIDE).map_err(index_error)?.len().map_err(index_error)
    }

    /// Users with names behind `name` and the rows that told of them, in order.
    pub fn users_after(&self, name: &str, limit: usize) -> Result<Vec<(u64, User)>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(USERS).map_err(index_error)?;
        let rows = table.range::<&str>((Excluded(name), Unbounded)).map_err(index_error)?.take(limit);
        rows.map(|row| numbered(row.map_err(index_error)?.1.value())).collect()
    }

    /// Pairs with numbers above `id` and the rows that told of them, in order.
    pub fn pairs_after(&self, id: u32, limit: usize) -> Result<Vec<(u64, Pair)>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(PAIRS).map_err(index_error)?;
        let rows = table.range::<u32>((Excluded(id), Unbounded)).map_err(index_error)?.take(limit);
        rows.map(|row| numbered(row.map_err(index_error)?.1.value())).collect()
    }

    /// A user and the number of the row that told of it.
    pub fn user(&self, name: &str) -> Result<Option<(u64, User)>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(USERS).map_err(index_error)?;
        let found = table.get(name).map_err(index_error)?;
        found.map(|v| numbered(v.value())).transpose()
    }

    /// A pair and the number of the row that told of it.
    pub fn pair(&self, id: u32) -> Result<Option<(u64, Pair)>> {
        let txn = self.db.begin_read().map_err(index_error)?;
        let table = txn.open_table(PAIRS).map_err(index_error)?;
        let found = table.get(id).map_err(index_error)?;
        found.map(|v| numbered(v.value())).transpose()
    }
}

/// Why an index cannot be used.
enum Unusable {
    /// Nor could another one be here.
    Never(Error),
    /// A new one could.
    Replace(String),
}

fn remove(disk: &dyn Disk) -> Result<()> {
    match disk.remove(FILE) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
        // Durably: once the journal has grown past it, an index that comes back would be believed.
        Ok(()) => Ok(disk.sync_folder("")?),
    }
}

/// A sequence number with a message behind it.
pub(super) fn with_number(seq: u64, message: &impl Message) -> Vec<u8> {
    let mut out = seq.to_le_bytes().to_vec();
    message.encode_raw(&mut out);
    out
}

fn numbered<M: Message + Default>(bytes: &[u8]) -> Result<(u64, M)> {
    let message = bytes.get(8..).ok_or_else(|| index_error("a control row is too short"))?;
    Ok((u64_at(bytes, 0), M::decode(message).map_err(index_error)?))
}
