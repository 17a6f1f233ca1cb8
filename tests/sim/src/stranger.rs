//! Somebody at the ports who may not: without a key, with a forged capability, with somebody else's.

use crate::cluster::NM_ADDR;
use crate::oracle::i8_authority::Attempt;
use bytes::Bytes;
use client::{Client, Content, Identity, WriteOptions};
use net::{Connection, Credential};
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use types::capability::{Capability, SignedCapability, right};
use types::message::manager::{Attach, GetTicket, Locate, LocateRequest, Located, TicketRequest};
use types::message::store::{Read, ReadRequest};
use types::message::{Empty, Method, purpose};
use types::{Error, Result};

/// What is tried to be read.
const SECRET: &str = "/for-the-stranger";
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is changed in a capability, and how.
type Forgery = (&'static str, fn(&mut Capability));

async fn call<M: Method>(connection: &Connection, request: &M::Request) -> Result<M::Reply> {
    let head = Bytes::from(request.encode_to_vec());
    let end = Instant::now() + PATIENCE;
    let (head, _) = connection.call_encoded(M::ID, M::NAME, head, Bytes::new(), end).await?;
    M::Reply::decode(head).map_err(Error::bad_request)
}

fn forge(capability: &SignedCapability, change: impl FnOnce(&mut Capability)) -> Result<SignedCapability> {
    let mut says = Capability::decode(&capability.body[..]).map_err(Error::bad_request)?;
    change(&mut says);
    Ok(SignedCapability { body: says.encode_to_vec().into(), macs: capability.macs.clone() })
}

async fn read(server: &Connection, located: &Located, capability: Option<SignedCapability>) -> Result<()> {
    let placement = located.placement.clone().unwrap_or_default();
    let request = ReadRequest {
        pair: placement.pair,
        file: located.record.as_ref().map_or(0, |record| record.id),
        folder: located.folder,
        name: located.name.clone(),
        capability,
        epoch: placement.epoch,
        len: 4096,
        ..ReadRequest::default()
    };
    call::<Read>(server, &request).await.map(drop)
}

fn attempt(what: &str, came: Result<()>, honest: bool) -> Attempt {
    Attempt { what: what.to_owned(), refused: came.err().map(|error| error.code), honest }
}

/// Tries what must not be, and once what may; `client` makes the file that is tried to be read.
///
/// # Errors
/// When what an honest client does first fails.
pub async fn attempts(client: &Client, key_file: &Path) -> Result<Vec<Attempt>> {
    client.write(SECRET, Content::from("not for you"), &WriteOptions::default()).await?;
    let identity = Identity::load(key_file)?;
    let user =
        |key: Vec<u8>| Credential::User { name: identity.user.clone(), key_id: identity.key_id.clone(), key };
    let open = async |addr: &str, credential| Connection::open(addr, credential, None, purpose::DATA).await;
    let nm = open(NM_ADDR, user(identity.key.clone())).await?;
    call::<Attach>(&nm, &Empty {}).await?;
    let request = LocateRequest { path: SECRET.to_owned(), rights: right::READ, ..LocateRequest::default() };
    let located = call::<Locate>(&nm, &request).await?;
    let acting = located.placement.clone().unwrap_or_default().acting;
    let ticket = call::<GetTicket>(&nm, &TicketRequest { server: acting }).await?;
    let with_ticket = |ticket: Bytes, key: Vec<u8>| Credential::Ticket { ticket, key };
    let server = open(&ticket.addr, with_ticket(ticket.ticket.clone(), ticket.key.clone())).await?;
    let capability = located.capability.clone().unwrap_or_default();

    let mut attempts =
        vec![attempt("an honest read", read(&server, &located, Some(capability.clone())).await, true)];
    let forgeries: [Forgery; 4] = [
        ("a capability with more rights", |says| says.rights = u32::MAX),
        ("a capability for an operator", |says| says.operator = true),
        ("a capability that lasts an hour longer", |says| says.expires_ms += 3_600_000),
        ("a capability of a later stamp", |says| says.stamp += 1_000_000),
    ];
    for (what, change) in forgeries {
        let forged = forge(&capability, change)?;
        attempts.push(attempt(what, read(&server, &located, Some(forged)).await, false));
    }
    let unsigned = SignedCapability { macs: Vec::new(), ..capability };
    attempts.push(attempt(
        "a capability without signature",
        read(&server, &located, Some(unsigned)).await,
        false,
    ));
    attempts.push(attempt("no capability", read(&server, &located, None).await, false));
    let mut wrong = identity.key.clone();
    wrong.iter_mut().for_each(|byte| *byte ^= 1);
    attempts.push(attempt("a wrong key", open(NM_ADDR, user(wrong)).await.map(drop), false));
    let node = || Credential::Node { name: "ss1".to_owned(), secret: vec![7; 32] };
    for addr in [NM_ADDR, &ticket.addr] {
        attempts.push(attempt("a wrong cluster secret", open(addr, node()).await.map(drop), false));
    }
    let forged = with_ticket(ticket.ticket, vec![1; 32]);
    attempts.push(attempt("a ticket without its key", open(&ticket.addr, forged).await.map(drop), false));
    Ok(attempts)
}
