//! Extent files that are open: a bounded number, the least recently used are closed and opened again when they are
//! needed.
//!
//! A file that was written to is synced before it is closed: the system tells a failed write to those who have the file
//! open, and nobody else would hear of it (R31).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::disk::DiskFile;

struct Slot {
    file: Arc<dyn DiskFile>,
    /// When it was used last, by the clock below.
    used: AtomicU64,
    /// Written to since it was opened or synced.
    dirty: AtomicBool,
}

/// See the module's description.
pub(crate) struct OpenFiles {
    slots: RwLock<HashMap<u32, Slot>>,
    /// Counts uses.
    clock: AtomicU64,
    most: usize,
}

impl OpenFiles {
    /// None open yet; at most `most` at once.
    pub fn new(most: usize) -> OpenFiles {
        OpenFiles { slots: RwLock::default(), clock: AtomicU64::new(0), most: most.max(1) }
    }

    /// A file if it is open. `to_write`: it is written to next.
    pub fn get(&self, number: u32, to_write: bool) -> Option<Arc<dyn DiskFile>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&number).map(|slot| self.take(slot, to_write))
    }

    /// A file, opened by `open` if it is not; another one is closed for it at the bound. What goes on with that one goes
    /// on.
    ///
    /// # Errors
    /// Those of `open` (`Ok(Err)`), and of the sync of the one that is closed.
    pub fn get_or_open<E>(
        &self,
        number: u32,
        to_write: bool,
        open: impl FnOnce() -> Result<Arc<dyn DiskFile>, E>,
    ) -> io::Result<Result<Arc<dyn DiskFile>, E>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&number) {
            return Ok(Ok(self.take(slot, to_write)));
        }
        while slots.len() >= self.most {
            let age = |slot: &Slot| (slot.dirty.load(Ordering::Acquire), slot.used.load(Ordering::Relaxed));
            let Some(oldest) = slots.iter().min_by_key(|(_, slot)| age(slot)).map(|(number, _)| *number)
            else {
                break;
            };
            if let Some(slot) = slots.get(&oldest)
                && slot.dirty.load(Ordering::Acquire)
            {
                slot.file.sync_data()?;
            }
            slots.remove(&oldest);
        }
        let file = match open() {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let slot = Slot { file, used: AtomicU64::new(0), dirty: AtomicBool::new(false) };
        let file = self.take(&slot, to_write);
        slots.insert(number, slot);
        Ok(Ok(file))
    }

    /// A file is about to be synced: what is written from now on is not part of that.
    pub fn cleaned(&self, number: u32) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&number) {
            slot.dirty.store(false, Ordering::Release);
        }
    }

    fn take(&self, slot: &Slot, to_write: bool) -> Arc<dyn DiskFile> {
        if to_write {
            slot.dirty.store(true, Ordering::Release);
        }
        slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot.file.clone()
    }
}
