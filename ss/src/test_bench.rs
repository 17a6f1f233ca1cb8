//! A server on a real store, with a name manager and a partner that answer as they are told: what tests work with.

use crate::completions::Completions;
use crate::fetch::Fetches;
use crate::keyring::ServerKeyring;
use crate::manager::Managers;
use crate::node::{Node, Stop};
use crate::ops::commit::{self, Source};
use crate::ops::open_session;
use crate::partner::Partner;
use crate::pool::Pool;
use crate::relay::Relay;
use crate::repair::Repairs;
use crate::resolution;
use crate::scrub::Scrubs;
use crate::serving::Serving;
use crate::sessions::Sessions;
use crate::sources::Sources;
use crate::store::{Prepare, State, Store, StoreConfig};
use bytes::Bytes;
use log::{Disk, RealDisk};
use net::{BoxFuture, Credential, Incoming, Outgoing, Server, Service, Session, listen};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use types::capability::{Capability, MacKey, SignedCapability, right};
use types::command::{Answer, Answers, Asker};
use types::content::{crc64, sha256};
use types::ids::{ClientId, RequestKey, SessionId};
use types::limits::PIECE;
use types::message::manager::{MemberAddr, Placement};
use types::message::member::{Complete, GrantMessage, Registered, Resolution, Resolve, ResolveReply};
use types::message::partner::{
    GetBytes, GetBytesReply, PassAbort, PassPiece, PassPrepare, PassPrepareReply, PassedSession,
};
use types::message::store::{CommitRequest, Durability, OpenSessionRequest, Receipt, SessionState, Target};
use types::message::{Empty, Method};
use types::record::{Kind, Manifest, Record, Row, Subject, Version};
use types::{Error, Result};

pub(crate) const SECRET: [u8; 32] = [7; 32];

pub(crate) const MASTER: MacKey = MacKey([9; 32]);

pub(crate) const LATER: Duration = Duration::from_secs(1_000_000);

/// Stands in for the name manager and for the partner.
#[derive(Default)]
pub(crate) struct Others {
    /// The name manager's word on every write.
    pub(crate) answer: Mutex<Answer>,
    /// Its word on every session, and the end of the feed.
    pub(crate) resolved: Mutex<(bool, u64)>,
    /// The partner takes so long to prepare.
    pub(crate) slow: Mutex<Duration>,
    /// What was answered, in order.
    pub(crate) answered: Mutex<Vec<u16>>,
}

impl Service for Others {
    fn connected(&self, _: &Arc<Session>) -> Result<()> {
        Ok(())
    }

    fn call(self: Arc<Self>, _: Arc<Session>, request: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
        Box::pin(async move {
            let reply = self.reply(&request).await;
            self.answered.lock().unwrap().push(request.method);
            reply
        })
    }

    fn disconnected(&self, _: &Arc<Session>) {}
}

impl Others {
    async fn reply(&self, request: &Incoming) -> Result<Outgoing> {
        let none = Bytes::new();
        Ok(match request.method {
            Complete::ID => {
                let count = request.decode::<Complete>()?.writes.len();
                let answers = vec![self.answer.lock().unwrap().clone(); count];
                Outgoing::reply::<Complete>(&Answers { answers }, none)
            }
            Resolve::ID => {
                let (committed, pair_end) = *self.resolved.lock().unwrap();
                let sessions = request.decode::<Resolve>()?.sessions.into_iter();
                let resolution = |session| Resolution { session, committed, file: 0 };
                let resolutions = sessions.map(|prepared| resolution(prepared.session)).collect();
                Outgoing::reply::<Resolve>(&ResolveReply { resolutions, pair_end }, none)
            }
            PassPrepare::ID => {
                let slow = *self.slow.lock().unwrap();
                tokio::time::sleep(slow).await;
                let prepared = vec![true; request.decode::<PassPrepare>()?.sessions.len()];
                Outgoing::reply::<PassPrepare>(&PassPrepareReply { prepared }, none)
            }
            PassPiece::ID => {
                let state = SessionState { held: PIECE as u64 + 1000, ..SessionState::default() };
                Outgoing::reply::<PassPiece>(&state, none)
            }
            GetBytes::ID => {
                let len = request.decode::<GetBytes>()?.len as usize;
                let bytes = content_of(len);
                Outgoing::reply::<GetBytes>(&GetBytesReply { crc64: crc64(&bytes) }, bytes)
            }
            PassAbort::ID => Outgoing::reply::<PassAbort>(&Empty {}, none),
            other => return Err(Error::bad_request(other)),
        })
    }
}

