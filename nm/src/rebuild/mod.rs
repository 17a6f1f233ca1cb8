//! `--rebuild`: the data of the name manager is lost or damaged; it is made anew from what the storage servers hold
//! (R26). What is decided stands in `nm_core::gathering` and in the state machine; here is who is asked, and when.

mod collect;
pub(crate) mod folder;
mod service;

use crate::bootstrap::Account;
use crate::config::Config;
use crate::machine::Machine;
use crate::proposer::Proposer;
use collect::Source;
use net::Server;
use net::transport::Listen;
use nm_core::gathering::{Gathering, Verdict};
use nm_raft::Raft;
use service::{Door, Keys};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use types::Result;
use types::limits::Pace;
use types::rebuild::StandReport;
use types::record::Pair;

/// How often to look who stands.
const LOOK: Duration = Duration::from_millis(200);
/// A server that has not said so for this long stands no more.
const STANDS: Duration = Duration::from_secs(5);
/// With `--accept-one-member`: how long servers that are only slow have to report, at the least.
const GRACE: Duration = Duration::from_secs(3);

/// What the tasks of a rebuild share.
pub(crate) struct Gatherer {
    pub(crate) name: String,
    pub(crate) addr: String,
    pub(crate) secret: Vec<u8>,
    pub(crate) account: Account,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
    pace: Pace,
    accept_one: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    gathering: Gathering,
    reports: BTreeMap<String, (Instant, StandReport)>,
    /// Those whose pairs are known.
    learnt: BTreeSet<String>,
    progress: String,
}

impl Gatherer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server stands.
    fn stand(&self, report: StandReport) -> Result<()> {
        let mut state = self.state();
        state.gathering.stand(report.clone())?;
        if report.generation != 0 {
            let news =
                state.reports.insert(report.server.clone(), (Instant::now(), report.clone())).is_none();
            if news {
                tracing::info!(server = report.server, addr = report.addr, "stands for the rebuild");
            }
        }
        Ok(())
    }

    fn cluster_id(&self) -> Option<[u8; 16]> {
        self.state().gathering.cluster_id()?.try_into().ok()
    }

    fn standing(&self) -> Vec<StandReport> {
        self.state().reports.values().map(|(_, report)| report.clone()).collect()
    }

    fn report_of(&self, server: &str) -> Option<StandReport> {
        self.state().reports.get(server).map(|(_, report)| report.clone())
    }

    fn pairs(&self) -> Vec<Pair> {
        self.state().gathering.pairs().cloned().collect()
    }

    /// How far it is, for people.
    fn progress(&self) -> String {
        self.state().progress.clone()
    }

    fn say(&self, progress: String) {
        self.state().progress = progress;
    }

    fn waits(&self, servers: &[String]) {
        let whom = match servers {
            [] => "any storage server of the cluster".to_owned(),
            names => names.join(", "),
        };
        let progress = format!("waits for {whom}");
        let news = std::mem::replace(&mut self.state().progress, progress.clone()) != progress;
        if news {
            let hint = if self.accept_one || servers.is_empty() {
                "start it"
            } else {
                "start it, or give up what only it holds with --accept-one-member"
            };
            tracing::warn!("the rebuild {progress}: {hint}");
        }
    }

    /// Drops who has fallen silent, and asks who is new for the pairs that it knows.
    async fn refresh(&self) {
        let (silent, news): (Vec<String>, Vec<StandReport>) = {
            let state = self.state();
            let silent = state.reports.iter().filter(|(_, (heard, _))| heard.elapsed() > STANDS);
            let news = state.reports.values().filter(|(_, report)| !state.learnt.contains(&report.server));
            (silent.map(|(name, _)| name.clone()).collect(), news.map(|(_, report)| report.clone()).collect())
        };
        for name in silent {
            tracing::warn!(server = name, "stands no more");
            let mut state = self.state();
            state.reports.remove(&name);
            state.learnt.remove(&name);
            state.gathering.leave(&name);
        }
        for report in news {
            let server = report.server.clone();
            match Source::new(self, report).control().await {
                Ok(rows) => {
                    let mut state = self.state();
                    state.gathering.learn(&rows);
                    state.learnt.insert(server);
                }
                Err(error) => tracing::debug!(server, %error, "what it knows of pairs cannot be read yet"),
            }
        }
    }

    /// Waits until all have reported that are needed. Gives them, and who has not.
    async fn gather(&self) -> (Vec<StandReport>, Vec<String>) {
        // A lease of an old name manager that an absent member may hold has ended by then (R4).
        let grace = GRACE.max(self.pace.timeout);
        let mut enough_since = None;
        loop {
            self.refresh().await;
            let verdict = self.state().gathering.verdict(self.accept_one);
            match verdict {
                Verdict::Wait { servers } => {
                    enough_since = None;
                    self.waits(&servers);
                }
                Verdict::Begin { members, absent } => {
                    let since = *enough_since.get_or_insert_with(Instant::now);
                    if absent.is_empty() || since.elapsed() >= grace {
                        return (members, absent);
                    }
                    self.waits(&absent);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn rebuild(&self, fast: bool) -> Result<()> {
        let (members, absent) = self.gather().await;
        for server in &absent {
            tracing::warn!(server, "is away: what only it holds is not compared");
        }
        let names: Vec<String> = members.iter().map(|member| member.server.clone()).collect();
        collect::run(self, members, fast).await?;
        tracing::info!(from = names.join(", "), "rebuilt");
        Ok(())
    }
}

/// What a rebuild needs.
pub(crate) struct Parts {
    pub(crate) addr: String,
    pub(crate) secret: Vec<u8>,
    pub(crate) account: Account,
    pub(crate) raft: Raft<Machine>,
    pub(crate) proposer: Proposer,
}

/// Rebuilds the cluster while it listens at `listener`, or until `stop` is ready; whether it is rebuilt.
pub(crate) async fn run(
    config: &Config,
    parts: Parts,
    listener: Box<dyn Listen>,
    stop: &mut (impl Future<Output = ()> + Send + Unpin),
) -> Result<bool> {
    let Parts { addr, secret, account, raft, proposer } = parts;
    let gatherer = Arc::new(Gatherer {
        name: config.name.clone(),
        addr,
        secret,
        account,
        raft,
        proposer,
        pace: config.pace(),
        accept_one: config.accept_one_member,
        state: Mutex::default(),
    });
    let ended = watch::Sender::new(false);
    let mut over = ended.subscribe();
    let shutdown = async move {
        // Also when the sender is gone.
        let _ = over.wait_for(|over| *over).await;
    };
    let server =
        Server::run(listener, Arc::new(Keys(gatherer.clone())), Arc::new(Door(gatherer.clone())), shutdown);
    let work = async {
        let rebuilt = tokio::select! {
            rebuilt = gatherer.rebuild(config.fast) => rebuilt.map(|()| true),
            failed = gatherer.raft.failed() => Err(crate::run::broken(&failed)),
            () = stop => Ok(false),
        };
        ended.send_replace(true);
        rebuilt
    };
    let ((), rebuilt) = tokio::join!(server, work);
    rebuilt
}
