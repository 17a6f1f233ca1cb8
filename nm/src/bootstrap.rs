//! The first start: makes the cluster and the first account.
//!
//! The key file is written first and the cluster made of what it says: after a crash in between, the next
//! start reads the file and goes on. A file that is there is never overwritten.

use crate::config::Config;
use crate::machine::Machine;
use crate::proposer::Proposer;
use net::secret;
use nm_core::state::{Cluster, State};
use nm_raft::Raft;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use types::command::{Bootstrap, Op};
use types::{Code, Error, Result};

const ADMIN: &str = "admin";

/// The cluster of this data folder, made if there is none.
pub(crate) async fn cluster(config: &Config, raft: &Raft<Machine>, proposer: &Proposer) -> Result<Cluster> {
    if let Some(cluster) = known(raft)? {
        return same_pace(cluster, config.fast);
    }
    if State::new(&raft.view()?).is_rebuilding()? {
        return Err(Error::new(
            Code::Damaged,
            "the rebuild of this data directory has not come to its end",
            "start it again with --rebuild",
        ));
    }
    crate::rebuild::folder::check_new(&config.data)?;
    let account = account(&config.admin_key())?;
    let command = Bootstrap {
        cluster_id: secret::random::<16>()?.to_vec(),
        master_key: secret::random::<32>()?.to_vec(),
        admin: account.name,
        key_id: account.key_id,
        key: account.key,
        // Room above it for the generations of rebuilds, which only go up (R26).
        generation: u64::from_be_bytes(secret::random::<8>()?) >> 1 | 1,
        fast: config.fast,
    };
    proposer.propose(Op::Bootstrap(command)).await?;
    known(raft)?.ok_or_else(|| Error::internal("the cluster is not there after it was made"))
}

/// Refuses another pace than the one the cluster was made with: a lease given at the slow one would be taken
/// for ended at the fast one while its holder still serves (R2, R4).
fn same_pace(cluster: Cluster, fast: bool) -> Result<Cluster> {
    if cluster.fast == fast {
        return Ok(cluster);
    }
    let (made, next) =
        if cluster.fast { ("with", "start it with --fast") } else { ("without", "start it without --fast") };
    Err(Error::new(Code::Usage, format_args!("this cluster was made {made} --fast"), next))
}

pub(crate) fn known(raft: &Raft<Machine>) -> Result<Option<Cluster>> {
    let view = raft.view()?;
    Ok(State::new(&view).cluster()?)
}

pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) key_id: String,
    pub(crate) key: Vec<u8>,
}

/// What the key file says; written if there is none.
pub(crate) fn account(path: &Path) -> Result<Account> {
    match std::fs::read_to_string(path) {
        Ok(text) => read(path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let account = Account {
                name: ADMIN.to_owned(),
                key_id: format!("k{}", hex(&secret::random::<4>()?)),
                key: secret::random::<32>()?.to_vec(),
            };
            write(path, &account)?;
            Ok(account)
        }
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path, text: &str) -> Result<Account> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let account = match words[..] {
        [name, key_id, key] => unhex(key).filter(|key| key.len() == 32).map(|key| Account {
            name: name.to_owned(),
            key_id: key_id.to_owned(),
            key,
        }),
        _ => None,
    };
    account.ok_or_else(|| {
        Error::new(
            Code::BadRequest,
            format_args!("{} holds no key of an account", path.display()),
            "move it away; the first start makes a new one",
        )
    })
}

fn write(path: &Path, account: &Account) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{} {} {}", account.name, account.key_id, hex(&account.key))?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16)).map(|d| d.map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_crash_in_the_first_start_the_key_in_the_file_is_the_one_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.key");
        let first = account(&path).unwrap();
        let again = account(&path).unwrap();
        assert_eq!((&first.name, &first.key_id, &first.key), (&again.name, &again.key_id, &again.key));
        assert_eq!(first.key.len(), 32);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "something else").unwrap();
        assert!(account(&path).is_err(), "and it is not overwritten");
    }
}
