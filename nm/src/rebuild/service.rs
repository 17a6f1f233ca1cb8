//! What a name manager answers while it is being rebuilt: servers stand for it, users see how far it is, nobody is
//! served.

use super::Gatherer;
use bytes::Bytes;
use net::{BoxFuture, Incoming, Keyring, Method, Outgoing, Principal, Service, Session, secret};
use nm_core::state::State;
use std::sync::Arc;
use types::message::Empty;
use types::message::manager::{
    Attach, Attached, Events, EventsReply, EventsRequest, ManagerStatus, PairStatus, ServerStatus, Status,
    StatusReply,
};
use types::message::member::{GrantMessage, Heartbeat, Leave, RegisterServer, Registered, ReleaseLease};
use types::message::rebuild::Stand;
use types::rebuild::StandReport;
use types::{Code, Error, Result};

/// Events in one answer.
const EVENTS: usize = 1000;

/// The door of a name manager that is being rebuilt.
pub(super) struct Door(pub(super) Arc<Gatherer>);

impl Service for Door {
    fn connected(&self, session: &Arc<Session>) -> Result<()> {
        match &session.peer.principal {
            Principal::Ticket { .. } => Err(not_yet(&self.0)),
            Principal::Node(_) | Principal::User(_) => Ok(()),
        }
    }

    fn call(
        self: Arc<Self>,
        session: Arc<Session>,
        request: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>> {
        let answer = match &session.peer.principal {
            Principal::Node(name) => member(&self.0, name, &request),
            _ => user(&self.0, &session, &request),
        };
        Box::pin(std::future::ready(answer))
    }

    fn disconnected(&self, _: &Arc<Session>) {}
}

fn not_yet(gatherer: &Gatherer) -> Error {
    let what = format_args!("the name manager is being rebuilt ({})", gatherer.progress());
    Error::new(Code::Unavailable, what, "wait until it serves; `pairfs status` shows how far it is")
}

fn reply<M: Method>(answer: &M::Reply) -> Outgoing {
    Outgoing::reply::<M>(answer, Bytes::new())
}

fn member(gatherer: &Gatherer, name: &str, request: &Incoming) -> Result<Outgoing> {
    match request.method {
        RegisterServer::ID => {
            Ok(reply::<RegisterServer>(&Registered { rebuilding: true, ..Registered::default() }))
        }
        Heartbeat::ID => {
            let asked = request.decode::<Heartbeat>()?;
            let grant = GrantMessage {
                number: asked.number,
                incarnation: asked.incarnation,
                register_again: true,
                ..GrantMessage::default()
            };
            Ok(reply::<Heartbeat>(&grant))
        }
        Stand::ID => {
            let report: StandReport = request.decode::<Stand>()?;
            if report.server != name {
                return Err(Error::new(
                    Code::Denied,
                    format_args!("only {} may say this", report.server),
                    "check the server's --name",
                ));
            }
            gatherer.stand(report)?;
            Ok(reply::<Stand>(&Empty {}))
        }
        Leave::ID => Ok(reply::<Leave>(&Empty {})),
        ReleaseLease::ID => Ok(reply::<ReleaseLease>(&Empty {})),
        // Whatever it was told before is over.
        _ => Err(Error::new(Code::RegisterAgain, "the name manager is being rebuilt", "register again")),
    }
}

fn user(gatherer: &Gatherer, session: &Session, request: &Incoming) -> Result<Outgoing> {
    let Principal::User(name) = &session.peer.principal else { return Err(not_yet(gatherer)) };
    match request.method {
        Attach::ID => {
            let now_ms = gatherer.proposer.time();
            let attached = Attached {
                client_issued: now_ms,
                client_random: u64::from_be_bytes(secret::random::<8>()?),
                now_ms,
                // Not known before the first server has told it.
                cluster_id: gatherer.cluster_id().unwrap_or([0; 16]).to_vec(),
                user: name.clone(),
                name: gatherer.name.clone(),
            };
            Ok(reply::<Attach>(&attached))
        }
        Status::ID => Ok(reply::<Status>(&status(gatherer))),
        Events::ID => {
            let asked: EventsRequest = request.decode::<Events>()?;
            let view = gatherer.raft.view()?;
            let events = State::new(&view).events_after(asked.after, EVENTS)?;
            Ok(reply::<Events>(&EventsReply { events }))
        }
        _ => Err(not_yet(gatherer)),
    }
}

fn status(gatherer: &Gatherer) -> StatusReply {
    let stands = gatherer.standing();
    let pairs = gatherer.pairs();
    let server = |name: &str, role: &str| {
        let report = stands.iter().find(|report| report.server == name);
        ServerStatus {
            name: name.to_owned(),
            role: role.to_owned(),
            state: if report.is_some() { "alive" } else { "unknown" }.to_owned(),
            addr: report.map_or(String::new(), |report| report.addr.clone()),
            ..ServerStatus::default()
        }
    };
    let mut servers = Vec::new();
    for pair in &pairs {
        servers.push(server(&pair.primary, "primary"));
        servers.extend((!pair.backup.is_empty()).then(|| server(&pair.backup, "backup")));
    }
    let pairs = pairs.into_iter().map(|pair| PairStatus {
        name: pair.name,
        primary: pair.primary,
        backup: pair.backup,
        preferred: pair.preferred,
        epoch: pair.epoch,
        id: pair.id,
        state: "down".to_owned(),
        ..PairStatus::default()
    });
    StatusReply {
        nms: vec![ManagerStatus {
            name: gatherer.name.clone(),
            addr: gatherer.addr.clone(),
            role: "rebuilding".to_owned(),
            applied: gatherer.raft.metrics().applied,
            ..ManagerStatus::default()
        }],
        servers,
        pairs: pairs.collect(),
        cluster_id: gatherer.cluster_id().unwrap_or_default().to_vec(),
        rebuilding: gatherer.progress(),
        ..StatusReply::default()
    }
}

/// Whom it lets in: servers by the cluster secret, the first account by its new key.
pub(super) struct Keys(pub(super) Arc<Gatherer>);

impl Keyring for Keys {
    fn cluster_id(&self) -> Option<[u8; 16]> {
        self.0.cluster_id()
    }

    fn node_secret(&self) -> Option<Vec<u8>> {
        Some(self.0.secret.clone())
    }

    fn user_key(&self, name: &str, key_id: &str) -> Result<Option<Vec<u8>>> {
        let account = &self.0.account;
        Ok((account.name == name && account.key_id == key_id).then(|| account.key.clone()))
    }

    fn ticket_key(&self, _: &[u8]) -> Result<(Vec<u8>, String)> {
        Err(not_yet(&self.0))
    }

    fn server_name(&self) -> String {
        self.0.name.clone()
    }
}
