//! Whether the index was found damaged while it was read. It is of no use then, and nothing is lost with it: the next start makes
//! it anew from the journal.

use std::sync::Arc;

use tokio::sync::watch;

/// What was found, if anything. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct IndexDamage(Arc<watch::Sender<Finding>>);

#[derive(Debug, Default)]
struct Finding {
    what: Option<String>,
    /// The store is open: before that a damaged index is made anew at once.
    is_open: bool,
}

impl IndexDamage {
    /// What was found first; none: the index is believed.
    pub fn found(&self) -> Option<String> {
        self.0.borrow().what.clone()
    }

    /// Whether a server that ended so did because of it: then it begins anew, and its index is made from the journal.
    pub fn is_why(&self, ended: &types::Result<()>) -> bool {
        ended.is_err() && self.found().is_some()
    }

    /// Waits until something is found in the index of a store that is open, and gives it.
    pub async fn wait(&self) -> String {
        let mut seen = self.0.subscribe();
        let met = |finding: &Finding| finding.is_open && finding.what.is_some();
        match seen.wait_for(met).await.map(|finding| finding.what.clone()) {
            Ok(Some(what)) => what,
            // The sender lives as long as this.
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn note(&self, what: &str) {
        self.0.send_modify(|finding| {
            finding.what.get_or_insert_with(|| what.to_owned());
        });
    }

    /// A new index stands in the place of the damaged one.
    pub(crate) fn forget(&self) {
        self.0.send_modify(|finding| finding.what = None);
    }

    /// The store is open.
    pub(crate) fn opened(&self) {
        self.0.send_modify(|finding| finding.is_open = true);
    }
}