pub(crate) struct Bench {
    pub(crate) node: Arc<Node>,
    pub(crate) others: Arc<Others>,
    _dir: TempDir,
}

pub(crate) fn registered(acting: &str, partner: &str) -> Registered {
    let member = |name: &str, addr: &str| MemberAddr { name: name.into(), addr: addr.into(), incarnation: 1 };
    Registered {
        server: Some(types::record::Server { pair: 1, incarnation: 3, ..Default::default() }),
        key: MASTER.for_server("ss1").0.to_vec(),
        cluster_id: vec![1; 16],
        heartbeat_ms: 1_000,
        lease_ms: 600_000,
        now_ms: 1_000,
        placement: Some(Placement {
            pair: 1,
            epoch: 1,
            acting: acting.into(),
            name: "ss1".into(),
            members: vec![member("ss1", ""), member("ss1_backup", partner)],
            ..Placement::default()
        }),
        ..Registered::default()
    }
}

/// ss1 on a real store in `dir`, with name managers at `addrs`. Nothing is kept free on its disk.
pub(crate) fn node(dir: &Path, serving: Arc<Serving>, addrs: Vec<String>, secret: [u8; 32]) -> Node {
    let disk = Arc::new(RealDisk::new(dir.to_owned()).unwrap());
    node_on(disk, serving, addrs, secret)
}

/// The same with the store on `disk`.
pub(crate) fn node_on(
    disk: Arc<dyn Disk>,
    serving: Arc<Serving>,
    addrs: Vec<String>,
    secret: [u8; 32],
) -> Node {
    let credential = Credential::Node { name: "ss1".into(), secret: secret.to_vec() };
    let managers = Managers::new(addrs, credential, serving.clone());
    let link = managers.connect();
    let stop = Stop::new();
    let relay = Arc::new(Relay::new(serving.clone(), managers, stop.clone()));
    let partner = Arc::new(Partner::start(serving.clone(), secret.to_vec(), relay.clone(), stop.clone()));
    let config = StoreConfig { keep_free_bytes: 0, ..StoreConfig::default() };
    let store = Store::open(disk, config).unwrap();
    Node {
        disk: OnceLock::from(store),
        pool: Pool::new(2).unwrap(),
        sessions: Sessions::default(),
        sources: Sources::new(partner.clone(), serving.clone(), relay),
        partner,
        fetches: Fetches::default(),
        repairs: Repairs::default(),
        scrubs: Scrubs::new(Arc::default()).unwrap(),
        pace: Default::default(),
        completions: Completions::start(link, serving.clone(), stop.clone()),
        serving,
        settings: Default::default(),
        stop,
    }
}

/// ss1, which acts or not, and may have a partner.
pub(crate) async fn bench(acts: bool, has_partner: bool) -> Bench {
    let others = Arc::new(Others::default());
    let listener = listen("127.0.0.1:0", false).await.unwrap();
    let addr = listener.local_addr().to_string();
    let theirs = Arc::new(Serving::new("ss1_backup", Some([1; 16])));
    let keyring = Arc::new(ServerKeyring { secret: SECRET.to_vec(), serving: theirs });
    tokio::spawn(Server::run(listener, keyring, others.clone(), std::future::pending()));

    let dir = tempfile::tempdir().unwrap();
    let serving = Arc::new(Serving::new("ss1", None));
    let acting = if acts { "ss1" } else { "ss1_backup" };
    serving.registered(&registered(acting, if has_partner { &addr } else { "" })).unwrap();
    let (number, incarnation) = serving.sending().unwrap();
    serving.granted(GrantMessage { number, incarnation, serve: acts, epoch: 1, ..GrantMessage::default() });
    serving.resolved(incarnation);
    let node = Arc::new(node(dir.path(), serving, vec![addr], SECRET));
    let bench = Bench { node, others, _dir: dir };
    if has_partner {
        bench.until("the partner to be there", || bench.node.partner.is_there()).await;
    }
    bench
}

