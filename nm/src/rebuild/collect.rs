//! Reads what the members hold, a page at a time, and takes it in.

use super::Gatherer;
use net::{Connection, Credential, Method, secret};
use nm_core::state::State;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;
use types::command::{Answer, Bootstrap, Op};
use types::limits::PAGE_ROWS;
use types::message::purpose;
use types::message::rebuild::{
    KnowsWrites, KnowsWritesRequest, OfferControl, OfferControlRequest, OfferRecords, OfferRecordsRequest,
    OfferWrites, OfferWritesRequest,
};
use types::rebuild::{PreparedWrite, Rebuild, StandReport, Step, TakeIn};
use types::record::{Pair, Row, Subject};
use types::{Error, Result};

/// One page may take this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to reach a member.
const PAUSE: Duration = Duration::from_millis(500);

/// A member that stands, and the connection to it.
pub(super) struct Source<'g> {
    gatherer: &'g Gatherer,
    pub(super) report: StandReport,
    connection: Option<Connection>,
}

impl<'g> Source<'g> {
    pub(super) fn new(gatherer: &'g Gatherer, report: StandReport) -> Source<'g> {
        Source { gatherer, report, connection: None }
    }

    async fn once<M: Method<Request: Clone>>(&mut self, request: &M::Request) -> Result<M::Reply> {
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => {
                let Gatherer { name, secret, .. } = self.gatherer;
                let credential = Credential::Node { name: name.clone(), secret: secret.clone() };
                let cluster = self.gatherer.cluster_id();
                Connection::open(&self.report.addr, credential, cluster, purpose::DATA).await?
            }
        };
        let deadline = Instant::now() + PATIENCE;
        let (reply, _) = connection.call::<M>(request.clone(), bytes::Bytes::new(), deadline).await?;
        self.connection = Some(connection);
        Ok(reply)
    }

    /// Asks until there is an answer: a member that is away for a while is waited for.
    async fn ask<M: Method<Request: Clone>>(&mut self, request: M::Request) -> M::Reply {
        loop {
            match self.once::<M>(&request).await {
                Ok(reply) => return reply,
                Err(error) => {
                    let server = &self.report.server;
                    tracing::warn!(server, %error, request = M::NAME, "waiting for a member");
                    self.gatherer.say(format!("waits for {server} to go on with what it holds"));
                    tokio::time::sleep(PAUSE).await;
                    if let Some(report) = self.gatherer.report_of(&self.report.server) {
                        self.report.addr = report.addr;
                    }
                }
            }
        }
    }

    /// All pairs and users that it knows. Few: they are kept at the members in memory, too.
    pub(super) async fn control(&mut self) -> Result<Vec<Row>> {
        let mut request = OfferControlRequest::default();
        let mut all = Vec::new();
        loop {
            let reply = self.once::<OfferControl>(&request).await?;
            for row in &reply.rows {
                match &row.subject {
                    Some(Subject::Pair(pair)) => request.after_pair = request.after_pair.max(pair.id),
                    Some(Subject::User(user)) => request.after_user.clone_from(&user.name),
                    _ => {}
                }
            }
            let last = reply.end || reply.rows.is_empty();
            all.extend(reply.rows);
            if last {
                return Ok(all);
            }
        }
    }
}

/// Takes in what `members` hold and makes the cluster of it.
pub(super) async fn run(gatherer: &Gatherer, members: Vec<StandReport>, fast: bool) -> Result<()> {
    begin(gatherer, &members, fast).await?;
    let mut sources: Vec<Source<'_>> =
        members.into_iter().map(|report| Source::new(gatherer, report)).collect();
    // All pairs first: what their members have forgotten decides on records.
    for source in &mut sources {
        control(gatherer, source).await?;
    }
    // A record in doubt is taken in once a member has told of it that would know of its removal: a second look.
    let looks = if agree(&sources) { 1 } else { 2 };
    for _ in 0..looks {
        for source in &mut sources {
            records(gatherer, source).await?;
        }
    }
    slices(gatherer, Step::Settle).await?;
    writes(gatherer, &mut sources).await?;
    slices(gatherer, Step::Finish).await
}

async fn begin(gatherer: &Gatherer, members: &[StandReport], fast: bool) -> Result<()> {
    let highest = members.iter().map(|member| member.generation).max().unwrap_or(0);
    // Two that are rebuilt from the same members at once do not get the same one.
    let step = 1 + u64::from(u32::from_be_bytes(secret::random::<4>()?));
    let generation =
        highest.checked_add(step).ok_or_else(|| Error::internal("there are no more generations"))?;
    let cluster = Bootstrap {
        cluster_id: members.first().map(|member| member.cluster_id.clone()).unwrap_or_default(),
        master_key: secret::random::<32>()?.to_vec(),
        admin: gatherer.account.name.clone(),
        key_id: gatherer.account.key_id.clone(),
        key: gatherer.account.key.clone(),
        generation,
        fast,
    };
    tracing::info!(generation, members = members.len(), "a new generation begins");
    let command = Rebuild { step: Step::Begin as i32, cluster: Some(cluster), members: members.to_vec() };
    propose(gatherer, Op::Rebuild(command)).await.map(drop)
}

