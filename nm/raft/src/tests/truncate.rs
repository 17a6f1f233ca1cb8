//! The log alone: what a follower's log goes through and a group of one does not.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use log::Disk;
use log::sim::SimDisk;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader};

use crate::error::{Failures, RaftError};
use crate::logstore::LogStore;
use crate::tests::support::{Random, small};
use crate::types::{Entry, LeaderId, LogId, Payload, Types, Vote};
use crate::writer::{self, Op};

pub(super) fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload(Bytes::from(format!("{term}/{index} {}", "y".repeat(150))));
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(payload) }
}

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

pub(super) struct Opened {
    pub(super) store: LogStore,
    pub(super) stop: Box<dyn FnOnce()>,
}

pub(super) fn open(disk: &SimDisk) -> Opened {
    open_on(disk).unwrap()
}

/// The same on a disk that may have stopped.
pub(super) fn open_on(disk: &SimDisk) -> Result<Opened, RaftError> {
    let failures = Failures::new();
    let log = writer::open(&small(), Arc::new(disk.clone()), failures.clone())?;
    let durable = Arc::new(AtomicU64::new(u64::MAX));
    let (ops, thread) = (log.ops.clone(), log.thread);
    let stop = Box::new(move || {
        let (done, _) = tokio::sync::oneshot::channel();
        assert!(ops.send(Op::Stop(done)).is_ok());
        thread();
    });
    Ok(Opened { store: LogStore::new(log.entries, log.reader, log.ops, durable, failures), stop })
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    let (done, flushed) = Types::oneshot();
    store.append(entries, IOFlushed::signal(done)).await.unwrap();
    flushed.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_truncated_suffix_does_not_come_back() {
    let disk = SimDisk::new();
    let Opened { mut store, .. } = open(&disk);
    append(&mut store, (0..100).map(|index| entry(1, index)).collect()).await;
    store.truncate_after(Some(id(1, 49))).await.unwrap();

    let Opened { mut store, .. } = open(&disk.crash(1));
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(1, 49)));
    append(&mut store, (50..60).map(|index| entry(2, index)).collect()).await;
    let found = store.try_get_log_entries(45..).await.unwrap();
    assert_eq!(found[4..6], [entry(1, 49), entry(2, 50)]);
}

#[tokio::test]
async fn vote_truncation_and_purge_outlive_the_segments_they_were_written_in() {
    let mut random = Random::new(3);
    let mut disk = SimDisk::new();
    let vote = Vote::new_committed(9, 1);
    let (mut first, mut model): (u64, Vec<Entry>) = (0, Vec::new());
    let mut opened = open(&disk);
    opened.store.save_vote(&vote).await.unwrap();
    for term in 1..60 {
        let next = first + model.len() as u64;
        let batch: Vec<Entry> = (next..next + random.below(30)).map(|index| entry(term, index)).collect();
        if !batch.is_empty() {
            append(&mut opened.store, batch.clone()).await;
            model.extend(batch);
        }
        if random.below(3) == 0 && model.len() > 5 {
            model.truncate(model.len() - random.below(5) as usize);
            opened.store.truncate_after(model.last().map(|entry| entry.log_id)).await.unwrap();
        }
        if random.below(2) == 0 && model.len() > 30 {
            let upto = model[model.len() - 20].log_id;
            opened.store.purge(upto).await.unwrap();
            model.drain(..model.len() - 19);
            first = upto.index + 1;
            // Nobody waits for a purge: this makes it durable.
            opened.store.save_vote(&vote).await.unwrap();
        }
        if random.below(3) == 0 {
            disk = disk.crash(term);
            opened = open(&disk);
        }
        assert_eq!(opened.store.read_vote().await.unwrap(), Some(vote));
        assert_eq!(opened.store.try_get_log_entries(..).await.unwrap(), model, "term {term}");
    }
    (opened.stop)();
    assert!(disk.list(&small().log_folder).unwrap().len() < 12, "purged segments are kept");
}
