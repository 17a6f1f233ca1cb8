//! What becomes of sessions, against a real store, with a name manager and a partner that answer as they are told.

use crate::completions::Completions;
use crate::fetch::Fetches;
use crate::janitor;
use crate::keyring::ServerKeyring;
use crate::manager::Managers;
use crate::node::{Node, Stop};
use crate::ops::commit::{self, Source};
use crate::ops::{abort, get_bytes, open_session, pass_abort, pass_prepare, survey};
use crate::partner::Partner;
use crate::pool::Pool;
use crate::repair::Repairs;
use crate::resolution;
use crate::scrub::Scrubs;
use crate::serving::Serving;
use crate::sessions::Piece;
use crate::sessions::Sessions;
use crate::sources::Sources;
use crate::store::{Prepare, State, Store, StoreConfig};
use crate::upload::Sender;
use bytes::Bytes;
use log::RealDisk;
use net::clock::boottime;
use net::{BoxFuture, Credential, Incoming, Outgoing, Server, Service, Session, listen};
use ss_core::session::WriteSession;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use types::capability::{Capability, MacKey, SignedCapability, right};
use types::command::{Answer, Answers, Asker};
use types::content::{block_crcs, crc64, sha256};
use types::ids::{ClientId, RequestKey, SessionId};
use types::limits::PIECE;
use types::message::manager::{MemberAddr, Placement};
use types::message::member::{
    Complete, GrantMessage, Registered, Resolution, Resolve, ResolveReply, SurveyRequest,
};
use types::message::partner::{
    GetBytes, GetBytesReply, GetBytesRequest, PassAbort, PassAbortRequest, PassPiece, PassPrepare,
    PassPrepareReply, PassPrepareRequest, PassedSession,
};
use types::message::store::{
    AbortRequest, CommitRequest, Durability, OpenSessionRequest, Receipt, SessionState, Target,
};
use types::message::{Empty, Method, purpose};
use types::record::{Kind, Manifest, Record, Row, Subject, Version, on};
use types::{Code, Error, Result};

const SECRET: [u8; 32] = [7; 32];
const MASTER: MacKey = MacKey([9; 32]);
const LATER: Duration = Duration::from_secs(1_000_000);

