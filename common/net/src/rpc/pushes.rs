//! What a server says unasked, on the client's side.

use crate::rpc::client::Shared;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use types::{Code, Error};

/// One push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Which kind of push.
    pub method: u16,
    /// The message, encoded.
    pub head: Bytes,
}

/// A subscriber to the pushes of one connection. It does not keep the connection open.
pub struct Pushes {
    pub(crate) receiver: broadcast::Receiver<Push>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) missed: bool,
}

impl Pushes {
    /// The next push, in order; `None` when the connection has ended. A subscriber more than 256 behind
    /// ends the connection too: connecting again and looking afresh is the one way to catch up, whatever
    /// was missed. Dropping the future loses none.
    pub async fn recv(&mut self) -> Option<Push> {
        if self.missed {
            return None;
        }
        let got = tokio::select! {
            biased;
            got = self.receiver.recv() => got,
            () = self.shared.done.cancelled() => match self.receiver.try_recv() {
                Ok(push) => Ok(push),
                Err(broadcast::error::TryRecvError::Lagged(count)) => Err(RecvError::Lagged(count)),
                Err(_) => Err(RecvError::Closed),
            },
        };
        match got {
            Ok(push) => Some(push),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(count)) => {
                tracing::warn!(count, peer = %self.shared.peer, "closed: pushes were not taken in time");
                self.missed = true;
                let reason = Error::new(Code::Busy, "pushes were not taken in time", "connect again");
                self.shared.fail(reason, false);
                None
            }
        }
    }
}
