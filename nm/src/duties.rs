//! Does what `nm_core::duty` says, one pair a task: looks, does the one thing, looks again.

use crate::manager::Manager;
use crate::placement;
use nm_core::duty::{self, Duty};
use nm_core::state::State;
use nm_core::store::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use types::limits::{HANDOVER_BYTES, HANDOVER_MAX, HANDOVER_ROWS};
use types::record::{Pair, Phase, Server, Subject};

/// Rows that are looked at to tell whether a lag is small, at most.
const LAG_LOOK: usize = 4096;
/// The pause after a handover or a copy that failed; it doubles with each failed handover.
const REST: Duration = Duration::from_millis(500);
/// It does not grow beyond this.
const REST_MAX: Duration = Duration::from_secs(8);
/// Look at least this often, should a bell be missed.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What the task of a pair remembers between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memo {
    /// When this leader began the open handover.
    pub(crate) handover_since: Option<Instant>,
    pub(crate) no_handover_before: Option<Instant>,
    pub(crate) no_bring_before: Option<Instant>,
}

impl Memo {
    pub(crate) fn rest_handover(&mut self, tries: u32) {
        self.no_handover_before = Some(Instant::now() + (REST * 2u32.pow(tries.min(5))).min(REST_MAX));
    }

    pub(crate) fn rest_bring(&mut self) {
        self.no_bring_before = Some(Instant::now() + REST);
    }

    /// When something changes by time alone.
    fn next(&self) -> Option<Instant> {
        let handover_ends = self.handover_since.map(|since| since + HANDOVER_MAX);
        let now = Instant::now();
        [handover_ends, self.no_handover_before, self.no_bring_before]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }
}

/// The pair and its members as the log has them.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    pub(crate) pair: Pair,
    pub(crate) servers: Vec<Server>,
}

impl Roles {
    pub(crate) fn read(state: State<'_>, pair: u32) -> Result<Option<Roles>, StoreError> {
        let Some(pair) = state.pair(pair)? else { return Ok(None) };
        let mut servers = Vec::with_capacity(2);
        for name in [&pair.primary, &pair.backup] {
            if !name.is_empty() {
                servers.extend(state.server(name)?);
            }
        }
        Ok(Some(Roles { pair, servers }))
    }

    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }
}

/// What is read of one member.
#[derive(Clone, Copy, Debug)]
struct Facts {
    connected: bool,
    owed: bool,
    close: bool,
    drained: bool,
    passed: bool,
}

/// Keeps the members and the tasks of all pairs up to date with the log.
pub(crate) async fn supervise(manager: Arc<Manager>) {
    let mut tasks = tokio::task::JoinSet::new();
    let mut known = std::collections::BTreeSet::new();
    loop {
        let read = || -> Result<_, StoreError> {
            let view = manager.view()?;
            let state = State::new(&view);
            Ok((state.servers()?, state.pairs()?))
        };
        match read() {
            Ok((servers, pairs)) => {
                manager.reconcile(&servers, &pairs);
                for pair in pairs {
                    if known.insert(pair.id) {
                        tasks.spawn(drive(manager.clone(), pair.id));
                    }
                    manager.signals.wake(pair.id);
                }
            }
            Err(error) => tracing::error!(%error, "the state cannot be read"),
        }
        // At least now and then, should the news have come from elsewhere.
        let _ = tokio::time::timeout(LOOK_MAX, manager.roles.notified()).await;
    }
}

