//! The steps of a change of the acting member, each as `nm_core::duty` asks for it.

use crate::duties::{Memo, Roles};
use crate::manager::Manager;
use crate::members::Member;
use log::crash_point;
use nm_core::duty::Duty;
use nm_core::state::State;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use types::command::{
    AbortHandover, Adopt, Answer, CaughtUp, Fail, Handover, Lose, Op, Owe, Promote, Restore, VersionRef,
};
use types::limits::{HANDOVER_MAX, PAGE_BYTES, PAGE_ROWS};
use types::message::member::{Bring, BringRequest, LetGo, LetGoRequest, Survey, SurveyRequest};
use types::mutation::{self, Mutation};
use types::record::{Row, Subject};
use types::{Code, Error, Result};

/// The one that shall act has to answer this fast (R8).
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// One page of a survey: it looks at an index, not at content.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(10);
/// Copying of owed versions: as long as it goes on, in slices of this.
const BRING_TIMEOUT: Duration = Duration::from_secs(60);
/// Owed versions that are copied in one slice.
const BRING_VERSIONS: usize = 64;

impl Manager {
    /// Does `duty`; whether it made a difference.
    pub(crate) async fn perform(self: &Arc<Self>, roles: &Roles, duty: &Duty, memo: &mut Memo) -> bool {
        let result = match duty {
            Duty::Wait => Ok(false),
            Duty::Fail { server, incarnation, reason, promote } => {
                let fail = self.failure(roles, server, *incarnation, reason);
                self.fail(roles, fail, promote.as_deref()).await
            }
            Duty::Replace { server, incarnation, reason, to } => {
                let fail = self.failure(roles, server, *incarnation, reason);
                match self.answers(roles, to).await {
                    true => {
                        let reason = format!("{server} has failed: {reason}");
                        self.promote(roles, Some(fail), to, &reason).await
                    }
                    false => Ok(false),
                }
            }
            Duty::Promote { to, reason } => self.promote(roles, None, to, reason).await,
            Duty::Survey { server } => self.survey(roles, server).await,
            Duty::Grant { server } => match roles.server(server) {
                Some(server) => Ok(self.push_grant(server).await),
                None => Ok(false),
            },
            Duty::Bring { acting, holder } => {
                let brought = self.bring(roles, acting, holder).await;
                if !matches!(brought, Ok(true)) {
                    memo.rest_bring();
                }
                brought
            }
            Duty::Lose { server, incarnation } => {
                let command = Lose { server: server.clone(), incarnation: *incarnation };
                self.proposer.propose(Op::Lose(command)).await.map(|_| true)
            }
            Duty::CaughtUp { server, incarnation } => self.caught_up(roles, server, *incarnation).await,
            Duty::Handover { to } => {
                let begun = self.begin_handover(roles, to).await;
                match begun {
                    Ok(_) => memo.handover_since = Some(Instant::now()),
                    Err(_) => memo.rest_handover(roles.pair.handover_tries),
                }
                begun
            }
            Duty::LetGo { server } => self.let_go(roles, server, memo).await,
            Duty::Restore => self.end_handover(roles).await,
            Duty::Abort { reason } => {
                memo.rest_handover(roles.pair.handover_tries);
                self.abort(roles, reason).await
            }
        };
        result.unwrap_or_else(|error| {
            tracing::warn!(pair = roles.pair.name, ?duty, %error, "a duty failed");
            false
        })
    }

    /// The word that `server` has failed.
    fn failure(&self, roles: &Roles, server: &str, incarnation: u64, reason: &str) -> Fail {
        let known = roles.server(server).and_then(|server| self.members.get(server));
        let (control_cursor, pair_cursor, journal) =
            known.map(|member| member.acknowledged()).unwrap_or_default();
        let stopped = roles.server(server).is_some_and(|server| self.live().leaving(server).is_some());
        let (server, reason) = (server.to_owned(), reason.to_owned());
        Fail { server, incarnation, reason, control_cursor, pair_cursor, journal, stopped }
    }

    /// Proposes what keeps everyone in the pair from a lease until its fate is known (R3).
    pub(crate) async fn propose_blocked(&self, pair: u32, ops: Vec<Op>) -> Result<Vec<Answer>> {
        self.live().leases.block(pair);
        let answers = self.proposer.propose_all(ops).await;
        // An unknown outcome keeps it blocked: the next try tells.
        if !matches!(&answers, Err(error) if error.code == Code::OutcomeUnknown) {
            self.live().leases.unblock(pair);
        }
        answers
    }

