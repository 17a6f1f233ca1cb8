//! What a server offers, and what one method takes and gives.

use crate::BoxFuture;
use crate::rpc::Session;
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use types::{Error, Result};

pub use types::message::Method;

/// A request or a cast as it arrived.
///
/// Head and body are slices of the receive buffer: who keeps a small part of them for long should copy it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Which method.
    pub method: u16,
    /// The message, encoded.
    pub head: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
}

impl Incoming {
    /// The message as the request of `M`.
    ///
    /// # Errors
    /// `BAD_REQUEST` when it does not decode.
    pub fn decode<M: Method>(&self) -> Result<M::Request> {
        M::Request::decode(self.head.clone())
            .map_err(|error| Error::bad_request(format_args!("{} does not decode ({error})", M::NAME)))
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The message, encoded.
    pub head: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
}

impl Outgoing {
    /// `reply` as the answer of `M`, with bulk bytes (empty: none).
    pub fn reply<M: Method>(reply: &M::Reply, body: Bytes) -> Outgoing {
        Outgoing { head: reply.encode_to_vec().into(), body }
    }
}

/// What a server does with its connections. None of the methods may block; the futures neither, but for a sync of the
/// disk in a task of its own once another thread looks after the sockets (`threads::step_aside`). A panic
/// is caught: a call answers `INTERNAL` of unknown effect, a cast ends its connection.
pub trait Service: Send + Sync + 'static {
    /// A peer has proved itself. Nothing is read from it before this returns; pushes may be queued.
    ///
    /// # Errors
    /// Refuses the connection; the client's `open` fails with this error and
    /// [`Service::disconnected`] is not called.
    fn connected(&self, session: &Arc<Session>) -> Result<()>;

    /// A request. The requests of one connection run concurrently. The future is polled once where it was
    /// read, so what is ready at once (a warm read) costs no task; it is not cancelled when the connection
    /// ends, only its answer is dropped.
    ///
    /// # Errors
    /// Sent to the client as it is, effect included.
    fn call(
        self: Arc<Self>,
        session: Arc<Session>,
        request: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>>;

    /// A cast. Those of one connection are taken in the order they came, each once the one before is done.
    /// Nobody is told of a failure: keep it in the session for the call that ends the series.
    fn cast(self: Arc<Self>, session: Arc<Session>, request: Incoming) -> BoxFuture<'static, ()> {
        tracing::debug!(session = session.id, method = request.method, "a cast nobody takes");
        Box::pin(std::future::ready(()))
    }

    /// Whether calls of this method are *begun* in the order they came among the casts: after every earlier
    /// cast is done. Once begun (polled once) they run beside what follows, so a slow commit holds up nothing.
    fn ordered(&self, method: u16) -> bool {
        let _ = method;
        false
    }

    /// The connection has ended. Its requests may still run.
    fn disconnected(&self, session: &Arc<Session>);
}
