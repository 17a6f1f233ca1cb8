//! Makes, removes and moves files and folders: decided by the log, answered when readers see it (R23).

use crate::live::Live;
use crate::placement;
use crate::service::Call;
use crate::unseen::Name;
use nm_core::query;
use nm_core::state::State;
use std::time::Duration;
use types::command::{Answer, Asker, FeedPlace, Make, Move, Op, Remove, SetDurability};
use types::path::PathName;
use types::record::Kind;
use types::{Code, Error, Result};

pub(crate) async fn make(call: Call, mut request: Make) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    if request.kind() == Kind::File && request.pair == 0 {
        let manager = &call.manager;
        let view = manager.view()?;
        let live = manager.live();
        request.pair = pair_for(State::new(&view), &live, &request.path, manager.now())?;
    }
    if request.durability != 0 {
        // The first write into it must find it.
        return seen(&call, Op::Make(request)).await;
    }
    let path = PathName::parse(&request.path)?;
    let answer = call.manager.proposer.propose(Op::Make(request)).await;
    // A refusal may tell of something new that stands there, too.
    call.manager.unseen.path(&path).await;
    answer
}

/// The pair for a new file: one that serves.
fn pair_for(state: State<'_>, live: &Live, path: &str, now: Duration) -> Result<u32> {
    let path = PathName::parse(path)?;
    let Some((parent, name)) = path.split_last() else { return Ok(0) };
    // A folder that is missing may be made with the file.
    let folder = query::resolve(state, &parent).map_or(0, |folder| folder.id);
    let choices = placement::choices(state, live, folder, now)?;
    let pair = placement::chosen(&choices, folder, name).map(|pair| pair.id);
    pair.ok_or_else(|| {
        Error::new(Code::NoActingMember, "no pair serves now", "see `pairfs status`; start its servers")
    })
}

/// Answered when every acting member goes by it.
pub(crate) async fn durability(call: Call, mut request: SetDurability) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    seen(&call, Op::SetDurability(request)).await
}

pub(crate) async fn remove(call: Call, mut request: Remove) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    let name = name(&call, &request.path)?;
    let path = name.path.clone();
    let under_way = call.manager.unseen.begin(name);
    let answer = seen(&call, Op::Remove(request)).await;
    drop(under_way);
    if answer.is_err() {
        // A refusal tells that it is gone already, by another one's word.
        call.manager.unseen.path(&path).await;
    }
    answer
}

pub(crate) async fn rename(call: Call, mut request: Move) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    let (from, to) = (name(&call, &request.from)?, name(&call, &request.to)?);
    let paths = [from.path.clone(), to.path.clone()];
    // What stood at the new place leaves it, too.
    let under_way = (call.manager.unseen.begin(from), call.manager.unseen.begin(to));
    let answer = seen(&call, Op::Move(request)).await;
    drop(under_way);
    // What it found or did not find there may be another one's doing, who has not heard of it yet.
    for path in &paths {
        call.manager.unseen.path(path).await;
    }
    answer
}

/// A name that something is about to leave.
fn name(call: &Call, path: &str) -> Result<Name> {
    let path = PathName::parse(path)?;
    let view = call.manager.view()?;
    let entry = path.split_last().and_then(|(parent, name)| {
        let folder = query::resolve(State::new(&view), &parent).ok()?;
        Some((folder.id, name.to_owned()))
    });
    Ok(Name { path, entry })
}

/// The user is the one who is signed in, whatever the message says.
fn own(call: &Call, asker: &mut Option<Asker>) -> Result<()> {
    let user = call.user()?;
    let asker = asker.as_mut().ok_or_else(|| Error::bad_request("the request has no key"))?;
    asker.user = user;
    Ok(())
}

async fn seen(call: &Call, op: Op) -> Result<Answer> {
    let answer = call.manager.proposer.propose(op).await?;
    // A repeated request made no row now; what it changed stands where its record stands.
    let rows = match &answer.record {
        Some(record) if answer.repeated => vec![FeedPlace { feed: record.pair, seq: record.seq }],
        _ => answer.rows.clone(),
    };
    call.manager.seen(&rows).await?;
    Ok(answer)
}
