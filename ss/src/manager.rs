//! The connection to the name manager: made again whenever it is lost, at whichever address answers.

use crate::serving::Serving;
use net::redial::{Attempt, Hook};
use net::{Connection, Credential, Reconnecting};
use std::sync::Arc;
use types::{Code, Error, Result};

/// Where the name managers are and who we are.
#[derive(Clone)]
pub struct Managers {
    /// Addresses, `host:port`.
    pub addrs: Vec<String>,
    /// Our proof.
    pub credential: Credential,
    /// Knows the cluster it must be.
    pub serving: Arc<Serving>,
}

impl Managers {
    /// Keeps a connection open for `purpose`. Needs a runtime.
    pub fn connect(&self, purpose: u16, hook: Option<Hook>) -> Reconnecting {
        let managers = self.clone();
        let attempt: Attempt = Arc::new(move || {
            let managers = managers.clone();
            Box::pin(async move { managers.open(purpose).await })
        });
        Reconnecting::start_with(attempt, hook)
    }

    async fn open(&self, purpose: u16) -> Result<Connection> {
        let mut last =
            Error::new(Code::Usage, "no name manager was named", "give its address with --nm HOST:PORT");
        for addr in &self.addrs {
            let opened =
                Connection::open(addr, self.credential.clone(), self.serving.cluster_id(), purpose).await;
            match opened {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