    async fn fail(self: &Arc<Self>, roles: &Roles, fail: Fail, promote: Option<&str>) -> Result<bool> {
        if let Some(to) = promote
            && self.answers(roles, to).await
        {
            let reason = format!("{} has failed: {}", fail.server, fail.reason);
            return self.promote(roles, Some(fail), to, &reason).await;
        }
        self.proposer.propose(Op::Fail(fail)).await.map(|_| true)
    }

    async fn answers(&self, roles: &Roles, name: &str) -> bool {
        let member = roles.server(name).and_then(|server| self.members.get(server));
        match member {
            Some(member) => member.answers(PROBE_TIMEOUT).await,
            None => false,
        }
    }

    async fn promote(
        self: &Arc<Self>,
        roles: &Roles,
        fail: Option<Fail>,
        to: &str,
        reason: &str,
    ) -> Result<bool> {
        if fail.is_none() && !self.answers(roles, to).await {
            return Ok(false);
        }
        let promote = Promote {
            pair: roles.pair.id,
            epoch: roles.pair.epoch,
            to: to.to_owned(),
            reason: reason.to_owned(),
            accept_loss: false,
        };
        let ops = fail.map(Op::Fail).into_iter().chain([Op::Promote(promote)]).collect();
        for answer in self.propose_blocked(roles.pair.id, ops).await? {
            answer.into_result()?;
        }
        Ok(true)
    }

    /// Asks the new acting member, page by page, what it lacks of all rows beyond its cursor, and logs it
    /// (R11). Rows that change meanwhile move behind and are met again there.
    async fn survey(&self, roles: &Roles, server: &str) -> Result<bool> {
        let pair = &roles.pair;
        let known = roles.server(server).ok_or_else(|| Error::internal("no acting member"))?;
        let member = self.members.get(known).ok_or_else(|| away(server))?;
        if mutation::is(Mutation::SkipSurvey) {
            self.proposer
                .propose(Op::Owe(Owe { pair: pair.id, epoch: pair.epoch, done: true, ..Owe::default() }))
                .await?;
            self.live().leases.unblock(pair.id);
            return Ok(true);
        }
        self.survey_debts(roles, &member).await?;
        let page = |after: u64| {
            let view = self.view()?;
            State::new(&view).feed_rows(pair.id, after, PAGE_ROWS, PAGE_BYTES)
        };
        let mut rows = page(known.pair_cursor)?;
        loop {
            let last = rows.last().map(|row| row.seq);
            let mut owe = Owe { pair: pair.id, epoch: pair.epoch, ..Owe::default() };
            if last.is_some() {
                let request = SurveyRequest { pair: pair.id, epoch: pair.epoch, rows };
                let reply = member.call::<Survey>(request, SURVEY_TIMEOUT).await?;
                (owe.lacks, owe.holds) = (reply.lacks, reply.holds);
            }
            rows = match last {
                Some(last) => page(last)?,
                None => Vec::new(),
            };
            let marks = !owe.lacks.is_empty() || !owe.holds.is_empty();
            // Versions that are owed now move their rows behind: then there is another page.
            owe.done = rows.is_empty() && owe.lacks.is_empty();
            let done = owe.done;
            if marks || done {
                self.proposer.propose(Op::Owe(owe)).await?;
            }
            if done {
                self.live().leases.unblock(pair.id);
                return Ok(true);
            }
            if rows.is_empty() {
                rows = page(last.unwrap_or(0))?;
            }
        }
    }

    /// Settles what the new acting member itself owes (R12): it returned, and its partner failed before the
    /// debt was brought over. Those rows lie below its cursor, so the survey does not meet them.
    async fn survey_debts(&self, roles: &Roles, member: &Member) -> Result<()> {
        let pair = &roles.pair;
        loop {
            let (owed, rows) = {
                let view = self.view()?;
                let state = State::new(&view);
                let owed = state.owed_of(pair.id, &member.server, BRING_VERSIONS)?;
                let mut rows = Vec::with_capacity(owed.len());
                for (inode, _) in &owed {
                    let record = state.inode(*inode)?;
                    rows.extend(
                        record.map(|record| Row { seq: record.seq, subject: Some(Subject::Record(record)) }),
                    );
                }
                (owed, rows)
            };
            if owed.is_empty() {
                return Ok(());
            }
            let request = SurveyRequest { pair: pair.id, epoch: pair.epoch, rows };
            let holds = member.call::<Survey>(request, SURVEY_TIMEOUT).await?.holds;
            let held: HashSet<&Vec<u8>> = holds.iter().map(|version| &version.session).collect();
            // What it does not hold nobody holds: the state machine marks it lost.
            let lacks: Vec<VersionRef> = owed
                .into_iter()
                .flat_map(|(_, versions)| versions)
                .filter(|version| !held.contains(&version.session))
                .collect();
            let owe = Owe { pair: pair.id, epoch: pair.epoch, lacks, holds, done: false };
            self.proposer.propose(Op::Owe(owe)).await?;
        }
    }

