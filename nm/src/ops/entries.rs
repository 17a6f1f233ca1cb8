//! Makes, removes and moves files and folders: decided by the log, answered when readers see it (R23).

use crate::ops::locate::choose;
use crate::service::Call;
use nm_core::state::State;
use types::command::{Answer, Asker, FeedPlace, Make, Move, Op, Remove};
use types::record::Kind;
use types::{Error, Result};

pub(crate) async fn make(call: Call, mut request: Make) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    if request.kind() == Kind::File && request.pair == 0 {
        let manager = &call.manager;
        let view = manager.view()?;
        let live = manager.live();
        request.pair = choose(State::new(&view), &live, manager.now())?.map_or(0, |pair| pair.id);
    }
    call.manager.proposer.propose(Op::Make(request)).await
}

pub(crate) async fn remove(call: Call, mut request: Remove) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    seen(&call, Op::Remove(request)).await
}

pub(crate) async fn rename(call: Call, mut request: Move) -> Result<Answer> {
    own(&call, &mut request.asker)?;
    seen(&call, Op::Move(request)).await
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
