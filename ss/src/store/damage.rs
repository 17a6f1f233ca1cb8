//! Whether the index was found damaged while it was read. It is of no use then, and nothing is lost with it: the next start makes
//! it anew from the journal.

use std::sync::Arc;

use tokio::sync::watch;

/// What was found, if anything. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct IndexDamage(Arc<watch::Sender<Option<String>>>);

impl IndexDamage {
    /// What was found first; none: the index is believed.
    pub fn found(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until something is found, and gives it.
    pub async fn wait(&self) -> String {
        let mut seen = self.0.subscribe();
        match seen.wait_for(Option::is_some).await.map(|what| what.clone()) {
            Ok(Some(what)) => what,
            // The sender lives as long as this.
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn note(&self, what: &str) {
        self.0.send_if_modified(|found| {
            let first = found.is_none();
            found.get_or_insert_with(|| what.to_owned());
            first
        });
    }

    /// A new index stands in the place of the damaged one.
    pub(crate) fn forget(&self) {
        self.0.send_replace(None);
    }
}
