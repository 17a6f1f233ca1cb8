//! Capabilities and tickets: what a storage server acts on (R15, I8).
//!
//! The name manager derives a key for each storage server from a key only it has; a server's key signs
//! only for that server. A *ticket* proves who a client is when it connects, a *capability* says what
//! it may do.

use crate::error::{Code, Error, Result};
use crate::mutation::{self, Mutation};
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;

/// Rights, as bits.
pub mod right {
    /// Read content and metadata.
    pub const READ: u32 = 1;
    /// Change content, name and place; includes reading.
    pub const WRITE: u32 = 2;
    /// Both.
    pub const ALL: u32 = 3;
}

/// A 32-byte key for HMAC-SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey(pub [u8; 32]);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(…)")
    }
}

impl MacKey {
    /// Reads a key from a message.
    pub fn from_slice(bytes: &[u8]) -> Result<MacKey> {
        bytes.try_into().map(MacKey).map_err(|_| Error::bad_request("a key is 32 bytes"))
    }

    /// The key derived from this one for `purpose` and `name`.
    pub fn derive(&self, purpose: &str, name: &[u8]) -> MacKey {
        MacKey(self.mac(purpose, name))
    }

    /// The key of the storage server `name`, from the name managers' key.
    pub fn for_server(&self, name: &str) -> MacKey {
        self.derive("pairfs-server-1", name.as_bytes())
    }

    /// The key that a ticket stands for, from its server's key.
    pub fn for_ticket(&self, ticket: &[u8]) -> MacKey {
        self.derive("pairfs-ticket-1", ticket)
    }

    /// HMAC-SHA-256 of `bytes`, bound to `purpose`.
    pub fn mac(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        self.state(purpose, bytes).finalize().into_bytes().into()
    }

    fn state(&self, purpose: &str, bytes: &[u8]) -> Hmac<Sha256> {
        // A key shorter than SHA-256's block is padded with zeros; written out because it cannot fail.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut state = Hmac::<Sha256>::new(&block.into());
        state.update(&(purpose.len() as u64).to_be_bytes());
        state.update(purpose.as_bytes());
        state.update(bytes);
        state
    }

    fn verify(&self, purpose: &str, bytes: &[u8], mac: &[u8]) -> bool {
        // Constant time.
        self.state(purpose, bytes).verify_slice(mac).is_ok()
    }
}

const PURPOSE: &str = "pairfs-capability-1";

/// What its bearer may do.
#[derive(Clone, PartialEq, Message)]
pub struct Capability {
    /// User it was given to.
    #[prost(string, tag = "1")]
    pub user: String,
    /// [`crate::ids::Seq`] of the state it was decided on.
    #[prost(uint64, tag = "2")]
    pub stamp: u64,
    /// When it ends, in ms of the name manager's time.
    #[prost(uint64, tag = "3")]
    pub expires_ms: u64,
    /// Bits of [`right`].
    #[prost(uint32, tag = "4")]
    pub rights: u32,
    /// Pair it is for.
    #[prost(uint32, tag = "5")]
    pub pair: u32,
    /// Folder whose files it covers.
    #[prost(uint64, tag = "6")]
    pub folder: u64,
    /// The one file it covers; 0: every file of the folder, and new names in it.
    #[prost(uint64, tag = "7")]
    pub file: u64,
    /// Whether it is for an operator's tools (fsck): covers every file of the pair.
    #[prost(bool, tag = "8")]
    pub operator: bool,
}

/// A capability with a signature for each server that shall accept it.
#[derive(Clone, PartialEq, Message)]
pub struct SignedCapability {
    /// The encoded [`Capability`].
    #[prost(bytes = "bytes", tag = "1")]
    pub body: bytes::Bytes,
    /// One for each member of the pair.
    #[prost(message, repeated, tag = "2")]
    pub macs: Vec<ServerMac>,
}

/// The signature for one server.
#[derive(Clone, PartialEq, Message)]
pub struct ServerMac {
    /// Server name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// HMAC-SHA-256.
    #[prost(bytes = "vec", tag = "2")]
    pub mac: Vec<u8>,
}

