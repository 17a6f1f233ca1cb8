//! Reading the state: typed access to the tables, for queries and for the state machine.

mod feeds;
mod tree;

use crate::keys::{self, ClusterEntry, Counters, OwedEntry, UserEntry};
use crate::store::{Store, StoreError, Table};
use prost::Message;
use types::capability::MacKey;
use types::command::VersionRef;
use types::record::{Event, Pair, Record, Server};
use types::{Code, Error};

/// The cluster's fixed facts.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// 16 bytes.
    pub cluster_id: Vec<u8>,
    /// The name managers' key (R15).
    pub master_key: MacKey,
    /// Generation of the feeds (R24).
    pub generation: u64,
    /// Failures are found within about a second.
    pub fast: bool,
}

/// The state at one moment. Every method fails only if the store does, or if what it holds does not
/// decode.
#[derive(Clone, Copy)]
pub struct State<'a> {
    store: &'a dyn Store,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let (code, next) = match error {
            StoreError::Damaged(_) => {
                (Code::Damaged, "start it with --rebuild to restore its index from the storage servers")
            }
            StoreError::Format(_) => (Code::UnknownFormat, "start the version that wrote it"),
            StoreError::Failed(_) => (Code::Io, "look at the name manager's log and disk"),
        };
        Error::new(code, error, next)
    }
}

/// Decodes what a table holds.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|error| StoreError::damaged(format_args!("an entry does not decode ({error})")))
}

impl<'a> State<'a> {
    /// The state in `store`.
    pub fn new(store: &'a dyn Store) -> State<'a> {
        State { store }
    }

    /// What is damaged the store hears of, too.
    fn told<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| self.store.found_damaged(error))
    }

    fn entry<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        self.told(self.store.get(table, key)?.map(|bytes| decode(&bytes)).transpose())
    }

    fn all<M: Message + Default>(&self, table: Table) -> Result<Vec<M>, StoreError> {
        self.page(table, &[], &[], usize::MAX)
    }

    fn page<M: Message + Default>(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<M>, StoreError> {
        let mut found = Vec::new();
        let mut failed = None;
        if limit == 0 {
            return Ok(found);
        }
        self.store.scan(table, from, to, &mut |_, value| match decode(value) {
            Ok(entry) => {
                found.push(entry);
                found.len() < limit
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        self.told(failed.map_or(Ok(found), Err))
    }

    /// The cluster, once it is made.
    pub fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        let Some(entry) = self.entry::<ClusterEntry>(Table::Meta, keys::CLUSTER)? else { return Ok(None) };
        let master_key = MacKey::from_slice(&entry.master_key).map_err(StoreError::damaged)?;
        Ok(Some(Cluster {
            cluster_id: entry.cluster_id,
            master_key,
            generation: entry.generation,
            fast: entry.fast,
        }))
    }

    /// Whether a rebuild is under way that has not made its cluster yet (R26).
    pub fn is_rebuilding(&self) -> Result<bool, StoreError> {
        Ok(self.store.get(Table::Meta, keys::REBUILD)?.is_some())
    }

    /// All counters.
    pub fn counters(&self) -> Result<Counters, StoreError> {
        Ok(self.entry(Table::Meta, keys::COUNTERS)?.unwrap_or_default())
    }

    /// Log time, ms since 1970.
    pub fn log_time(&self) -> Result<u64, StoreError> {
        Ok(self.counters()?.log_time)
    }

    /// A pair by its number.
    pub fn pair(&self, id: u32) -> Result<Option<Pair>, StoreError> {
        self.entry(Table::Pairs, &id.to_be_bytes())
    }

    /// A pair by its name.
    pub fn pair_by_name(&self, name: &str) -> Result<Option<Pair>, StoreError> {
        Ok(self.pairs()?.into_iter().find(|pair| pair.name == name))
    }

    /// All pairs by number.
    pub fn pairs(&self) -> Result<Vec<Pair>, StoreError> {
        self.all(Table::Pairs)
    }

    /// A storage server.
    pub fn server(&self, name: &str) -> Result<Option<Server>, StoreError> {
        self.entry(Table::Servers, name.as_bytes())
    }

    /// All storage servers by name.
    pub fn servers(&self) -> Result<Vec<Server>, StoreError> {
        self.all(Table::Servers)
    }

    /// A file, folder, link or tombstone.
    pub fn inode(&self, id: u64) -> Result<Option<Record>, StoreError> {
        self.entry(Table::Inodes, &keys::inode(id))
    }

    /// A user with keys.
    pub fn user(&self, name: &str) -> Result<Option<UserEntry>, StoreError> {
        self.entry(Table::Users, name.as_bytes())
    }

    /// The first administrator by name.
    pub fn administrator(&self) -> Result<Option<String>, StoreError> {
        let mut found = None;
        self.store.scan(Table::Users, &[], &[], &mut |_, value| {
            let user = decode::<UserEntry>(value).ok().and_then(|entry| entry.public);
            found = user.filter(|user| user.admin).map(|user| user.name);
            found.is_none()
        })?;
        Ok(found)
    }

    /// A user's access key by its id.
    pub fn user_key(&self, name: &str, key_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let keys = self.user(name)?.map(|user| user.keys).unwrap_or_default();
        Ok(keys.into_iter().find(|key| key.id == key_id).map(|key| key.key))
    }

    /// Events with a number above `after`, at most `limit`.
    pub fn events_after(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.page(Table::Events, &after.saturating_add(1).to_be_bytes(), &[], limit)
    }

    /// The owed versions of a pair held by `holder`, by file, at most `limit` versions.
    pub fn owed_of(
        &self,
        pair: u32,
        holder: &str,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<VersionRef>)>, StoreError> {
        let mut files: Vec<(u64, Vec<VersionRef>)> = Vec::new();
        let (mut count, mut failed) = (0, None);
        let from = pair.to_be_bytes();
        self.store.scan(Table::Owed, &from, &keys::after_prefix(&from), &mut |key, value| {
            let entry = match decode::<OwedEntry>(value) {
                Ok(entry) => entry,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            if entry.holder != holder {
                return true;
            }
            let inode = key.get(4..12).and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes);
            let version = VersionRef { inode, session: key[12..].to_vec(), sha256: entry.sha256 };
            match files.last_mut() {
                Some((last, versions)) if *last == inode => versions.push(version),
                // A whole file at a time: its versions are adopted together (R12).
                _ if count >= limit => return false,
                _ => files.push((inode, vec![version])),
            }
            count += 1;
            true
        })?;
        self.told(failed.map_or(Ok(files), Err))
    }
}
