//! Whose disk this is (R6, R7): the lock that keeps a second process out, and the token by which the name
//! manager knows the disk again.

use crate::summed;
use net::folder::FolderLock;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use types::{Code, Error, Result};

/// Version of the file's format (R35).
const FORMAT: u32 = 1;
const FILE: &str = "identity";

/// What the identity file says. Persisted because it has to survive a restart: without the token the name
/// manager takes the disk for an unknown one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    format: u32,
    name: String,
    /// Hex; empty for a disk that was never registered.
    token: String,
    /// Hex; what the token becomes with the registration that may be under way.
    next_token: String,
    /// Hex; empty before the first registration.
    cluster_id: String,
    /// Hex; the newest generation that was joined. It never goes back (R26).
    #[serde(default)]
    generation: String,
    /// The last registration.
    #[serde(default)]
    incarnation: u64,
}

/// A data directory that is ours alone while this lives.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
    contents: Contents,
    _lock: FolderLock,
}

impl Identity {
    /// Takes the data directory `folder` for the server `name`; makes it if it is not there.
    ///
    /// # Errors
    /// `ALREADY_RUNNING` while another process has it; `DENIED` when others can read it; `USAGE` when it
    /// belongs to a server of another name; `UNKNOWN_FORMAT`, `DAMAGED`, `IO`.
    pub fn open(folder: &Path, name: &str) -> Result<Identity> {
        let lock = net::folder::take(folder, net::folder::STORAGE_SERVER)?;
        let contents = read(folder)?.unwrap_or_else(|| Contents {
            format: FORMAT,
            name: name.to_owned(),
            token: String::new(),
            next_token: String::new(),
            cluster_id: String::new(),
            generation: String::new(),
            incarnation: 0,
        });
        if contents.name != name {
            return Err(Error::new(
                Code::Usage,
                format_args!("{} is the data of {}, not of {name}", folder.display(), contents.name),
                "give each server its own --data",
            ));
        }
        Ok(Identity { folder: folder.to_owned(), contents, _lock: lock })
    }

    /// Where the data is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cluster, once the server was registered.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        from_hex(&self.contents.cluster_id)?.try_into().ok()
    }

    /// The token and the one to take on next, which is durable when this returns. A registration whose
    /// answer was lost is repeated with the same pair.
    pub fn tokens(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        if self.contents.next_token.is_empty() {
            self.contents.next_token = hex(&net::secret::random::<16>()?);
            self.store()?;
        }
        Ok((
            from_hex(&self.contents.token).unwrap_or_default(),
            from_hex(&self.contents.next_token).unwrap_or_default(),
        ))
    }

    /// The token that the name manager knows this disk by; empty for a new disk.
    pub fn token(&self) -> Vec<u8> {
        from_hex(&self.contents.token).unwrap_or_default()
    }

    /// The newest generation this disk has joined; 0 for none.
    pub fn generation(&self) -> u64 {
        from_hex(&self.contents.generation)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_be_bytes)
    }

    /// The last registration of this disk; 0 for none.
    pub fn incarnation(&self) -> u64 {
        self.contents.incarnation
    }

    /// Refuses a name manager of another cluster, and one of an older generation: it was replaced by a rebuild (R26).
    ///
    /// # Errors
    /// `WRONG_CLUSTER`; `UNAVAILABLE` for the older one, as the right one may come.
    pub fn check(&self, cluster_id: &[u8], generation: u64) -> Result<()> {
        if self.cluster_id().is_some_and(|known| known[..] != *cluster_id) {
            return Err(Error::new(
                Code::WrongCluster,
                "the name manager belongs to another cluster than this data",
                "check --nm and --data",
            ));
        }
        if generation < self.generation() {
            return Err(Error::new(
                Code::Unavailable,
                "the name manager is an old one: it was rebuilt since, and this server has joined the new one",
                "stop it and start the rebuilt one",
            ));
        }
        Ok(())
    }

    /// The name manager has accepted the next token. Durable when this returns: from now on no name manager of an
    /// older generation is followed.
    pub fn registered(&mut self, cluster_id: &[u8], generation: u64, incarnation: u64) -> Result<()> {
        self.contents.generation = hex(&generation.max(self.generation()).to_be_bytes());
        self.contents.incarnation = incarnation;
        let next = std::mem::take(&mut self.contents.next_token);
        if !next.is_empty() {
            self.contents.token = next;
        }
        self.contents.cluster_id = hex(cluster_id);
        self.store()
    }

    /// With a checksum: a flipped bit would be another token or another generation, which keeps the server out of its
    /// cluster with a misleading reason.
    fn store(&self) -> Result<()> {
        let text = toml::to_string(&self.contents).map_err(Error::internal)?;
        summed::replace(&self.folder, FILE, &text)
    }
}

