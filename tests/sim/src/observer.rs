//! What the name manager says of the cluster while faults happen: for faults that may happen only while nothing is lost
//! by them.

use crate::cluster::Cluster;
use client::Client;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use types::Result;
use types::message::manager::StatusReply;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The newest answer; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<StatusReply>>);

impl Observer {
    /// Looks from the last host, until that is killed.
    pub fn begin(cluster: &mut Cluster) -> Observer {
        let observer = Observer::default();
        let (client, noted) = (cluster.client(PATIENCE), observer.clone());
        let host = cluster.hosts.len() - 1;
        cluster.hosts[host].start(async move { noted.look(client.await?).await });
        observer
    }

    async fn look(&self, client: Client) -> Result<()> {
        loop {
            if let Ok(status) = client.status().await {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether the pair is known to owe nothing since `acting` began to serve in this epoch: what its partner alone had
    /// was logged before that.
    pub fn owes_nothing(&self, acting: &str, epoch: Option<u64>) -> bool {
        let status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owes = |pair: &types::message::manager::PairStatus| {
            pair.acting != acting || Some(pair.epoch) != epoch || pair.owed_versions > 0
        };
        !status.pairs.is_empty() && !status.pairs.iter().any(owes)
    }
}
