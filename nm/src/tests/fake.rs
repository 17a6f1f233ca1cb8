//! A storage server that says what a real one would, and keeps rows instead of bytes.

use bytes::Bytes;
use net::{BoxFuture, Connection, Credential, Incoming, Keyring, Method, Outgoing, Server, Service, Session};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::command::{Answers, Recovered, Register, WriteComplete};
use types::message::member::*;
use types::message::rebuild::Stand;
use types::message::{Empty, purpose};
use types::rebuild::StandReport;
use types::record::Subject;
use types::{Error, Result};

pub(super) const SECRET: [u8; 32] = [9; 32];

/// What outlives a kill.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) token: Vec<u8>,
    pub(super) generation: u64,
    pub(super) cursors: BTreeMap<u32, u64>,
    /// Latest row of each file.
    pub(super) files: BTreeMap<u64, u64>,
}

struct Inner {
    disk: Mutex<Disk>,
    pair: u32,
    /// What a survey finds missing.
    lacks: Mutex<Vec<types::command::VersionRef>>,
    grant: watch::Sender<GrantMessage>,
    incarnation: u64,
    /// Why its store is out of service.
    trouble: Mutex<String>,
    /// It applies no rows now.
    stuck: AtomicBool,
}

pub(super) struct Fake {
    pub(super) name: String,
    inner: Arc<Inner>,
    data: Connection,
    _tasks: JoinSet<()>,
    beats: JoinSet<()>,
}

struct Keys;

impl Keyring for Keys {
    fn cluster_id(&self) -> Option<[u8; 16]> {
        None
    }
    fn node_secret(&self) -> Option<Vec<u8>> {
        Some(SECRET.to_vec())
    }
    fn user_key(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    fn ticket_key(&self, _: &[u8]) -> Result<(Vec<u8>, String)> {
        Err(Error::bad_request("no tickets"))
    }
}

/// The service is up before the registration is known.
#[derive(Default)]
struct Door(Mutex<Option<Arc<Inner>>>);

impl Service for Door {
    fn connected(&self, _: &Arc<Session>) -> Result<()> {
        Ok(())
    }
    fn call(self: Arc<Self>, _: Arc<Session>, request: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
        let inner = self.0.lock().unwrap().clone();
        Box::pin(async move { inner.ok_or_else(|| Error::internal("starting"))?.answer(&request) })
    }
    fn disconnected(&self, _: &Arc<Session>) {}
}

fn outgoing<M: Method>(reply: M::Reply) -> Result<Outgoing> {
    Ok(Outgoing::reply::<M>(&reply, Bytes::new()))
}

impl Inner {
    fn answer(&self, request: &Incoming) -> Result<Outgoing> {
        match request.method {
            Probe::ID => {
                outgoing::<Probe>(ProbeReply { incarnation: self.incarnation, settings: Vec::new() })
            }
            Survey::ID => {
                let lacks = std::mem::take(&mut *self.lacks.lock().unwrap());
                outgoing::<Survey>(SurveyReply { lacks, holds: Vec::new() })
            }
            LetGo::ID => {
                self.grant.send_modify(|grant| grant.serve = false);
                outgoing::<LetGo>(Empty {})
            }
            Bring::ID => {
                let request = request.decode::<Bring>()?;
                let brought = request.versions.into_iter().map(|version| version.session).collect();
                outgoing::<Bring>(BringReply { brought, trouble: String::new() })
            }
            Apply::ID => outgoing::<Apply>(self.apply(request.decode::<Apply>()?)),
            other => Err(Error::bad_request(format_args!("method {other}"))),
        }
    }

    fn apply(&self, request: ApplyRequest) -> ApplyReply {
        assert_eq!(request.incarnation, self.incarnation);
        if self.stuck.load(Ordering::SeqCst) {
            let waits =
                |row: types::record::Row| RowFailure { seq: row.seq, under_way: true, ..Default::default() };
            let failed = request.rows.into_iter().map(waits).collect();
            return ApplyReply { failed, ..ApplyReply::default() };
        }
        let mut disk = self.disk.lock().unwrap();
        let mut applied = Vec::new();
        for row in request.rows {
            if let Some(Subject::Record(record)) = &row.subject {
                disk.files.insert(record.id, row.seq);
            }
            applied.push(row.seq);
        }
        let cursor = disk.cursors.entry(request.feed).or_default();
        *cursor = (*cursor).max(request.advance);
        let cursor = *cursor;
        ApplyReply { applied, journal: 1, cursor, ..ApplyReply::default() }
    }
}

async fn call<M: Method>(connection: &Connection, request: M::Request) -> Result<M::Reply> {
    let deadline = Instant::now() + Duration::from_secs(20);
    connection.call::<M>(request, Bytes::new(), deadline).await.map(|(reply, _)| reply)
}

impl Fake {
    /// Starts a server on `disk`.
    pub(super) async fn start(nm: &str, name: &str, mut disk: Disk) -> Result<Fake> {
        let door = Arc::new(Door::default());
        let listener = net::listen("127.0.0.1:0", false).await?;
        let addr = listener.local_addr().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(Server::run(listener, Arc::new(Keys), door.clone(), std::future::pending()));
        let credential = Credential::Node { name: name.to_owned(), secret: SECRET.to_vec() };
        let data = Connection::open(nm, credential.clone(), None, purpose::DATA).await?;
        let next_token = net::secret::random::<16>()?.to_vec();
        let register = Register {
            server: name.to_owned(),
            backup_of: name.strip_suffix("_backup").unwrap_or_default().to_owned(),
            token: disk.token.clone(),
            next_token: next_token.clone(),
            addr,
            ..Register::default()
        };
        let registered = call::<RegisterServer>(&data, register).await?;
        let server = registered.server.unwrap();
        let generation = disk.generation;
        (disk.token, disk.generation) = (next_token, registered.generation);
        let cursor = |feed: u32| disk.cursors.get(&feed).copied().unwrap_or(0);
        let recovered = Recovered {
            server: name.to_owned(),
            incarnation: server.incarnation,
            control_cursor: cursor(0),
            pair_cursor: cursor(server.pair),
            journal: 1,
            generation,
            damaged: false,
        };
        let inner = Arc::new(Inner {
            disk: Mutex::new(disk),
            pair: server.pair,
            lacks: Mutex::default(),
            grant: watch::Sender::new(GrantMessage::default()),
            incarnation: server.incarnation,
            trouble: Mutex::default(),
            stuck: AtomicBool::new(false),
        });
        *door.0.lock().unwrap() = Some(inner.clone());
        call::<ReportRecovered>(&data, recovered).await?;
        let beats = Connection::open(nm, credential, None, purpose::HEARTBEAT).await?;
        let pause = Duration::from_millis(registered.heartbeat_ms);
        let mut beating = JoinSet::new();
        beating.spawn(beat(beats, name.to_owned(), inner.clone(), pause));
        Ok(Fake { name: name.to_owned(), inner, data, _tasks: tasks, beats: beating })
    }

