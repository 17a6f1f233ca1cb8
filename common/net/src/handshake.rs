//! Both sides prove who they are before anything else is said.
//!
//! ```text
//! client                                              server
//!   Hello {cluster, purpose, identity, nonce, boot}  →
//!                                                    ←  Challenge {cluster, nonce, name}
//!   Proof {HMAC(key, "client", transcript)}          →
//!                                                    ←  Welcome {HMAC(key, "server", transcript)}
//! ```
//!
//! The key never travels. The transcript is both first messages exactly as they were sent, so a proof is
//! good for these two nonces, this purpose, this identity and this cluster only; the role inside keeps a
//! proof from being sent back to its maker. The client says nothing more before it has checked the Welcome.
//! An unknown user gets the same answer, after the same work, as a wrong key.
//!
//! What this does not do: encrypt, or bind the later bytes to the proof. Someone who can change packets on
//! the way is kept out by the transport (loopback today, TLS later), not here.

use crate::bounds::{HELLO_NAME_MAX, SECRET_MIN, TICKET_MAX};
use crate::frame::{Frame, FrameCodec, Kind, VERSION, lost};
use crate::reader::FrameReader;
use crate::rpc::failure;
use crate::{clock, secret};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;
use std::fmt;
use std::net::SocketAddr;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::codec::Encoder;
use types::{Code, Error, Result};

const DOMAIN: &[u8] = b"pairfs handshake 1";
const NONCE: usize = 32;

/// What a client proves itself with. `Debug` does not show the keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A server of the cluster.
    Node {
        /// Its name.
        name: String,
        /// The cluster secret.
        secret: Vec<u8>,
    },
    /// A person or program with a key of their own.
    User {
        /// The account's name.
        name: String,
        /// Which of the account's keys.
        key_id: String,
        /// The key.
        key: Vec<u8>,
    },
    /// Someone with a ticket that the name manager gave together with its key.
    Ticket {
        /// The ticket, which only servers can read.
        ticket: Bytes,
        /// The key that the server derives from the ticket by itself.
        key: Vec<u8>,
    },
}

impl Credential {
    fn key(&self) -> &[u8] {
        match self {
            Credential::Node { secret, .. } => secret,
            Credential::User { key, .. } | Credential::Ticket { key, .. } => key,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Node { name, .. } => write!(f, "Node({name})"),
            Credential::User { name, key_id, .. } => write!(f, "User({name}, key {key_id})"),
            Credential::Ticket { ticket, .. } => write!(f, "Ticket({} bytes)", ticket.len()),
        }
    }
}

/// What a server knows that helps to check proofs. The methods must not block: they run on the tasks that
/// serve connections. Keys shorter than 16 bytes count as none.
pub trait Keyring: Send + Sync + 'static {
    /// The cluster this server belongs to, once it knows.
    fn cluster_id(&self) -> Option<[u8; 16]>;

    /// The secret that every server of the cluster has.
    fn node_secret(&self) -> Option<Vec<u8>>;

    /// The key `key_id` of the user `name`, if there is one.
    ///
    /// # Errors
    /// Whatever keeps this server from knowing; the client gets the error as it is.
    fn user_key(&self, name: &str, key_id: &str) -> Result<Option<Vec<u8>>>;

    /// The key and the user's name that belong to a ticket.
    ///
    /// # Errors
    /// `BAD_CAPABILITY` for a ticket that is expired or none; the client gets the error as it is.
    fn ticket_key(&self, ticket: &[u8]) -> Result<(Vec<u8>, String)>;

    /// What this server is called; the client learns it, proven. Empty: not said.
    fn server_name(&self) -> String {
        String::new()
    }
}

/// Who a peer has proved to be.
#[derive(Clone, PartialEq, Eq)]
pub enum Principal {
    /// A server of the cluster, by name. The proof shows that it belongs to the cluster; the name is its word.
    Node(String),
    /// A user, by name.
    User(String),
    /// The holder of a ticket.
    Ticket {
        /// The ticket.
        ticket: Bytes,
        /// The user's name, from the ticket.
        user: String,
    },
}

/// For logs: whoever reads them has no use for a ticket.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Node(name) => f.debug_tuple("Node").field(name).finish(),
            Principal::User(name) => f.debug_tuple("User").field(name).finish(),
            Principal::Ticket { user, .. } => f.debug_tuple("Ticket").field(user).finish(),
        }
    }
}

/// The other side of a connection, as a server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub principal: Principal,
    /// Where it connected from.
    pub addr: SocketAddr,
    /// What the connection is for; the numbers are the caller's.
    pub purpose: u16,
    /// The boot of the host it runs on, by its own word (see [`clock::boot_id`]); empty if it does not know.
    pub host_boot: String,
}

/// What a client has learnt, proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learnt {
    pub(crate) cluster_id: Option<[u8; 16]>,
    pub(crate) server_name: String,
}

