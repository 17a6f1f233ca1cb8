//! The cluster itself: its beginning, an operator's choices, events.

use super::context::{Context, Stop, pair_event, refuse};
use crate::keys::{self, AccessKey, ClusterEntry, UserEntry};
use crate::store::Table;
use prost::Message;
use types::Code;
use types::command::{Answer, Bootstrap, Prefer};
use types::ids::InodeId;
use types::record::{Event, Kind, Record, User};

/// Makes the cluster: its facts, the first account, the root folder. Done once; again is an error unless
/// it is the same (a repeated first start).
pub(super) fn bootstrap(context: &mut Context<'_>, command: &Bootstrap) -> Result<Answer, Stop> {
    if let Some(cluster) = context.state().cluster()? {
        if cluster.cluster_id == command.cluster_id {
            return Ok(Answer::default());
        }
        return refuse(Code::Exists, "this cluster is made already", "use another data directory");
    }
    if command.cluster_id.len() != 16 || command.master_key.len() != 32 || command.key.len() != 32 {
        return refuse(
            Code::BadRequest,
            "the cluster's keys have the wrong length",
            "start with an empty data directory",
        );
    }
    let entry = ClusterEntry {
        cluster_id: command.cluster_id.clone(),
        master_key: command.master_key.clone(),
        generation: command.generation,
        fast: command.fast,
    };
    context.store().put(Table::Meta, keys::CLUSTER, &entry.encode_to_vec())?;
    let user = UserEntry {
        public: Some(User { name: command.admin.clone(), admin: true, revoked_before: 0 }),
        keys: vec![AccessKey { id: command.key_id.clone(), key: command.key.clone() }],
    };
    context.store().put(Table::Users, command.admin.as_bytes(), &user.encode_to_vec())?;
    context.announce_user(&command.admin)?;
    let now = context.now_ms();
    let mut root = Record {
        id: InodeId::ROOT.0,
        kind: Kind::Folder as i32,
        owner: command.admin.clone(),
        created_ms: now,
        changed_ms: now,
        stamp: context.seq(),
        ..Record::default()
    };
    context.put_record(&mut root)?;
    context.counters().first_event = 1;
    context.event(Event { kind: "cluster-made".into(), reason: "first start".into(), ..Event::default() })?;
    Ok(Answer { record: Some(root), ..Answer::default() })
}

/// Makes `server` the preferred member of its pair.
pub(super) fn prefer(context: &mut Context<'_>, command: &Prefer) -> Result<Answer, Stop> {
    let pair = context.pair(command.pair)?;
    if !pair.has(&command.server) {
        let name = pair.name.clone();
        return refuse(
            Code::NotFound,
            format_args!("{} is no member of {name}", command.server),
            "look at `pairfs status`",
        );
    }
    pair.handover_tries = 0;
    if pair.preferred != command.server {
        pair.preferred = command.server.clone();
        let pair = pair.clone();
        context.event(pair_event("preferred", &command.server, &pair, "chosen by an operator", &[]))?;
        context.announce_pair(pair.id)?;
    }
    let pair = context.pair(command.pair)?.clone();
    Ok(Answer { pair: Some(pair), ..Answer::default() })
}

/// Only an event.
pub(super) fn note(context: &mut Context<'_>, event: &Event) -> Result<Answer, Stop> {
    context.event(event.clone())?;
    Ok(Answer::default())
}
