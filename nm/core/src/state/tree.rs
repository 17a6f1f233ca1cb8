//! Reading the tree of names: what a folder holds, where a record lies, the trash, uploads open to a name.

use super::State;
use crate::keys;
use crate::store::{StoreError, Table};
use types::command::OpenUpload;
use types::ids::InodeId;
use types::record::Record;

impl State<'_> {
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

    /// Where a record lies, for people.
    pub fn path_of(&self, record: &Record) -> Result<String, StoreError> {
        let mut names: Vec<String> = self.ancestors(record)?.into_iter().map(|folder| folder.name).collect();
        // The root has no name: its place makes the leading slash.
        names.reverse();
        names.push(record.name.clone());
        Ok(names.join("/"))
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

    /// Uploads that are open to a name, expired ones included.
    pub fn uploads_to(&self, folder: u64, name: &str) -> Result<Vec<OpenUpload>, StoreError> {
        let prefix = keys::upload_prefix(folder, name);
        self.page(Table::Uploads, &prefix, &keys::after_prefix(&prefix), 64)
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
