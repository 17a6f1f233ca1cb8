//! What the name manager says of the cluster while faults happen: for faults that may happen only while nothing is lost
//! by them.

use crate::cluster::Cluster;
use client::Client;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use types::Result;
use types::message::manager::{PairStatus, ServerStatus, StatusReply};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The newest answer, and how many there were; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<(StatusReply, u64)>>);

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
                let mut newest = self.newest();
                *newest = (status, newest.1 + 1);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn newest(&self) -> MutexGuard<'_, (StatusReply, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many answers there were.
    pub fn looks(&self) -> u64 {
        self.newest().1
    }

    /// The address at which a storage server is registered.
    pub fn address(&self, name: &str) -> String {
        let (status, _) = &*self.newest();
        let server = status.servers.iter().find(|server| server.name == name);
        server.map(|server| server.addr.clone()).unwrap_or_default()
    }

    /// Whether all storage servers are known to be there, and each may act if the other is lost.
    pub fn all_are_well(&self) -> bool {
        let (status, _) = &*self.newest();
        let is_well = |server: &ServerStatus| server.state == "alive" && server.fresh;
        let acts = |pair: &PairStatus| !pair.acting.is_empty();
        status.servers.len() == 2 && status.servers.iter().all(is_well) && status.pairs.iter().all(acts)
    }

    /// Whether the pair is known to owe nothing since `acting` began to serve in this epoch: what its partner alone had
    /// was logged before that.
    pub fn owes_nothing(&self, acting: &str, epoch: Option<u64>) -> bool {
        let (status, _) = &*self.newest();
        let owes =
            |pair: &PairStatus| pair.acting != acting || Some(pair.epoch) != epoch || pair.owed_versions > 0;
        !status.pairs.is_empty() && !status.pairs.iter().any(owes)
    }
}
