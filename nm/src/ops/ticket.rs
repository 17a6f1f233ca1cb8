//! A ticket to connect to a storage server.

use crate::service::Call;
use net::secret;
use nm_core::state::State;
use prost::Message;
use types::capability::Ticket;
use types::limits::CAPABILITY_TTL;
use types::message::manager::{TicketReply, TicketRequest};
use types::{Code, Error, Result};

pub(crate) async fn run(call: Call, request: TicketRequest) -> Result<TicketReply> {
    let user = call.user()?;
    let manager = &call.manager;
    let server = {
        let view = manager.view()?;
        State::new(&view).server(&request.server)?
    };
    let server = server.ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format_args!("there is no server {}", request.server),
            "`pairfs status` shows the servers",
        )
    })?;
    let ticket = Ticket {
        user,
        expires_ms: manager.proposer.time() + CAPABILITY_TTL.as_millis() as u64,
        nonce: secret::random::<16>()?.to_vec(),
        server: server.name.clone(),
    };
    let ticket = ticket.encode_to_vec();
    let key = manager.cluster.master_key.for_server(&server.name).for_ticket(&ticket);
    Ok(TicketReply { ticket: ticket.into(), key: key.0.to_vec(), addr: server.addr })
}
