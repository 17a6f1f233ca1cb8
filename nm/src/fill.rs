//! Fills a data folder with many files, to measure a name manager at scale: by the commands that clients and
//! storage servers send, through its own log and state machine. Only the storage servers are not there.

use crate::config::Config;
use crate::feeds::Feeds;
use crate::machine::Machine;
use crate::proposer::Proposer;
use crate::{bootstrap, run};
use net::folder::{self, FolderLock};
use net::{clock, secret};
use nm_core::state::State;
use nm_raft::{Metrics, Raft};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use types::command::{Answer, Asker, Make, Op, Recovered, Register, WriteComplete};
use types::content::sha256;
use types::ids::{ClientId, RequestKey, SessionId};
use types::record::{Kind, Pair};
use types::{Error, Result};

/// Commands in one log entry.
const BATCH: u64 = 256;
/// Entries on their way at once; with [`BATCH`] below the results that are kept for a client.
const IN_FLIGHT: usize = 3;

/// What to fill a folder with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Folders `/0`, `/1`, …
    pub folders: u64,
    /// Files `0`, `1`, … of 4 KiB in each folder.
    pub files: u64,
    /// Versions of each file.
    pub versions: u64,
}

/// A folder that was filled. The log and the state stay open, and are not made durable beyond what they were by
/// themselves: kill the process to see what a restart has to do.
#[derive(Debug)]
pub struct Filled {
    raft: Raft<Machine>,
    _lock: FolderLock,
}

impl Filled {
    /// How far log and state are.
    pub fn metrics(&self) -> Metrics {
        self.raft.metrics()
    }
}

/// Makes the cluster of `config` with a pair `ss1` and files as `shape` says.
///
/// # Errors
/// As [`crate::run`]; what the state machine refuses, if the folder was used before.
pub async fn fill(config: &Config, shape: Shape) -> Result<Filled> {
    let lock = folder::take(&config.data, folder::NAME_MANAGER)?;
    secret::read_or_create(&config.cluster_secret())?;
    let raft = run::start_raft(config, &config.listen).await.map_err(|error| run::refused(&error))?;
    let proposer = Proposer::new(raft.clone(), 0, Feeds::default(), Arc::new(Notify::new()));
    bootstrap::cluster(config, &raft, &proposer).await?;
    let mut filler = Filler {
        incarnation: register(&proposer).await?,
        pair: State::new(&raft.view()?).pairs()?.into_iter().next().ok_or_else(unmade)?,
        client: ClientId { issued: proposer.time(), random: 1 },
        number: 0,
        proposer,
    };
    let folders = filler.folders(shape.folders).await?;
    for version in 0..shape.versions {
        filler.version(&folders, shape.files, version).await?;
    }
    Ok(Filled { raft, _lock: lock })
}

fn unmade() -> Error {
    Error::internal("a command was answered without what it made")
}

/// Registers the primary of the pair; its incarnation.
async fn register(proposer: &Proposer) -> Result<u64> {
    let register = Register {
        server: "ss1".to_owned(),
        next_token: vec![1; 16],
        addr: "127.0.0.1:1".to_owned(),
        ip: "127.0.0.1".to_owned(),
        boot: clock::boot_id().unwrap_or_default(),
        ..Register::default()
    };
    let server = proposer.propose(Op::Register(register)).await?.server.ok_or_else(unmade)?;
    let incarnation = server.incarnation;
    let recovered = Recovered { server: server.name, incarnation, ..Recovered::default() };
    proposer.propose(Op::Recovered(recovered)).await?;
    Ok(incarnation)
}

type Entry = JoinHandle<Result<Vec<Answer>>>;

struct Filler {
    proposer: Proposer,
    incarnation: u64,
    pair: Pair,
    client: ClientId,
    number: u64,
}

impl Filler {
    /// The key of the next request: those before it that may still be unanswered are fewer than are in flight.
    fn asker(&mut self) -> Asker {
        self.number += 1;
        let lowest = self.number.saturating_sub(BATCH * (IN_FLIGHT as u64 + 1) - 1).max(1);
        let key = RequestKey { client: self.client, number: self.number, lowest };
        Asker::new("admin", key, sha256(&self.number.to_le_bytes()))
    }

    async fn folders(&mut self, count: u64) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        for number in 0..count {
            let make = Make {
                asker: Some(self.asker()),
                path: format!("/{number}"),
                kind: Kind::Folder.into(),
                ..Make::default()
            };
            let made = self.proposer.propose(Op::Make(make)).await?;
            ids.push(made.record.ok_or_else(unmade)?.id);
        }
        Ok(ids)
    }

    /// Writes one version of every file.
    async fn version(&mut self, folders: &[u64], files: u64, version: u64) -> Result<()> {
        let mut entries = VecDeque::new();
        let mut ops = Vec::new();
        let all = folders.iter().flat_map(|folder| (0..files).map(move |file| (*folder, file)));
        for (folder, file) in all {
            ops.push(Op::WriteComplete(self.write(folder, file, version)));
            if ops.len() as u64 >= BATCH {
                self.enter(&mut entries, std::mem::take(&mut ops)).await?;
            }
        }
        self.enter(&mut entries, ops).await?;
        for entry in entries {
            check(entry.await)?;
        }
        Ok(())
    }

    /// Proposes an entry once the oldest but so many is answered: keys are bound to their order.
    async fn enter(&self, entries: &mut VecDeque<Entry>, ops: Vec<Op>) -> Result<()> {
        if entries.len() >= IN_FLIGHT
            && let Some(oldest) = entries.pop_front()
        {
            check(oldest.await)?;
        }
        let proposer = self.proposer.clone();
        entries.push_back(tokio::spawn(async move { proposer.propose_all(ops).await }));
        Ok(())
    }

    fn write(&mut self, folder: u64, file: u64, version: u64) -> WriteComplete {
        let asker = self.asker();
        let digest = sha256(&asker.ask);
        let mut session = [0; 16];
        session.copy_from_slice(&digest[..16]);
        WriteComplete {
            asker: Some(asker),
            pair: self.pair.id,
            epoch: self.pair.epoch,
            server: self.pair.acting.clone(),
            incarnation: self.incarnation,
            session: SessionId::from_random(session).0.to_vec(),
            folder,
            name: file.to_string(),
            stamp: u64::MAX,
            size: 4096,
            sha256: digest.to_vec(),
            durable_on: 1,
            journal: version,
            ..WriteComplete::default()
        }
    }
}

fn check(entry: std::result::Result<Result<Vec<Answer>>, tokio::task::JoinError>) -> Result<()> {
    let answers = entry.map_err(Error::internal)??;
    answers.into_iter().try_for_each(|answer| answer.into_result().map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use types::path::PathName;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        config: Config,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_file_has_its_versions_and_a_place_in_the_feed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("nm");
        let words = Words::parse_from(["nm", "--data", data.to_str().unwrap()]);
        let shape = Shape { folders: 3, files: 500, versions: 2 };
        let filled = fill(&words.config, shape).await.unwrap();
        let view = filled.raft.view().unwrap();
        let state = State::new(&view);
        let path = PathName::parse("/2/499").unwrap();
        let record = nm_core::query::resolve(state, &path).unwrap();
        assert_eq!(record.versions.len(), 2);
        let pair = state.pair(1).unwrap().unwrap();
        assert_eq!((pair.files, pair.bytes), (1500, 1500 * 4096));
        assert_eq!(state.feed_rows(1, 0, 256, 1 << 20).unwrap().len(), 256);
        drop(view);
        filled.raft.clone().shutdown().await;
    }
}