/// [`Hello::identity`].
const NODE: u32 = 1;
const USER: u32 = 2;
const TICKET: u32 = 3;

#[derive(Clone, PartialEq, Message)]
struct Hello {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// 16 bytes, or none if the client does not know yet.
    #[prost(bytes = "bytes", tag = "2")]
    cluster_id: Bytes,
    #[prost(uint32, tag = "3")]
    purpose: u32,
    #[prost(uint32, tag = "4")]
    identity: u32,
    /// Of a node or a user.
    #[prost(string, tag = "5")]
    name: String,
    #[prost(string, tag = "6")]
    key_id: String,
    #[prost(bytes = "bytes", tag = "7")]
    ticket: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    nonce: Bytes,
    #[prost(string, tag = "9")]
    host_boot: String,
}

#[derive(Clone, PartialEq, Message)]
struct Challenge {
    #[prost(bytes = "bytes", tag = "1")]
    cluster_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    nonce: Bytes,
    #[prost(string, tag = "3")]
    server_name: String,
}

/// The head of a Proof and of a Welcome.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(bytes = "bytes", tag = "1")]
    mac: Bytes,
}

#[derive(Clone, Copy)]
enum Role {
    Client,
    Server,
}

/// The two first messages as they travelled.
struct Transcript {
    hello: Bytes,
    challenge: Bytes,
}

impl Transcript {
    fn mac(&self, key: &[u8], role: Role) -> Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key)
            .map_err(|_| Error::internal("a key that HMAC does not take"))?;
        let role: &[u8] = match role {
            Role::Client => b"client",
            Role::Server => b"server",
        };
        for part in [DOMAIN, role, &self.hello, &self.challenge] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Ok(mac)
    }

    fn answer(&self, key: &[u8], role: Role) -> Result<Bytes> {
        let mac = self.mac(key, role)?.finalize().into_bytes();
        Ok(Answer { mac: Bytes::copy_from_slice(&mac) }.encode_to_vec().into())
    }

    /// Takes the same time for every wrong answer.
    fn verify(&self, key: &[u8], role: Role, answer: &[u8]) -> Result<bool> {
        Ok(self.mac(key, role)?.verify_slice(answer).is_ok())
    }
}

/// The client's side, to the end. The caller bounds the time.
pub(crate) async fn prove(
    reader: &mut FrameReader,
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    credential: &Credential,
    cluster_id: Option<[u8; 16]>,
    purpose: u16,
) -> Result<Learnt> {
    let key = credential.key();
    if key.len() < SECRET_MIN {
        return Err(Error::new(
            Code::NotSignedIn,
            format_args!("the key of {credential:?} has less than {SECRET_MIN} bytes"),
            "sign in again or copy the whole key",
        ));
    }
    let hello = hello(credential, cluster_id, purpose)?;
    send(writer, Kind::Hello, hello.clone()).await?;
    let challenge = expect(reader, Kind::Challenge).await?;
    let said = decode::<Challenge>(&challenge)?;
    let theirs = cluster(&said.cluster_id)?;
    if said.nonce.len() != NONCE || said.server_name.len() > HELLO_NAME_MAX {
        return Err(Error::bad_request("a challenge with a wrong nonce or name"));
    }
    check_cluster(cluster_id, theirs)?;
    let transcript = Transcript { hello, challenge };
    send(writer, Kind::Proof, transcript.answer(key, Role::Client)?).await?;
    let welcome = decode::<Answer>(&expect(reader, Kind::Welcome).await?)?;
    if !transcript.verify(key, Role::Server, &welcome.mac)? {
        return Err(Error::new(
            Code::BadProof,
            "the server does not hold the key that it must hold",
            "check the address: something else answers there",
        ));
    }
    Ok(Learnt { cluster_id: theirs, server_name: said.server_name })
}

/// The server's side up to the decision; the caller sends the returned Welcome when it takes the peer, and
/// bounds the time.
pub(crate) async fn verify(
    reader: &mut FrameReader,
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    keyring: &dyn Keyring,
    addr: SocketAddr,
) -> Result<(Peer, Bytes)> {
    let hello = expect(reader, Kind::Hello).await?;
    let said = decode::<Hello>(&hello)?;
    let purpose = check_hello(&said)?;
    let ours = keyring.cluster_id();
    check_cluster(ours, cluster(&said.cluster_id)?)?;
    let challenge = Challenge {
        cluster_id: ours.map(|id| Bytes::copy_from_slice(&id)).unwrap_or_default(),
        nonce: nonce()?,
        server_name: keyring.server_name(),
    };
    let challenge = Bytes::from(challenge.encode_to_vec());
    send(writer, Kind::Challenge, challenge.clone()).await?;
    let proof = decode::<Answer>(&expect(reader, Kind::Proof).await?)?;

    let (key, principal) = look_up(keyring, &said)?;
    let key = key.filter(|key| key.len() >= SECRET_MIN);
    let known = key.is_some();
    // Someone unknown is checked against a key that nobody has, and costs the same.
    let key = match key {
        Some(key) => key,
        None => secret::random::<NONCE>()?.to_vec(),
    };
    let transcript = Transcript { hello, challenge };
    if !transcript.verify(&key, Role::Client, &proof.mac)? || !known {
        return Err(Error::new(
            Code::BadProof,
            "the proof is wrong",
            "check the name and the key, or the cluster secret of this server",
        ));
    }
    let welcome = transcript.answer(&key, Role::Server)?;
    Ok((Peer { principal, addr, purpose, host_boot: said.host_boot }, welcome))
}

