//! Byte streams between programs. TCP today; TLS or QUIC implement [`Dial`] and [`Listen`] later and
//! nothing above this file changes.

use crate::BoxFuture;
use crate::bounds::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, SEND_TIMEOUT};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use types::{Code, Error, Result};

/// One open stream, both halves.
pub struct Stream {
    /// What the peer says.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What we say.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The peer's address as this side sees it.
    pub peer: SocketAddr,
    /// This side's address.
    pub local: SocketAddr,
}

/// Opens streams.
pub trait Dial: Send + Sync + 'static {
    /// Opens a stream to `addr` (`host:port`, `1.2.3.4:port`, `[::1]:port`). Waits as long as the system
    /// does; callers bound it.
    ///
    /// # Errors
    /// `UNAVAILABLE` when nobody answers there, `USAGE` when it is no address.
    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Stream>>;
}

/// Accepts streams.
pub trait Listen: Send + 'static {
    /// The next stream. Dropping the future loses none.
    ///
    /// # Errors
    /// `IO` when the system has no socket for it; later ones may succeed.
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream>>;

    /// Where this listens, with the port the system chose if none was asked for.
    fn local_addr(&self) -> SocketAddr;
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial<'a>(&'a self, addr: &'a str) -> BoxFuture<'a, Result<Stream>> {
        Box::pin(async move {
            let mut last = None;
            for address in resolve(addr).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => return from_tcp(stream).map_err(|error| unreachable(addr, &error)),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.map_or_else(|| not_an_address(addr, "no address"), |error| unreachable(addr, &error)))
        })
    }
}

/// A TCP socket that listens.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    local: SocketAddr,
}

/// Listens at `addr` (`host:port`, IPv6 in brackets; port 0 lets the system choose, see
/// [`Listener::local_addr`]). Without `insecure_plaintext` only at addresses of this machine that nobody
/// else can reach (loopback), as plain TCP shows every byte to the network.
///
/// # Errors
/// `USAGE` when `addr` is no address, or off loopback without `insecure_plaintext`; `ALREADY_RUNNING`
/// when the port is taken; `IO`.
pub async fn listen(addr: &str, insecure_plaintext: bool) -> Result<Listener> {
    let mut last = None;
    for address in resolve(addr).await? {
        if !address.ip().is_loopback() && !insecure_plaintext {
            return Err(Error::new(
                Code::Usage,
                format_args!("{addr} can be reached from other machines and this transport is not encrypted"),
                "listen on 127.0.0.1 or [::1], or accept plain text with --insecure-plaintext",
            ));
        }
        match TcpListener::bind(address).await {
            Ok(tcp) => {
                let local = tcp.local_addr().map_err(Error::from)?;
                return Ok(Listener { tcp, local });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        None => not_an_address(addr, "no address"),
        Some(error) if error.kind() == std::io::ErrorKind::AddrInUse => Error::new(
            Code::AlreadyRunning,
            format_args!("{addr} is in use"),
            "stop the program that listens there or choose another port",
        ),
        Some(error) => Error::new(
            Code::Io,
            format_args!("cannot listen at {addr} ({error})"),
            "check that the address belongs to this machine",
        ),
    })
}

impl Listener {
    /// Where this listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Listen for Listener {
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream>> {
        Box::pin(async move {
            loop {
                let (stream, _) = self.tcp.accept().await?;
                // One that hung up in the meantime is not worth an error.
                if let Ok(stream) = from_tcp(stream) {
                    return Ok(stream);
                }
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// Every address that `addr` (`host:port`) stands for now, in the system's order.
///
/// # Errors
/// `USAGE` when it is not of that form, `UNAVAILABLE` when the name does not resolve.
pub async fn resolve(addr: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = addr.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let well_formed = addr
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok());
    if !well_formed {
        return Err(not_an_address(addr, "not host:port"));
    }
    let found = lookup_host(addr).await.map_err(|error| {
        Error::new(
            Code::Unavailable,
            format_args!("the name of {addr} does not resolve ({error})"),
            "check the name and the network",
        )
    })?;
    Ok(found.collect())
}

fn not_an_address(addr: &str, why: &str) -> Error {
    Error::new(
        Code::Usage,
        format_args!("{addr:?} is no address ({why})"),
        "write it as host:port, 127.0.0.1:7400 or [::1]:7400",
    )
}

fn unreachable(addr: &str, error: &std::io::Error) -> Error {
    Error::new(
        Code::Unavailable,
        format_args!("{addr} does not answer ({error})"),
        "check the address and that the server runs; `pairfs status` shows the servers",
    )
}

fn from_tcp(stream: TcpStream) -> std::io::Result<Stream> {
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    stream.set_nodelay(true)?;
    // A host that vanished without a word is noticed even if nobody calls. A system without these options
    // loses only that.
    let _ = keep_alive(&stream);
    let (reader, writer) = stream.into_split();
    Ok(Stream { reader: Box::new(reader), writer: Box::new(writer), peer, local })
}

fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(SEND_TIMEOUT.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_socket_keepalive(stream, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_text_off_this_machine_needs_consent() {
        let error = listen("0.0.0.0:0", false).await.unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.contains("--insecure-plaintext"), "{}", error.message);
        assert_ne!(listen("0.0.0.0:0", true).await.unwrap().local_addr().port(), 0);
    }

    #[tokio::test]
    async fn names_and_both_families_work() {
        for addr in ["localhost:0", "127.0.0.1:0", "[::1]:0"] {
            let Ok(mut listener) = listen(addr, false).await else {
                assert_eq!(addr, "[::1]:0", "only IPv6 may be missing on this machine");
                continue;
            };
            let local = Listener::local_addr(&listener);
            let target = local.to_string();
            let (dialled, accepted) = tokio::join!(Tcp.dial(&target), listener.accept());
            let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
            assert_eq!(dialled.peer, local);
            assert_eq!(dialled.local, accepted.peer);
        }
    }

    #[tokio::test]
    async fn a_wrong_address_says_how_to_write_one() {
        for addr in ["", "host", "host:", ":80", "host:99999", "::1:80", "host:port"] {
            let error = Tcp.dial(addr).await.err().unwrap();
            assert_eq!(error.code, Code::Usage, "{addr}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_told_apart() {
        let first = listen("127.0.0.1:0", false).await.unwrap();
        let error = listen(&first.local_addr().to_string(), false).await.unwrap_err();
        assert_eq!(error.code, Code::AlreadyRunning);
    }
}