fn read(folder: &Path) -> Result<Option<Contents>> {
    summed::read(folder, FILE, FORMAT, "restore the file, or start with an empty --data and --replace-disk")
}

/// The file read and written again.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`.
pub(crate) fn reread(bytes: &[u8]) -> Result<Vec<u8>> {
    summed::reread::<Contents>(FILE, bytes, FORMAT)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::tests::{assert_told, with_each_flipped_bit};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn two_servers_never_write_into_one_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        let first = Identity::open(&data, "ss1").unwrap();
        let error = Identity::open(&data, "ss1").unwrap_err();
        assert_eq!(error.code, Code::AlreadyRunning);
        assert_eq!(error.code.exit_status(), 4);
        drop(first);
        Identity::open(&data, "ss1").unwrap();
    }

    #[test]
    fn data_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        let error = Identity::open(&data, "ss1").unwrap_err();
        assert_eq!(error.code, Code::Denied);
        assert!(error.message.contains("chmod 700"), "{}", error.message);
    }

    #[test]
    fn the_data_of_one_server_is_not_taken_for_that_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        Identity::open(&data, "ss1").unwrap().tokens().unwrap();
        assert_eq!(Identity::open(&data, "ss2").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn r7_a_registration_whose_answer_was_lost_is_repeated_with_the_same_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        let mut identity = Identity::open(&data, "ss1").unwrap();
        let (token, next) = identity.tokens().unwrap();
        assert!(token.is_empty() && next.len() == 16);
        drop(identity);
        let mut identity = Identity::open(&data, "ss1").unwrap();
        assert_eq!(identity.tokens().unwrap(), (token, next.clone()));
        identity.registered(&[7; 16], 5, 1).unwrap();
        drop(identity);
        let mut identity = Identity::open(&data, "ss1").unwrap();
        assert_eq!(identity.cluster_id(), Some([7; 16]));
        let (token, later) = identity.tokens().unwrap();
        assert_eq!(token, next);
        assert_ne!(later, next, "a token is used once");
    }

    #[test]
    fn r26_a_disk_that_joined_a_generation_never_goes_back_to_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        let mut identity = Identity::open(&data, "ss1").unwrap();
        identity.check(&[7; 16], 1).unwrap();
        identity.registered(&[7; 16], u64::MAX, 9).unwrap();
        drop(identity);
        let identity = Identity::open(&data, "ss1").unwrap();
        assert_eq!((identity.generation(), identity.incarnation()), (u64::MAX, 9));
        identity.check(&[7; 16], u64::MAX).unwrap();
        assert_eq!(identity.check(&[7; 16], u64::MAX - 1).unwrap_err().code, Code::Unavailable);
        assert_eq!(identity.check(&[8; 16], u64::MAX).unwrap_err().code, Code::WrongCluster);
    }

    #[test]
    fn an_identity_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        Identity::open(&data, "ss1").unwrap().tokens().unwrap();
        std::fs::write(data.join(FILE), "format = 9\n").unwrap();
        assert_eq!(Identity::open(&data, "ss1").unwrap_err().code, Code::UnknownFormat);
        std::fs::write(data.join(FILE), "what").unwrap();
        assert_eq!(Identity::open(&data, "ss1").unwrap_err().code, Code::Damaged);
    }

    #[test]
    fn each_flipped_bit_of_an_identity_is_noticed_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ss1");
        let mut identity = Identity::open(&data, "ss1").unwrap();
        identity.tokens().unwrap();
        identity.registered(&[7; 16], 5, 1).unwrap();
        let honest = identity.contents.clone();
        drop(identity);
        with_each_flipped_bit(&data.join(FILE), || assert_told(read(&data), &Some(honest.clone())));
    }

    #[test]
    fn an_identity_without_a_checksum_is_one_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let text = "format = 1\nname = \"ss1\"\ntoken = \"07\"\nnext_token = \"\"\ncluster_id = \"\"\n";
        std::fs::write(dir.path().join(FILE), text).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().token, "07");
    }
}
