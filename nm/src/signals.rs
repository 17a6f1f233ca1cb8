//! Wakes the duties of each pair.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// One bell for each pair.
#[derive(Default)]
pub(crate) struct Signals {
    bells: Mutex<HashMap<u32, Arc<Notify>>>,
}

impl Signals {
    /// The bell of a pair; one task listens to it.
    pub(crate) fn bell(&self, pair: u32) -> Arc<Notify> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).entry(pair).or_default().clone()
    }

    /// Something about the pair has changed.
    pub(crate) fn wake(&self, pair: u32) {
        self.bell(pair).notify_one();
    }
}
