//! What a reviewer would otherwise have to say twice: the deciding code stays pure, crates know only what
//! they may, and unsafe code and machine-dependent paths stay out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every crate that `package` is built with, at any depth.
fn dependencies(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let words = ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let tree = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn what_decides_has_no_clock_no_socket_no_file_and_no_randomness() {
    let impure = ["tokio", "mio", "rustix", "redb", "getrandom", "rand", "socket2", "tempfile", "jiff"];
    for core in ["pairfs-nm-core", "pairfs-ss-core", "pairfs-types"] {
        let used = dependencies(core);
        let found: Vec<_> = impure.iter().filter(|name| used.contains(**name)).collect();
        assert!(found.is_empty(), "{core} depends on {found:?}");
        for source in sources(&folder_of(core)) {
            let text = std::fs::read_to_string(&source).unwrap();
            for word in ["SystemTime", "Instant::now", "std::fs", "std::net", "std::thread", "std::env"] {
                assert!(!text.contains(word), "{} uses {word}", source.display());
            }
        }
    }
}

fn folder_of(core: &str) -> PathBuf {
    let folder = match core {
        "pairfs-nm-core" => "nm/core/src",
        "pairfs-ss-core" => "ss/core/src",
        _ => "common/types/src",
    };
    root().join(folder)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn nm_ss_and_client_do_not_know_each_other() {
    for (package, strangers) in [
        ("nm", ["ss", "pairfs-ss-core", "pairfs-client"]),
        ("ss", ["nm", "pairfs-nm-core", "pairfs-client"]),
        ("pairfs-client", ["nm", "ss", "pairfs-log"]),
        ("pairfs-net", ["pairfs-log", "pairfs-nm-core", "pairfs-ss-core"]),
    ] {
        let used = dependencies(package);
        let found: Vec<_> = strangers.iter().filter(|name| used.contains(**name)).collect();
        assert!(found.is_empty(), "{package} knows {found:?}");
    }
    let ours = |name: &String| name.starts_with("pairfs-") || ["nm", "ss", "pairfs"].contains(&name.as_str());
    for (package, may) in
        [("pairfs-types", None), ("pairfs-threads", None), ("pairfs-log", Some("pairfs-threads"))]
    {
        let may = |name: &str| name == package || Some(name) == may;
        let used: Vec<_> =
            dependencies(package).into_iter().filter(|name| ours(name) && !may(name)).collect();
        assert!(used.is_empty(), "{package} knows {used:?}");
    }
}

#[test]
fn no_source_allows_unsafe_code_or_leaves_work_for_later() {
    for folder in ["common", "log", "nm", "ss", "client", "pairfs"] {
        for source in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&source).unwrap();
            for word in ["allow(unsafe_code)", "todo!(", "unimplemented!(", concat!("FIX", "ME")] {
                assert!(!text.contains(word), "{} contains {word}", source.display());
            }
        }
    }
}