    async fn bring(&self, roles: &Roles, acting: &str, holder: &str) -> Result<bool> {
        let pair = &roles.pair;
        let files = {
            let view = self.view()?;
            State::new(&view).owed_of(pair.id, holder, BRING_VERSIONS)?
        };
        let member =
            roles.server(acting).and_then(|server| self.members.get(server)).ok_or_else(|| away(acting))?;
        let versions = files.iter().flat_map(|(_, versions)| versions.iter().cloned()).collect();
        let reply = member.call::<Bring>(BringRequest { pair: pair.id, versions }, BRING_TIMEOUT).await?;
        let brought: HashSet<Vec<u8>> = reply.brought.into_iter().collect();
        let adopt = |(inode, versions): (u64, Vec<types::command::VersionRef>)| {
            let sessions: Vec<_> = versions.into_iter().map(|version| version.session).collect();
            let whole = sessions.iter().all(|session| brought.contains(session));
            whole.then(|| {
                Op::Adopt(Adopt {
                    pair: pair.id,
                    epoch: pair.epoch,
                    inode,
                    holder: holder.to_owned(),
                    sessions,
                })
            })
        };
        let ops: Vec<Op> = files.into_iter().filter_map(adopt).collect();
        let any = !ops.is_empty();
        if !reply.trouble.is_empty() {
            tracing::warn!(pair = pair.name, holder, why = reply.trouble, "owed versions are not all copied");
        }
        for answer in self.proposer.propose_all(ops).await? {
            answer.into_result()?;
        }
        Ok(any)
    }

    async fn caught_up(&self, roles: &Roles, server: &str, incarnation: u64) -> Result<bool> {
        let member = roles.server(server).and_then(|server| self.members.get(server));
        let rows_resent = member.map_or(0, |member| member.own.feeder().rows_resent());
        let command = CaughtUp { server: server.to_owned(), incarnation, rows_resent };
        self.proposer.propose(Op::CaughtUp(command)).await.map(|_| true)
    }

    async fn begin_handover(&self, roles: &Roles, to: &str) -> Result<bool> {
        let pair = &roles.pair;
        let command = Handover { pair: pair.id, epoch: pair.epoch, to: to.to_owned() };
        for answer in self.propose_blocked(pair.id, vec![Op::Handover(command)]).await? {
            let after = answer.into_result()?.pair.unwrap_or_default();
            crash_point("nm.handover");
            self.feeds.hurry(pair.id, after.handover_seq);
            self.feeds.hurry(0, after.handover_seq);
        }
        Ok(true)
    }

    /// The acting member stops serving; its answer ends its lease.
    async fn let_go(&self, roles: &Roles, server: &str, memo: &Memo) -> Result<bool> {
        let pair = &roles.pair;
        let known = roles.server(server).ok_or_else(|| away(server))?;
        let member = self.members.get(known).ok_or_else(|| away(server))?;
        // It takes no grant for a heartbeat sent before: only a later one may be answered again.
        self.live().beats.remove(server);
        let left =
            memo.handover_since.map_or(HANDOVER_MAX, |since| HANDOVER_MAX.saturating_sub(since.elapsed()));
        member.call::<LetGo>(LetGoRequest { pair: pair.id, epoch: pair.epoch }, left).await?;
        self.live().leases.release(pair.id, &known.name, known.incarnation);
        Ok(true)
    }

    async fn end_handover(&self, roles: &Roles) -> Result<bool> {
        let pair = &roles.pair;
        self.proposer.propose(Op::Restore(Restore { pair: pair.id, epoch: pair.epoch })).await?;
        crash_point("nm.restored");
        let mut live = self.live();
        live.leases.unblock(pair.id);
        if live.wishes.get(&pair.id) == Some(&pair.handover_to) {
            live.wishes.remove(&pair.id);
        }
        Ok(true)
    }

    async fn abort(&self, roles: &Roles, reason: &str) -> Result<bool> {
        let pair = &roles.pair;
        let command = AbortHandover { pair: pair.id, epoch: pair.epoch, reason: reason.to_owned() };
        self.proposer.propose(Op::AbortHandover(command)).await?;
        self.live().leases.unblock(pair.id);
        Ok(true)
    }
}

fn away(server: &str) -> Error {
    Error::new(Code::Unavailable, format_args!("{server} cannot be reached"), "it is tried again")
}
