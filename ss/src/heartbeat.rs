//! Heartbeats, on a connection and a thread of their own (R40): nothing that keeps the rest of the server
//! busy makes it look dead, and a lease is renewed whatever else waits.

use crate::manager::Managers;
use crate::node::Node;
use crate::wire;
use bytes::Bytes;
use net::redial::Hook;
use net::{Connection, Reconnecting};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use threads::Alone;
use tokio::time::Instant;
use types::message::member::{
    GrantMessage, Heartbeat, HeartbeatRequest, LeaveRequest, PUSH_GRANT, Reach, ReleaseLease,
};
use types::message::purpose;
use types::{Code, Error, Result};

/// How often to look whether the server has registered.
const UNREGISTERED: Duration = Duration::from_millis(100);

/// Starts the thread; it ends when the node stops.
pub fn start(node: Arc<Node>, managers: Managers) -> Result<Alone> {
    threads::alone("heartbeat", beat(node, managers)).map_err(Error::from)
}

async fn beat(node: Arc<Node>, managers: Managers) {
    let taker = node.clone();
    let hook: Hook = Arc::new(move |connection: Connection| {
        let node = taker.clone();
        tokio::spawn(take_pushes(node.clone(), connection));
        node.serving.nudge.notify_one();
        Box::pin(std::future::ready(Ok(())))
    });
    let link = managers.follow(purpose::HEARTBEAT, Some(hook));
    let mut up = link.watch();
    let mut last = Instant::now();
    // Registration whose lease was released last.
    let released = Arc::new(AtomicU64::new(0));
    while !node.is_stopped() {
        let pause = node.serving.heartbeat().unwrap_or(UNREGISTERED);
        tokio::select! {
            () = node.stopped() => break,
            () = node.serving.nudge.notified() => {}
            Ok(()) = up.changed() => {}
            () = tokio::time::sleep_until(last + pause) => {}
        }
        last = Instant::now();
        send(&node, &link, &released);
    }
    link.stop();
}

/// Sends one heartbeat; its answer is taken when it comes, the next one does not wait for it.
fn send(node: &Arc<Node>, link: &Reconnecting, released: &Arc<AtomicU64>) {
    let Some(connection) = link.current() else { return };
    let mut request = HeartbeatRequest { server: node.name().to_owned(), ..HeartbeatRequest::default() };
    if let Ok(store) = node.store() {
        request.used_bytes = store.used_bytes();
        request.free_bytes = store.free_bytes();
        request.oldest_io_ms = store.oldest_io_ms();
        request.last_sync_ms = store.last_sync_ms();
        request.trouble = store.trouble().unwrap_or_default();
        request.short = store.is_short();
        request.broken = store.in_service().is_err();
        request.set_aside = store.aside_count().unwrap_or_default();
        request.reach = Some(node.serving.reach(store.cursors()));
    } else {
        request.reach = Some(Reach::default());
    }
    request.scrub = node.scrubs.state();
    // Last, because the lease counts from here (R2).
    let Some((number, incarnation)) = node.serving.sending() else { return };
    (request.number, request.incarnation) = (number, incarnation);
    let (node, released) = (node.clone(), released.clone());
    let patience = node.serving.heartbeat().unwrap_or(UNREGISTERED) * 3;
    tokio::spawn(async move {
        match wire::call::<Heartbeat>(&connection, &request, Bytes::new(), patience).await {
            Ok((grant, _)) => heed(&node, &connection, grant, &released).await,
            Err(error) if error.code == Code::RegisterAgain => node.serving.fenced(incarnation),
            Err(error) => tracing::debug!(%error, number, "a heartbeat was not answered"),
        }
    });
}

/// Takes the answer to a heartbeat. One that ends the registration ends the lease, and saying so at once spares whoever
/// takes over the wait for its end. Here, because all other threads may hang.
async fn heed(node: &Node, connection: &Connection, grant: GrantMessage, released: &AtomicU64) {
    let (over, incarnation) = (grant.register_again, grant.incarnation);
    node.serving.granted(grant);
    if !over || node.serving.incarnation() != incarnation || released.load(Ordering::Acquire) == incarnation {
        return;
    }
    let request = LeaveRequest { server: node.name().to_owned(), incarnation };
    let patience = node.serving.heartbeat().unwrap_or(UNREGISTERED) * 3;
    match wire::call::<ReleaseLease>(connection, &request, Bytes::new(), patience).await {
        Ok(_) => released.store(incarnation, Ordering::Release),
        Err(error) => tracing::debug!(%error, "that the lease is over could not be said"),
    }
}

async fn take_pushes(node: Arc<Node>, connection: Connection) {
    let mut pushes = connection.pushes();
    drop(connection);
    while let Some(push) = pushes.recv().await {
        if push.method != PUSH_GRANT {
            continue;
        }
        match GrantMessage::decode(push.head) {
            Ok(grant) => {
                let over = grant.register_again && grant.incarnation == node.serving.incarnation();
                node.serving.granted(grant);
                if over {
                    // The answer to the next heartbeat has the lease released.
                    node.serving.nudge.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "a grant does not decode"),
        }
    }
}
