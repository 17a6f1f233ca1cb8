//! OpenSession: begins an upload, or finds it again, also on the member that was the partner (R28).

use crate::fetch;
use crate::node::Node;
use crate::passer;
use crate::sessions::Piece;
use crate::upload::{Sender, Upload};
use net::clock::boottime;
use ss_core::session::WriteSession;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use types::capability::right;
use types::content::block_crcs;
use types::ids::SessionId;
use types::limits::{FILE_MAX, PIECE};
use types::message::store::{OpenSessionRequest, SessionState};
use types::mutation::{self, Mutation};
use types::{Code, Error, Result};

/// Ranges of the partner's bytes in flight.
const RANGES: usize = 8;
/// How long the partner may take to say what it has. A hanging one must not hold up an upload that goes on; one that
/// is new does not ask at all.
const ASK: Duration = Duration::from_millis(250);
/// How long the client waits for its answer at most; the next time this goes on from there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes from the partner what it has of a session beyond what is here: it may have acted when that came (R28).
async fn take_over(node: &Arc<Node>, upload: &Arc<Upload>, epoch: u64) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    if node.partner.way(false).is_none() {
        return Ok(());
    }
    let theirs = timeout(ASK, passer::ask(node, upload, epoch)).await;
    let theirs = theirs.unwrap_or_else(|_| Err(slow()))?.held;
    let mut asked = upload.progress().held;
    let mut flying = VecDeque::new();
    while asked < theirs || !flying.is_empty() {
        while asked < theirs && flying.len() < RANGES && Instant::now() < end {
            let (node, id, range) = (node.clone(), upload.id, asked..piece_end(asked, theirs));
            asked = range.end;
            let copy = async move { (range.start, fetch::range(node, id, range).await) };
            flying.push_back(tokio::spawn(copy));
        }
        let Some(next) = flying.pop_front() else { break };
        let (offset, bytes) = next.await.map_err(Error::internal)?;
        let bytes = bytes?;
        let piece = Piece { offset, crcs: block_crcs(&bytes), bytes };
        upload.piece(node, Sender::Client, piece).await?;
    }
    Ok(())
}

fn lost() -> Error {
    Error::new(Code::Unavailable, "the partner was lost meanwhile", "send what only it had")
}

fn slow() -> Error {
    Error::new(Code::Timeout, "the partner does not say what it has", "ask again later")
}

/// A piece ends at a multiple of its length, so within its chunk.
fn piece_end(from: u64, end: u64) -> u64 {
    ((from / PIECE as u64 + 1) * PIECE as u64).min(end)
}

/// Opens the session for `user` and says what of it is here.
pub async fn run(node: Arc<Node>, user: String, request: OpenSessionRequest) -> Result<SessionState> {
    let id = SessionId::from_slice(&request.session)?;
    let target = request.target.ok_or_else(|| Error::bad_request("a session without a target"))?;
    let capability = node.serving.capability(request.capability.as_ref(), &user)?;
    capability.require(right::WRITE, target.pair, target.folder, target.file)?;
    let epoch = node.admit(target.pair, request.epoch)?;
    if request.size.is_some_and(|size| size > FILE_MAX) {
        return Err(Error::bad_request(format_args!("a file of more than {FILE_MAX} bytes")));
    }
    // Durable here already: prepared, or decided and its answer lost.
    if let Some(held) = node.store()?.lookup(id)? {
        if held.origin.asker.as_ref().is_some_and(|writer| writer.user != user) {
            return Err(Error::new(
                Code::Denied,
                "the write session belongs to another user",
                "open one of your own",
            ));
        }
        let size = held.manifest.size;
        return Ok(SessionState { held: size, partner_held: size, passing: false });
    }
    let timeout = Duration::from_millis(request.timeout_ms);
    let upload = node
        .sessions
        .get_or_open(id, request.size, || WriteSession::open(boottime(), &user, target.clone(), timeout))?;
    upload.again(&user, &target)?;
    // What cannot be had now the client sends, or asks for again.
    if !request.first && !mutation::is(Mutation::LeaveBytes) {
        let taken = tokio::select! {
            taken = take_over(&node, &upload, epoch) => taken,
            // The client must not wait for one that was lost meanwhile: it learns what is here.
            () = node.serving.partner_lost() => Err(lost()),
        };
        if let Err(error) = taken {
            tracing::debug!(%error, session = %id, "the partner's bytes of a session were not taken over");
        }
    }
    passer::start(&node, &upload, epoch);
    Ok(upload.progress())
}
