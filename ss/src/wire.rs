//! Calls that may be repeated: the request is lent, not given away.

use bytes::Bytes;
use net::Connection;
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;
use types::message::Method;
use types::{Code, Error, Result};

/// Whether an error of a call that may be repeated may pass by itself.
pub fn passes(error: &Error) -> bool {
    error.code.is_retryable() || matches!(error.code, Code::Timeout | Code::OutcomeUnknown)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_manager_that_is_busy_or_lost_its_lead_is_asked_again() {
        for code in [Code::OutcomeUnknown, Code::Busy, Code::Timeout, Code::NotLeader, Code::Unavailable] {
            assert!(passes(&Error::new(code, "a", "b")), "{}", code.name());
        }
        for code in [Code::Denied, Code::Locked, Code::Exists, Code::RegisterAgain] {
            assert!(!passes(&Error::new(code, "a", "b")), "{}", code.name());
        }
    }
}