/// Does the duties of one pair.
async fn drive(manager: Arc<Manager>, pair: u32) {
    let bell = manager.signals.bell(pair);
    let pause = manager.settings.pace.check.min(LOOK_MAX);
    let mut memo = Memo::default();
    loop {
        let progress = match manager.next_duty(pair, &mut memo) {
            Ok(Some((roles, duty))) => {
                manager.tell(&roles).await;
                perform(&manager, &roles, duty, &mut memo, &bell).await
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(pair, %error, "the state cannot be read");
                false
            }
        };
        if !progress {
            let latest = Instant::now() + pause;
            let wake = memo.next().map_or(latest, |at| at.min(latest));
            tokio::select! {
                () = bell.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}

/// Does one duty; whether it made a difference. News interrupt what may be done anew, if they mean that
/// something else is to be done.
async fn perform(
    manager: &Arc<Manager>,
    roles: &Roles,
    duty: Duty,
    memo: &mut Memo,
    bell: &tokio::sync::Notify,
) -> bool {
    match &duty {
        Duty::Wait => return false,
        Duty::Grant { .. } => {}
        duty => tracing::info!(pair = roles.pair.name, ?duty, "duty"),
    }
    if !duty.is_interruptible() {
        return manager.perform(roles, &duty, memo).await;
    }
    let mut aside = *memo;
    let done = {
        let doing = manager.perform(roles, &duty, &mut aside);
        tokio::pin!(doing);
        loop {
            tokio::select! {
                done = &mut doing => break done,
                () = bell.notified() => {
                    let next = manager.next_duty(roles.pair.id, memo).ok().flatten();
                    if next.is_none_or(|(_, next)| next != duty) {
                        break true;
                    }
                }
            }
        }
    };
    *memo = aside;
    done
}

impl Manager {
    /// What is to be done for the pair now.
    fn next_duty(&self, pair: u32, memo: &mut Memo) -> Result<Option<(Roles, Duty)>, StoreError> {
        let view = self.view()?;
        let state = State::new(&view);
        let Some(roles) = Roles::read(state, pair)? else { return Ok(None) };
        if roles.pair.phase() != Phase::Handover {
            memo.handover_since = None;
        }
        let now = self.now();
        // Read before the lock is taken: heartbeats need that.
        let facts: Vec<Facts> = roles
            .servers
            .iter()
            .map(|server| self.facts(state, &roles.pair, server, now))
            .collect::<Result<_, _>>()?;
        let live = self.live();
        let mut members = [None, None];
        for (place, (server, facts)) in members.iter_mut().zip(roles.servers.iter().zip(&facts)) {
            *place = Some(duty::Member {
                server,
                gone: live.monitor.verdict(server).or_else(|| {
                    let partner = roles.server(roles.pair.partner_of(&server.name));
                    live.broken(server, &roles.pair, partner, now)
                }),
                alive: live.alive(server, now),
                ill: live.gray.illness(server),
                connected: facts.connected,
                leaving: live.leaving(server).is_some(),
                owed: facts.owed,
                close: facts.close,
                drained: facts.drained,
                passed: facts.passed,
            });
        }
        let is_over = |at: Option<Instant>| at.is_none_or(|at| at <= Instant::now());
        let acting = roles.server(&roles.pair.acting);
        let scene = duty::Scene {
            pair: &roles.pair,
            members,
            serving: acting.is_some_and(|acting| {
                live.leases.holder(&roles.pair, now) == Some((acting.name.as_str(), acting.incarnation))
            }),
            lease_ended: live.leases.ended(pair, now),
            handover_in_time: memo.handover_since.is_some_and(|since| since.elapsed() < HANDOVER_MAX),
            wish: live.wishes.get(&pair).map(String::as_str),
            auto_failback: self.settings.auto_failback() && self.damped(&roles).is_none(),
            may_hand_over: is_over(memo.no_handover_before),
            may_bring: is_over(memo.no_bring_before),
        };
        let next = duty::next(&scene);
        drop(live);
        Ok(Some((roles, next)))
    }

    /// How long the preferred member is still kept from its role because it failed again and again.
    pub(crate) fn damped(&self, roles: &Roles) -> Option<Duration> {
        let preferred = roles.server(&roles.pair.preferred).filter(|server| !server.failed)?;
        let waits = preferred.name != roles.pair.acting;
        waits.then(|| self.settings.damping().left(preferred, self.proposer.time())).flatten()
    }

    fn facts(
        &self,
        state: State<'_>,
        pair: &Pair,
        server: &Server,
        now: Duration,
    ) -> Result<Facts, StoreError> {
        let covers = |feed: u32, cursor: u64, upto: u64| -> Result<bool, StoreError> {
            Ok(cursor >= upto || !state.feed_has(feed, cursor, upto)?)
        };
        let is_other = server.name != pair.acting;
        let may_be_heir =
            is_other && server.fresh && pair.phase() == Phase::Steady && self.is_wanted(pair, server);
        let handing = pair.phase() == Phase::Handover;
        Ok(Facts {
            connected: self.members.get(server).is_some_and(|member| member.connection().is_some()),
            owed: is_other && pair.owed > 0 && !state.owed_of(pair.id, &server.name, 1)?.is_empty(),
            close: may_be_heir && self.is_close(state, pair, server, now)?,
            drained: handing
                && covers(pair.id, server.pair_cursor, u64::MAX)?
                && covers(0, server.control_cursor, pair.handover_seq)?,
            passed: !server.fresh
                && covers(pair.id, server.pair_cursor, server.pair_mark)?
                && covers(0, server.control_cursor, server.control_mark)?,
        })
    }

    /// Whether anything speaks for a handover to `server`: else its lag need not be looked at.
    fn is_wanted(&self, pair: &Pair, server: &Server) -> bool {
        let live = self.live();
        pair.preferred == server.name
            || live.wishes.contains_key(&pair.id)
            || live.wants_to_leave(&pair.acting)
    }

    /// Whether what the server lacks can be applied in 200 ms at the last second's rate (R27).
    fn is_close(
        &self,
        state: State<'_>,
        pair: &Pair,
        server: &Server,
        now: Duration,
    ) -> Result<bool, StoreError> {
        let Some(member) = self.members.get(server) else { return Ok(false) };
        let (cursor, rate) = {
            let feeder = member.own.feeder();
            (feeder.watermark(), feeder.rate(now))
        };
        if cursor >= pair.feed_end {
            return Ok(true);
        }
        let rows_max = HANDOVER_ROWS.max(rate / 5).min(LAG_LOOK as u64 - 1);
        let rows = state.feed_rows(pair.id, cursor, rows_max as usize + 1, usize::MAX)?;
        let bytes: u64 = rows
            .iter()
            .filter_map(|row| match &row.subject {
                Some(Subject::Record(record)) => record.head_version().map(|head| head.size),
                _ => None,
            })
            .sum();
        Ok(rows.len() as u64 <= rows_max && bytes <= HANDOVER_BYTES)
    }

    /// Tells clients and members where the pair stands, if that is news.
    async fn tell(&self, roles: &Roles) {
        let placement = {
            let live = self.live();
            placement::of(&live, &roles.pair, &roles.servers, self.now())
        };
        if self.publish(&placement) {
            for server in &roles.servers {
                self.push_grant(server).await;
            }
        }
    }
}
