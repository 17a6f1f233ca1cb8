//! What is to be done next for a pair: one pure function of what the log says and what the leader sees.
//!
//! The shell does the one thing it is told and asks again. The first line that fits wins:
//!
//! | # | the log says | the leader sees | duty |
//! |---|---|---|---|
//! | 1 | the acting member is not failed | it is gone, the other is fresh and alive | [`Duty::Fail`] and promote |
//! | 2 | a member is not failed | it is gone | [`Duty::Fail`] |
//! | 3 | the acting member is not failed | it is ill, the other is fresh, alive and well | [`Duty::Replace`] |
//! | 4 | the other member is fresh | its disk hangs | [`Duty::Fail`] |
//! | 5 | handover | its target is unfit, time is up, or another leader began it | [`Duty::Abort`] |
//! | 6 | handover | the acting member's lease has not ended | [`Duty::LetGo`] |
//! | 7 | handover, the target has every row | no lease | [`Duty::Restore`] |
//! | 8 | handover | rows are under way | wait |
//! | 9 | promoted | the acting member is alive, well and connected | [`Duty::Survey`] |
//! | 10 | promoted, the acting member is failed or not recovered | | wait for its return |
//! | 11 | steady, the acting member is failed or damaged | the other is fresh, alive and well | [`Duty::Promote`] |
//! | 12 | steady, the acting member has recovered | alive, no lease of its own | [`Duty::Grant`] |
//! | 13 | steady, the other holds owed versions | it acts with a lease, both connected | [`Duty::Bring`] |
//! | 14 | a member's disk was replaced while it owed versions | | [`Duty::Lose`] |
//! | 15 | a member is stale, compared, and has passed its marks | it is alive and well | [`Duty::CaughtUp`] |
//! | 16 | steady, the other is fresh and nothing is owed | wanted, alive, lag within bounds | [`Duty::Handover`] |
//! | 17 | else | | wait |
//!
//! *Ill* is who answers heartbeats but does no work ([`crate::gray`]). One that acts and has nobody to stand in for it
//! stays, as it is better than nobody; one that does not act and whose port does not answer stays fresh, as it lacks
//! nothing: it cannot be promoted before it answers.

use crate::gray::Illness;
use types::mutation::{self, Mutation};
use types::record::{Damage, Pair, Phase, Server};

/// A member as log and leader see it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What the log says.
    pub server: &'a Server,
    /// Why it is taken for failed, if it is: silent for the timeout, or its process is gone.
    pub gone: Option<&'a str>,
    /// This leader hears it.
    pub alive: bool,
    /// Why it does no work though it is heard, if that is so.
    pub ill: Option<Illness>,
    /// This leader has a connection to it.
    pub connected: bool,
    /// It wants to stop.
    pub leaving: bool,
    /// It holds versions that are owed.
    pub owed: bool,
    /// What it has not applied yet can be applied in 200 ms (R27).
    pub close: bool,
    /// Its logged cursors cover every row of its pair, and of the control feed up to an open handover.
    pub drained: bool,
    /// Its logged cursors have passed its marks (R8).
    pub passed: bool,
}

impl Member<'_> {
    /// R8: fresh, and not known to be away or ill.
    fn can_take_over(&self) -> bool {
        let fresh = self.server.fresh || mutation::is(Mutation::PromoteStale);
        fresh && self.server.recovered && self.usable() && !self.leaving
    }

    fn usable(&self) -> bool {
        !self.server.failed && self.gone.is_none() && self.alive && self.connected && self.ill.is_none()
    }
}

