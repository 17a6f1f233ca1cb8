//! Whom the name manager lets in: servers by the cluster secret, users by their keys in the state.

use crate::machine::Machine;
use net::Keyring;
use nm_core::state::State;
use nm_raft::Raft;
use types::{Code, Error, Result};

/// Checks proofs against the cluster secret and the state.
pub(crate) struct NameKeyring {
    pub(crate) raft: Raft<Machine>,
    pub(crate) cluster_id: [u8; 16],
    pub(crate) secret: Vec<u8>,
    pub(crate) name: String,
}

impl Keyring for NameKeyring {
    fn cluster_id(&self) -> Option<[u8; 16]> {
        Some(self.cluster_id)
    }

    fn node_secret(&self) -> Option<Vec<u8>> {
        Some(self.secret.clone())
    }

    fn user_key(&self, name: &str, key_id: &str) -> Result<Option<Vec<u8>>> {
        let view = self.raft.view()?;
        Ok(State::new(&view).user_key(name, key_id)?)
    }

    fn ticket_key(&self, _ticket: &[u8]) -> Result<(Vec<u8>, String)> {
        Err(Error::new(
            Code::BadCapability,
            "tickets are for storage servers",
            "connect with a name and a key",
        ))
    }

    fn server_name(&self) -> String {
        self.name.clone()
    }
}
