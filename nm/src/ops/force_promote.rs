//! The last resort of an operator (R8): the member that is not fresh acts, and what it lacks is owed by a
//! server that may never return.

use crate::manager::Manager;
use crate::members::Member;
use crate::ops::switchover::{pair_named, until_acts};
use crate::service::Call;
use nm_core::state::State;
use std::sync::Arc;
use std::time::Duration;
use types::command::{Op, Promote, VersionRef};
use types::limits::{LIST_PAGE, PAGE_BYTES, PAGE_ROWS};
use types::message::manager::{ForcePromoteReply, ForcePromoteRequest};
use types::message::member::{Survey, SurveyRequest};
use types::record::Pair;
use types::{Code, Error, Result};

/// One page of the look at what is lacking.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says what would be lost, and does it if the loss is accepted.
pub(crate) async fn run(call: Call, request: ForcePromoteRequest) -> Result<ForcePromoteReply> {
    call.require_admin()?;
    let manager = &call.manager;
    let pair = pair_named(manager, &request.pair)?;
    let (server, cursor, member) = heir(manager, &pair)?;
    let mut reply = ForcePromoteReply { server: server.clone(), ..ForcePromoteReply::default() };
    look(manager, &pair, cursor, &member, &mut reply).await?;
    if !request.accept_loss {
        return Ok(reply);
    }
    let promote = Promote {
        pair: pair.id,
        epoch: pair.epoch,
        to: server.clone(),
        reason: "an operator accepted the loss".into(),
        accept_loss: true,
    };
    for answer in manager.propose_blocked(pair.id, vec![Op::Promote(promote)]).await? {
        answer.into_result()?;
    }
    manager.signals.wake(pair.id);
    match until_acts(manager, pair.id, &server, request.wait_ms).await? {
        Ok(placement) => reply.placement = Some(placement),
        Err(_) => {
            return Err(Error::new(
                Code::Timeout,
                format_args!("{server} was promoted, but does not serve yet"),
                "see `pairfs status` and `pairfs events`",
            )
            .outcome_unknown());
        }
    }
    Ok(reply)
}

/// The member that could be promoted, its cursor, and the way to it.
fn heir(manager: &Manager, pair: &Pair) -> Result<(String, u64, Arc<Member>)> {
    let view = manager.view()?;
    let state = State::new(&view);
    if let Some(acting) = state.server(&pair.acting)?
        && !acting.failed
    {
        return Err(Error::new(
            Code::Changed,
            format_args!("{} acts in {}: nothing needs to be lost", acting.name, pair.name),
            format_args!("use `pairfs pair switchover {}`", pair.name),
        ));
    }
    let name = pair.partner_of(&pair.acting).to_owned();
    let server = state.server(&name)?.filter(|server| server.recovered && !server.failed);
    let member = server.as_ref().and_then(|server| manager.members.get(server));
    let (Some(server), Some(member)) = (server, member) else {
        return Err(Error::new(
            Code::Unavailable,
            format_args!("neither member of {} is there", pair.name),
            format_args!("start {} or {name} first", pair.acting),
        ));
    };
    Ok((name, server.pair_cursor, member))
}

/// Asks the member, page by page, what it lacks of the rows beyond its cursor.
async fn look(
    manager: &Manager,
    pair: &Pair,
    cursor: u64,
    member: &Member,
    reply: &mut ForcePromoteReply,
) -> Result<()> {
    let mut after = cursor;
    loop {
        let rows = {
            let view = manager.view()?;
            State::new(&view).feed_rows(pair.id, after, PAGE_ROWS, PAGE_BYTES)?
        };
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.seq;
        let request = SurveyRequest { pair: pair.id, epoch: pair.epoch, rows };
        let lacks = member.call::<Survey>(request, PATIENCE).await?.lacks;
        reply.versions += lacks.len() as u64;
        name(manager, &lacks, &mut reply.lacking)?;
    }
}

fn name(manager: &Manager, lacks: &[VersionRef], paths: &mut Vec<String>) -> Result<()> {
    let view = manager.view()?;
    let state = State::new(&view);
    for version in lacks {
        if paths.len() >= LIST_PAGE {
            return Ok(());
        }
        if let Some(record) = state.inode(version.inode)? {
            let path = state.path_of(&record)?;
            if paths.last() != Some(&path) {
                paths.push(path);
            }
        }
    }
    Ok(())
}
