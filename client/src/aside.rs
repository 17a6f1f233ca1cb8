//! What storage servers have set aside because the index did not list it (R24): listed, and given up.

use crate::bounds::SCRUB_WAIT;
use crate::call::call;
use crate::core::Core;
use crate::scrub::cover;
use bytes::Bytes;
use tokio::time::Instant;
use types::limits::ASIDE_PAGE;
use types::message::manager::MemberAddr;
use types::message::store::{Aside, AsideName, AsideReply, AsideRequest};
use types::record::Record;
use types::{Code, Error, Result};

/// What one server has set aside.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Its name.
    pub server: String,
    /// Its pair.
    pub pair: u32,
    /// The records, by id.
    pub records: Vec<Record>,
    /// Why it could not be asked.
    pub away: Option<String>,
}

/// What all servers have set aside; those that have nothing are not in the list.
pub(crate) async fn list(core: &Core) -> Result<Vec<SetAside>> {
    let mut found = Vec::new();
    for pair in crate::cluster::status(core).await?.pairs {
        for member in cover(core, pair.id).await?.placement.unwrap_or_default().members {
            let mut aside =
                SetAside { server: member.name.clone(), pair: pair.id, records: Vec::new(), away: None };
            aside.away = read(core, &member, &mut aside).await.err().map(|error| error.message);
            if aside.away.is_some() || !aside.records.is_empty() {
                found.push(aside);
            }
        }
    }
    Ok(found)
}

async fn read(core: &Core, member: &MemberAddr, aside: &mut SetAside) -> Result<()> {
    loop {
        let after = aside.records.last().map_or(0, |record| record.id);
        let reply = ask(core, member, aside.pair, after, Vec::new()).await?;
        if reply.records.is_empty() {
            return Ok(());
        }
        aside.records.extend(reply.records);
    }
}

/// Gives up what `aside` lists, for good; gives how many records that were. Only in a pair of which both members are well:
/// one that is being compared may learn of what it has set aside yet, and without a partner it may be the only copy of
/// something.
pub(crate) async fn give_up(core: &Core, aside: &SetAside) -> Result<u64> {
    let status = crate::cluster::status(core).await?;
    let pair = status.pairs.into_iter().find(|pair| pair.id == aside.pair);
    let state = pair.map_or(String::new(), |pair| pair.state);
    if state != "active" {
        return Err(Error::new(
            Code::Unavailable,
            format_args!(
                "the pair of {} is {}, so nothing was given up",
                aside.server,
                state.replace('_', " ")
            ),
            "wait until it is active",
        ));
    }
    let placement = cover(core, aside.pair).await?.placement.unwrap_or_default();
    let member = placement.members.into_iter().find(|member| member.name == aside.server);
    let member = member.ok_or_else(|| Error::not_found(&aside.server))?;
    let mut given_up = 0;
    for page in aside.records.chunks(ASIDE_PAGE) {
        let names = page.iter().map(|record| AsideName { id: record.id, seq: record.seq }).collect();
        given_up += ask(core, &member, aside.pair, 0, names).await?.given_up;
    }
    Ok(given_up)
}

async fn ask(
    core: &Core,
    member: &MemberAddr,
    pair: u32,
    after: u64,
    give_up: Vec<AsideName>,
) -> Result<AsideReply> {
    if member.addr.is_empty() {
        let what = format_args!("{} never registered", member.name);
        return Err(Error::new(Code::Failed, what, "start it"));
    }
    let capability = cover(core, pair).await?.capability;
    let deadline = Instant::now() + core.timeout.min(SCRUB_WAIT);
    let connection = core.servers.get(&core.manager, member, deadline).await?;
    let request = AsideRequest { pair, capability, after, give_up };
    Ok(call::<Aside>(&connection, &request, Bytes::new(), Instant::now() + SCRUB_WAIT).await?.0)
}
