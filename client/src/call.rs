//! One call of a method of the project over a proven connection.

use bytes::Bytes;
use net::Connection;
use prost::Message;
use tokio::time::Instant;
use types::message::Method;
use types::{Error, Result};

/// Calls `M`, with and without bulk bytes.
///
/// # Errors
/// As [`Connection::call_encoded`].
pub(crate) async fn call<M: Method>(
    connection: &Connection,
    request: &M::Request,
    body: Bytes,
    deadline: Instant,
) -> Result<(M::Reply, Bytes)> {
    let head = Bytes::from(request.encode_to_vec());
    let (head, body) = connection.call_encoded(M::ID, M::NAME, head, body, deadline).await?;
    let reply = M::Reply::decode(head).map_err(|error| {
        let what = format_args!("the answer to {} does not decode ({error})", M::NAME);
        Error::bad_request(what).outcome_unknown()
    })?;
    Ok((reply, body))
}
