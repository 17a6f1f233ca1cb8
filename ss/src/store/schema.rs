//! The tables of the index, and how a transaction opens them.

use std::cell::OnceCell;

use redb::{Key, Table, TableDefinition, Value, WriteTransaction};
use types::Result;

use super::trouble::index_error;

type Key16 = &'static [u8; 16];
type Key32 = &'static [u8; 32];
type Bytes = &'static [u8];

pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
/// Session → [`ContentEntry`].
pub(super) const CONTENTS: TableDefinition<'static, Key16, Bytes> = TableDefinition::new("contents");
/// Sessions that are prepared or open again.
pub(super) const PENDING: TableDefinition<'static, Key16, ()> = TableDefinition::new("pending");
/// Sessions whose contents no version names any more.
pub(super) const LOOSE: TableDefinition<'static, Key16, ()> = TableDefinition::new("loose");
/// Session → digests of its chunks, 32 bytes each; only contents that have chunks.
pub(super) const CONTENT_CHUNKS: TableDefinition<'static, Key16, Bytes> =
    TableDefinition::new("content-chunks");
/// SHA-256 → [`ChunkEntry`].
pub(super) const CHUNKS: TableDefinition<'static, Key32, Bytes> = TableDefinition::new("chunks");
/// Inode → [`Record`].
pub(super) const RECORDS: TableDefinition<'static, u64, Bytes> = TableDefinition::new("records");
/// Name → sequence number (8 bytes) and [`User`].
pub(super) const USERS: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("users");
/// Number → sequence number (8 bytes) and [`Pair`].
pub(super) const PAIRS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("pairs");

/// (Feed, number) of each tombstone → inode.
pub(super) const TOMBSTONES: TableDefinition<'static, (u32, u64), u64> = TableDefinition::new("tombstones");
/// Inode → [`Record`] that the name manager does not list (R24).
pub(super) const ASIDE: TableDefinition<'static, u64, Bytes> = TableDefinition::new("aside");

/// Keys of the table `meta`.
pub(super) mod meta {
    pub const FORMAT: &str = "format";
    pub const UPTO: &str = "upto";
    pub const GENERATION: &str = "generation";
    pub const CONTROL: &str = "control";
    pub const PAIR: &str = "pair";
    pub const LIVE: &str = "live";
    pub const FORGOTTEN_CONTROL: &str = "forgotten-control";
    pub const FORGOTTEN_PAIR: &str = "forgotten-pair";

    /// Where it stands how far tombstones of a feed are forgotten.
    pub fn forgotten(feed: u32) -> &'static str {
        if feed == 0 { FORGOTTEN_CONTROL } else { FORGOTTEN_PAIR }
    }
}

/// A table of a write transaction, opened when it is first used: that costs as much as two look-ups.
pub(crate) struct Lazy<'t, K: Key + 'static, V: Value + 'static> {
    txn: &'t WriteTransaction,
    definition: TableDefinition<'static, K, V>,
    opened: OnceCell<Table<'t, K, V>>,
}

impl<'t, K: Key + 'static, V: Value + 'static> Lazy<'t, K, V> {
    fn new(txn: &'t WriteTransaction, definition: TableDefinition<'static, K, V>) -> Self {
        Lazy { txn, definition, opened: OnceCell::new() }
    }

    /// To look into it.
    pub fn read(&self) -> Result<&Table<'t, K, V>> {
        match self.opened.get() {
            Some(opened) => Ok(opened),
            None => {
                let opened = self.txn.open_table(self.definition).map_err(index_error)?;
                Ok(self.opened.get_or_init(|| opened))
            }
        }
    }

    /// To change it.
    pub fn write(&mut self) -> Result<&mut Table<'t, K, V>> {
        self.read()?;
        self.opened.get_mut().ok_or_else(|| index_error("a table is not open"))
    }
}

/// The tables of a write transaction.
pub(crate) struct Tables<'t> {
    pub meta: Table<'t, &'static str, u64>,
    pub contents: Table<'t, Key16, Bytes>,
    pub pending: Table<'t, Key16, ()>,
    pub loose: Lazy<'t, Key16, ()>,
    pub content_chunks: Lazy<'t, Key16, Bytes>,
    pub chunks: Lazy<'t, Key32, Bytes>,
    pub records: Lazy<'t, u64, Bytes>,
    pub users: Lazy<'t, &'static str, Bytes>,
    pub pairs: Lazy<'t, u32, Bytes>,
    pub tombstones: Lazy<'t, (u32, u64), u64>,
    pub aside: Lazy<'t, u64, Bytes>,
    /// By how much the bytes of the journal that are needed change.
    pub live: i64,
}

impl<'t> Tables<'t> {
    pub fn open(txn: &'t WriteTransaction) -> Result<Tables<'t>, redb::TableError> {
        Ok(Tables {
            meta: txn.open_table(META)?,
            contents: txn.open_table(CONTENTS)?,
            pending: txn.open_table(PENDING)?,
            loose: Lazy::new(txn, LOOSE),
            content_chunks: Lazy::new(txn, CONTENT_CHUNKS),
            chunks: Lazy::new(txn, CHUNKS),
            records: Lazy::new(txn, RECORDS),
            users: Lazy::new(txn, USERS),
            pairs: Lazy::new(txn, PAIRS),
            tombstones: Lazy::new(txn, TOMBSTONES),
            aside: Lazy::new(txn, ASIDE),
            live: 0,
        })
    }

    /// Makes those that are not there yet: readers expect all of them.
    pub fn make(&self) -> Result<()> {
        self.loose.read()?;
        self.content_chunks.read()?;
        self.chunks.read()?;
        self.records.read()?;
        self.users.read()?;
        self.pairs.read()?;
        self.tombstones.read()?;
        self.aside.read().map(drop)
    }
}
