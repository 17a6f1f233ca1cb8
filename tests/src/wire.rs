//! Talks to the servers' ports directly: as an honest client with its hands on the controls, and as a
//! stranger that sends rubbish.

use crate::Cluster;
use bytes::Bytes;
use net::{Connection, Credential};
use prost::Message;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use types::Result;
use types::capability::SignedCapability;
use types::command::Asker;
use types::ids::{ClientId, RequestKey};
use types::message::manager::{Attach, Attached, GetTicket, Locate, LocateRequest, Located, TicketRequest};
use types::message::store::{CommitRequest, ReadReply, ReadRequest, Receipt, Target};
use types::message::store::{Put, Read as ReadMethod};
use types::message::{Empty, Method, purpose};

/// How long a direct call may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// A client that asks exactly what it is told to.
pub struct Wire {
    runtime: Runtime,
    nm: Connection,
    attached: Attached,
    requests: AtomicU64,
}

impl Wire {
    /// Signed in at the name manager as the cluster's admin.
    pub fn open(cluster: &Cluster) -> Wire {
        Wire::open_at(&cluster.addr("nm"), &cluster.dir().join("admin.key"))
    }

    /// Signed in at the name manager at `addr` with the key in a file.
    pub fn open_at(addr: &str, key: &Path) -> Wire {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let nm = runtime.block_on(Connection::open(addr, credential(key), None, purpose::DATA));
        let nm = nm.expect("the admin's key is accepted");
        let mut wire = Wire { runtime, nm, attached: Attached::default(), requests: AtomicU64::new(1) };
        wire.attached = wire.ask::<Attach>(&Empty {}).expect("a client may attach");
        wire
    }

    /// Calls any method.
    ///
    /// # Errors
    /// What the other side answers.
    pub fn call<M: Method>(
        &self,
        connection: &Connection,
        request: &M::Request,
        body: &[u8],
    ) -> Result<(M::Reply, Bytes)> {
        let head = Bytes::from(request.encode_to_vec());
        let body = Bytes::copy_from_slice(body);
        let call = connection.call_encoded(M::ID, M::NAME, head, body, Instant::now() + CALL_MAX);
        let (head, body) = self.runtime.block_on(call)?;
        Ok((M::Reply::decode(head).expect("an answer decodes"), body))
    }

    /// Asks the name manager.
    ///
    /// # Errors
    /// What it answers.
    pub fn ask<M: Method>(&self, request: &M::Request) -> Result<M::Reply> {
        self.call::<M>(&self.nm, request, b"").map(|(reply, _)| reply)
    }

    /// Finds a path, with a capability for `rights`.
    ///
    /// # Errors
    /// What the name manager answers.
    pub fn locate(&self, path: &str, rights: u32) -> Result<Located> {
        self.ask::<Locate>(&LocateRequest {
            path: path.to_owned(),
            rights,
            may_be_missing: true,
            ..LocateRequest::default()
        })
    }

    /// A connection to a storage server, with a ticket for it.
    ///
    /// # Errors
    /// What either server answers.
    pub fn to_server(&self, server: &str) -> Result<Connection> {
        let ticket = self.ask::<GetTicket>(&TicketRequest { server: server.to_owned() })?;
        let credential = Credential::Ticket { ticket: ticket.ticket, key: ticket.key };
        self.runtime.block_on(Connection::open(&ticket.addr, credential, None, purpose::DATA))
    }

    /// Reads the head of what was located, in the epoch of then.
    ///
    /// # Errors
    /// What the storage server answers.
    pub fn read(&self, server: &Connection, located: &Located) -> Result<(ReadReply, Bytes)> {
        let placement = located.placement.clone().unwrap_or_default();
        let request = ReadRequest {
            pair: placement.pair,
            file: located.record.as_ref().map_or(0, |record| record.id),
            folder: located.folder,
            name: located.name.clone(),
            capability: located.capability.clone(),
            epoch: placement.epoch,
            len: 65_536,
            ..ReadRequest::default()
        };
        self.call::<ReadMethod>(server, &request, b"")
    }

    /// Writes a small content to what was located, in the epoch of then.
    ///
    /// # Errors
    /// What the storage server answers.
    pub fn put(&self, server: &Connection, located: &Located, content: &[u8]) -> Result<Receipt> {
        let placement = located.placement.clone().unwrap_or_default();
        let mut session = [0; 16];
        getrandom::fill(&mut session).unwrap();
        let request = CommitRequest {
            session: types::ids::SessionId::from_random(session).0.to_vec(),
            target: Some(Target {
                pair: placement.pair,
                folder: located.folder,
                name: located.name.clone(),
                file: located.record.as_ref().map_or(0, |record| record.id),
            }),
            capability: located.capability.clone(),
            epoch: placement.epoch,
            asker: Some(self.asker()),
            size: content.len() as u64,
            crc64: types::content::crc64(content),
            timeout_ms: 5_000,
            ..CommitRequest::default()
        };
        self.call::<Put>(server, &request, content).map(|(receipt, _)| receipt)
    }
}

impl Wire {
    /// A request key that was not used before, for a request that asks what no other does.
    fn asker(&self) -> Asker {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let Attached { client_issued: issued, client_random: random, .. } = self.attached;
        let key = RequestKey { client: ClientId { issued, random }, number, lowest: number };
        let mut ask = [0; 32];
        ask[..8].copy_from_slice(&number.to_be_bytes());
        Asker::new(&self.attached.user, key, ask)
    }
}

/// The admin's key, as `up` wrote it.
pub fn admin(cluster: &Cluster) -> Credential {
    credential(&cluster.dir().join("admin.key"))
}

fn credential(key: &Path) -> Credential {
    let text = std::fs::read_to_string(key).expect("the key file can be read");
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, key_id, key] = words[..] else { panic!("the key file holds {} words", words.len()) };
    Credential::User { name: name.to_owned(), key_id: key_id.to_owned(), key: from_hex(key) }
}

/// The cluster secret.
pub fn secret(cluster: &Cluster) -> Vec<u8> {
    net::secret::read(&cluster.dir().join("cluster.secret")).expect("up wrote the secret")
}

/// Tries to connect with any credential.
///
/// # Errors
/// What the server answers.
pub fn connect(addr: &str, credential: Credential, cluster: Option<[u8; 16]>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Connection::open(addr, credential, cluster, purpose::DATA)).map(|_| ())
}

/// Changes what a capability says, or its signature, without the key to sign it.
pub fn forge(
    capability: &SignedCapability,
    change: impl FnOnce(&mut types::capability::Capability),
) -> SignedCapability {
    let mut says = types::capability::Capability::decode(&capability.body[..]).expect("a capability decodes");
    change(&mut says);
    SignedCapability { body: says.encode_to_vec().into(), macs: capability.macs.clone() }
}

/// Sends bytes to a port as they are; whether the server hung up within a few seconds, and what it said.
pub fn send_raw(addr: &str, bytes: &[u8], then_close: bool) -> (bool, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    // It may hang up in the middle.
    let _ = stream.write_all(bytes);
    if then_close {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (true, answer),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                return (false, answer);
            }
            Err(_) => return (true, answer),
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("a key in hex");
    (0..text.len() / 2).map(|at| digit(2 * at)).collect()
}
