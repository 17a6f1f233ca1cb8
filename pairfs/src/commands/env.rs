//! `env`: what other programs need to connect.

use super::Context;
use crate::local::cluster::Cluster;
use crate::options::Which;
use client::Identity;
use serde_json::json;
use std::path::PathBuf;
use types::{Code, Error, Result};

/// Runs `env`.
///
/// # Errors
/// `USAGE` when nothing names a cluster; `NOT_FOUND`; `NOT_SIGNED_IN` without a key.
pub fn env(context: &Context) -> Result<()> {
    let settings = context.global.settings()?;
    let given = settings.key_file.map(|setting| setting.value);
    let (nm, key_file): (String, PathBuf) = match settings.cluster.map(|setting| setting.value) {
        Some(Which::Dir(dir)) => {
            let cluster = Cluster::load(&dir)?;
            (cluster.file().nm.addr.to_string(), given.unwrap_or_else(|| cluster.path("admin.key")))
        }
        Some(Which::Nm(nm)) => {
            let no_key = || Error::new(Code::NotSignedIn, "it is not known who you are", "give --key-file");
            (nm.join(","), given.ok_or_else(no_key)?)
        }
        None => {
            let next = "start one with `pairfs up`, or name one with --dir or --nm";
            return Err(Error::new(Code::Usage, "no cluster is named", next));
        }
    };
    let key_file = key_file.canonicalize().unwrap_or(key_file);
    let identity = Identity::load(&key_file)?;
    if context.out.json {
        return context.out.object(&json!({
            "nm": nm,
            "http": null,
            "s3": null,
            "webdav": null,
            "metrics": {},
            "access_key": identity.key_id,
            "secret_key": identity.key_hex(),
        }));
    }
    context.out.line(format!("export PAIRFS_NM={}", quoted(&nm)))?;
    context.out.line(format!("export PAIRFS_KEY_FILE={}", quoted(&key_file.to_string_lossy())))
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,@%+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_a_shell_reads_is_what_was_meant() {
        assert_eq!(quoted("127.0.0.1:7400"), "127.0.0.1:7400");
        assert_eq!(quoted("/my folder/it's"), "'/my folder/it'\\''s'");
    }
}
