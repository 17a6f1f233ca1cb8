//! Connections to storage servers, one each, made with a ticket when they are first needed.

use crate::manager::Manager;
use crate::retry::Retry;
use net::{Connection, Credential};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use types::message::manager::{GetTicket, MemberAddr, TicketRequest};
use types::message::purpose;
use types::{Code, Error, Result};

/// The address it was made to, and the connection.
type Slot = Arc<tokio::sync::Mutex<Option<(String, Connection)>>>;

/// Bounded by the number of storage servers.
#[derive(Default)]
pub(crate) struct Servers {
    slots: Mutex<HashMap<String, Slot>>,
}

impl Servers {
    /// A connection to `member`. Of several that want one at once, one makes it.
    ///
    /// # Errors
    /// `UNAVAILABLE` whatever keeps the server from being reached or from knowing the ticket.
    pub(crate) async fn get(
        &self,
        manager: &Manager,
        member: &MemberAddr,
        deadline: Instant,
    ) -> Result<Connection> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(member.name.clone()).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some((addr, connection)) = &*slot
            && *addr == member.addr
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        *slot = None;
        let connection = open(manager, member, deadline).await?;
        *slot = Some((member.addr.clone(), connection.clone()));
        Ok(connection)
    }
}

async fn open(manager: &Manager, member: &MemberAddr, deadline: Instant) -> Result<Connection> {
    let mut retry = Retry::new(deadline.saturating_duration_since(Instant::now()));
    let request = || TicketRequest { server: member.name.clone() };
    let ticket = manager.call::<GetTicket>(request, &mut retry).await?;
    let credential = Credential::Ticket { ticket: ticket.ticket, key: ticket.key };
    let opened = Connection::open(&member.addr, credential, manager.cluster_id(), purpose::DATA).await;
    opened.map_err(|error| match error.code {
        Code::Unsupported => error,
        // A server that starts may not know its key yet; at an old address may be anyone.
        _ => Error { code: Code::Unavailable, ..error },
    })
}