async fn propose(gatherer: &Gatherer, op: Op) -> Result<Answer> {
    gatherer.proposer.propose(op).await
}

async fn slices(gatherer: &Gatherer, step: Step) -> Result<()> {
    gatherer.say("puts what was taken in into its place".to_owned());
    let command = Rebuild { step: step as i32, ..Rebuild::default() };
    while propose(gatherer, Op::Rebuild(command.clone())).await?.more {}
    Ok(())
}

async fn take_in(gatherer: &Gatherer, server: &str, rows: Vec<Row>) -> Result<()> {
    let command = TakeIn { server: server.to_owned(), rows, ..TakeIn::default() };
    propose(gatherer, Op::TakeIn(command)).await.map(drop)
}

/// Whether all have forgotten the same tombstones.
fn agree(sources: &[Source<'_>]) -> bool {
    let marks = |source: &Source<'_>| (source.report.forgotten_control, source.report.forgotten_pair);
    sources.windows(2).all(|two| marks(&two[0]) == marks(&two[1]))
}

/// Users and pairs that one member knows.
async fn control(gatherer: &Gatherer, source: &mut Source<'_>) -> Result<()> {
    let server = source.report.server.clone();
    let rows = loop {
        match source.control().await {
            Ok(rows) => break rows,
            Err(error) => {
                tracing::warn!(server, %error, "waiting for a member");
                gatherer.say(format!("waits for {server} to go on with what it holds"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    for page in rows.chunks(PAGE_ROWS) {
        take_in(gatherer, &server, page.to_vec()).await?;
    }
    Ok(())
}

/// Records of one member, users and pairs aside.
async fn records(gatherer: &Gatherer, source: &mut Source<'_>) -> Result<()> {
    let server = source.report.server.clone();
    let (mut after, mut count) = (0, 0);
    loop {
        let reply = source.ask::<OfferRecords>(OfferRecordsRequest { after }).await;
        count += reply.rows.len();
        gatherer.say(format!("takes in what {server} holds: {count} files and folders so far"));
        let last = reply.rows.last().and_then(|row| match &row.subject {
            Some(Subject::Record(record)) => Some(record.id),
            _ => None,
        });
        if !reply.rows.is_empty() {
            take_in(gatherer, &server, reply.rows).await?;
        }
        match last.filter(|_| !reply.end) {
            Some(last) => after = last,
            None => break,
        }
    }
    tracing::info!(server, records = count, "taken in");
    Ok(())
}

/// Writes without a known outcome, pair by pair: those of the acting member first, in the order in which it prepared them.
async fn writes(gatherer: &Gatherer, sources: &mut [Source<'_>]) -> Result<()> {
    let pairs = {
        let view = gatherer.raft.view()?;
        State::new(&view).pairs()?
    };
    for pair in pairs {
        for server in [pair.acting.clone(), pair.partner_of(&pair.acting).to_owned()] {
            let Some(at) = place(sources, &server) else { continue };
            let partner = place(sources, pair.partner_of(&server));
            let mut after = 0;
            loop {
                let page = sources[at].ask::<OfferWrites>(OfferWritesRequest { after }).await;
                let mut open: Vec<PreparedWrite> =
                    page.writes.into_iter().filter(|write| write.pair == pair.id).collect();
                if let Some(partner) = partner {
                    open = without_known(&mut sources[partner], open).await;
                }
                take_in_writes(gatherer, &pair, &server, open).await?;
                after = page.next;
                if after == 0 {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn place(sources: &[Source<'_>], server: &str) -> Option<usize> {
    sources.iter().position(|source| source.report.server == server)
}

/// Leaves out what a row has named at the partner: that is in its records, whatever became of it since.
async fn without_known(partner: &mut Source<'_>, writes: Vec<PreparedWrite>) -> Vec<PreparedWrite> {
    if writes.is_empty() {
        return writes;
    }
    let sessions = writes.iter().map(|write| write.session.clone()).collect();
    let reply = partner.ask::<KnowsWrites>(KnowsWritesRequest { sessions }).await;
    let known: HashSet<Vec<u8>> = reply.known.into_iter().collect();
    writes.into_iter().filter(|write| !known.contains(&write.session)).collect()
}

async fn take_in_writes(
    gatherer: &Gatherer,
    pair: &Pair,
    server: &str,
    writes: Vec<PreparedWrite>,
) -> Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    tracing::info!(server, pair = pair.name, writes = writes.len(), "writes without a known outcome");
    let command = TakeIn { server: server.to_owned(), writes, ..TakeIn::default() };
    propose(gatherer, Op::TakeIn(command)).await.map(drop)
}
