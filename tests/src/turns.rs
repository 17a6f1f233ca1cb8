//! How many clusters run at once: two for each processor, as tests wait more than they work (and no more than there are
//! threads of the test program). A test that measures time wants to be alone.

use std::sync::{Condvar, Mutex, PoisonError};

static FREE: Mutex<Option<usize>> = Mutex::new(None);
static RETURNED: Condvar = Condvar::new();

fn places() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| 2 * usize::from(processors)).min(8)
}

/// The right to run a cluster; given back when dropped.
#[derive(Debug)]
pub struct Turn(usize);

impl Turn {
    /// Waits for a place, or with `alone` for all of them.
    pub fn take(alone: bool) -> Turn {
        let wanted = if alone { places() } else { 1 };
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = *free.get_or_insert_with(places);
            if left >= wanted {
                *free = Some(left - wanted);
                return Turn(wanted);
            }
            free = RETURNED.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        *free = Some(free.unwrap_or(0) + self.0);
        RETURNED.notify_all();
    }
}