impl SignedCapability {
    /// Signs `capability` for `servers` with the keys derived from the name managers' `master`.
    pub fn sign(capability: &Capability, master: &MacKey, servers: &[&str]) -> SignedCapability {
        let body = capability.encode_to_vec();
        let macs = servers
            .iter()
            .map(|name| ServerMac {
                server: (*name).to_owned(),
                mac: master.for_server(name).mac(PURPOSE, &body).to_vec(),
            })
            .collect();
        SignedCapability { body: body.into(), macs }
    }

    /// Checks the signature for `server` and the time; gives what it says.
    ///
    /// [`Code::BadCapability`] if it is forged, for another server, or expired at `now_ms` (the name
    /// manager's time).
    pub fn verify(&self, server: &str, key: &MacKey, now_ms: u64) -> Result<Capability> {
        let refuse =
            |what: &str| Err(Error::new(Code::BadCapability, what, "ask the name manager for a new one"));
        let Some(mac) = self.macs.iter().find(|mac| mac.server == server) else {
            return refuse("the capability is not for this server");
        };
        if !key.verify(PURPOSE, &self.body, &mac.mac) && !mutation::is(Mutation::UncheckedCapability) {
            return refuse("the capability's signature does not fit");
        }
        let capability = Capability::decode(&self.body[..]).map_err(Error::bad_request)?;
        if capability.expires_ms <= now_ms {
            return refuse("the capability has expired");
        }
        Ok(capability)
    }
}

impl Capability {
    /// Refuses what this capability does not cover: `rights` on `file` in `folder` (a file that does not
    /// exist yet is 0).
    pub fn require(&self, rights: u32, pair: u32, folder: u64, file: u64) -> Result<()> {
        let place = self.operator || (self.folder == folder && (self.file == 0 || self.file == file));
        if self.pair == pair && self.rights & rights == rights && place {
            return Ok(());
        }
        Err(Error::new(
            Code::BadCapability,
            "the capability does not cover this",
            "ask the name manager for one that does",
        ))
    }
}

/// Who a client is, for the storage server it connects to.
#[derive(Clone, PartialEq, Message)]
pub struct Ticket {
    /// User.
    #[prost(string, tag = "1")]
    pub user: String,
    /// When it ends, in ms of the name manager's time; open connections live on.
    #[prost(uint64, tag = "2")]
    pub expires_ms: u64,
    /// Random bytes, so that no two tickets share a key.
    #[prost(bytes = "vec", tag = "3")]
    pub nonce: Vec<u8>,
    /// Server it is for.
    #[prost(string, tag = "4")]
    pub server: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability() -> Capability {
        Capability {
            user: "admin".into(),
            stamp: 7,
            expires_ms: 1000,
            rights: right::READ,
            pair: 1,
            folder: 5,
            file: 0,
            operator: false,
        }
    }

    #[test]
    fn a_capability_that_is_forged_expired_or_for_another_server_is_refused() {
        let master = MacKey([7; 32]);
        let signed = SignedCapability::sign(&capability(), &master, &["ss1", "ss1_backup"]);
        let key = master.for_server("ss1");
        assert_eq!(signed.verify("ss1", &key, 999).unwrap(), capability());
        assert!(signed.verify("ss1", &key, 1000).is_err(), "expired");
        assert!(signed.verify("ss2", &master.for_server("ss2"), 0).is_err(), "another server");
        assert!(signed.verify("ss1_backup", &key, 0).is_err(), "a stolen key of ss1 signs for ss1 only");
        let mut more = capability();
        more.rights = right::ALL;
        let forged = SignedCapability { body: more.encode_to_vec().into(), macs: signed.macs.clone() };
        assert!(forged.verify("ss1", &key, 0).is_err(), "forged");
    }

    #[test]
    fn a_capability_covers_its_folder_its_pair_and_its_rights_only() {
        let capability = capability();
        assert!(capability.require(right::READ, 1, 5, 44).is_ok());
        assert!(capability.require(right::WRITE, 1, 5, 44).is_err());
        assert!(capability.require(right::READ, 2, 5, 44).is_err());
        assert!(capability.require(right::READ, 1, 6, 44).is_err());
        let one = Capability { file: 44, ..capability };
        assert!(one.require(right::READ, 1, 5, 44).is_ok());
        assert!(one.require(right::READ, 1, 5, 45).is_err());
    }
}
