//! Accepts connections and lets those in that prove themselves.

use crate::bounds::{ACCEPT_REST, ACCEPT_TELL, DRAIN_MAX, HANDSHAKES_MAX, HELLO_FRAME_MAX, LINGER_MAX};
use crate::frame::{FrameCodec, Kind};
use crate::handshake::{self, Keyring};
use crate::reader::FrameReader;
use crate::rpc::connection::{Context, caught, failed, serve};
use crate::rpc::{Service, Session, failure};
use crate::transport::{Listen, Stream};
use futures_util::FutureExt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use types::limits::{CONN_MAX, HELLO_TIMEOUT, SERVER_WINDOW};
use types::{Code, Error, Result};

/// Runs services.
pub struct Server;

struct House {
    keyring: Arc<dyn Keyring>,
    service: Arc<dyn Service>,
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    /// Numbers sessions.
    sessions: AtomicU64,
    draining: CancellationToken,
}

impl Server {
    /// [`Server::run_within`] at most [`CONN_MAX`] connections.
    pub async fn run(
        listener: impl Listen,
        keyring: Arc<dyn Keyring>,
        service: Arc<dyn Service>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        Server::run_within(CONN_MAX, listener, keyring, service, shutdown).await;
    }

    /// Serves `service` at `listener` until `shutdown` is ready. Then the listener is closed, clients are
    /// told, the calls that are worked on have 2 s to be answered, and all connections end before this
    /// returns.
    ///
    /// At `places` connections, or 512 (or half of `places`) that have not proved themselves, the next is refused
    /// with `BUSY`; one that has not proved itself after [`HELLO_TIMEOUT`] is dropped. With [`SERVER_WINDOW`] bytes
    /// of large requests in memory, connections that bring more are not read until some are let go (R38). Nothing a
    /// client sends ends the server, nor does a lack of sockets: it rests and tries again.
    pub async fn run_within(
        places: usize,
        mut listener: impl Listen,
        keyring: Arc<dyn Keyring>,
        service: Arc<dyn Service>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let house = Arc::new(House {
            keyring,
            service,
            places: Arc::new(Semaphore::new(places)),
            strangers: Arc::new(Semaphore::new(HANDSHAKES_MAX.min(places / 2))),
            bulk: Arc::new(Semaphore::new(SERVER_WINDOW)),
            sessions: AtomicU64::new(1),
            draining: CancellationToken::new(),
        });
        let mut guests = JoinSet::new();
        let mut told: Option<Instant> = None;
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = guests.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => house.admit(stream, &mut guests),
                Err(error) => {
                    // A server without sockets comes here often.
                    if told.is_none_or(|at| at.elapsed() >= ACCEPT_TELL) {
                        tracing::warn!(%error, "a connection could not be accepted");
                        told = Some(Instant::now());
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
        drop(listener);
        house.draining.cancel();
        let all_gone = async { while guests.join_next().await.is_some() {} };
        if timeout(DRAIN_MAX + 2 * LINGER_MAX, all_gone).await.is_err() {
            guests.shutdown().await;
        }
    }
}

impl House {
    fn admit(self: &Arc<Self>, stream: Stream, guests: &mut JoinSet<()>) {
        let place = self.places.clone().try_acquire_owned();
        let stranger = self.strangers.clone().try_acquire_owned();
        let (Ok(place), Ok(stranger)) = (place, stranger) else {
            tracing::warn!(peer = %stream.peer, "refused: too many connections");
            let busy = Error::new(Code::Busy, "the server has too many connections", "try again later");
            let Stream { mut writer, .. } = stream;
            // What the socket takes at once, no more: this is the accepting task.
            let _ = handshake::send(&mut *writer, Kind::Failure, failure::encode(&busy)).now_or_never();
            return;
        };
        guests.spawn(self.clone().welcome(stream, place, stranger));
    }

    async fn welcome(
        self: Arc<Self>,
        stream: Stream,
        place: OwnedSemaphorePermit,
        stranger: OwnedSemaphorePermit,
    ) {
        let Stream { reader, mut writer, peer: addr, .. } = stream;
        let mut reader = FrameReader::new(reader, FrameCodec::unproven());
        let proved = tokio::select! {
            () = self.draining.cancelled() => return,
            proved = timeout(
                HELLO_TIMEOUT,
                handshake::verify(&mut reader, &mut *writer, &*self.keyring, addr),
            ) => proved.unwrap_or_else(|_| Err(too_slow())),
        };
        let (peer, welcome) = match proved {
            Ok(proved) => proved,
            Err(error) => {
                tracing::info!(peer = %addr, %error, "refused");
                return refuse(reader, writer, &error).await;
            }
        };
        drop(stranger);
        let id = self.sessions.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(id, peer, writer, Some(place)));
        tracing::debug!(session = id, peer = ?session.peer, "connected");
        // Queued before the service can push, written after it has agreed.
        let welcome = crate::frame::Frame::new(Kind::Welcome, 0, 0, welcome, bytes::Bytes::new());
        let queued = session.outbox.queue(None, |_| welcome);
        let agreed: Result<()> =
            queued.and_then(|_| caught(|| self.service.connected(&session)).and_then(|agreed| agreed));
        if let Err(error) = agreed {
            tracing::info!(session = id, peer = %addr, %error, "refused by the service");
            session.outbox.last_words(failed(0, 0, &error), error, true);
            let _ = timeout(LINGER_MAX, session.outbox.run()).await;
            session.outbox.hang_up();
            return session.close();
        }
        reader.trust();
        let context = Context { service: self.service.clone(), session };
        serve(context, reader, self.bulk.clone(), self.draining.clone()).await;
    }
}

async fn refuse(mut reader: FrameReader, mut writer: Box<dyn AsyncWrite + Send + Unpin>, error: &Error) {
    let last_words = async {
        handshake::send(&mut *writer, Kind::Failure, failure::encode(error)).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut writer).await.map_err(Error::from)
    };
    // Closing with unread bytes would cut off the last words on their way.
    if let Ok(Ok(())) = timeout(LINGER_MAX, last_words).await {
        let _ = timeout(LINGER_MAX, reader.drain(4 * HELLO_FRAME_MAX)).await;
    }
}