fn look_up(keyring: &dyn Keyring, hello: &Hello) -> Result<(Option<Vec<u8>>, Principal)> {
    Ok(match hello.identity {
        NODE => (keyring.node_secret(), Principal::Node(hello.name.clone())),
        USER => (keyring.user_key(&hello.name, &hello.key_id)?, Principal::User(hello.name.clone())),
        _ => {
            // Not a slice of the receive buffer: it lives as long as the connection.
            let ticket = Bytes::copy_from_slice(&hello.ticket);
            let (key, user) = keyring.ticket_key(&ticket)?;
            (Some(key), Principal::Ticket { ticket, user })
        }
    })
}

fn hello(credential: &Credential, cluster_id: Option<[u8; 16]>, purpose: u16) -> Result<Bytes> {
    let mut hello = Hello {
        version: VERSION.into(),
        cluster_id: cluster_id.map(|id| Bytes::copy_from_slice(&id)).unwrap_or_default(),
        purpose: purpose.into(),
        nonce: nonce()?,
        host_boot: clock::boot_id().unwrap_or_default(),
        ..Hello::default()
    };
    match credential {
        Credential::Node { name, .. } => (hello.identity, hello.name) = (NODE, name.clone()),
        Credential::User { name, key_id, .. } => {
            (hello.identity, hello.name, hello.key_id) = (USER, name.clone(), key_id.clone());
        }
        Credential::Ticket { ticket, .. } => (hello.identity, hello.ticket) = (TICKET, ticket.clone()),
    }
    check_hello(&hello)?;
    Ok(hello.encode_to_vec().into())
}

/// Returns the purpose.
fn check_hello(hello: &Hello) -> Result<u16> {
    let names = [&hello.name, &hello.key_id, &hello.host_boot];
    if hello.version != u32::from(VERSION)
        || hello.nonce.len() != NONCE
        || hello.ticket.len() > TICKET_MAX
        || names.iter().any(|name| name.len() > HELLO_NAME_MAX)
        || !(NODE..=TICKET).contains(&hello.identity)
    {
        return Err(Error::bad_request("a hello with a field out of bounds"));
    }
    u16::try_from(hello.purpose).map_err(|_| Error::bad_request("a hello with an unknown purpose"))
}

fn check_cluster(ours: Option<[u8; 16]>, theirs: Option<[u8; 16]>) -> Result<()> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Error::new(
            Code::WrongCluster,
            "the two sides belong to different clusters",
            "check the address and which data directory or profile is in use",
        )),
        _ => Ok(()),
    }
}

fn cluster(bytes: &[u8]) -> Result<Option<[u8; 16]>> {
    match bytes {
        [] => Ok(None),
        id => id.try_into().map(Some).map_err(|_| Error::bad_request("a cluster id of a wrong length")),
    }
}

fn nonce() -> Result<Bytes> {
    Ok(Bytes::copy_from_slice(&secret::random::<NONCE>()?))
}

fn decode<M: Message + Default>(head: &Bytes) -> Result<M> {
    M::decode(head.clone()).map_err(|error| Error::bad_request(format_args!("handshake: {error}")))
}

async fn expect(reader: &mut FrameReader, kind: Kind) -> Result<Bytes> {
    let frame = reader.next().await?.ok_or_else(|| {
        Error::new(Code::Unavailable, "the peer hung up during the handshake", "try again; see its log")
    })?;
    if !frame.body.is_empty() {
        return Err(Error::bad_request("a handshake with bulk bytes"));
    }
    match frame.kind {
        got if got == kind => Ok(frame.head),
        Kind::Failure => Err(failure::decode(frame.head)),
        got => Err(Error::bad_request(format_args!("{got:?} where {kind:?} belongs"))),
    }
}

/// Writes one small frame and nothing else.
pub(crate) async fn send(
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    kind: Kind,
    head: Bytes,
) -> Result<()> {
    let mut buffer = BytesMut::new();
    FrameCodec::unproven().encode(Frame::new(kind, 0, 0, head, Bytes::new()), &mut buffer)?;
    writer.write_all(&buffer).await.map_err(|error| lost(&error))?;
    writer.flush().await.map_err(|error| lost(&error))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
