//! Who may connect: servers of the cluster by its secret, clients by a ticket.

use crate::serving::Serving;
use net::Keyring;
use std::sync::Arc;
use types::Result;

/// The keyring of a storage server.
pub struct ServerKeyring {
    /// The cluster secret.
    pub secret: Vec<u8>,
    /// What the server knows about its reign.
    pub serving: Arc<Serving>,
}

impl Keyring for ServerKeyring {
    fn cluster_id(&self) -> Option<[u8; 16]> {
        self.serving.cluster_id()
    }

    fn node_secret(&self) -> Option<Vec<u8>> {
        Some(self.secret.clone())
    }

    /// Accounts live at the name manager; here nobody signs in with one.
    fn user_key(&self, _name: &str, _key_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn ticket_key(&self, ticket: &[u8]) -> Result<(Vec<u8>, String)> {
        self.serving.ticket(ticket)
    }

    fn server_name(&self) -> String {
        self.serving.name.clone()
    }
}
