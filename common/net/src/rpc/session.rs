//! One connection as the service sees it.

use crate::bounds::{PUSH_BYTES, PUSH_DEPTH};
use crate::frame::{Frame, Kind};
use crate::handshake::Peer;
use crate::rpc::outbox::Outbox;
use bytes::Bytes;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use types::{Code, Error, Result};

/// One proven connection of a server.
pub struct Session {
    /// Unique within this process.
    pub id: u64,
    /// The other side.
    pub peer: Peer,
    pub(crate) outbox: Outbox,
    closed: CancellationToken,
    extensions: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    /// The place among [`types::limits::CONN_MAX`]; requests that outlive the connection still hold it.
    _place: Option<OwnedSemaphorePermit>,
}

impl Session {
    pub(crate) fn new(
        id: u64,
        peer: Peer,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Session {
        Session {
            id,
            peer,
            outbox: Outbox::new(writer),
            closed: CancellationToken::new(),
            extensions: Mutex::default(),
            _place: place,
        }
    }

    /// A session without a connection, for tests of a service: pushes go nowhere.
    pub fn detached(peer: Peer) -> Arc<Session> {
        Arc::new(Session::new(0, peer, Box::new(tokio::io::sink()), None))
    }

    /// Sends something the client did not ask for; does not wait.
    ///
    /// # Errors
    /// `BAD_REQUEST` beyond the bounds of a frame; `BUSY` when the client does not read (1024 pushes or
    /// 8 MiB of them wait), which also closes the connection, so that it never misses one unnoticed;
    /// `UNAVAILABLE` when the connection has ended.
    pub fn push(&self, method: u16, head: Bytes) -> Result<()> {
        let frame = Frame::new(Kind::Push, method, 0, head, Bytes::new());
        frame.check_bounds()?;
        let queued = self.outbox.queue_push(frame, PUSH_DEPTH, PUSH_BYTES);
        match &queued {
            Ok(()) => self.outbox.wake(),
            Err(error) if error.code == Code::Busy => {
                tracing::warn!(session = self.id, peer = %self.peer.addr, "closed: pushes are not read");
                self.end(error.clone(), false);
            }
            Err(_) => {}
        }
        queued
    }

    /// Ends the connection once what is queued is written, or a second has passed.
    pub fn close(&self) {
        self.end(Error::new(Code::Unavailable, "the connection was closed", "connect again"), true);
    }

    pub(crate) fn end(&self, reason: Error, finish: bool) {
        self.outbox.close(reason, finish);
        self.closed.cancel();
    }

    /// Whether the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Keeps a value of the service with this connection, one of each type; returns the one before. A value
    /// that holds its session should hold it weakly, or both stay for ever.
    pub fn set<T: Any + Send + Sync>(&self, value: Arc<T>) -> Option<Arc<T>> {
        self.extensions().insert(TypeId::of::<T>(), value).and_then(|old| old.downcast().ok())
    }

    /// The value of this type that was kept.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.extensions().get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok())
    }

    fn extensions(&self) -> std::sync::MutexGuard<'_, HashMap<TypeId, Arc<dyn Any + Send + Sync>>> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}