    /// As SIGKILL: everything closes. Gives the disk.
    pub(super) async fn kill(self) -> Disk {
        let Fake { inner, data, _tasks: mut tasks, mut beats, .. } = self;
        tasks.shutdown().await;
        beats.shutdown().await;
        data.close();
        inner.disk.lock().unwrap().clone()
    }

    /// Its heartbeats stop; its sockets stay.
    pub(super) async fn freeze(&mut self) {
        self.beats.shutdown().await;
    }

    pub(super) fn serves(&self) -> bool {
        self.inner.grant.borrow().serve
    }

    pub(super) fn disk(&self) -> Disk {
        self.inner.disk.lock().unwrap().clone()
    }

    /// Its store is out of service from now on; its process lives.
    pub(super) fn break_store(&self) {
        *self.inner.trouble.lock().unwrap() = "a sync failed".into();
    }

    /// Whether it applies no rows: their bytes are always on their way.
    pub(super) fn set_stuck(&self, stuck: bool) {
        self.inner.stuck.store(stuck, Ordering::SeqCst);
    }

    /// Waits until it is told to prepare on both first (R27), or not to.
    pub(super) async fn told_both_first(&self, wanted: bool) {
        let mut grant = self.inner.grant.subscribe();
        let told = grant.wait_for(|grant| grant.serve && grant.both_first == wanted);
        tokio::time::timeout(Duration::from_secs(60), told).await.expect("the word").unwrap();
    }

    /// What the next survey finds missing.
    pub(super) fn lack(&self, version: types::command::VersionRef) {
        self.inner.lacks.lock().unwrap().push(version);
    }

    /// Waits until it may serve.
    pub(super) async fn serving(&self) {
        let mut grant = self.inner.grant.subscribe();
        let deadline = Duration::from_secs(20);
        tokio::time::timeout(deadline, grant.wait_for(|grant| grant.serve)).await.expect("a lease").unwrap();
    }

    pub(super) async fn complete(&self, mut write: WriteComplete) -> Result<Answers> {
        let grant = self.inner.grant.borrow().clone();
        write.pair = self.inner.pair;
        write.epoch = grant.epoch;
        write.server = self.name.clone();
        write.incarnation = self.inner.incarnation;
        call::<Complete>(&self.data, CompleteRequest { writes: vec![write] }).await
    }

    /// Says that it stands for a rebuild.
    pub(super) async fn stand(&self) -> Result<Empty> {
        let report = StandReport { server: self.name.clone(), ..StandReport::default() };
        call::<Stand>(&self.data, report).await
    }

    /// As SIGTERM.
    pub(super) async fn leave(self) -> Disk {
        let request = LeaveRequest { server: self.name.clone(), incarnation: self.inner.incarnation };
        call::<Leave>(&self.data, request.clone()).await.unwrap();
        call::<ReleaseLease>(&self.data, request).await.unwrap();
        self.kill().await
    }
}

async fn beat(connection: Connection, name: String, inner: Arc<Inner>, pause: Duration) {
    let mut pushes = connection.pushes();
    let mut number = 0;
    let mut ticks = tokio::time::interval(pause);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                let trouble = inner.trouble.lock().unwrap().clone();
                let request = HeartbeatRequest {
                    server: name.clone(),
                    incarnation: inner.incarnation,
                    number,
                    free_bytes: 1 << 30,
                    broken: !trouble.is_empty(),
                    trouble,
                    ..HeartbeatRequest::default()
                };
                let Ok(grant) = call::<Heartbeat>(&connection, request).await else { return };
                inner.grant.send_replace(grant);
            }
            push = pushes.recv() => {
                let Some(push) = push else { return };
                inner.grant.send_replace(GrantMessage::decode(push.head).unwrap());
            }
        }
    }
}
