//! openraft's own test suite for storage.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::config::RaftConfig;
use crate::error::Failures;
use crate::logstore::LogStore;
use crate::statemachine::StateMachine;
use crate::tests::support::Journal;
use crate::types::Types;
use crate::{applier, store, writer};

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let config = RaftConfig::new(0, "");
        let failures = Failures::new();
        let db = store::open_backend(redb::backends::InMemoryBackend::new(), config.cache_bytes).unwrap();
        let state = applier::open(&config, Arc::new(db), Arc::new(Journal), failures.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(log::RealDisk::new(folder.path().to_path_buf()).unwrap());
        let log = writer::open(&config, disk, failures.clone()).unwrap();
        // The suite purges what it never applied.
        let durable = Arc::new(AtomicU64::new(u64::MAX));
        let log_store = LogStore::new(log.entries, log.reader, log.ops, durable, failures);
        Ok((folder, log_store, StateMachine::new(&state)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_keep_what_openraft_relies_on() {
    Suite::test_all(Builder).await.unwrap();
}
