//! What the world does to one process alone: its wall clock jumps, its disk fails to make things durable or hangs, it does
//! not hear what is said to it. A small
//! library in C, built by the system's compiler and preloaded, stands between the process and libc.

use crate::by_hand::Conditions;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const SOURCE: &str = include_str!("shim/shim.c");

/// One process's own world. Each process whose clock or disk is its own needs one.
pub struct Shim {
    folder: TempDir,
}

impl Shim {
    /// Builds the library.
    ///
    /// # Panics
    /// If there is no C compiler; building Rust programs needs one as well.
    pub fn build() -> Shim {
        let folder = tempfile::Builder::new().prefix("pairfs-shim-").tempdir().expect("a temporary folder");
        let source = folder.path().join("shim.c");
        std::fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join("shim.so")).arg(&source);
        let built = compiler.arg("-ldl").output().expect("there is a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Shim { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a process needs in its environment to be in this world.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), path(self.file("shim.so"))),
            ("SHIM_CLOCK".to_owned(), path(self.file("clock"))),
            ("SHIM_EIO".to_owned(), path(self.file("eio"))),
            ("SHIM_HANG".to_owned(), path(self.file("hang"))),
            ("SHIM_MUTE".to_owned(), path(self.file("mute"))),
        ]
    }

    /// Conditions for a member in this world.
    pub fn conditions(&self) -> Conditions {
        Conditions { env: self.environment(), ..Conditions::default() }
    }

    /// Sets the wall clock `seconds` before (negative) or after the right time, at once.
    pub fn set_clock(&self, seconds: i64) {
        replace(&self.file("clock"), &seconds.to_string());
    }

    /// From now on no file whose path contains `part` can be made durable.
    pub fn fail_syncs_of(&self, part: &str) {
        replace(&self.file("eio"), part);
    }

    /// From now on nothing that is asked of a file whose path contains `part` ends; with nothing in `part` all goes on.
    pub fn hang_disk(&self, part: &str) {
        replace(&self.file("hang"), part);
    }

    /// Whether the process hears nothing of its sockets but of those for heartbeats.
    pub fn mute(&self, mute: bool) {
        replace(&self.file("mute"), if mute { "mute" } else { "" });
    }
}

/// Readers see the old content or the new one.
fn replace(path: &Path, content: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(beside, path).unwrap();
}