pub(crate) fn content_of(len: usize) -> Bytes {
    Bytes::from(vec![5; len])
}

pub(crate) fn content() -> Bytes {
    content_of(1000)
}

pub(crate) fn id() -> SessionId {
    SessionId::from_random([9; 16])
}

pub(crate) fn target() -> Target {
    Target { pair: 1, folder: 5, name: "a".into(), file: 0 }
}

pub(crate) fn asker(user: &str) -> Asker {
    let key = RequestKey { client: ClientId { issued: 1, random: 2 }, number: 1, lowest: 1 };
    Asker::new(user, key, [0; 32])
}

pub(crate) fn capability(user: &str) -> Option<SignedCapability> {
    let capability = Capability {
        user: user.into(),
        expires_ms: 1_000_000,
        rights: right::WRITE,
        pair: 1,
        folder: 5,
        ..Capability::default()
    };
    Some(SignedCapability::sign(&capability, &MASTER, &["ss1"]))
}

pub(crate) fn request(user: &str, durability: Durability) -> CommitRequest {
    CommitRequest {
        session: id().0.to_vec(),
        target: Some(target()),
        capability: capability(user),
        epoch: 1,
        asker: Some(asker(user)),
        size: 1000,
        crc64: crc64(&content()),
        durability: durability.into(),
        timeout_ms: 2_000,
        ..CommitRequest::default()
    }
}

pub(crate) fn version() -> Version {
    let sha256 = sha256(&content()).to_vec();
    Version { session: id().0.to_vec(), size: 1000, number: 1, epoch: 1, sha256, ..Default::default() }
}

pub(crate) fn row(seq: u64) -> Row {
    let record = Record {
        id: 20,
        kind: Kind::File.into(),
        parent: 5,
        name: "a".into(),
        pair: 1,
        seq,
        versions: vec![version()],
        ..Record::default()
    };
    Row { seq, subject: Some(Subject::Record(record)) }
}

pub(crate) fn passed() -> PassedSession {
    let manifest = Manifest {
        size: 1000,
        crc64: crc64(&content()),
        digest_kind: 0,
        sha256: Bytes::copy_from_slice(&sha256(&content())),
        inline: content(),
        ..Manifest::default()
    };
    PassedSession {
        session: id().0.to_vec(),
        target: Some(target()),
        manifest: Some(manifest),
        asker: Some(asker("ann")),
        ..PassedSession::default()
    }
}

impl Bench {
    pub(crate) fn store(&self) -> &Store {
        self.node.store().unwrap()
    }

    pub(crate) fn state(&self) -> Option<State> {
        self.store().lookup(id()).unwrap().map(|held| held.state)
    }

    /// What ann wrote, prepared.
    pub(crate) async fn prepare(&self, for_partner: bool, lazy: bool) -> u64 {
        let content = Some(self.store().small(content(), crc64(&content())).unwrap());
        let (target, asker) = (target(), Some(asker("ann")));
        let prepare =
            Prepare { session: id(), target, asker, content, for_partner, lazy, lone: false, seen: 0 };
        self.store().prepare(prepare).await.unwrap().0
    }

    pub(crate) async fn commit(&self, user: &str, durability: Durability, source: Source) -> Result<Receipt> {
        commit::run(self.node.clone(), user.into(), request(user, durability), source).await
    }

    pub(crate) async fn open(&self, user: &str) -> Result<SessionState> {
        let request = OpenSessionRequest {
            session: id().0.to_vec(),
            target: Some(target()),
            capability: capability(user),
            epoch: 1,
            ..OpenSessionRequest::default()
        };
        open_session::run(self.node.clone(), user.into(), request).await
    }

    pub(crate) async fn resolve_as_undecided(&self, pair_end: u64) {
        let held = vec![self.store().lookup(id()).unwrap().unwrap()];
        let resolution = Resolution { session: id().0.to_vec(), committed: false, file: 0 };
        let reply = ResolveReply { resolutions: vec![resolution], pair_end };
        resolution::follow(&self.node, &held, reply, |_| true).await.unwrap();
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited for {what}");
    }
}
