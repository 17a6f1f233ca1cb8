//! Reading the state: typed access to the tables, for queries and for the state machine.

use crate::keys::{self, ClusterEntry, Counters, OwedEntry, RowSubject, UserEntry};
use crate::store::{Store, StoreError, Table};
use prost::Message;
use types::capability::MacKey;
use types::command::{OpenUpload, VersionRef};
use types::ids::InodeId;
use types::record::{Event, Pair, Record, Row, Server, Subject};
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

    /// The inode under a name in a folder; a file and a folder of one name cannot both be there.
    pub fn child(&self, parent: InodeId, name: &str) -> Result<Option<Record>, StoreError> {
        for folder in [false, true] {
            let key = keys::name(parent, &keys::sort_name(name, folder));
            if let Some(id) = self.store.get(Table::Names, &key)? {
                let id = id.try_into().map_err(|_| StoreError::damaged("a name does not point to an inode"));
                let id = self.told(id)?;
                return self.inode(u64::from_be_bytes(id));
            }
        }
        Ok(None)
    }

    /// The names of a folder from `from` on (empty: from the first) that begin with `prefix`: sort name
    /// and record, at most `limit`.
    pub fn children(
        &self,
        parent: InodeId,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        let prefix = keys::name(parent, prefix);
        let mut from = prefix.clone();
        if !after.is_empty() {
            let mut behind = keys::name(parent, after);
            behind.push(0);
            from = from.max(behind);
        }
        let mut ids = Vec::new();
        self.store.scan(Table::Names, &from, &keys::after_prefix(&prefix), &mut |key, value| {
            let id = value.try_into().map_or(0, u64::from_be_bytes);
            ids.push((String::from_utf8_lossy(&key[8..]).into_owned(), id));
            ids.len() < limit
        })?;
        ids.truncate(limit);
        let mut found = Vec::with_capacity(ids.len());
        for (sort, id) in ids {
            if let Some(record) = self.inode(id)? {
                found.push((sort, record));
            }
        }
        Ok(found)
    }

    /// Whether a folder has nothing in it.
    pub fn is_empty(&self, folder: InodeId) -> Result<bool, StoreError> {
        Ok(self.children(folder, "", "", 1)?.is_empty())
    }

    /// What a row points to, as it is now.
    fn row(&self, seq: u64, subject: &RowSubject) -> Result<Option<Row>, StoreError> {
        let subject = match subject {
            RowSubject::Inode(id) => self.inode(*id)?.map(Subject::Record),
            RowSubject::Pair(id) => self.pair(*id)?.map(Subject::Pair),
            RowSubject::User(name) => self.user(name)?.and_then(|user| user.public).map(Subject::User),
        };
        Ok(subject.map(|subject| Row { seq, subject: Some(subject) }))
    }

    /// The records of the files of `pair` with ids after `after`, in order: at most `max` of them, and about `max_bytes`.
    /// And after which id to go on; 0 at the end.
    pub fn files_of(
        &self,
        pair: u32,
        after: u64,
        max: usize,
        max_bytes: usize,
    ) -> Result<(Vec<Record>, u64), StoreError> {
        /// Files of other pairs are passed over, but not for ever.
        const LOOKED_AT: usize = 4_096;
        let (mut found, mut bytes, mut looked, mut last, mut full) = (Vec::new(), 0, 0, 0, false);
        let mut failed = None;
        self.store.scan(Table::Inodes, &keys::inode(after.saturating_add(1)), &[], &mut |_, value| {
            let record: Record = match decode(value) {
                Ok(record) => record,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            (last, looked) = (record.id, looked + 1);
            if record.pair == pair {
                bytes += value.len();
                found.push(record);
            }
            full = found.len() >= max || bytes >= max_bytes || looked >= LOOKED_AT;
            !full
        })?;
        failed.map_or(Ok((found, if full { last } else { 0 })), Err)
    }

    /// The rows of `feed` after `after`, in order: at most `max_rows` of them, and about `max_bytes`.
    pub fn feed_rows(
        &self,
        feed: u32,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        let from = keys::feed(feed, after.saturating_add(1));
        self.store.scan(
            Table::Feed,
            &from,
            &keys::after_prefix(&feed.to_be_bytes()),
            &mut |key, value| {
                found.push((keys::feed_seq(key), RowSubject::decode(value)));
                found.len() < max_rows
            },
        )?;
        let mut rows = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for (seq, subject) in found {
            let subject = subject.ok_or_else(|| StoreError::damaged("a row of the feed does not decode"));
            let subject = self.told(subject)?;
            if let Some(row) = self.row(seq, &subject)? {
                bytes += row.encoded_len();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Seq of the last row of `feed`.
    pub fn feed_end(&self, feed: u32) -> Result<u64, StoreError> {
        match feed {
            0 => Ok(self.counters()?.control_end),
            pair => Ok(self.pair(pair)?.map_or(0, |pair| pair.feed_end)),
        }
    }

    /// Whether `feed` has a row after `after` with a number up to `upto`.
    pub fn feed_has(&self, feed: u32, after: u64, upto: u64) -> Result<bool, StoreError> {
        let mut any = false;
        let to = keys::feed(feed, upto.saturating_add(1));
        self.store.scan(Table::Feed, &keys::feed(feed, after.saturating_add(1)), &to, &mut |_, _| {
            any = true;
            false
        })?;
        Ok(any)
    }

    /// How many rows of `feed` come after `after`, and the bytes of their heads.
    pub fn feed_count(&self, feed: u32, after: u64) -> Result<(u64, u64), StoreError> {
        let (mut rows, mut inodes) = (0, Vec::new());
        let from = keys::feed(feed, after.saturating_add(1));
        self.store.scan(Table::Feed, &from, &keys::after_prefix(&feed.to_be_bytes()), &mut |_, value| {
            rows += 1;
            if let Some(RowSubject::Inode(id)) = RowSubject::decode(value) {
                inodes.push(id);
            }
            true
        })?;
        let mut bytes = 0;
        for id in inodes {
            bytes +=
                self.inode(id)?.and_then(|record| record.head_version().map(|head| head.size)).unwrap_or(0);
        }
        Ok((rows, bytes))
    }

    /// Up to where tombstones of `feed` have been collected (R24).
    pub fn collected(&self, feed: u32) -> Result<u64, StoreError> {
        let bytes = self.store.get(Table::Meta, &keys::collected(feed))?;
        Ok(bytes.and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// The subject of a row, if it is a record.
    pub(crate) fn inode_at(&self, feed: u32, seq: u64) -> Result<Option<Record>, StoreError> {
        let subject = self.store.get(Table::Feed, &keys::feed(feed, seq))?;
        match subject.and_then(|bytes| RowSubject::decode(&bytes)) {
            Some(RowSubject::Inode(id)) => self.inode(id),
            _ => Ok(None),
        }
    }

    /// The rows of `feed` after `after` and up to `upto` that are tombstones, at most `limit`, looking at `look` rows
    /// at most; and up to where that was.
    pub fn tombstones(
        &self,
        feed: u32,
        after: u64,
        upto: u64,
        limit: usize,
        look: usize,
    ) -> Result<(Vec<u64>, u64), StoreError> {
        let mut rows = Vec::new();
        let to = keys::feed(feed, upto.saturating_add(1));
        self.store.scan(
            Table::Feed,
            &keys::feed(feed, after.saturating_add(1)),
            &to,
            &mut |key, value| {
                rows.push((keys::feed_seq(key), RowSubject::decode(value)));
                rows.len() < look
            },
        )?;
        let mut reach = if rows.len() < look { upto } else { after };
        let (mut found, whole) = (Vec::new(), rows.len() < look);
        for (seq, subject) in rows {
            if let Some(RowSubject::Inode(id)) = subject
                && self.inode(id)?.is_some_and(|record| record.is_tombstone())
            {
                found.push(seq);
            }
            if !whole || found.len() >= limit {
                reach = seq;
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok((found, reach))
    }

    /// Ids above `after` of the records of `feed`, ascending, looking at `look` records at most; and up to which id
    /// that is all of them.
    pub fn ids_after(&self, feed: u32, after: u64, look: usize) -> Result<(Vec<u64>, u64), StoreError> {
        let (mut ids, mut looked, mut reach, mut failed) = (Vec::new(), 0, u64::MAX, None);
        let from = keys::inode(after.saturating_add(1));
        self.store.scan(Table::Inodes, &from, &[], &mut |_, value| match decode::<Record>(value) {
            Ok(record) => {
                looked += 1;
                if record.pair == feed {
                    ids.push(record.id);
                }
                let full = looked >= look;
                if full {
                    reach = record.id;
                }
                !full
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok((ids, reach)), Err)
    }

    /// Where a record lies, for people.
    pub fn path_of(&self, record: &Record) -> Result<String, StoreError> {
        let mut names: Vec<String> = self.ancestors(record)?.into_iter().map(|folder| folder.name).collect();
        // The root has no name: its place makes the leading slash.
        names.reverse();
        names.push(record.name.clone());
        Ok(names.join("/"))
    }

    /// What is in the trash, oldest first: when it was put there (0: to go at once) and its inode, after an entry, at
    /// most `limit`.
    pub fn trash(&self, after: Option<(u64, u64)>, limit: usize) -> Result<Vec<(u64, u64)>, StoreError> {
        let from = after.map_or(Vec::new(), |(time, inode)| {
            let mut key = keys::trash(time, inode);
            key.push(0);
            key
        });
        let mut found = Vec::new();
        if limit > 0 {
            self.store.scan(Table::Trash, &from, &[], &mut |key, _| {
                let number = |range: std::ops::Range<usize>| {
                    key.get(range).and_then(|n| n.try_into().ok()).map_or(0, u64::from_be_bytes)
                };
                found.push((number(0..8), number(8..16)));
                found.len() < limit
            })?;
        }
        Ok(found)
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

    /// Uploads that are open to a name, expired ones included.
    pub fn uploads_to(&self, folder: u64, name: &str) -> Result<Vec<OpenUpload>, StoreError> {
        let prefix = keys::upload_prefix(folder, name);
        self.page(Table::Uploads, &prefix, &keys::after_prefix(&prefix), 64)
    }

    /// The records from `inode` (exclusive) up to the root or the trash, nearest first. The chain of a
    /// file ends with [`InodeId::ROOT`] or [`InodeId::TRASH`] unless the tree is damaged.
    pub fn ancestors(&self, record: &Record) -> Result<Vec<Record>, StoreError> {
        let mut chain = Vec::new();
        let mut parent = record.parent;
        while parent != 0 && parent != InodeId::TRASH.0 {
            // Deeper than any path can be: a loop, which a move refuses to make.
            if chain.len() > types::limits::PATH_MAX {
                return self.told(Err(StoreError::damaged("the folders form a loop")));
            }
            let Some(folder) = self.inode(parent)? else { break };
            parent = folder.parent;
            chain.push(folder);
        }
        Ok(chain)
    }

    /// The file that has a version from write session `session`, looked for in `file` or, if 0, under the
    /// name (R10: what became of a prepared session?).
    pub fn resolve_session(
        &self,
        session: &[u8],
        file: u64,
        folder: u64,
        name: &str,
    ) -> Result<Option<u64>, StoreError> {
        let record = if file != 0 { self.inode(file)? } else { self.child(InodeId(folder), name)? };
        Ok(record
            .filter(|record| record.versions.iter().any(|version| version.session == session))
            .map(|record| record.id))
    }
}