/// Stands in for the name manager and for the partner.
#[derive(Default)]
struct Others {
    /// The name manager's word on every write.
    answer: Mutex<Answer>,
    /// Its word on every session, and the end of the feed.
    resolved: Mutex<(bool, u64)>,
    /// The partner takes so long to prepare.
    slow: Mutex<Duration>,
    /// What was answered, in order.
    answered: Mutex<Vec<u16>>,
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

struct Bench {
    node: Arc<Node>,
    others: Arc<Others>,
    _dir: TempDir,
}

fn registered(acting: &str, partner: &str) -> Registered {
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

/// ss1, which acts or not, and may have a partner.
async fn bench(acts: bool, has_partner: bool) -> Bench {
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
    let credential = Credential::Node { name: "ss1".into(), secret: SECRET.to_vec() };
    let managers = Managers { addrs: vec![addr], credential, serving: serving.clone() };
    let link = managers.connect(purpose::DATA, None);
    let stop = Stop::new();
    let partner = Arc::new(Partner::start(serving.clone(), SECRET.to_vec(), stop.clone()));
    let disk = Arc::new(RealDisk::new(dir.path().to_owned()).unwrap());
    let config = StoreConfig { keep_free_bytes: 0, ..StoreConfig::default() };
    let store = Store::open(disk, config).unwrap();
    let node = Arc::new(Node {
        disk: OnceLock::from(store),
        pool: Pool::new(2).unwrap(),
        sessions: Sessions::default(),
        sources: Sources::new(partner.clone(), serving.clone(), managers, stop.clone()),
        partner,
        fetches: Fetches::default(),
        repairs: Repairs::default(),
        scrubs: Scrubs::new().unwrap(),
        pace: Default::default(),
        completions: Completions::start(link, serving.clone(), stop.clone()),
        serving,
        stop,
    });
    let bench = Bench { node, others, _dir: dir };
    if has_partner {
        bench.until("the partner to be there", || bench.node.partner.is_there()).await;
    }
    bench
}

fn content_of(len: usize) -> Bytes {
    Bytes::from(vec![5; len])
}

fn content() -> Bytes {
    content_of(1000)
}

fn id() -> SessionId {
    SessionId::from_random([9; 16])
}

fn target() -> Target {
    Target { pair: 1, folder: 5, name: "a".into(), file: 0 }
}

fn asker(user: &str) -> Asker {
    let key = RequestKey { client: ClientId { issued: 1, random: 2 }, number: 1, lowest: 1 };
    Asker::new(user, key, [0; 32])
}

fn capability(user: &str) -> Option<SignedCapability> {
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

fn request(user: &str, durability: Durability) -> CommitRequest {
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

fn version() -> Version {
    let sha256 = sha256(&content()).to_vec();
    Version { session: id().0.to_vec(), size: 1000, number: 1, epoch: 1, sha256, ..Default::default() }
}

fn row(seq: u64) -> Row {
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

fn passed() -> PassedSession {
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
    fn store(&self) -> &Store {
        self.node.store().unwrap()
    }

    fn state(&self) -> Option<State> {
        self.store().lookup(id()).unwrap().map(|held| held.state)
    }

    /// What ann wrote, prepared.
    async fn prepare(&self, for_partner: bool, lazy: bool) -> u64 {
        let content = Some(self.store().small(content(), crc64(&content())).unwrap());
        let (target, asker) = (target(), Some(asker("ann")));
        let prepare = Prepare { session: id(), target, asker, content, for_partner, lazy, seen: 0 };
        self.store().prepare(prepare).await.unwrap().0
    }

    async fn commit(&self, user: &str, durability: Durability, source: Source) -> Result<Receipt> {
        commit::run(self.node.clone(), user.into(), request(user, durability), source).await
    }

    async fn open(&self, user: &str) -> Result<SessionState> {
        let request = OpenSessionRequest {
            session: id().0.to_vec(),
            target: Some(target()),
            capability: capability(user),
            epoch: 1,
            ..OpenSessionRequest::default()
        };
        open_session::run(self.node.clone(), user.into(), request).await
    }

    async fn resolve_as_undecided(&self, pair_end: u64) {
        let held = vec![self.store().lookup(id()).unwrap().unwrap()];
        let resolution = Resolution { session: id().0.to_vec(), committed: false, file: 0 };
        let reply = ResolveReply { resolutions: vec![resolution], pair_end };
        resolution::follow(&self.node, &held, reply, |_| true).await.unwrap();
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited for {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_a_repeated_synchronous_write_that_is_a_version_needs_no_partner() {
    let bench = bench(true, false).await;
    bench.prepare(false, false).await;
    bench.store().apply(1, vec![row(7)]).await.unwrap();
    let told = Version { durable_on: on::BOTH, ..version() };
    *bench.others.answer.lock().unwrap() =
        Answer { repeated: true, version: Some(told), ..Answer::default() };
    let receipt = bench.commit("ann", Durability::Sync, Source::Pieces).await.unwrap();
    assert_eq!(receipt.durable_on, on::BOTH, "as it was told the first time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_meets_the_end_of_a_passed_upload_is_repeated_and_loses_nothing() {
    let bench = bench(true, false).await;
    let open = || WriteSession::open(boottime(), "ann", target(), Duration::from_secs(60));
    let upload = bench.node.sessions.get_or_open(id(), None, open).unwrap();
    let piece = Piece { offset: 0, crcs: block_crcs(&content()), bytes: content() };
    upload.piece(&bench.node, Sender::Client, piece).await.unwrap();
    let (passed, store, whole) = (upload.clone(), bench.store().clone(), crc64(&content()));
    let taken = bench.node.pool.run(move || passed.finish(&store, 1000, whole, &[])).await.unwrap();
    let early = bench.commit("ann", Durability::Async, Source::Pieces).await;
    assert_eq!(early.unwrap_err().code, Code::Busy);
    assert!(bench.node.sessions.get(id()).is_some());
    let (asker, content) = (Some(asker("ann")), Some(taken));
    let prepare =
        Prepare { session: id(), target: target(), asker, content, for_partner: true, lazy: false, seen: 0 };
    bench.store().prepare(prepare).await.unwrap();
    upload.prepared_for_partner(1000);
    bench.commit("ann", Durability::Async, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_what_a_row_that_has_not_come_may_name_is_not_dropped() {
    let bench = bench(true, false).await;
    bench.prepare(false, false).await;
    bench.resolve_as_undecided(10).await;
    assert_eq!(bench.state(), Some(State::Open));
    janitor::expire(&bench.node, LATER).await;
    let request = AbortRequest { session: id().0.to_vec() };
    abort::run(bench.node.clone(), "ann".into(), request).await.unwrap();
    assert_eq!(bench.state(), Some(State::Open), "neither time nor its client ends it");
    bench.store().advance(0, 1, 10).await.unwrap();
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), None, "the rows have come and did not name it");
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_a_survey_counts_as_held_is_durable() {
    let bench = bench(true, false).await;
    let position = bench.prepare(true, true).await;
    let request = SurveyRequest { pair: 1, epoch: 1, rows: vec![row(7)] };
    let found = survey::run(bench.node.clone(), request).await.unwrap();
    assert!(found.lacks.is_empty());
    assert!(bench.store().journal_end() > position);
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_prepared_is_said_of_what_is_durable_and_not_open() {
    let bench = bench(false, false).await;
    let position = bench.prepare(true, true).await;
    let prepare = || PassPrepareRequest { epoch: 1, sessions: vec![passed()], durable: true };
    let reply = pass_prepare::run(bench.node.clone(), prepare()).await.unwrap();
    assert_eq!(reply.prepared, [true]);
    assert!(bench.store().journal_end() > position);
    bench.resolve_as_undecided(0).await;
    assert_eq!(bench.state(), Some(State::Open));
    let reply = pass_prepare::run(bench.node.clone(), prepare()).await.unwrap();
    assert_eq!((reply.prepared, bench.state()), (vec![true], Some(State::Prepared)));
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), Some(State::Prepared));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partner_hears_of_an_end_after_all_that_it_was_offered() {
    let bench = bench(true, true).await;
    *bench.others.slow.lock().unwrap() = Duration::from_millis(200);
    *bench.others.answer.lock().unwrap() = Answer::refused(Error::new(Code::Exists, "a", "b"));
    let refused = bench.commit("ann", Durability::Async, Source::Body(content())).await;
    assert_eq!(refused.unwrap_err().code, Code::Exists);
    let answered = || bench.others.answered.lock().unwrap().clone();
    bench.until("the abort", || answered().contains(&PassAbort::ID)).await;
    let of_partner: Vec<u16> = answered().into_iter().filter(|method| *method >= 500).collect();
    assert_eq!(of_partner, [PassPrepare::ID, PassAbort::ID]);
    assert_eq!(bench.state(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_for_the_partner_goes_with_its_abort_also_without_an_upload() {
    let bench = bench(false, false).await;
    bench.prepare(true, false).await;
    let abort = || PassAbortRequest { session: id().0.to_vec() };
    pass_abort::run(bench.node.clone(), abort()).await.unwrap();
    assert_eq!(bench.state(), None);
    bench.prepare(true, false).await;
    bench.store().apply(1, vec![row(7)]).await.unwrap();
    pass_abort::run(bench.node.clone(), abort()).await.unwrap();
    assert_eq!(bench.state(), Some(State::Kept), "a version is a version");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_for_the_partner_and_forgotten_there_is_asked_about_and_expires() {
    let bench = bench(false, false).await;
    let prepare = PassPrepareRequest { epoch: 1, sessions: vec![passed()], durable: true };
    pass_prepare::run(bench.node.clone(), prepare).await.unwrap();
    *bench.others.resolved.lock().unwrap() = (true, 5);
    janitor::ask_for_forgotten(&bench.node, Duration::ZERO).await.unwrap();
    assert_eq!(bench.state(), Some(State::Prepared), "the log has it: its row comes");
    *bench.others.resolved.lock().unwrap() = (false, 5);
    janitor::ask_for_forgotten(&bench.node, Duration::from_secs(60)).await.unwrap();
    assert_eq!(bench.state(), Some(State::Prepared), "the partner may be about to commit it");
    janitor::ask_for_forgotten(&bench.node, Duration::ZERO).await.unwrap();
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), Some(State::Open));
    bench.store().advance(0, 1, 5).await.unwrap();
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_row_was_replaced_meanwhile_does_not_stay_for_ever() {
    let bench = bench(false, false).await;
    let copy = || bench.store().small(content(), crc64(&content())).unwrap();
    let mut seen = janitor::Unnamed::default();
    bench.store().keep_fetched(id(), copy()).await.unwrap();
    *bench.others.resolved.lock().unwrap() = (false, 5);
    janitor::drop_unnamed(&bench.node, &mut seen, Duration::from_secs(60)).await.unwrap();
    assert!(bench.others.answered.lock().unwrap().is_empty(), "its row may be on its way");
    for _ in 0..2 {
        janitor::drop_unnamed(&bench.node, &mut seen, Duration::ZERO).await.unwrap();
        assert_eq!(bench.state(), Some(State::Fetched), "a row up to the feed's end may name it");
    }
    bench.store().advance(0, 1, 5).await.unwrap();
    janitor::drop_unnamed(&bench.node, &mut seen, Duration::ZERO).await.unwrap();
    assert_eq!(bench.state(), None);
    // One that its row names is a version.
    bench.store().keep_fetched(id(), copy()).await.unwrap();
    bench.store().apply(1, vec![row(7)]).await.unwrap();
    for _ in 0..3 {
        janitor::drop_unnamed(&bench.node, &mut seen, Duration::ZERO).await.unwrap();
    }
    assert_eq!(bench.state(), Some(State::Kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_the_new_acting_member_takes_over_what_its_partner_has_of_an_upload() {
    let bench = bench(true, true).await;
    let size = PIECE as u64 + 1000;
    assert_eq!(bench.open("ann").await.unwrap().held, size);
    let range = GetBytesRequest { session: id().0.to_vec(), offset: PIECE as u64, len: 2000 };
    let (told, bytes) = get_bytes::run(bench.node.clone(), range).await.unwrap();
    assert_eq!((told.crc64, bytes), (crc64(&content()), content()), "and gives it in its turn");
    let whole = content_of(PIECE + 1000);
    let mut commit = request("ann", Durability::Async);
    (commit.size, commit.crc64) = (size, crc64(&whole));
    commit::run(bench.node.clone(), "ann".into(), commit, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_while_handovers_fail_a_commit_is_sent_only_once_both_have_it() {
    let bench = bench(true, false).await;
    let (number, incarnation) = bench.node.serving.sending().unwrap();
    let word = GrantMessage { number, incarnation, serve: true, epoch: 1, ..GrantMessage::default() };
    bench.node.serving.granted(GrantMessage { both_first: true, ..word });
    bench.commit("ann", Durability::Async, Source::Body(content())).await.unwrap_err();
    assert!(!bench.others.answered.lock().unwrap().contains(&Complete::ID), "the log was not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_nobody_commits_what_another_user_wrote() {
    let bench = bench(true, false).await;
    bench.prepare(true, false).await;
    let stolen = bench.commit("bob", Durability::Async, Source::Pieces).await;
    assert_eq!(stolen.unwrap_err().code, Code::Denied);
    let seen = bench.open("bob").await;
    assert_eq!(seen.unwrap_err().code, Code::Denied);
    bench.commit("ann", Durability::Async, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_a_copy_from_the_partner_is_committed_only_again() {
    let bench = bench(true, false).await;
    let copy = bench.store().small(content(), crc64(&content())).unwrap();
    bench.store().keep_fetched(id(), copy).await.unwrap();
    let stolen = bench.commit("bob", Durability::Async, Source::Pieces).await;
    assert_eq!(stolen.unwrap_err().code, Code::Denied);
    assert!(!bench.others.answered.lock().unwrap().contains(&Complete::ID));
    *bench.others.resolved.lock().unwrap() = (true, 0);
    bench.commit("ann", Durability::Async, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_a_try_that_fails_before_the_log_was_asked_leaves_what_is_in_doubt_in_doubt() {
    let bench = bench(true, false).await;
    bench.prepare(false, false).await;
    let failed = bench.commit("ann", Durability::Sync, Source::Pieces).await;
    assert_eq!(failed.unwrap_err().effect, types::Effect::Unknown, "the deadlines are the same");
    bench.until("the try to end", || bench.node.sessions.is_waiting_for_word(id())).await;
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), Some(State::Prepared));
}
