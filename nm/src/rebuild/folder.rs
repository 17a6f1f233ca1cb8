//! The data directory before a rebuild: what is in it is set aside, never deleted.

use crate::bootstrap::{self, Account};
use crate::config::Config;
use crate::run::start_raft;
use net::clock;
use nm_core::state::{Cluster, State};
use nm_raft::RaftError;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use types::{Code, Error, Result};

/// Where a name manager that ends because its data is damaged says so.
const DAMAGED: &str = "damaged";
/// Which cluster this folder has held: a log that is gone looks like one that was never there.
const CLUSTER: &str = "cluster";
/// What a name manager keeps.
const DATA: [&str; 2] = ["raft", "state.redb"];

/// Writes a small file for its owner only; durable but for its name.
fn note(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

/// Remembers that the data of this folder was found damaged: it may open all the same.
pub(crate) fn mark_damaged(data: &Path, why: &Error) {
    if let Err(error) = note(&data.join(DAMAGED), &format!("{why}\n")) {
        tracing::warn!(%error, "cannot note that the data is damaged");
    }
}

/// The data of this folder has opened and is used, as that of `cluster`.
pub(crate) fn mark_sound(data: &Path, cluster: &Cluster) -> Result<()> {
    let path = data.join(CLUSTER);
    if !path.exists() {
        let id: String = cluster.cluster_id.iter().map(|byte| format!("{byte:02x}")).collect();
        note(&path, &format!("{id}\n"))?;
        std::fs::File::open(data)?.sync_all()?;
    }
    match std::fs::remove_file(data.join(DAMAGED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "a note cannot be removed")
        }
        _ => {}
    }
    Ok(())
}

/// Refuses to make a new cluster where there was one.
///
/// # Errors
/// `DAMAGED`.
pub(crate) fn check_new(data: &Path) -> Result<()> {
    let path = data.join(CLUSTER);
    let Ok(id) = std::fs::read_to_string(&path) else { return Ok(()) };
    Err(Error::new(
        Code::Damaged,
        format_args!("the log of the cluster {} that {} held is gone", id.trim(), data.display()),
        format_args!(
            "bring it back, or start it with --rebuild to restore its index from the storage servers; to begin a new, empty              cluster, remove {}",
            path.display()
        ),
    ))
}

/// Makes room for a rebuild in the data folder.
///
/// # Errors
/// `EXISTS` if it holds a cluster that opens; `UNKNOWN_FORMAT` if another version of the program can open it;
/// `ALREADY_RUNNING`, `IO`.
pub(crate) async fn clear(config: &Config, addr: &str) -> Result<()> {
    let data = &config.data;
    if !DATA.iter().any(|name| data.join(name).exists()) {
        return Ok(());
    }
    let noted = data.join(DAMAGED).exists();
    let why = match start_raft(config, addr).await {
        Ok(raft) => {
            let found = look(&raft.view()?);
            raft.shutdown().await;
            match found {
                Ok(Found::Cluster) if !noted => {
                    return Err(Error::new(
                        Code::Exists,
                        format_args!("{} holds a cluster that opens", data.display()),
                        "start it without --rebuild, or move what is in it away first",
                    ));
                }
                Ok(Found::Nothing) => return Ok(()),
                Ok(Found::Cluster) => "damaged",
                Ok(Found::Unfinished) => "unfinished",
                Err(error) if error.code == Code::Damaged => "damaged",
                Err(error) => return Err(error),
            }
        }
        Err(RaftError::Damaged(_)) => "damaged",
        Err(error) => return Err(crate::run::refused(&error)),
    };
    let aside = set_aside(data, why)?;
    tracing::warn!(aside = %aside.display(), "what was in the data directory is set aside");
    Ok(())
}

enum Found {
    Cluster,
    Unfinished,
    Nothing,
}

fn look(view: &nm_raft::View) -> Result<Found> {
    let state = State::new(view);
    Ok(match state.cluster()? {
        Some(_) => Found::Cluster,
        None if state.is_rebuilding()? => Found::Unfinished,
        None => Found::Nothing,
    })
}

fn set_aside(data: &Path, why: &str) -> Result<PathBuf> {
    let aside = free_name(&data.join(format!("{why}-{}", clock::wall_millis() / 1000)));
    std::fs::DirBuilder::new().create(&aside)?;
    std::fs::set_permissions(&aside, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    for name in DATA.into_iter().chain([DAMAGED]) {
        match std::fs::rename(data.join(name), aside.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    std::fs::File::open(data)?.sync_all()?;
    Ok(aside)
}

/// `path`, or that with the first number behind it that is free.
fn free_name(path: &Path) -> PathBuf {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        number => PathBuf::from(format!("{}-{number}", path.display())),
    };
    (0..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}

/// A new key for the first account; the file of the old one is set aside.
pub(crate) fn new_account(config: &Config) -> Result<Account> {
    let path = config.admin_key();
    if path.exists() {
        let aside = free_name(&PathBuf::from(format!("{}.before-rebuild", path.display())));
        std::fs::rename(&path, &aside)?;
        tracing::info!(aside = %aside.display(), "the key of the first account is set aside: it opens nothing any more");
    }
    let account = bootstrap::account(&path)?;
    tracing::warn!(path = %path.display(), "the first account has a new key; all other keys have to be made anew");
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_twice_in_a_second_is_kept_twice() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            std::fs::write(dir.path().join("state.redb"), "old").unwrap();
            assert!(set_aside(dir.path(), "damaged").unwrap().join("state.redb").exists());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
