//! Servers and clients over real sockets.

mod bounds;
mod calls;
mod endings;
mod strangers;
mod unasked;

use crate::BoxFuture;
use crate::frame::{Frame, FrameCodec, Kind};
use crate::handshake::{self, Credential, Keyring};
use crate::reader::FrameReader;
use crate::rpc::{Connection, Incoming, Method, Outgoing, Server, Service, Session};
use crate::transport::{Dial, Listen, Stream, Tcp, listen};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use types::{Code, Error, Result};

pub(crate) const SECRET: [u8; 32] = [42; 32];
pub(crate) const CLUSTER: [u8; 16] = [7; 16];

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Number {
    #[prost(uint64, tag = "1")]
    pub value: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Numbers {
    #[prost(uint64, repeated, tag = "1")]
    pub values: Vec<u64>,
}

macro_rules! methods {
    ($($name:ident = $id:literal: $request:ty => $reply:ty;)*) => {$(
        pub(crate) struct $name;
        impl Method for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            type Request = $request;
            type Reply = $reply;
        }
    )*};
}

methods! {
    Echo = 1: Number => Number;
    Held = 2: Number => Number;
    PanicNow = 3: Number => Number;
    PanicLater = 4: Number => Number;
    Fails = 5: Number => Number;
    PushMany = 6: Number => Number;
    Note = 7: Number => ();
    Notes = 8: () => Numbers;
    Large = 9: Number => Number;
    HangUp = 10: Number => Number;
    NotePanics = 11: Number => ();
}

/// What every test here is served by.
#[derive(Default)]
pub(crate) struct House {
    /// Calls of `Held` that wait, with their numbers.
    pub held: Mutex<Vec<(u64, oneshot::Sender<()>)>>,
    pub begun: AtomicUsize,
    pub running: AtomicUsize,
    pub most: AtomicUsize,
    pub notes: Mutex<Vec<u64>>,
    pub sessions: Mutex<Vec<Arc<Session>>>,
    pub ended: AtomicUsize,
    pub refuses: bool,
}

impl House {
    /// Lets the calls of `Held` go on that `which` picks.
    pub fn release(&self, which: impl Fn(u64) -> bool) {
        let mut held = self.held.lock().unwrap();
        let (go, stay) = std::mem::take(&mut *held).into_iter().partition(|(number, _)| which(*number));
        *held = stay;
        for (_, sender) in go {
            let _ = sender.send(());
        }
    }

    async fn do_call(&self, session: Arc<Session>, request: Incoming) -> Result<Outgoing> {
        let Number { value } = request.decode::<Echo>()?;
        let reply = |body| Ok(Outgoing::reply::<Echo>(&Number { value }, body));
        match request.method {
            Echo::ID => reply(request.body),
            Held::ID => {
                let (sender, receiver) = oneshot::channel();
                self.begun.fetch_add(1, Ordering::SeqCst);
                let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(running, Ordering::SeqCst);
                self.held.lock().unwrap().push((value, sender));
                let _ = receiver.await;
                self.running.fetch_sub(1, Ordering::SeqCst);
                reply(request.body)
            }
            PanicNow::ID => panic!("asked to, at once"),
            PanicLater::ID => {
                tokio::task::yield_now().await;
                panic!("asked to, later")
            }
            Fails::ID => Err(Error::new(Code::Locked, "locked", "wait").outcome_unknown()),
            PushMany::ID => {
                for number in 0..value {
                    session.push(9, number.to_le_bytes().to_vec().into())?;
                }
                reply(Bytes::new())
            }
            Notes::ID => {
                let values = self.notes.lock().unwrap().clone();
                Ok(Outgoing::reply::<Notes>(&Numbers { values }, Bytes::new()))
            }
            Large::ID => reply(vec![7; value as usize].into()),
            HangUp::ID => {
                session.close();
                std::future::pending().await
            }
            other => Err(Error::new(Code::Unsupported, format_args!("method {other}"), "update")),
        }
    }
}

impl Service for House {
    fn connected(&self, session: &Arc<Session>) -> Result<()> {
        session.push(1, Bytes::from_static(b"before anything else"))?;
        if self.refuses {
            return Err(Error::new(Code::NotLeader, "not the leader", "ask nm2"));
        }
        session.set(Arc::new(AtomicUsize::new(1)));
        self.sessions.lock().unwrap().push(session.clone());
        Ok(())
    }

