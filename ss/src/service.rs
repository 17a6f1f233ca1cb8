//! Which operation a request is, and who may ask for it.

use crate::node::Node;
use crate::ops;
use crate::ops::commit::Source;
use crate::sessions::lock;
use bytes::Bytes;
use net::clock::boottime;
use net::{BoxFuture, Incoming, Outgoing, Principal, Service, Session};
use ss_core::pace::Kind;
use std::future::{Future, ready};
use std::sync::Arc;
use types::message::{Method, member, partner, rebuild, store};
use types::{Code, Error, Result};

/// The server's side of every connection.
pub struct NodeService(pub Arc<Node>);

type Answer = BoxFuture<'static, Result<Outgoing>>;

impl Service for NodeService {
    fn connected(&self, session: &Arc<Session>) -> Result<()> {
        tracing::debug!(peer = ?session.peer.principal, "connected");
        Ok(())
    }

    fn call(self: Arc<Self>, session: Arc<Session>, request: Incoming) -> Answer {
        match dispatch(&self.0, &session.peer.principal, request) {
            Ok(answer) => answer,
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn disconnected(&self, session: &Arc<Session>) {
        // A disconnect ends nothing: sessions have a clock of their own.
        tracing::debug!(peer = ?session.peer.principal, "disconnected");
    }
}

fn dispatch(node: &Arc<Node>, who: &Principal, incoming: Incoming) -> Result<Answer> {
    match incoming.method {
        400..=499 => {
            let (answer, node) = (client(node, user(who)?, incoming)?, node.clone());
            Ok(Box::pin(async move { answer.await.map_err(|error| if_broken(&node, error)) }))
        }
        300..=399 => manager(node, server(who)?, incoming),
        500..=599 => from_partner(node, server(who)?, incoming),
        other => Err(unknown(other)),
    }
}

/// A disk that broke is not the client's business: its partner takes over, and the client asks there (R31).
fn if_broken(node: &Node, error: Error) -> Error {
    let broken = node.disk.get().is_some_and(|store| store.in_service().is_err());
    if broken && error.code == Code::Io { Error { code: Code::NotActing, ..error } } else { error }
}

fn client(node: &Arc<Node>, user: &str, incoming: Incoming) -> Result<Answer> {
    let body = incoming.body.clone();
    let (node, name) = (node.clone(), user.to_owned());
    match incoming.method {
        store::Read::ID => {
            lock(&node.pace).request(boottime());
            Ok(ops::read::run(node, user, &incoming.decode::<store::Read>()?))
        }
        store::Put::ID => {
            let asked = node.clone();
            let answer = run::<store::Put, _>(&incoming, |request| {
                ops::commit::run(node, name, request, Source::Body(body))
            })?;
            Ok(felt(asked, Kind::Write, answer))
        }
        store::Commit::ID => run::<store::Commit, _>(&incoming, |request| {
            ops::commit::run(node, name, request, Source::Pieces)
        }),
        store::Copy::ID => run::<store::Copy, _>(&incoming, |request| ops::copy::run(node, name, request)),
        store::Piece::ID => {
            lock(&node.pace).request(boottime());
            run::<store::Piece, _>(&incoming, |request| ops::piece::run(node, name, request, body))
        }
        store::OpenSession::ID => {
            run::<store::OpenSession, _>(&incoming, |request| ops::open_session::run(node, name, request))
        }
        store::Abort::ID => run::<store::Abort, _>(&incoming, |request| ops::abort::run(node, name, request)),
        store::Inventory::ID => {
            run::<store::Inventory, _>(&incoming, |request| ops::inventory::run(node, name, request))
        }
        store::Aside::ID => run::<store::Aside, _>(&incoming, |request| ops::aside::run(node, name, request)),
        store::Scrub::ID => run::<store::Scrub, _>(&incoming, |request| ops::scrub::run(node, name, request)),
        other => Err(unknown(other)),
    }
}

fn manager(node: &Arc<Node>, name: &str, incoming: Incoming) -> Result<Answer> {
    let node = node.clone();
    // A name is a server's word (the proof shows the cluster only), but it keeps mix-ups out.
    if node.serving.partner().is_some_and(|(partner, _)| partner == name) {
        return Err(denied("only the name manager may ask this"));
    }
    match incoming.method {
        member::Apply::ID => run::<member::Apply, _>(&incoming, |request| ops::apply::run(node, request)),
        member::Survey::ID => run::<member::Survey, _>(&incoming, |request| ops::survey::run(node, request)),
        member::LetGo::ID => run::<member::LetGo, _>(&incoming, |request| ops::let_go::run(node, request)),
        member::Probe::ID => run::<member::Probe, _>(&incoming, |request| ops::probe::run(node, request)),
        member::Bring::ID => run::<member::Bring, _>(&incoming, |request| ops::bring::run(node, request)),
        member::Compare::ID => {
            run::<member::Compare, _>(&incoming, |request| ops::compare::run(node, request))
        }
        member::RelayManifest::ID => {
            run::<member::RelayManifest, _>(&incoming, |request| ops::get_manifest::run(node, request))
        }
        member::RelayBytes::ID => {
            let request = incoming.decode::<member::RelayBytes>()?;
            Ok(Box::pin(async move {
                let (reply, bytes) = ops::get_bytes::run(node, request).await?;
                Ok(Outgoing::reply::<member::RelayBytes>(&reply, bytes))
            }))
        }
        member::LookAt::ID => run::<member::LookAt, _>(&incoming, ops::look_at::run),
        rebuild::OfferRecords::ID => {
            run::<rebuild::OfferRecords, _>(&incoming, |request| ops::offer::records(node, request))
        }
        rebuild::OfferControl::ID => {
            run::<rebuild::OfferControl, _>(&incoming, |request| ops::offer::control(node, request))
        }
        rebuild::OfferWrites::ID => {
            run::<rebuild::OfferWrites, _>(&incoming, |request| ops::offer::writes(node, request))
        }
        rebuild::KnowsWrites::ID => {
            run::<rebuild::KnowsWrites, _>(&incoming, |request| ops::offer::knows(node, request))
        }
        other => Err(unknown(other)),
    }
}

fn from_partner(node: &Arc<Node>, name: &str, incoming: Incoming) -> Result<Answer> {
    let node = node.clone();
    let body = incoming.body.clone();
    let passes = [partner::PassPiece::ID, partner::PassPrepare::ID, partner::PassAbort::ID];
    let relayed = passes.contains(&incoming.method) && node.serving.is_manager(name);
    if !relayed && node.serving.partner().is_none_or(|(partner, _)| partner != name) {
        return Err(denied("only the other member of the pair may ask this"));
    }
    match incoming.method {
        partner::PassPiece::ID => {
            run::<partner::PassPiece, _>(&incoming, |request| ops::pass_piece::run(node, request, body))
        }
        partner::PassPrepare::ID => {
            let asked = node.clone();
            let answer =
                run::<partner::PassPrepare, _>(&incoming, |request| ops::pass_prepare::run(node, request))?;
            Ok(felt(asked, Kind::Passed, answer))
        }
        partner::PassAbort::ID => {
            run::<partner::PassAbort, _>(&incoming, |request| ops::pass_abort::run(node, request))
        }
        partner::GetManifest::ID => {
            run::<partner::GetManifest, _>(&incoming, |request| ops::get_manifest::run(node, request))
        }
        partner::GetMany::ID => {
            let request = incoming.decode::<partner::GetMany>()?;
            Ok(Box::pin(async move {
                let (reply, bytes) = ops::get_many::run(node, request).await?;
                Ok(Outgoing::reply::<partner::GetMany>(&reply, bytes))
            }))
        }
        partner::GetBytes::ID => {
            let request = incoming.decode::<partner::GetBytes>()?;
            Ok(Box::pin(async move {
                let (reply, bytes) = ops::get_bytes::run(node, request).await?;
                Ok(Outgoing::reply::<partner::GetBytes>(&reply, bytes))
            }))
        }
        other => Err(unknown(other)),
    }
}

/// Has the pace of copies know how long a client's request takes (R29).
fn felt(node: Arc<Node>, kind: Kind, answer: Answer) -> Answer {
    let begin = boottime();
    Box::pin(async move {
        let answer = answer.await;
        node.client_felt(kind, boottime().saturating_sub(begin));
        answer
    })
}

/// Decodes the request of `M`, runs `op`, and encodes what it answers.
fn run<M: Method, F>(incoming: &Incoming, op: impl FnOnce(M::Request) -> F) -> Result<Answer>
where
    F: Future<Output = Result<M::Reply>> + Send + 'static,
{
    let work = op(incoming.decode::<M>()?);
    Ok(Box::pin(async move { Ok(Outgoing::reply::<M>(&work.await?, Bytes::new())) }))
}

fn user(who: &Principal) -> Result<&str> {
    match who {
        Principal::Ticket { user, .. } | Principal::User(user) => Ok(user),
        Principal::Node(_) => Err(denied("this is for users")),
    }
}

fn server(who: &Principal) -> Result<&str> {
    match who {
        Principal::Node(name) => Ok(name),
        Principal::Ticket { .. } | Principal::User(_) => Err(denied("this is for servers of the cluster")),
    }
}

fn denied(what: &str) -> Error {
    Error::new(Code::Denied, what, "ask through the name manager")
}

fn unknown(method: u16) -> Error {
    Error::new(
        Code::Unsupported,
        format_args!("a storage server knows no request {method}"),
        "check that both sides run compatible versions",
    )
}