/// Everything that decides.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The pair.
    pub pair: &'a Pair,
    /// Its members, as far as they have registered.
    pub members: [Option<Member<'a>>; 2],
    /// The acting member holds a lease of this leader.
    pub serving: bool,
    /// Nobody in the pair can hold a lease.
    pub lease_ended: bool,
    /// The open handover was begun by this leader and its time is not up.
    pub handover_in_time: bool,
    /// An operator has asked for this member.
    pub wish: Option<&'a str>,
    /// The preferred member takes over by itself, and is not kept from it ([`crate::flap`]).
    pub auto_failback: bool,
    /// No handover failed just now.
    pub may_hand_over: bool,
    /// No copying of owed versions failed just now.
    pub may_bring: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing until something changes.
    Wait,
    /// Log that a server has failed and, with `promote`, in the same entry that the other member acts.
    Fail {
        /// Who has failed.
        server: String,
        /// Its registration.
        incarnation: u64,
        /// Why, for people.
        reason: String,
        /// Who shall act, once it has answered a probe.
        promote: Option<String>,
    },
    /// The acting member answers and does no work: the other acts, and that one is failed, in the same entry, once the
    /// other has answered a probe; else nothing changes.
    Replace {
        /// The acting member.
        server: String,
        /// Its registration.
        incarnation: u64,
        /// Why, for people.
        reason: String,
        /// Who shall act.
        to: String,
    },
    /// The acting member is failed in the log: the other acts, once it has answered a probe.
    Promote {
        /// Who.
        to: String,
        /// Why, for people.
        reason: String,
    },
    /// Ask the new acting member what it lacks and log it (R11).
    Survey {
        /// The acting member.
        server: String,
    },
    /// Push a lease to the acting member.
    Grant {
        /// The acting member.
        server: String,
    },
    /// Have owed versions copied to the acting member, then adopt them (R12).
    Bring {
        /// Who copies.
        acting: String,
        /// Who holds them.
        holder: String,
    },
    /// Mark a slice of what the replaced disk of `server` owed as lost (R12).
    Lose {
        /// Its name.
        server: String,
        /// Its registration.
        incarnation: u64,
    },
    /// A member has passed its marks.
    CaughtUp {
        /// Who.
        server: String,
        /// Its registration.
        incarnation: u64,
    },
    /// Begin a handover (R27).
    Handover {
        /// Who shall act.
        to: String,
    },
    /// Tell the acting member to stop serving.
    LetGo {
        /// The acting member.
        server: String,
    },
    /// End the handover well.
    Restore,
    /// Give the handover up.
    Abort {
        /// Why, for people.
        reason: String,
    },
}

impl Duty {
    /// Whether giving it up half done and starting anew does no harm: then news may interrupt it.
    pub fn is_interruptible(&self) -> bool {
        matches!(self, Duty::Bring { .. } | Duty::Survey { .. } | Duty::LetGo { .. })
    }
}

/// What is to be done next in the pair.
pub fn next(scene: &Scene<'_>) -> Duty {
    let pair = scene.pair;
    let find = |name: &str| scene.members.iter().flatten().find(|member| member.server.name == name);
    let acting = find(&pair.acting);
    let other = find(pair.partner_of(&pair.acting));
    fail(scene, acting, other)
        .or_else(|| replace(acting, other))
        .or_else(|| match pair.phase() {
            Phase::Handover => Some(hand_over(scene, acting)),
            Phase::Promoted => Some(settle(acting)),
            Phase::Steady => reign(scene, acting, other),
        })
        .or_else(|| scene.members.iter().flatten().find_map(lose))
        .or_else(|| scene.members.iter().flatten().find_map(caught_up))
        .or_else(|| begin_handover(scene, acting, other))
        .unwrap_or(Duty::Wait)
}

fn fail(scene: &Scene<'_>, acting: Option<&Member<'_>>, other: Option<&Member<'_>>) -> Option<Duty> {
    let gone = |member: &&Member<'_>| !member.server.failed && member.gone.is_some();
    let member = acting.filter(gone).or(other.filter(gone))?;
    let is_acting = member.server.name == scene.pair.acting;
    let heir = other.filter(|other| is_acting && other.can_take_over());
    Some(Duty::Fail {
        server: member.server.name.clone(),
        incarnation: member.server.incarnation,
        reason: member.gone.unwrap_or_default().to_owned(),
        promote: heir.map(|heir| heir.server.name.clone()),
    })
}

