//! Is a process surely gone (R5)? Only its own host can say so, by refusing a connection.

use crate::host::simulated;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// What came back from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The host answers and nobody listens there: the process that did is gone.
    Refused,
    /// Somebody listens there. A frozen process looks like this too, as its system answers for it.
    Answered,
    /// No answer in time, or one that proves nothing (unreachable, reset, no socket left here).
    Silent,
}

/// Tries to connect to `addr` for at most `timeout`, says nothing and hangs up.
///
/// The residual risk is R5's: a firewall that refuses in the name of a living host looks like
/// [`ProbeResult::Refused`].
pub async fn probe_refused(addr: SocketAddr, timeout: Duration) -> ProbeResult {
    // Asked before anything is awaited: what the host says may be sent to another thread, the host may not.
    let asked = simulated().map(|host| host.probe(addr, timeout));
    if let Some(asked) = asked {
        return asked.await;
    }
    match tokio::time::timeout(timeout, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => ProbeResult::Answered,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => ProbeResult::Refused,
        Ok(Err(_)) | Err(_) => ProbeResult::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_ended_is_told_from_one_that_listens() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(probe_refused(addr, Duration::from_secs(5)).await, ProbeResult::Answered);
        drop(listener);
        assert_eq!(probe_refused(addr, Duration::from_secs(5)).await, ProbeResult::Refused);
    }

    #[tokio::test]
    async fn silence_is_not_taken_for_death() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        // Once the queue of a process that does not accept is full, its system says nothing any more.
        for _ in 0..20 {
            match probe_refused(addr, Duration::from_millis(200)).await {
                ProbeResult::Answered => {}
                other => return assert_eq!(other, ProbeResult::Silent),
            }
        }
        panic!("the queue never filled up");
    }
}
