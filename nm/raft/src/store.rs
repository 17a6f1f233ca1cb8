//! The state machine's tables in redb.

use std::cell::OnceCell;
use std::io::ErrorKind;
use std::ops::Bound;
use std::sync::OnceLock;

use log::Disk;
use nm_core::store::{Store, StoreError, StoreMut, Table};
use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};

use crate::error::{Failures, RaftError};

const TABLES: usize = Table::ALL.len();

/// What stands under `FORMAT_KEY` in [`Table::Raft`].
const FORMAT: u8 = 1;
const FORMAT_KEY: &[u8] = b"format";

type Bytes = &'static [u8];

/// Names of the tables in the file, by number. They are on disk.
const NAMES: [&str; TABLES] = [
    "meta",
    "inodes",
    "names",
    "feed",
    "pairs",
    "servers",
    "users",
    "clients",
    "results",
    "owed",
    "uploads",
    "trash",
    "events",
    "raft",
    "clients-by-time",
];

fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(NAMES[table as usize])
}

/// What redb's word means for the state: damage, or a failure of the disk.
pub(crate) fn failed(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let what = error.to_string();
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => StoreError::Damaged(what),
        redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            StoreError::Damaged(what)
        }
        _ => StoreError::Failed(what),
    }
}

/// Opens or makes `state.redb` on `disk`; nobody else may have it open. Damage that is met in it later, by whom ever, ends
/// the group.
pub(crate) fn open(disk: &dyn Disk, cache_bytes: usize, failures: &Failures) -> Result<Database, RaftError> {
    let failures = failures.clone();
    let on_damage = Box::new(move |what: &str| failures.report(&RaftError::Damaged(what.to_owned())));
    prepare(log::open_database(disk, "state.redb", cache_bytes, on_damage), "the data folder")
}

/// Opens or makes the state on another medium.
#[cfg(test)]
pub(crate) fn open_backend(
    backend: impl redb::StorageBackend,
    cache_bytes: usize,
) -> Result<Database, RaftError> {
    let opened = Database::builder().set_cache_size(cache_bytes).create_with_backend(backend);
    prepare(opened, "memory")
}

fn prepare(opened: Result<Database, DatabaseError>, place: &str) -> Result<Database, RaftError> {
    let db = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => RaftError::Busy(place.to_string()),
        DatabaseError::UpgradeRequired(version) => RaftError::Format(format!(
            "state.redb is in format {version}, which this version cannot read: use the version that wrote it"
        )),
        DatabaseError::Storage(redb::StorageError::Corrupted(what)) => {
            RaftError::Damaged(format!("state.redb: {what}"))
        }
        DatabaseError::Storage(redb::StorageError::Io(error))
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            RaftError::Damaged(format!("state.redb: {error}"))
        }
        other => RaftError::Io(format!("state.redb: {other}")),
    })?;
    match View::new(&db)?.format()? {
        Some(FORMAT) => Ok(db),
        Some(other) => Err(RaftError::Format(format!(
            "state.redb is in format {other}, this version reads format {FORMAT}: use the version that wrote it"
        ))),
        None => {
            write(&db, true, |store| store.put(Table::Raft, FORMAT_KEY, &[FORMAT]))?;
            Ok(db)
        }
    }
}

/// Runs `change` in one transaction; it is durable, along with all before it, if `durable` says so.
///
/// Durable commits note what redb's next start would otherwise have to find out by reading the whole file
/// ("quick repair"). With an error nothing has changed.
pub(crate) fn write<T>(
    db: &Database,
    durable: bool,
    change: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut txn = db.begin_write().map_err(failed)?;
    if durable {
        txn.set_quick_repair(true);
    }
    txn.set_durability(if durable { Durability::Immediate } else { Durability::None }).map_err(failed)?;
    let mut store = Transaction { txn: &txn, tables: Default::default() };
    let value = change(&mut store)?;
    drop(store);
    txn.commit().map_err(failed)?;
    Ok(value)
}