    fn call(
        self: Arc<Self>,
        session: Arc<Session>,
        request: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>> {
        Box::pin(async move { self.do_call(session, request).await })
    }

    fn cast(self: Arc<Self>, _: Arc<Session>, request: Incoming) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Number { value } = request.decode::<Note>().unwrap();
            if request.method == NotePanics::ID {
                panic!("asked to, in a cast");
            }
            // Some are done at once, some not: their order must not depend on it.
            for _ in 0..value % 3 {
                tokio::task::yield_now().await;
            }
            self.notes.lock().unwrap().push(value);
        })
    }

    fn ordered(&self, method: u16) -> bool {
        method == Notes::ID
    }

    fn disconnected(&self, _: &Arc<Session>) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) struct Keys;

impl Keyring for Keys {
    fn cluster_id(&self) -> Option<[u8; 16]> {
        Some(CLUSTER)
    }
    fn node_secret(&self) -> Option<Vec<u8>> {
        Some(SECRET.to_vec())
    }
    fn user_key(&self, name: &str, key_id: &str) -> Result<Option<Vec<u8>>> {
        Ok((name == "ann" && key_id == "k1").then(|| b"the key of ann, long enough".to_vec()))
    }
    fn ticket_key(&self, ticket: &[u8]) -> Result<(Vec<u8>, String)> {
        match ticket.strip_prefix(b"ticket of ") {
            Some(user) => Ok((vec![9; 32], String::from_utf8_lossy(user).into_owned())),
            None => Err(Error::new(Code::BadCapability, "no ticket of ours", "ask for a new one")),
        }
    }
    fn server_name(&self) -> String {
        "nm".to_owned()
    }
}

/// A server that stops when it is dropped.
pub(crate) struct Running {
    pub addr: String,
    pub house: Arc<House>,
    pub stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<()>,
}

pub(crate) async fn start(house: House) -> Running {
    start_at("127.0.0.1:0", house).await
}

pub(crate) async fn start_at(addr: &str, house: House) -> Running {
    let listener = listen(addr, false).await.unwrap();
    let addr = listener.local_addr().to_string();
    let house = Arc::new(house);
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(Server::run(listener, Arc::new(Keys), house.clone(), async {
        let _ = stopped.await;
    }));
    Running { addr, house, stop: Some(stop), task }
}

pub(crate) fn node() -> Credential {
    Credential::Node { name: "ss1".to_owned(), secret: SECRET.to_vec() }
}

impl Running {
    pub async fn connect(&self) -> Connection {
        Connection::open(&self.addr, node(), Some(CLUSTER), 3).await.unwrap()
    }

    /// The server still serves others.
    pub async fn assert_up(&self) {
        let connection = self.connect().await;
        assert_eq!(echo(&connection, 5).await.unwrap(), 5);
    }
}

pub(crate) async fn echo(connection: &Connection, value: u64) -> Result<u64> {
    connection.call::<Echo>(Number { value }, Bytes::new(), soon()).await.map(|(reply, _)| reply.value)
}

/// Long enough for anything that works.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Waits until `condition` holds, not for ever.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = soon();
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A proven connection without the client of this crate on it.
pub(crate) async fn raw(addr: &str) -> (FrameReader, Box<dyn tokio::io::AsyncWrite + Send + Unpin>) {
    let Stream { reader, mut writer, .. } = Tcp.dial(addr).await.unwrap();
    let mut reader = FrameReader::new(reader, FrameCodec::unproven());
    handshake::prove(&mut reader, &mut *writer, &node(), None, 0).await.unwrap();
    reader.trust();
    (reader, writer)
}

/// A server that lets one client in and then does what the test says.
pub(crate) async fn fake_server()
-> (SocketAddr, JoinHandle<(FrameReader, Box<dyn tokio::io::AsyncWrite + Send + Unpin>)>) {
    let mut listener = listen("127.0.0.1:0", false).await.unwrap();
    let addr = listener.local_addr();
    let task = tokio::spawn(async move {
        let Stream { reader, mut writer, peer, .. } = Listen::accept(&mut listener).await.unwrap();
        let mut reader = FrameReader::new(reader, FrameCodec::unproven());
        let (_, welcome) = handshake::verify(&mut reader, &mut *writer, &Keys, peer).await.unwrap();
        handshake::send(&mut *writer, Kind::Welcome, welcome).await.unwrap();
        reader.trust();
        (reader, writer)
    });
    (addr, task)
}

pub(crate) fn request(method: u16, correlation: u64, value: u64) -> Frame {
    let head = prost::Message::encode_to_vec(&Number { value }).into();
    Frame::new(Kind::Request, method, correlation, head, Bytes::new())
}
