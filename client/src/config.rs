//! Which cluster a client talks to, and as whom.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use types::limits::CLIENT_TIMEOUT;
use types::{Code, Error, Result};

/// An account and one of its keys. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's name.
    pub user: String,
    /// Which of the account's keys.
    pub key_id: String,
    /// The key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, key {})", self.user, self.key_id)
    }
}

impl Identity {
    /// Reads a key file: the user's name, the key's id and the key in hex, separated by blanks.
    ///
    /// # Errors
    /// `NOT_SIGNED_IN` when there is no such file, `DENIED` when others can read it, `USAGE` when it holds
    /// something else.
    pub fn load(path: &Path) -> Result<Identity> {
        let shown = path.display();
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(
                Code::NotSignedIn,
                format_args!("there is no key file {shown}"),
                "give one with --key-file or PAIRFS_KEY_FILE",
            ),
            _ => Error::new(Code::Io, format_args!("{shown}: {error}"), "check its permissions"),
        };
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::new(
                Code::Denied,
                format_args!("the key file {shown} is open to others (mode {mode:04o})"),
                format_args!("run `chmod 600 {shown}`"),
            ));
        }
        Identity::parse(&std::fs::read_to_string(path).map_err(failed)?).ok_or_else(|| {
            Error::new(
                Code::Usage,
                format_args!("{shown} is no key file"),
                "it holds a user's name, a key id and a key in hex",
            )
        })
    }

    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Option<Identity> {
        let mut words = text.split_whitespace();
        let (user, key_id, key) = (words.next()?, words.next()?, words.next()?);
        let key = from_hex(key).filter(|key| key.len() >= 16)?;
        words.next().is_none().then(|| Identity { user: user.into(), key_id: key_id.into(), key })
    }

    /// The key in hex, as programs are given it.
    pub fn key_hex(&self) -> String {
        self.key.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?));
    bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

/// What a [`crate::Client`] is made from.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Addresses of the name managers, `host:port`.
    pub nm: Vec<String>,
    /// The account's name.
    pub user: String,
    /// Which of the account's keys.
    pub key_id: String,
    /// The key.
    pub key: Secret,
    /// How long to wait for a lost server, in all for a small request and anew with each progress of a long
    /// one.
    pub timeout: Duration,
}

/// Bytes that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }
}

impl ClientConfig {
    /// The cluster at `nm` as `identity`, with the default timeout.
    pub fn new(nm: Vec<String>, identity: Identity) -> ClientConfig {
        let Identity { user, key_id, key } = identity;
        ClientConfig { nm, user, key_id, key: Secret(key), timeout: CLIENT_TIMEOUT }
    }

    /// The cluster at `nm` as whom the key file says.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn with_key_file(nm: Vec<String>, path: &Path) -> Result<ClientConfig> {
        Ok(ClientConfig::new(nm, Identity::load(path)?))
    }

    /// The same with another timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> ClientConfig {
        self.timeout = timeout;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_and_a_damaged_one_refused() {
        let key = "0f".repeat(32);
        let identity = Identity::parse(&format!("admin k1 {key}\n")).unwrap();
        assert_eq!((identity.user.as_str(), identity.key_id.as_str()), ("admin", "k1"));
        assert_eq!(identity.key, vec![15; 32]);
        assert_eq!(identity.key_hex(), key);
        for bad in ["", "admin", "admin k1", "admin k1 0f", "admin k1 xyz", &format!("a b {key} c")] {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
        assert!(!format!("{identity:?}").contains("0f0f"), "a key is not shown");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.key");
        assert_eq!(Identity::load(&path).unwrap_err().code, Code::NotSignedIn);
        std::fs::write(&path, format!("admin k1 {}", "00".repeat(32))).unwrap();
        for (mode, code) in [(0o644, Some(Code::Denied)), (0o600, None)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Identity::load(&path).err().map(|error| error.code), code);
        }
    }
}
