//! The state in a map: for tests and for the simulation.

use crate::store::{Store, StoreError, StoreMut, Table};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A store in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    tables: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryStore {
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
    ) -> Option<std::collections::btree_map::Range<'_, Vec<u8>, Vec<u8>>> {
        if !to.is_empty() && from >= to {
            return None;
        }
        let upper = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        Some(self.tables.get(&table)?.range::<[u8], _>((Bound::Included(from), upper)))
    }
}

impl Store for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables.get(&table).and_then(|entries| entries.get(key)).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        for (key, value) in self.range(table, from, to).into_iter().flatten() {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

impl StoreMut for MemoryStore {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.tables.entry(table).or_default().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if let Some(entries) = self.tables.get_mut(&table) {
            entries.remove(key);
        }
        Ok(())
    }
}
