//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `pairfs` executable of the profile that these tests were built with, brought up to date first.
/// `PAIRFS_TEST_BINARY` names another one.
pub fn pairfs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os("PAIRFS_TEST_BINARY") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the system tells where a test is");
    let folder = test.parent().and_then(Path::parent).expect("a test is two folders below target");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = folder.parent().expect("a profile is a folder of target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo has a lock of its own: of several that build, one does and the others find it done.
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "pairfs", "--bin", "pairfs", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "pairfs does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    folder.join("pairfs")
}
