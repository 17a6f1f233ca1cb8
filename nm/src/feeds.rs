//! News of the feeds: which rows the log has made, and which of them somebody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a feed reaches.
#[derive(Default)]
struct Feed {
    /// The last row known.
    end: watch::Sender<u64>,
    /// Somebody waits until servers have rows up to here and know that they do: nothing is held back to travel with
    /// others. Apart from the end, so that each row wakes only those that would do something with it.
    urgent: watch::Sender<u64>,
}

/// The news of one feed.
pub(crate) struct News {
    /// The last row known.
    pub(crate) end: watch::Receiver<u64>,
    /// The last row that somebody waits for.
    pub(crate) urgent: watch::Receiver<u64>,
}

/// The news of all feeds; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Feeds {
    inner: Arc<Mutex<HashMap<u32, Feed>>>,
}

impl Feeds {
    fn feeds(&self) -> MutexGuard<'_, HashMap<u32, Feed>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed has this row now.
    pub(crate) fn grew(&self, feed: u32, seq: u64) {
        self.feeds().entry(feed).or_default().end.send_modify(|end| *end = seq.max(*end));
    }

    /// Somebody waits for this row.
    pub(crate) fn hurry(&self, feed: u32, seq: u64) {
        self.feeds().entry(feed).or_default().urgent.send_modify(|urgent| *urgent = seq.max(*urgent));
    }

    /// The last row that somebody waits for.
    pub(crate) fn urgent(&self, feed: u32) -> u64 {
        *self.feeds().entry(feed).or_default().urgent.borrow()
    }

    /// The news of one feed.
    pub(crate) fn watch(&self, feed: u32) -> News {
        let mut feeds = self.feeds();
        let feed = feeds.entry(feed).or_default();
        News { end: feed.end.subscribe(), urgent: feed.urgent.subscribe() }
    }
}
