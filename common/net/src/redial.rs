//! Keeps one connection open: dials again, with growing pauses, whenever it is lost.

use crate::BoxFuture;
use crate::bounds::RECONNECT_MIN;
use crate::handshake::Credential;
use crate::rpc::Connection;
use crate::secret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use types::limits::RECONNECT_MAX;
use types::{Code, Error, Result};

/// Where to connect to, as whom and for what: the arguments of [`Connection::open`].
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`; resolved at each attempt.
    pub addr: String,
    /// Who we are.
    pub credential: Credential,
    /// The cluster it must be.
    pub cluster_id: Option<[u8; 16]>,
    /// What the connection is for.
    pub purpose: u16,
}

/// Called with each new connection before anyone else gets it, to register again. An error closes the
/// connection and counts as a failed attempt. It has to end by itself: its calls have deadlines.
pub type Hook = Arc<dyn Fn(Connection) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Makes one attempt to connect.
pub type Attempt = Arc<dyn Fn() -> BoxFuture<'static, Result<Connection>> + Send + Sync>;

/// A connection that is made again whenever it is lost. Clones share it; the last one gone, it is closed.
#[derive(Clone)]
pub struct Reconnecting {
    state: watch::Receiver<State>,
    up: watch::Receiver<bool>,
    stop: CancellationToken,
    _last: Arc<DropGuard>,
}

#[derive(Clone)]
enum State {
    Down(Option<Error>),
    Up(Connection),
}

impl Reconnecting {
    /// Keeps a connection to `target` open. Must be called within a tokio runtime.
    pub fn start(target: Target, hook: Option<Hook>) -> Reconnecting {
        let attempt: Attempt = Arc::new(move || {
            let Target { addr, credential, cluster_id, purpose } = target.clone();
            Box::pin(async move { Connection::open(&addr, credential, cluster_id, purpose).await })
        });
        Reconnecting::start_with(attempt, hook)
    }

    /// Keeps a connection open that `attempt` makes: for addresses and tickets that change. Must be called
    /// within a tokio runtime.
    pub fn start_with(attempt: Attempt, hook: Option<Hook>) -> Reconnecting {
        let (state, state_seen) = watch::channel(State::Down(None));
        let (up, up_seen) = watch::channel(false);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let redialling = redial(attempt, hook, &state, &up);
            tokio::select! {
                () = stopped.cancelled() => {}
                () = redialling => {}
            }
            let gone =
                Error::new(Code::Unavailable, "the connection is not kept open any more", "start again");
            if let State::Up(connection) = state.send_replace(State::Down(Some(gone))) {
                connection.close();
            }
            up.send_replace(false);
        });
        let last = Arc::new(stop.clone().drop_guard());
        Reconnecting { state: state_seen, up: up_seen, stop, _last: last }
    }

    /// The connection, once there is one.
    ///
    /// # Errors
    /// At `deadline` the last attempt's error as `UNAVAILABLE`; at once what will not pass by itself
    /// (`WRONG_CLUSTER`, `BAD_PROOF`, `NOT_SIGNED_IN`, `DENIED`, `UNSUPPORTED`, `USAGE`). Attempts go on.
    pub async fn get(&self, deadline: impl Into<Instant>) -> Result<Connection> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| match state {
            State::Up(connection) => !connection.is_closed(),
            State::Down(error) => error.as_ref().is_some_and(is_final),
        });
        let settled = timeout_at(deadline.into(), settled).await.map(|settled| settled.map(|s| s.clone()));
        match settled {
            Ok(Ok(State::Up(connection))) => Ok(connection),
            Ok(Ok(State::Down(Some(error)))) => Err(error),
            _ => Err(match &*self.state.borrow() {
                State::Down(Some(error)) => Error { code: Code::Unavailable, ..error.clone() },
                _ => Error::new(
                    Code::Unavailable,
                    "no connection was made in time",
                    "check the address and that the server runs",
                ),
            }),
        }
    }

    /// The connection if there is one now.
    pub fn current(&self) -> Option<Connection> {
        match &*self.state.borrow() {
            State::Up(connection) if !connection.is_closed() => Some(connection.clone()),
            _ => None,
        }
    }

    /// Whether there is a connection, and every change of it.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.up.clone()
    }

    /// Closes the connection and makes no more, for all clones.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reconnecting({:?})", self.current())
    }
}

/// What no later attempt changes: a person has to.
fn is_final(error: &Error) -> bool {
    use Code::*;
    matches!(error.code, WrongCluster | BadProof | NotSignedIn | Denied | Unsupported | Usage)
}

async fn redial(
    attempt: Attempt,
    hook: Option<Hook>,
    state: &watch::Sender<State>,
    up: &watch::Sender<bool>,
) {
    let mut pause = RECONNECT_MIN;
    loop {
        match connect(&attempt, hook.as_ref()).await {
            Ok(connection) => {
                let since = Instant::now();
                let closed = connection.closed();
                state.send_replace(State::Up(connection));
                up.send_replace(true);
                closed.await;
                up.send_replace(false);
                state.send_replace(State::Down(None));
                // One that is dropped as soon as it is made must not be made in a tight loop.
                if since.elapsed() > RECONNECT_MAX {
                    pause = RECONNECT_MIN;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "not connected");
                state.send_replace(State::Down(Some(error)));
            }
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

async fn connect(attempt: &Attempt, hook: Option<&Hook>) -> Result<Connection> {
    let connection = attempt().await?;
    if let Some(hook) = hook {
        let told = hook(connection.clone()).await;
        if let Err(error) = told {
            connection.close();
            return Err(error);
        }
    }
    Ok(connection)
}

/// Between half of `pause` and all of it, so that those who lost the same server do not return at once.
fn jittered(pause: Duration) -> Duration {
    let [random] = secret::random::<1>().unwrap_or([255]);
    pause.mul_f64(0.5 + f64::from(random) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::tests::{CLUSTER, House, echo, node, soon, start, start_at};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn target(addr: &str) -> Target {
        Target { addr: addr.to_owned(), credential: node(), cluster_id: Some(CLUSTER), purpose: 1 }
    }

    #[tokio::test]
    async fn a_server_that_comes_back_is_found_and_told_again() {
        let mut server = start(House::default()).await;
        let addr = server.addr.clone();
        let told = Arc::new(AtomicUsize::new(0));
        let counter = told.clone();
        let hook: Hook = Arc::new(move |connection| {
            let counter = counter.clone();
            Box::pin(async move {
                echo(&connection, 1).await?;
                counter.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        });
        let link = Reconnecting::start(target(&addr), Some(hook));
        let mut up = link.watch();
        let first = link.get(soon()).await.unwrap();
        assert_eq!(echo(&first, 4).await.unwrap(), 4);
        let _ = server.stop.take().unwrap().send(());
        timeout_at(soon(), up.wait_for(|up| !up)).await.unwrap().unwrap();
        assert!(link.current().is_none());
        server.task.await.unwrap();
        let near = Instant::now() + Duration::from_millis(100);
        assert_eq!(link.get(near).await.unwrap_err().code, Code::Unavailable);
        let _server = start_at(&addr, House::default()).await;
        let second = link.get(soon()).await.unwrap();
        assert_eq!(echo(&second, 5).await.unwrap(), 5);
        assert_eq!(told.load(Ordering::SeqCst), 2);
        link.stop();
        timeout_at(soon(), second.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn what_no_retry_can_mend_is_said_at_once() {
        let server = start(House::default()).await;
        let wrong = Target { cluster_id: Some([1; 16]), ..target(&server.addr) };
        let link = Reconnecting::start(wrong, None);
        assert_eq!(link.get(soon()).await.unwrap_err().code, Code::WrongCluster);
    }

    #[tokio::test]
    async fn the_last_handle_gone_the_connection_is_closed() {
        let server = start(House::default()).await;
        let link = Reconnecting::start(target(&server.addr), None);
        let connection = link.get(soon()).await.unwrap();
        drop(link);
        timeout_at(soon(), connection.closed()).await.unwrap();
    }

    #[test]
    fn pauses_differ_but_stay_within_their_bound() {
        for _ in 0..100 {
            let pause = jittered(RECONNECT_MAX);
            assert!(pause >= RECONNECT_MAX / 2 && pause <= RECONNECT_MAX);
        }
    }
}
