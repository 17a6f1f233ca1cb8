//! Runs this program's own commands on a cluster, the way a person types them.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use types::{Code, Error, Result};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// This program, pointed at the cluster of a folder.
#[derive(Clone, Debug)]
pub struct Program {
    executable: PathBuf,
    dir: PathBuf,
}

impl Program {
    /// For the cluster in `dir`.
    ///
    /// # Errors
    /// `IO` when the system does not tell where this executable is.
    pub fn new(dir: &Path) -> Result<Program> {
        Ok(Program { executable: std::env::current_exe().map_err(Error::from)?, dir: dir.to_owned() })
    }

    /// A command to be run.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg("--dir").arg(&self.dir).args(words).stdin(Stdio::null());
        command.env_remove("PAIRFS_NM").env_remove("PAIRFS_DIR");
        command
    }

    /// Runs a command; its standard output.
    ///
    /// # Errors
    /// `FAILED` with what it said when it does not end with status 0; `IO`.
    pub fn run(&self, words: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(words).output().map_err(Error::from)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format_args!("`pairfs {}` ended with {}", words.join(" "), output.status);
        Err(Error::new(Code::Failed, what, said.trim()))
    }

    /// Runs a command with `--json`; the one object it prints.
    ///
    /// # Errors
    /// As [`Program::run`]; `FAILED` when it prints something else.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let output = self.run(&[&["--json"], words].concat())?;
        serde_json::from_slice(&output).map_err(|error| not_json(words, &error))
    }

    /// Runs a command with `--json`; the objects it prints, one a line.
    ///
    /// # Errors
    /// As [`Program::json`].
    pub fn json_lines(&self, words: &[&str]) -> Result<Vec<Value>> {
        let output = self.run(&[&["--json"], words].concat())?;
        let text = String::from_utf8_lossy(&output);
        text.lines().map(|line| serde_json::from_str(line).map_err(|error| not_json(words, &error))).collect()
    }

    /// Looks at `status` until it is as wanted; how long that took and the status. While the name manager
    /// does not answer it goes on looking.
    ///
    /// # Errors
    /// `TIMEOUT` with the last status after `most`.
    pub fn wait_status(
        &self,
        wanted: &str,
        most: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<(Duration, Value)> {
        let begin = Instant::now();
        loop {
            let status = self.json(&["status", "--timeout", "2"]);
            match &status {
                Ok(status) if is_so(status) => return Ok((begin.elapsed(), status.clone())),
                _ if begin.elapsed() < most => std::thread::sleep(POLL),
                _ => {
                    let what = format_args!("not {wanted} after {} s", most.as_secs());
                    let last =
                        status.map_or_else(|error| error.message, |status| status["pairs"].to_string());
                    return Err(Error::new(Code::Timeout, what, last));
                }
            }
        }
    }
}

/// Whether every pair of a `status` is in state `state`.
pub fn all_pairs_are(status: &Value, state: &str) -> bool {
    let pairs = status["pairs"].as_array();
    pairs.is_some_and(|pairs| !pairs.is_empty() && pairs.iter().all(|pair| pair["state"] == state))
}

fn not_json(words: &[&str], error: &serde_json::Error) -> Error {
    Error::internal(format_args!("`pairfs --json {}` printed something else ({error})", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_pairs_does_not_count_as_ready() {
        let status = |text| serde_json::from_str::<Value>(text).unwrap();
        assert!(!all_pairs_are(&status(r#"{"pairs":[]}"#), "active"));
        assert!(!all_pairs_are(&status("{}"), "active"));
        assert!(!all_pairs_are(&status(r#"{"pairs":[{"state":"active"},{"state":"down"}]}"#), "active"));
        assert!(all_pairs_are(&status(r#"{"pairs":[{"state":"active"}]}"#), "active"));
    }
}
