//! Byte streams between programs. TCP today; TLS or QUIC implement [`Dial`] and [`Listen`] later and
//! nothing above this file changes.

use crate::BoxFuture;
use crate::bounds::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, NEXT_ADDRESS, SEND_TIMEOUT};
use crate::host::simulated;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
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
        if let Some(host) = simulated() {
            return host.dial(addr);
        }
        Box::pin(async move {
            match first_to_answer(resolve(addr).await?).await {
                Ok(stream) => from_tcp(stream).map_err(|error| unreachable(addr, &error)),
                Err(Some(error)) => Err(unreachable(addr, &error)),
                Err(None) => Err(not_an_address(addr, "no address")),
            }
        })
    }
}

/// Tries all addresses of a name: the next one as soon as one has failed or has been silent for a moment, so that
/// one that leads nowhere does not use the caller's time up (the idea of RFC 8305, "happy eyeballs"). The error
/// is the last one; none if there is no address.
async fn first_to_answer(
    addresses: Vec<SocketAddr>,
) -> std::result::Result<TcpStream, Option<std::io::Error>> {
    let mut waiting = addresses.into_iter();
    let mut tries = JoinSet::new();
    let mut last = None;
    loop {
        let is_more = match waiting.next() {
            Some(address) => {
                tries.spawn(TcpStream::connect(address));
                waiting.len() > 0
            }
            None => false,
        };
        let ended = if is_more {
            timeout(NEXT_ADDRESS, tries.join_next()).await
        } else {
            Ok(tries.join_next().await)
        };
        match ended {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => last = Some(error),
            Ok(Some(Err(error))) => last = Some(std::io::Error::other(error)),
            Ok(None) => return Err(last),
            Err(_) => {}
        }
    }
}

/// A TCP socket that listens.
#[derive(Debug)]
struct Listener {
    tcp: TcpListener,
    local: SocketAddr,
}

/// Listens at `addr` (`host:port`, IPv6 in brackets; port 0 lets the system choose, see
/// [`Listen::local_addr`]). Without `insecure_plaintext` only at addresses of this machine that nobody
/// else can reach (loopback), as plain TCP shows every byte to the network.
///
/// # Errors
/// `USAGE` when `addr` is no address, or off loopback without `insecure_plaintext`; `ALREADY_RUNNING`
/// when the port is taken; `IO`.
pub async fn listen(addr: &str, insecure_plaintext: bool) -> Result<Box<dyn Listen>> {
    let mut last = None;
    for address in resolve(addr).await? {
        if !address.ip().is_loopback() && !insecure_plaintext {
            return Err(Error::new(
                Code::Usage,
                format_args!("{addr} can be reached from other machines and this transport is not encrypted"),
                "listen on 127.0.0.1 or [::1], or accept plain text with --insecure-plaintext",
            ));
        }
        let simulated = simulated().map(|host| host.listen(address));
        if let Some(listener) = simulated {
            return listener;
        }
        match TcpListener::bind(address).await {
            Ok(tcp) => {
                let local = tcp.local_addr().map_err(Error::from)?;
                return Ok(Box::new(Listener { tcp, local }));
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

impl Listen for Box<dyn Listen> {
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream>> {
        (**self).accept()
    }

    fn local_addr(&self) -> SocketAddr {
        (**self).local_addr()
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

/// Where others reach a server: at `advertise`, a name or an address that is told as it is and resolved at each
/// dial; without it at `local`, where it listens.
///
/// # Errors
/// `USAGE` when that is no single place: no address, no port, or the address of every interface (`0.0.0.0`, `[::]`).
pub fn advertised(local: SocketAddr, advertise: Option<&str>) -> Result<String> {
    let Some(told) = advertise else {
        if local.ip().is_unspecified() {
            return Err(Error::new(
                Code::Usage,
                format_args!("{local} is every address of this machine, and others have to be told one"),
                "say where they reach it with --advertise HOST:PORT",
            ));
        }
        return Ok(local.to_string());
    };
    let address = told.parse::<SocketAddr>();
    let why = match &address {
        Ok(address) if address.ip().is_unspecified() => "it is every address of a machine",
        Ok(address) if address.port() == 0 => "it names no port",
        Err(_) if !is_named(told) => "not host:port",
        Err(_) if told.ends_with(":0") => "it names no port",
        _ => return Ok(told.to_owned()),
    };
    Err(not_an_address(told, why))
}

/// Whether `addr` is a host name and a port.
fn is_named(addr: &str) -> bool {
    addr.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok())
}

/// Every address that `addr` (`host:port`) stands for now, in the system's order.
///
/// # Errors
/// `USAGE` when it is not of that form, `UNAVAILABLE` when the name does not resolve.
pub async fn resolve(addr: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = addr.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if !is_named(addr) {
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
        let error = listen("0.0.0.0:0", false).await.err().unwrap();
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
            let local = listener.local_addr();
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
    async fn every_address_of_a_name_is_tried() {
        let mut listener = listen("127.0.0.1:0", false).await.unwrap();
        let good = listener.local_addr();
        let refusing = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        // A queue that is full is silent: connecting there takes for ever.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut kept = Vec::new();
        while let Ok(Ok(stream)) = timeout(NEXT_ADDRESS, TcpStream::connect(silent)).await {
            kept.push(stream);
        }
        for first in [refusing, silent] {
            let dialled = first_to_answer(vec![first, good]);
            let (dialled, accepted) =
                tokio::join!(timeout(std::time::Duration::from_secs(30), dialled), listener.accept());
            assert_eq!(dialled.unwrap().unwrap().peer_addr().unwrap(), accepted.unwrap().local);
        }
        let error = first_to_answer(vec![refusing, refusing]).await.unwrap_err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(first_to_answer(Vec::new()).await.unwrap_err().is_none());
    }

    #[test]
    fn others_are_told_one_place() {
        let local: SocketAddr = "10.0.0.1:7400".parse().unwrap();
        let any: SocketAddr = "0.0.0.0:7400".parse().unwrap();
        assert_eq!(advertised(local, None).unwrap(), "10.0.0.1:7400");
        for told in ["b.example:7400", "10.0.0.2:7400", "[fd00::1]:7400", "localhost:7400"] {
            assert_eq!(advertised(any, Some(told)).unwrap(), told);
        }
        let error = advertised(any, None).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.contains("--advertise"), "{}", error.message);
        assert_eq!(advertised("[::]:7400".parse().unwrap(), None).unwrap_err().code, Code::Usage);
        for told in
            ["0.0.0.0:7400", "[::]:7400", "b.example", "b.example:0", "10.0.0.2:0", "fd00::1:7400", ""]
        {
            assert_eq!(advertised(local, Some(told)).unwrap_err().code, Code::Usage, "{told}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_told_apart() {
        let first = listen("127.0.0.1:0", false).await.unwrap();
        let error = listen(&first.local_addr().to_string(), false).await.err().unwrap();
        assert_eq!(error.code, Code::AlreadyRunning);
    }
}
