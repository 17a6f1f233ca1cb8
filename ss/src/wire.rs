//! Calls that may be repeated: the request is lent, not given away.

use bytes::Bytes;
use net::Connection;
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
    connection.call_again::<M>(request, body, Instant::now() + patience).await
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
