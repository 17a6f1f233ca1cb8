//! One call of a method of the project over a proven connection.

use bytes::Bytes;
use net::Connection;
use tokio::time::Instant;
use types::Result;
use types::message::Method;

/// Calls `M`, with and without bulk bytes.
///
/// # Errors
/// As [`Connection::call`].
pub(crate) async fn call<M: Method>(
    connection: &Connection,
    request: &M::Request,
    body: Bytes,
    deadline: Instant,
) -> Result<(M::Reply, Bytes)> {
    connection.call_again::<M>(request, body, deadline).await
}
