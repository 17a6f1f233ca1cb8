//! The end of a rebuild: the members, the accounts, and the cluster itself, from which on it is one.

use super::super::context::{Context, Stop, pair_event};
use super::current;
use crate::keys::{self, AccessKey, ClusterEntry, RebuildEntry, UserEntry};
use crate::store::Table;
use prost::Message;
use types::command::{Answer, Bootstrap};
use types::rebuild::StandReport;
use types::record::{Event, Number, Pair, Server, User};
use types::{Code, Error};

/// Notes of a rebuild that one command clears away.
const SLICE: usize = 4096;

/// Clears a slice of the notes away; when none is left, makes the cluster.
pub(super) fn finish(context: &mut Context<'_>) -> Result<Answer, Stop> {
    let entry = current(context)?;
    if !entry.is_settled {
        return super::refuse(Code::Changed, "not all is taken in", "start it again with --rebuild");
    }
    if forget(context)? {
        return Ok(Answer { more: true, ..Answer::default() });
    }
    let cluster = entry.cluster.clone().ok_or_else(|| Error::internal("a rebuild without a cluster"))?;
    for pair in context.state().pairs()? {
        let pair = context.pair(pair.id)?.clone();
        seat(context, &entry, &pair)?;
        context.announce_pair(pair.id)?;
    }
    accounts(context, &cluster)?;
    let known = ClusterEntry {
        cluster_id: cluster.cluster_id,
        master_key: cluster.master_key,
        generation: cluster.generation,
        fast: cluster.fast,
    };
    context.store().put(Table::Meta, keys::CLUSTER, &known.encode_to_vec())?;
    context.store().delete(Table::Meta, keys::REBUILD)?;
    // What clients asked the old log under their keys is not known here: it is refused, not done twice (R13). Whatever
    // was asked by a client that came later left no trace.
    context.counters().client_floor = entry.time_ms;
    tell(context, &entry)?;
    Ok(Answer::default())
}

/// Whether there may be more.
fn forget(context: &mut Context<'_>) -> Result<bool, Stop> {
    let mut notes = Vec::new();
    let end = keys::after_prefix(keys::GIVEN_UP);
    context.store().scan(Table::Meta, keys::GIVEN_UP, &end, &mut |key, _| {
        notes.push(key.to_vec());
        notes.len() < SLICE
    })?;
    for note in &notes {
        context.store().delete(Table::Meta, note)?;
    }
    Ok(notes.len() == SLICE)
}

/// The members of a pair, as their reports have it; those that have not reported are known by name only, and the first
/// disk with a past that comes under that name is theirs.
fn seat(context: &mut Context<'_>, entry: &RebuildEntry, pair: &Pair) -> Result<(), Stop> {
    let now = context.now_ms();
    for name in [&pair.primary, &pair.backup] {
        if name.is_empty() {
            continue;
        }
        let report = entry.members.iter().find(|member| member.server == *name).cloned();
        let absent = report.is_none();
        let StandReport { addr, token, journal, boot, import, .. } = report.unwrap_or_default();
        context.counters().last_incarnation += 1;
        let incarnation = context.counters().last_incarnation;
        context.put_server(Server {
            name: name.clone(),
            pair: pair.id,
            addr,
            incarnation,
            token,
            boot,
            journal,
            // It goes on behind what its disk knows to be in (decision 0021).
            import,
            fresh: pair.acting == *name,
            failed: absent,
            failed_ms: if absent { now } else { 0 },
            registered_ms: now,
            ..Server::default()
        });
        if absent {
            let reason =
                "was away when the name manager was rebuilt: what only it holds could not be compared";
            context.event(pair_event("not-compared", name, pair, reason, &[]))?;
        }
    }
    Ok(())
}

/// The first account gets its new key; whoever else there is gets one from it.
fn accounts(context: &mut Context<'_>, cluster: &Bootstrap) -> Result<(), Stop> {
    let known = context.state().user(&cluster.admin)?.and_then(|known| known.public);
    let public =
        User { admin: true, ..known.unwrap_or(User { name: cluster.admin.clone(), ..User::default() }) };
    let key = AccessKey { id: cluster.key_id.clone(), key: cluster.key.clone() };
    let user = UserEntry { public: Some(public), keys: vec![key] };
    context.store().put(Table::Users, cluster.admin.as_bytes(), &user.encode_to_vec())?;
    let mut names = Vec::new();
    context.store().scan(Table::Users, &[], &[], &mut |key, _| {
        names.push(String::from_utf8_lossy(key).into_owned());
        true
    })?;
    for name in names {
        context.announce_user(&name)?;
    }
    Ok(())
}

fn tell(context: &mut Context<'_>, entry: &RebuildEntry) -> Result<(), Stop> {
    let names: Vec<&str> = entry.members.iter().map(|member| &member.server[..]).collect();
    let numbers = [("entries", entry.entries), ("writes", entry.writes), ("misplaced", entry.misplaced)];
    context.event(Event {
        kind: "rebuilt".into(),
        reason: format!("from what {} held; accounts need new keys", names.join(", ")),
        numbers: numbers.map(|(name, value)| Number { name: name.into(), value }).to_vec(),
        ..Event::default()
    })
}
