//! LookAt: the name manager wants a second pair of eyes on a server that may be dead (R5).

use net::probe::{ProbeResult, probe_refused};
use std::net::SocketAddr;
use std::time::Duration;
use types::message::member::{LookAtReply, LookAtRequest};
use types::{Error, Result};

/// How long the look may take.
const PATIENCE: Duration = Duration::from_millis(300);

/// Says whether the port refuses a connection from here.
///
/// # Errors
/// `BAD_REQUEST` for what is no address.
pub async fn run(request: LookAtRequest) -> Result<LookAtReply> {
    let addr: SocketAddr = request.addr.parse().map_err(Error::bad_request)?;
    Ok(LookAtReply { refused: probe_refused(addr, PATIENCE).await == ProbeResult::Refused })
}
