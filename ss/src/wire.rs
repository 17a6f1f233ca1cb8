//! Calls that may be repeated: the request is lent, not given away.

use bytes::Bytes;
use net::Connection;
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;
use types::message::Method;
use types::{Error, Result};

/// Calls `M` and waits for its answer, at most `patience`.
pub async fn call<M: Method>(
    connection: &Connection,
    request: &M::Request,
    body: Bytes,
    patience: Duration,
) -> Result<(M::Reply, Bytes)> {
    let deadline = Instant::now() + patience;
    let head = Bytes::from(request.encode_to_vec());
    let (head, body) = connection.call_encoded(M::ID, M::NAME, head, body, deadline).await?;
    let reply = M::Reply::decode(head).map_err(|error| {
        let what = format_args!("the answer to {} does not decode ({error})", M::NAME);
        Error::bad_request(what).outcome_unknown()
    })?;
    Ok((reply, body))
}