/// A consistent moment of the state. Cheap to make; the pages it sees stay allocated while it lives, so let
/// it go when the answer is made.
pub struct View {
    txn: ReadTransaction,
    /// Boxed, so that a view is cheap to hand on.
    tables: [OnceLock<Box<ReadOnlyTable<Bytes, Bytes>>>; TABLES],
    /// Whom damage is told that this view meets.
    failures: Option<Failures>,
}

impl View {
    pub(crate) fn new(db: &Database) -> Result<Self, StoreError> {
        Ok(View { txn: db.begin_read().map_err(failed)?, tables: Default::default(), failures: None })
    }

    /// The same; damage that it meets ends the group.
    pub(crate) fn watched(db: &Database, failures: Failures) -> Result<Self, StoreError> {
        let view = Self::new(db).inspect_err(|error| failures.report_damage(error))?;
        Ok(View { failures: Some(failures), ..view })
    }

    fn told<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| self.found_damaged(error))
    }

    /// `None` for a table that was never written.
    fn table(&self, table: Table) -> Result<Option<&ReadOnlyTable<Bytes, Bytes>>, StoreError> {
        let cell = &self.tables[table as usize];
        if cell.get().is_none() {
            match self.txn.open_table(definition(table)) {
                // Another thread may have been first; the two are alike.
                Ok(opened) => drop(cell.set(Box::new(opened))),
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(cell.get().map(Box::as_ref))
    }

    fn format(&self) -> Result<Option<u8>, StoreError> {
        Ok(self.get(Table::Raft, FORMAT_KEY)?.map(|value| value.first().copied().unwrap_or(0)))
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl Store for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.told(self.table(table).and_then(|table| table.map_or(Ok(None), |table| get(table, key))))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.told(
            self.table(table).and_then(|table| table.map_or(Ok(()), |table| scan(table, from, to, visit))),
        )
    }

    fn found_damaged(&self, error: &StoreError) {
        if let Some(failures) = &self.failures {
            failures.report_damage(error);
        }
    }
}

type WriteTable<'t> = redb::Table<'t, Bytes, Bytes>;

/// A write transaction; tables are opened when they are first used.
pub(crate) struct Transaction<'t> {
    txn: &'t WriteTransaction,
    tables: [OnceCell<WriteTable<'t>>; TABLES],
}

impl<'t> Transaction<'t> {
    fn table(&self, table: Table) -> Result<&WriteTable<'t>, StoreError> {
        let cell = &self.tables[table as usize];
        match cell.get() {
            Some(opened) => Ok(opened),
            None => {
                let opened = self.txn.open_table(definition(table)).map_err(failed)?;
                Ok(cell.get_or_init(|| opened))
            }
        }
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut WriteTable<'t>, StoreError> {
        self.table(table)?;
        self.tables[table as usize]
            .get_mut()
            .ok_or_else(|| StoreError::Failed(format!("table {} is not open", NAMES[table as usize])))
    }

    /// Removes all that stands in every table.
    pub(crate) fn clear(&mut self) -> Result<(), StoreError> {
        for table in Table::ALL {
            self.table_mut(table)?.retain(|_, _| false).map_err(failed)?;
        }
        Ok(())
    }
}

impl Store for Transaction<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.table(table)?, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        scan(self.table(table)?, from, to, visit)
    }
}

impl StoreMut for Transaction<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.table_mut(table)?.insert(key, value).map_err(failed)?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.table_mut(table)?.remove(key).map_err(failed)?;
        Ok(())
    }
}

fn bounds<'a>(from: &'a [u8], to: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let to = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
    (Bound::Included(from), to)
}

fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<Bytes, Bytes>,
    from: &[u8],
    to: &[u8],
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), StoreError> {
    if !to.is_empty() && from >= to {
        return Ok(());
    }
    for entry in table.range::<&[u8]>(bounds(from, to)).map_err(failed)? {
        let (key, value) = entry.map_err(failed)?;
        if !visit(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}
