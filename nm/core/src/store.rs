//! What the state machine needs of an ordered store: the core's only way to its state.
//!
//! The shell implements it on redb, tests on a map, the simulation on what it likes. Keys order as
//! bytes; numbers in keys are big-endian so that they order as numbers.

use thiserror::Error;

/// The tables of the state machine. The number is on disk: never give one another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Single values: cluster, settings, counters, log time.
    Meta = 0,
    /// Inode id → inode.
    Inodes = 1,
    /// (parent id, sort name) → inode id.
    Names = 2,
    /// (feed, seq) → inode id or another subject.
    Feed = 3,
    /// Pair id → pair.
    Pairs = 4,
    /// Server name → server.
    Servers = 5,
    /// User name → user.
    Users = 6,
    /// Client id → its floor and when it was last heard.
    Clients = 7,
    /// (client id, number) → result.
    Results = 8,
    /// (pair id, inode id, version id) → owed version.
    Owed = 9,
    /// Session id → placement of a name for the life of an upload.
    Uploads = 10,
    /// (time, inode id) → what lies in the trash.
    Trash = 11,
    /// Seq → event.
    Events = 12,
    /// Whatever the Raft glue keeps in the same transaction (last applied, membership).
    Raft = 13,
    /// (log time, client id) → nothing: the clients by the time they were last heard.
    ClientsByTime = 14,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 15] = [
        Table::Meta,
        Table::Inodes,
        Table::Names,
        Table::Feed,
        Table::Pairs,
        Table::Servers,
        Table::Users,
        Table::Clients,
        Table::Results,
        Table::Owed,
        Table::Uploads,
        Table::Trash,
        Table::Events,
        Table::Raft,
        Table::ClientsByTime,
    ];
}

/// The store could not do it. The state machine stops.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// What it holds makes no sense: only a rebuild helps (R34).
    #[error("the name manager's state is damaged: {0}")]
    Damaged(String),
    /// What it is to read was made by a later version (R35).
    #[error("{0}")]
    Format(String),
    /// The disk failed, or something in this process.
    #[error("the name manager's state could not be read or written: {0}")]
    Failed(String),
}

impl StoreError {
    /// What it holds makes no sense.
    pub fn damaged(what: impl std::fmt::Display) -> StoreError {
        StoreError::Damaged(what.to_string())
    }
}

/// Reading at one consistent moment.
pub trait Store {
    /// The value under `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `visit(key, value)` for the entries with `from <= key < to` in key order (`to` empty: to
    /// the end of the table) until it returns `false`.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError>;

    /// A reader has found that what is stored makes no sense: whoever keeps it may have to stop.
    fn found_damaged(&self, _error: &StoreError) {}
}

/// Writing within one transaction; what was written is seen by the reads of the same transaction.
pub trait StoreMut: Store {
    /// Sets `key` to `value`.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes `key`; absent is fine.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
}
