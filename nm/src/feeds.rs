//! News of the feeds: which rows the log has made, and which of them somebody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a feed reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedNews {
    /// The last row known.
    pub(crate) end: u64,
    /// Somebody waits until servers have rows up to here and know that they do: nothing is held back to travel with
    /// others.
    pub(crate) urgent: u64,
}

/// The news of all feeds; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Feeds {
    inner: Arc<Mutex<HashMap<u32, watch::Sender<FeedNews>>>>,
}

impl Feeds {
    fn feeds(&self) -> MutexGuard<'_, HashMap<u32, watch::Sender<FeedNews>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed has this row now.
    pub(crate) fn grew(&self, feed: u32, seq: u64) {
        self.feeds().entry(feed).or_default().send_modify(|news| news.end = news.end.max(seq));
    }

    /// Somebody waits for this row.
    pub(crate) fn hurry(&self, feed: u32, seq: u64) {
        self.feeds().entry(feed).or_default().send_modify(|news| news.urgent = news.urgent.max(seq));
    }

    /// The last row that somebody waits for.
    pub(crate) fn urgent(&self, feed: u32) -> u64 {
        self.feeds().entry(feed).or_default().borrow().urgent
    }

    /// The news of one feed.
    pub(crate) fn watch(&self, feed: u32) -> watch::Receiver<FeedNews> {
        self.feeds().entry(feed).or_default().subscribe()
    }
}
