//! What an operator says when starting a storage server.

use crate::scrub::background::Setting;
use clap::Args;
use net::options::{self, LogOptions};
use net::settings::{Known, Values};
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::limits::{MIB, SCRUB_PERIOD, SCRUB_RATE};
use types::{Code, Error, Result};

/// What a running storage server takes anew on SIGHUP.
const TUNABLE: [&str; 3] = ["log-level", "scrub-period", "scrub-rate"];

/// Options of a storage server.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Name of this server, such as ss1; X_backup is the backup of X
    #[arg(long, env = "PAIRFS_NAME")]
    pub name: String,
    /// Folder for its data; made if it is not there
    #[arg(long, env = "PAIRFS_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// Where to listen
    #[arg(long, env = "PAIRFS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// Where others reach it, if that is not where it listens
    #[arg(long, env = "PAIRFS_ADVERTISE", value_name = "ADDR")]
    pub advertise: Option<String>,
    /// Addresses of the name managers
    #[arg(long, env = "PAIRFS_NM", value_name = "ADDR,…", value_delimiter = ',', required = true)]
    pub nm: Vec<String>,
    /// The server that this one is the backup of
    #[arg(long, env = "PAIRFS_BACKUP_OF", value_name = "NAME")]
    pub backup_of: Option<String>,
    /// Take this folder in, as the first thing that this new server does; it is only read
    #[arg(long, env = "PAIRFS_IMPORT", value_name = "DIR")]
    pub import: Option<PathBuf>,
    /// This disk replaces the one that was known under this name
    #[arg(long)]
    pub replace_disk: bool,
    /// In so many seconds look once at every byte that is stored and compare it with its SHA-256; 0: never
    #[arg(long, env = "PAIRFS_SCRUB_PERIOD", value_name = "SECONDS", default_value_t = SCRUB_PERIOD.as_secs())]
    pub scrub_period: u64,
    /// Bytes a second that this reads, at most, behind foreground work; 0: as fast as it goes
    #[arg(long, env = "PAIRFS_SCRUB_RATE", value_name = "BYTES", default_value_t = SCRUB_RATE)]
    pub scrub_rate: u64,
    /// Bytes a second that this server copies, or lets its partner copy, to bring a member up to date, at most; 0: as fast
    /// as clients do not feel it. Else at least 1048576
    #[arg(long, env = "PAIRFS_RESYNC_RATE", value_name = "BYTES", default_value_t = 0, value_parser = resync_rate)]
    pub resync_rate: u64,
    /// File with the secret of the cluster
    #[arg(long, env = "PAIRFS_CLUSTER_SECRET", value_name = "FILE", default_value = "cluster.secret")]
    pub cluster_secret: PathBuf,
    /// Listen on addresses that other machines can reach, without encryption
    #[arg(long, env = "PAIRFS_INSECURE_PLAINTEXT")]
    pub insecure_plaintext: bool,
    /// Its log, and the file with more options.
    #[command(flatten)]
    pub log: LogOptions,
}

/// What makes a server a backup by its name alone.
const BACKUP: &str = "_backup";

/// A rate at which a piece comes over before whoever asked for it gives up.
fn resync_rate(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(rate) if rate == 0 || rate >= MIB as u64 => Ok(rate),
        Ok(_) => Err(format!("0, or at least {MIB} bytes a second")),
        Err(_) => Err("a number of bytes".to_owned()),
    }
}

impl Config {
    /// The options, for a file that sets some of them.
    pub fn known() -> Vec<Known> {
        options::known::<Config>()
    }

    /// Starts the log as the options say; `verbosity` 0 is what a server logs unless asked.
    ///
    /// # Errors
    /// As [`LogOptions::start`].
    pub fn start_log(&self, verbosity: i8) -> Result<()> {
        self.log.start(verbosity)
    }

    /// Every option with its value. Of the secret only where it is.
    pub(crate) fn values(&self) -> Values {
        let Config {
            name,
            data,
            listen,
            advertise,
            nm,
            backup_of,
            import,
            replace_disk,
            scrub_period,
            scrub_rate,
            resync_rate,
            cluster_secret,
            insecure_plaintext,
            log,
        } = self;
        let path = |path: &Path| Some(path.display().to_string());
        let mut values = vec![
            ("name", Some(name.clone())),
            ("data", path(data)),
            ("listen", Some(listen.clone())),
            ("advertise", advertise.clone()),
            ("nm", Some(nm.join(","))),
            ("backup-of", backup_of.clone()),
            ("import", import.as_deref().and_then(path)),
            ("replace-disk", Some(replace_disk.to_string())),
            ("scrub-period", Some(scrub_period.to_string())),
            ("scrub-rate", Some(scrub_rate.to_string())),
            ("resync-rate", Some(resync_rate.to_string())),
            ("cluster-secret", path(cluster_secret)),
            ("insecure-plaintext", Some(insecure_plaintext.to_string())),
        ];
        values.extend(log.values());
        values
    }

    /// What a running storage server cannot change, by name.
    pub(crate) fn fixed(&self) -> Values {
        let mut values = self.values();
        values.retain(|(name, _)| !TUNABLE.contains(name));
        values
    }

    /// Sets the background scrubber so.
    pub(crate) fn set_scrub(&self, setting: &Setting) {
        setting.set(Duration::from_secs(self.scrub_period), self.scrub_rate);
    }

    /// The name of its primary; empty for a primary.
    ///
    /// # Errors
    /// `USAGE` for a name that cannot be, or a backup of itself.
    pub fn primary(&self) -> Result<String> {
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(letters) {
            return Err(Error::new(
                Code::Usage,
                format_args!("{:?} is no name for a server", self.name),
                "use 1 to 64 letters, digits, '_', '-' and '.'",
            ));
        }
        let by_name = self.name.strip_suffix(BACKUP).filter(|primary| !primary.is_empty());
        let primary = self.backup_of.as_deref().or(by_name).unwrap_or_default();
        if primary == self.name {
            return Err(Error::new(
                Code::Usage,
                format_args!("{primary} cannot be the backup of itself"),
                "name its primary with --backup-of",
            ));
        }
        Ok(primary.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        config: Config,
    }

    fn config(name: &str, more: &[&str]) -> Config {
        let line = ["ss", "--name", name, "--data", "d", "--nm", "127.0.0.1:1,127.0.0.1:2"];
        Line::parse_from(line.iter().chain(more)).config
    }

    #[test]
    fn a_server_named_x_backup_is_the_backup_of_x_without_being_told() {
        assert_eq!(config("ss1_backup", &[]).primary().unwrap(), "ss1");
        assert_eq!(config("ss1", &[]).primary().unwrap(), "");
        assert_eq!(config("spare", &["--backup-of", "ss1"]).primary().unwrap(), "ss1");
        assert_eq!(config("ss1", &[]).nm.len(), 2);
        for (name, more) in [("ss1", &["--backup-of", "ss1"][..]), ("a/b", &[]), ("", &[])] {
            assert_eq!(config(name, more).primary().unwrap_err().code, Code::Usage, "{name}");
        }
    }
}
