//! The connections to storage servers that are registered and have recovered, and what is done over them.

use crate::compare::compare;
use crate::feeders::{Line, acknowledge, pump};
use crate::manager::Manager;
use crate::port;
use bytes::Bytes;
use net::redial::Attempt;
use net::{Connection, Credential, Reconnecting};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::message::member::{Probe, ProbeRequest};
use types::message::{Method, purpose};
use types::record::{Pair, Phase, Server};
use types::{Code, Error, Result};

/// One registration of one server.
pub(crate) struct Member {
    pub(crate) server: String,
    pub(crate) incarnation: u64,
    pub(crate) pair: u32,
    connection: Reconnecting,
    pub(crate) control: Arc<Line>,
    pub(crate) own: Arc<Line>,
    /// Rings when a cursor has moved.
    pub(crate) moved: Notify,
    /// End of its journal, as last told.
    pub(crate) journal: AtomicU64,
    /// Somebody waits for its acknowledgements: it catches up, or is being handed over to.
    pub(crate) hurried: AtomicBool,
    /// This leader has reached it at its address.
    pub(crate) reached: AtomicBool,
}

impl Member {
    /// How far it has acknowledged the control feed and its pair's, and the end of its journal by then.
    pub(crate) fn acknowledged(&self) -> (u64, u64, u64) {
        let control = self.control.feeder().watermark();
        let pair = self.own.feeder().watermark();
        (control, pair, self.journal.load(std::sync::atomic::Ordering::Acquire))
    }

    /// The connection, if it stands.
    pub(crate) fn connection(&self) -> Option<Connection> {
        self.connection.current()
    }

    /// Whether the connection stands, and every change of it.
    pub(crate) fn watch(&self) -> tokio::sync::watch::Receiver<bool> {
        self.connection.watch()
    }

    /// The line of a feed.
    pub(crate) fn line(&self, feed: u32) -> Option<&Arc<Line>> {
        [&self.control, &self.own].into_iter().find(|line| line.feed == feed)
    }

    /// Asks it something.
    pub(crate) async fn call<M: Method>(&self, request: M::Request, timeout: Duration) -> Result<M::Reply> {
        Ok(self.call_with::<M>(request, Bytes::new(), timeout).await?.0)
    }

    /// Asks it something with bulk bytes in the request or in the answer.
    pub(crate) async fn call_with<M: Method>(
        &self,
        request: M::Request,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(M::Reply, Bytes)> {
        let Some(connection) = self.connection() else {
            return Err(Error::new(
                Code::Unavailable,
                format_args!("there is no connection to {}", self.server),
                "it is made again by itself",
            ));
        };
        connection.call::<M>(request, body, Instant::now() + timeout).await
    }

    /// Whether it answers now.
    pub(crate) async fn answers(&self, timeout: Duration) -> bool {
        let reply = self.call::<Probe>(ProbeRequest::default(), timeout).await;
        reply.is_ok_and(|reply| reply.incarnation == self.incarnation)
    }
}

/// A member and its tasks, which end with it.
struct Kept {
    member: Arc<Member>,
    _tasks: JoinSet<()>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Members {
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl Members {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member of this registration.
    pub(crate) fn get(&self, server: &Server) -> Option<Arc<Member>> {
        let kept = self.kept();
        let member = &kept.get(&server.name)?.member;
        (member.incarnation == server.incarnation).then(|| member.clone())
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        self.kept().clear();
    }
}

impl Manager {
    /// Keeps a connection and the feeds of every living registration that has recovered and was met, and of no other.
    pub(crate) fn reconcile(self: &Arc<Self>, servers: &[Server], pairs: &[Pair]) {
        let mut kept = self.members.kept();
        kept.retain(|name, kept| {
            servers.iter().any(|server| {
                server.name == *name && server.incarnation == kept.member.incarnation && !server.failed
            })
        });
        let met: Vec<&Server> = {
            let live = self.live();
            let met = |server: &&Server| live.met.knows(&server.name, server.incarnation);
            servers.iter().filter(|server| server.recovered && !server.failed).filter(met).collect()
        };
        for server in met {
            let member = &kept.entry(server.name.clone()).or_insert_with(|| self.begin(server)).member;
            let pair = pairs.iter().find(|pair| pair.id == server.pair);
            let handing = pair.is_some_and(|pair| pair.phase() == Phase::Handover);
            let hurried = !server.fresh || handing;
            if member.hurried.swap(hurried, std::sync::atomic::Ordering::AcqRel) != hurried {
                member.moved.notify_one();
            }
        }
    }

    fn begin(self: &Arc<Self>, server: &Server) -> Kept {
        let (addr, secret, name) = (server.addr.clone(), self.secret.clone(), self.settings.name.clone());
        let cluster = self.cluster_id;
        let attempt: Attempt = Arc::new(move || {
            let credential = Credential::Node { name: name.clone(), secret: secret.clone() };
            let addr = addr.clone();
            Box::pin(async move { Connection::open(&addr, credential, Some(cluster), purpose::DATA).await })
        });
        let member = Arc::new(Member {
            server: server.name.clone(),
            incarnation: server.incarnation,
            pair: server.pair,
            connection: Reconnecting::start_with(attempt, None),
            control: Arc::new(Line::new(0, server.control_cursor)),
            own: Arc::new(Line::new(server.pair, server.pair_cursor)),
            moved: Notify::new(),
            journal: AtomicU64::new(server.journal),
            hurried: AtomicBool::new(!server.fresh),
            reached: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(self.clone(), member.clone()));
        for line in [&member.control, &member.own] {
            tasks.spawn(pump(self.clone(), member.clone(), line.clone()));
        }
        tasks.spawn(acknowledge(self.clone(), member.clone()));
        tasks.spawn(port::ask(self.clone(), member.clone()));
        if server.compare {
            tasks.spawn(compare(self.clone(), member.clone()));
        }
        Kept { member, _tasks: tasks }
    }
}

/// Tells the duties of the pair when the connection comes and goes; its loss may be evidence (R5).
async fn follow(manager: Arc<Manager>, member: Arc<Member>) {
    let mut up = member.watch();
    loop {
        let is_up = *up.borrow_and_update();
        if is_up {
            member.reached.store(true, std::sync::atomic::Ordering::Release);
        } else if member.reached.load(std::sync::atomic::Ordering::Acquire) {
            manager.connection_lost(&member.server, member.incarnation);
        }
        manager.signals.wake(member.pair);
        if up.changed().await.is_err() {
            return;
        }
    }
}