fn too_slow() -> Error {
    Error::new(
        Code::Timeout,
        format_args!("the connection did not prove itself in {} s", HELLO_TIMEOUT.as_secs()),
        "connect again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::tests::{House as Tenant, Keys, soon};
    use crate::transport::{Dial, Tcp, listen};

    /// The server's side of a house with few places, and what the next client hears first.
    async fn first_words(places: usize, strangers: usize) -> Option<Error> {
        let house = Arc::new(House {
            keyring: Arc::new(Keys),
            service: Arc::new(Tenant::default()),
            places: Arc::new(Semaphore::new(places)),
            strangers: Arc::new(Semaphore::new(strangers)),
            bulk: Arc::new(Semaphore::new(SERVER_WINDOW)),
            sessions: AtomicU64::new(1),
            draining: CancellationToken::new(),
        });
        let mut listener = listen("127.0.0.1:0", false).await.unwrap();
        let addr = listener.local_addr().to_string();
        let mut guests = JoinSet::new();
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(Tcp.dial(&addr).await.unwrap());
            house.admit(listener.accept().await.unwrap(), &mut guests);
        }
        let last = clients.pop().unwrap();
        let mut reader = FrameReader::new(last.reader, FrameCodec::unproven());
        let admitted = guests.len() == 2;
        // Someone who is let in hears nothing before their hello.
        let heard = match admitted {
            true => None,
            false => tokio::time::timeout_at(soon(), reader.next()).await.unwrap().unwrap(),
        };
        guests.shutdown().await;
        heard.map(|frame| failure::decode(frame.head))
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_to_come_later() {
        assert_eq!(first_words(1, 9).await.unwrap().code, Code::Busy);
        assert_eq!(first_words(9, 1).await.unwrap().code, Code::Busy);
        assert!(first_words(2, 2).await.is_none());
    }
}