/// Takes out who is heard and does no work.
fn replace(acting: Option<&Member<'_>>, other: Option<&Member<'_>>) -> Option<Duty> {
    let standing = |member: &&Member<'_>| !member.server.failed && member.alive;
    let heir = other.filter(|other| other.can_take_over());
    if let (Some(acting), Some(heir)) = (acting.filter(standing), heir)
        && let Some(illness) = acting.ill
    {
        return Some(Duty::Replace {
            server: acting.server.name.clone(),
            incarnation: acting.server.incarnation,
            reason: illness.to_string(),
            to: heir.server.name.clone(),
        });
    }
    let other = other.filter(standing).filter(|other| other.server.fresh)?;
    let Some(illness @ Illness::Disk(_)) = other.ill else { return None };
    Some(Duty::Fail {
        server: other.server.name.clone(),
        incarnation: other.server.incarnation,
        reason: illness.to_string(),
        promote: None,
    })
}

fn hand_over(scene: &Scene<'_>, acting: Option<&Member<'_>>) -> Duty {
    let pair = scene.pair;
    let target = scene.members.iter().flatten().find(|member| member.server.name == pair.handover_to);
    let abort = |reason: &str| Duty::Abort { reason: reason.to_owned() };
    let Some(target) = target.filter(|target| target.can_take_over()) else {
        return abort("its target is away");
    };
    if !scene.handover_in_time {
        return abort("it was not done in time");
    }
    if !scene.lease_ended && !mutation::is(Mutation::KeepLeaseInHandover) {
        return match acting.filter(|acting| acting.usable()) {
            Some(acting) => Duty::LetGo { server: acting.server.name.clone() },
            None => Duty::Wait,
        };
    }
    if target.drained { Duty::Restore } else { Duty::Wait }
}

fn settle(acting: Option<&Member<'_>>) -> Duty {
    match acting.filter(|acting| acting.usable() && acting.server.recovered) {
        Some(acting) => Duty::Survey { server: acting.server.name.clone() },
        None => Duty::Wait,
    }
}

fn reign(scene: &Scene<'_>, acting: Option<&Member<'_>>, other: Option<&Member<'_>>) -> Option<Duty> {
    let acting = acting?;
    let damaged = acting.server.damage() != Damage::None;
    if acting.server.failed || damaged {
        let heir = other.filter(|other| other.can_take_over())?;
        let state = if acting.server.failed { "is failed" } else { "has lost a part of its journal" };
        return Some(Duty::Promote {
            to: heir.server.name.clone(),
            reason: format!("{} {state}", acting.server.name),
        });
    }
    if !scene.serving && acting.alive && acting.gone.is_none() && acting.server.recovered && !acting.leaving {
        return Some(Duty::Grant { server: acting.server.name.clone() });
    }
    let can_give = |other: &&Member<'_>| other.owed && !other.server.disk_lost && other.server.recovered;
    let holder = other.filter(can_give).filter(|other| other.usable())?;
    (scene.serving && scene.may_bring && acting.usable())
        .then(|| Duty::Bring { acting: acting.server.name.clone(), holder: holder.server.name.clone() })
}

fn lose(member: &Member<'_>) -> Option<Duty> {
    let server = member.server;
    (server.disk_lost && !server.failed)
        .then(|| Duty::Lose { server: server.name.clone(), incarnation: server.incarnation })
}

fn caught_up(member: &Member<'_>) -> Option<Duty> {
    let server = member.server;
    (!server.fresh
        && !server.disk_lost
        && !server.compare
        && server.recovered
        && member.passed
        && member.usable())
    .then(|| Duty::CaughtUp { server: server.name.clone(), incarnation: server.incarnation })
}

fn begin_handover(
    scene: &Scene<'_>,
    acting: Option<&Member<'_>>,
    other: Option<&Member<'_>>,
) -> Option<Duty> {
    let (acting, other) = (acting?, other?);
    let pair = scene.pair;
    let name = &other.server.name;
    let failback = scene.auto_failback && !pair.hold && pair.preferred == *name;
    let wanted = acting.leaving || scene.wish == Some(name) || (failback && scene.wish.is_none());
    let ready = other.can_take_over() && other.close && !other.owed;
    let fit = pair.phase() == Phase::Steady && scene.serving && acting.usable() && scene.may_hand_over;
    (wanted && ready && fit).then(|| Duty::Handover { to: name.clone() })
}

#[cfg(test)]
#[path = "duty_tests.rs"]
mod tests;
