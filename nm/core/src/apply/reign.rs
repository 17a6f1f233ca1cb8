//! Who acts in a pair: promotion and handover (R1, R8, R27).

use super::context::{Context, Stop, pair_event, refuse};
use types::Code;
use types::command::{AbortHandover, Answer, Handover, Promote, Restore};
use types::mutation::{self, Mutation};
use types::record::{Damage, Pair, Phase, Server};

fn answer(context: &mut Context<'_>, pair: u32) -> Result<Answer, Stop> {
    let pair = context.pair(pair)?.clone();
    Ok(Answer { pair: Some(pair), rows: context.rows(), ..Answer::default() })
}

/// The pair, if `epoch` is its present one.
fn at_epoch(context: &mut Context<'_>, pair: u32, epoch: u64) -> Result<Pair, Stop> {
    let pair = context.pair(pair)?;
    if pair.epoch != epoch {
        let (name, now) = (pair.name.clone(), pair.epoch);
        return refuse(
            Code::PastEpoch,
            format_args!("{name} is in epoch {now}, not {epoch}"),
            "look at the pair again",
        );
    }
    Ok(pair.clone())
}

/// The member of `pair` that does not act, if that is `server`.
fn other_member<'a>(context: &'a mut Context<'_>, pair: &Pair, server: &str) -> Result<&'a Server, Stop> {
    if !pair.has(server) || pair.acting == server {
        return refuse(
            Code::Usage,
            format_args!("{server} is not the other member of {}", pair.name),
            "look at `pairfs status`",
        );
    }
    context.server(server).map(|known| &*known)
}

/// Refuses unless `server` is the other member of `pair` and there, fresh or not: the last resort.
fn require_recovered(context: &mut Context<'_>, pair: &Pair, server: &str) -> Result<(), Stop> {
    let known = other_member(context, pair, server)?;
    if known.recovered && !known.failed {
        return Ok(());
    }
    refuse(Code::NoActingMember, format_args!("{server} is not there"), "start it first")
}

/// Refuses unless `server` could take over `pair` now.
fn require_fresh(context: &mut Context<'_>, pair: &Pair, server: &str) -> Result<(), Stop> {
    let known = other_member(context, pair, server)?;
    let fresh = known.fresh || mutation::is(Mutation::PromoteStale);
    if fresh && known.recovered && !known.failed {
        return Ok(());
    }
    refuse(
        Code::NoActingMember,
        format_args!("{server} may not act for {}: it has not caught up", pair.name),
        "bring the last acting member back",
    )
}

/// Gives `pair` to `to` from the next epoch on; the old member is stale until it has caught up.
fn enthrone(context: &mut Context<'_>, id: u32, to: &str, phase: Phase) -> Result<Pair, Stop> {
    let now = context.now_ms();
    let pair = context.pair(id)?;
    pair.epoch += 1;
    pair.acting = to.to_owned();
    pair.phase = phase as i32;
    pair.handover_to.clear();
    pair.handover_seq = 0;
    pair.handover_tries = 0;
    pair.changed_ms = now;
    let pair = pair.clone();
    context.announce_pair(id)?;
    Ok(pair)
}

/// Fences the old acting member by a new epoch. Nobody serves before `Owe` has said what the new one lacks.
pub(super) fn promote(context: &mut Context<'_>, command: &Promote) -> Result<Answer, Stop> {
    let pair = at_epoch(context, command.pair, command.epoch)?;
    if command.accept_loss {
        require_recovered(context, &pair, &command.to)?;
    } else {
        require_fresh(context, &pair, &command.to)?;
    }
    // Proposed together with its `Fail`; if that was refused, the server has registered anew meanwhile.
    let holds = |acting: &Server| !acting.failed && acting.damage() == Damage::None;
    if context.server_if_known(&pair.acting)?.is_some_and(|acting| holds(acting)) {
        return refuse(
            Code::Changed,
            format_args!("{} is not failed", pair.acting),
            "look at the pair again",
        );
    }
    let after = enthrone(context, pair.id, &command.to, Phase::Promoted)?;
    if let Some(old) = context.server_if_known(&pair.acting)? {
        old.fresh = false;
    }
    // Who acts holds what the pair is from now on; what it lacks the survey finds.
    context.server(&command.to)?.fresh = true;
    context.event(pair_event("promoted", &command.to, &after, command.reason.clone(), &[]))?;
    answer(context, pair.id)
}

/// Begins a handover: commits of the pair are refused until it ends.
pub(super) fn handover(context: &mut Context<'_>, command: &Handover) -> Result<Answer, Stop> {
    let pair = at_epoch(context, command.pair, command.epoch)?;
    require_fresh(context, &pair, &command.to)?;
    if pair.phase() != Phase::Steady {
        return refuse(
            Code::Handover,
            format_args!("{} is between two reigns already", pair.name),
            "wait for its end",
        );
    }
    if pair.owed > 0 {
        return refuse(
            Code::Changed,
            format_args!("{} versions are owed in {}", pair.owed, pair.name),
            "they are adopted first",
        );
    }
    let seq = context.seq();
    let pair = context.pair(command.pair)?;
    pair.phase = Phase::Handover as i32;
    pair.handover_seq = seq;
    pair.handover_to = command.to.clone();
    answer(context, command.pair)
}

/// Ends a handover: its target acts, if its logged cursor covers every row.
///
/// Not only the rows up to `Handover`, as one might think: a row before it that a later `mv` moved behind
/// it would take a version along that the target may lack.
pub(super) fn restore(context: &mut Context<'_>, command: &Restore) -> Result<Answer, Stop> {
    let pair = at_epoch(context, command.pair, command.epoch)?;
    if pair.phase() != Phase::Handover {
        return refuse(Code::Changed, format_args!("no handover of {} is open", pair.name), "begin one");
    }
    let to = pair.handover_to.clone();
    require_fresh(context, &pair, &to)?;
    let target = context.server(&to)?.clone();
    let behind = context.state().feed_has(pair.id, target.pair_cursor, u64::MAX)?
        || context.state().feed_has(0, target.control_cursor, pair.handover_seq)?;
    if behind {
        return refuse(
            Code::Changed,
            format_args!("{to} has rows of {} to apply", pair.name),
            "wait for its rows",
        );
    }
    let after = enthrone(context, pair.id, &to, Phase::Steady)?;
    let (kind, reason) = if to == after.primary && to == after.preferred {
        ("restored", "caught up and took its role back")
    } else {
        ("switched-over", "took over without a gap")
    };
    context.event(pair_event(kind, &to, &after, reason, &[]))?;
    answer(context, pair.id)
}

/// Gives a handover up: the acting member goes on.
pub(super) fn abort_handover(context: &mut Context<'_>, command: &AbortHandover) -> Result<Answer, Stop> {
    let pair = at_epoch(context, command.pair, command.epoch)?;
    if pair.phase() == Phase::Handover {
        let known = context.pair(pair.id)?;
        known.phase = Phase::Steady as i32;
        known.handover_to.clear();
        known.handover_seq = 0;
        known.handover_tries = known.handover_tries.saturating_add(1);
        context.event(pair_event(
            "handover-aborted",
            &pair.handover_to,
            &pair,
            command.reason.clone(),
            &[],
        ))?;
    }
    answer(context, pair.id)
}
