//! Both ends of a connection, before and behind the proof: whatever the peer sends, they answer or hang up.

use crate::input::Input;
use bytes::Bytes;
use net::transport::{Dial, Listen, Stream};
use net::{BoxFuture, Connection, Credential, Incoming, Keyring, Outgoing, Server, Service, Session};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use types::message::forms;
use types::{Code, Error, Result};

const SECRET: [u8; 32] = [42; 32];
const CLUSTER: [u8; 16] = [7; 16];
/// Room of a stream, in bytes: more than any input.
const ROOM: usize = 256 << 10;
/// What ends at once ends within this, on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

struct Keys;

impl Keyring for Keys {
    fn cluster_id(&self) -> Option<[u8; 16]> {
        Some(CLUSTER)
    }

    fn node_secret(&self) -> Option<Vec<u8>> {
        Some(SECRET.to_vec())
    }

    fn user_key(&self, name: &str, _: &str) -> Result<Option<Vec<u8>>> {
        Ok((name == "admin").then(|| SECRET.to_vec()))
    }

    fn ticket_key(&self, _: &[u8]) -> Result<(Vec<u8>, String)> {
        Err(Error::new(Code::BadCapability, "no ticket", "ask for one"))
    }

    fn server_name(&self) -> String {
        "ss1".to_owned()
    }
}

/// Reads every request as the method that it names, and answers with what it read.
struct House {
    /// Told when a connection has ended.
    ended: Mutex<Option<oneshot::Sender<()>>>,
}

impl House {
    fn told() -> (Arc<House>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (Arc::new(House { ended: Mutex::new(Some(sender)) }), receiver)
    }
}

impl Service for House {
    fn connected(&self, session: &Arc<Session>) -> Result<()> {
        session.push(1, Bytes::from_static(b"welcome"))
    }

    fn call(self: Arc<Self>, _: Arc<Session>, request: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
        let form = forms().find(|form| form.id == request.method);
        let form = form.ok_or_else(|| Error::new(Code::Unsupported, "no such method", "update"));
        let read = form.and_then(|form| (form.request)(&request.head).map_err(Error::bad_request));
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(Outgoing { head: read?.into(), body: request.body })
        })
    }

    fn disconnected(&self, _: &Arc<Session>) {
        if let Some(ended) = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = ended.send(());
        }
    }
}

fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// A writer that two hold: one who speaks the protocol, and one who does not.
#[derive(Clone)]
struct Shared(Arc<Mutex<WriteHalf<DuplexStream>>>);

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_shutdown(context)
    }
}

/// One end of a stream in memory.
struct End {
    reader: Mutex<Option<ReadHalf<DuplexStream>>>,
    writer: Shared,
}

impl End {
    fn of(stream: DuplexStream) -> End {
        let (reader, writer) = split(stream);
        End { reader: Mutex::new(Some(reader)), writer: Shared(Arc::new(Mutex::new(writer))) }
    }

    /// The stream, once.
    fn stream(&self) -> Option<Stream> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(reader);
        Some(Stream { reader, writer: Box::new(self.writer.clone()), peer: here(), local: here() })
    }
}

struct Dialler(End);

impl Dial for Dialler {
    fn dial<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Stream>> {
        Box::pin(async { self.0.stream().ok_or_else(|| Error::internal("dialled twice")) })
    }
}

struct Listener(Arc<End>);

impl Listen for Listener {
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream>> {
        Box::pin(async {
            match self.0.stream() {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        here()
    }
}

fn run(play: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { timeout(SOON, play).await.expect("it does not hang") });
}

async fn prove(dialler: &Dialler) -> Connection {
    let credential = Credential::Node { name: "ss9".to_owned(), secret: SECRET.to_vec() };
    Connection::open_with(dialler, "a:1", credential, Some(CLUSTER), 1).await.expect("the secret is right")
}

/// What a server makes of what a client sends; with an odd first byte, of one that has proved who it is.
pub fn server(data: &[u8]) {
    let mut input = Input(data);
    let proven = input.byte() & 1 == 1;
    let bytes = input.rest();
    run(async {
        let (ours, theirs) = duplex(ROOM);
        let (house, ended) = House::told();
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = Listener(Arc::new(End::of(theirs)));
        let server = tokio::spawn(Server::run(listener, Arc::new(Keys), house, async {
            let _ = stopped.await;
        }));
        let dialler = Dialler(End::of(ours));
        let connection = if proven { Some(prove(&dialler).await) } else { None };
        let mut writer = dialler.0.writer.clone();
        // It may have hung up by then.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
        if let Some(connection) = connection {
            let _ = ended.await;
            connection.closed().await;
        } else if let Some(stream) = dialler.0.stream() {
            let mut said = Vec::new();
            let Stream { mut reader, .. } = stream;
            let _ = reader.read_to_end(&mut said).await;
            assert!(said.len() < ROOM, "a stranger is told a lot");
        }
        let _ = stop.send(());
        server.await.expect("the server does not panic");
    });
}

/// What a client makes of what a server sends; with an odd first byte, of one that has proved who it is, while a call waits.
pub fn client(data: &[u8]) {
    let mut input = Input(data);
    let proven = input.byte() & 1 == 1;
    let bytes = input.rest();
    run(async {
        let (ours, theirs) = duplex(ROOM);
        let (dialler, end) = (Dialler(End::of(ours)), Arc::new(End::of(theirs)));
        let mut writer = end.writer.clone();
        if !proven {
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
            let credential = Credential::Node { name: "ss9".to_owned(), secret: SECRET.to_vec() };
            let opened = Connection::open_with(&dialler, "a:1", credential, Some(CLUSTER), 1).await;
            assert!(opened.is_err(), "a server without the secret is believed");
            return;
        }
        let (house, _ended) = House::told();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(Server::run(Listener(end), Arc::new(Keys), house, async {
            let _ = stopped.await;
        }));
        let connection = prove(&dialler).await;
        let mut pushes = connection.pushes();
        let late = Instant::now() + SOON;
        let call = connection.call_encoded(100, "Attach", Bytes::new(), Bytes::new(), late);
        let lie = async {
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        };
        let (_, ()) = tokio::join!(call, lie);
        connection.closed().await;
        while pushes.recv().await.is_some() {}
        let _ = stop.send(());
        server.await.expect("the server does not panic");
    });
}
