//! Input that makes no sense gets a clear error, changes nothing, and the servers live on.

use pairfs_tests::Cluster;
use pairfs_tests::wire::Wire;
use types::Code;

/// Ends with `status` and one line `error[CODE]: what happened: what to do next`.
#[track_caller]
fn refused(cluster: &Cluster, words: &[&str], status: i32, code: &str) {
    let ran = cluster.pairfs(words).exits(status);
    assert_eq!(ran.code().as_deref(), Some(code), "`pairfs {}`: {}", ran.words, ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.matches(": ").count() >= 2, "it says what to do next: {}", ran.stderr);
    assert!(ran.stdout.is_empty());
}

#[test]
fn a_path_that_cannot_exist_is_refused_by_every_command() {
    let cluster = Cluster::start(true);
    cluster.write("/folder/file", b"content");
    let long = format!("/{}", "n".repeat(256));
    let deep = "/n".repeat(2_049);
    for path in ["/folder/../file", "..", "/./../file", "", long.as_str(), deep.as_str()] {
        for command in ["create", "write", "read", "info", "rm", "mkdir", "stream"] {
            refused(&cluster, &[command, path], 2, "BAD_PATH");
        }
        refused(&cluster, &["mv", "/folder/file", path], 2, "BAD_PATH");
        refused(&cluster, &["mv", path, "/elsewhere"], 2, "BAD_PATH");
    }
    assert_eq!(cluster.read("/folder/file"), b"content");
}

#[test]
fn a_path_may_be_written_as_shells_and_people_write_it() {
    let cluster = Cluster::start(true);
    cluster.pairfs_with(&["write", "-p", "./folder//inner/./file"], b"content").ok();
    for path in ["/folder/inner/file", "folder/./inner//file", "/./folder/inner/file"] {
        assert_eq!(cluster.read(path), b"content", "{path}");
        assert_eq!(cluster.info(path)["path"], "/folder/inner/file");
    }
    let names = |path: &str| {
        let listed = cluster.pairfs(&["--json", "ls", path]).ok().json_lines();
        listed.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for root in [".", "./", "/.", "//"] {
        assert_eq!(names(root), ["folder"], "{root}");
    }
    assert_eq!(names("/folder/inner/."), ["file"]);
    let local = cluster.desk().join("local");
    std::fs::write(&local, b"local").unwrap();
    let local = local.to_str().unwrap();
    for (to, at) in
        [("/folder/.", "/folder/local"), ("/folder/inner/./", "/folder/inner/local"), (".", "/local")]
    {
        cluster.pairfs(&["put", local, to]).ok();
        assert_eq!(cluster.read(at), b"local", "{to}");
    }
    cluster.pairfs(&["mv", "/local", "/folder/./moved"]).ok();
    cluster.pairfs(&["cp", "/folder/./moved", "./copied"]).ok();
    assert_eq!(cluster.read("/copied"), b"local");
    // Only a folder is written so.
    for command in ["create", "write", "read"] {
        cluster.pairfs(&[command, "/copied/."]).exits(2);
    }
    assert_eq!(cluster.pairfs(&["put", local, "/no/such/."]).exits(3).code().as_deref(), Some("NOT_FOUND"));
    let back = cluster.desk().join("back");
    cluster.pairfs(&["get", "-r", "/folder/./", back.to_str().unwrap()]).ok();
    cluster.pairfs(&["get", "-r", "/folder/./", back.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read(back.join("moved")).unwrap(), b"local");
    assert!(!back.join("folder").exists(), "what is in the folder is meant");
}

#[test]
fn what_is_written_as_a_folder_and_is_a_file_is_refused_by_every_command() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    let local = cluster.desk().join("local");
    std::fs::write(&local, b"local").unwrap();
    let (local, back) = (local.to_str().unwrap(), cluster.desk().join("back"));
    for path in ["/file/", "/file/."] {
        for command in ["read", "info", "rm", "stream", "ls", "durability"] {
            refused(&cluster, &[command, path], 2, "NOT_A_FOLDER");
        }
        refused(&cluster, &["write", path, local], 2, "BAD_PATH");
        refused(&cluster, &["create", path], 2, "BAD_PATH");
        refused(&cluster, &["put", local, path], 2, "NOT_A_FOLDER");
        refused(&cluster, &["get", path, back.to_str().unwrap()], 2, "NOT_A_FOLDER");
        for command in ["mv", "cp"] {
            refused(&cluster, &[command, path, "/elsewhere"], 2, "NOT_A_FOLDER");
        }
    }
    refused(&cluster, &["find", "*", "/file"], 2, "NOT_A_FOLDER");
    assert_eq!(cluster.read("/file"), b"content", "it is still there");
    cluster.pairfs(&["mkdir", "/folder/"]).ok();
    cluster.pairfs(&["ls", "/folder/"]).ok();
    cluster.pairfs(&["rm", "-r", "/folder/."]).ok();
    refused(&cluster, &["info", "/folder"], 3, "NOT_FOUND");
}

#[test]
fn a_name_of_255_bytes_is_fine_and_control_characters_do_not_reach_a_terminal() {
    let cluster = Cluster::start(true);
    let longest = format!("/{}", "n".repeat(255));
    cluster.write(&longest, b"long");
    assert_eq!(cluster.read(&longest), b"long");
    cluster.write("/with\nnewline and \u{1b}[31mcolour", b"odd");
    assert_eq!(cluster.read("/with\nnewline and \u{1b}[31mcolour"), b"odd");
    let error = cluster.pairfs(&["read", "/no\u{1b}[31m\nsuch"]).exits(3).stderr;
    assert!(!error.contains('\u{1b}') && error.lines().count() == 1, "{error:?}");
}

#[test]
fn names_that_are_equal_after_normalisation_are_one_file() {
    let cluster = Cluster::start(true);
    cluster.write("/e\u{301}te", b"content");
    assert_eq!(cluster.read("/\u{e9}te"), b"content");
    refused(&cluster, &["create", "/\u{e9}te"], 4, "EXISTS");
}

#[test]
fn a_file_cannot_be_used_as_a_folder_nor_a_folder_as_a_file() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.pairfs(&["mkdir", "/folder"]).ok();
    refused(&cluster, &["read", "/file/below"], 2, "NOT_A_FOLDER");
    refused(&cluster, &["create", "/file/below"], 2, "NOT_A_FOLDER");
    refused(&cluster, &["mkdir", "/file/below"], 2, "NOT_A_FOLDER");
    refused(&cluster, &["write", "-p", "/file/below/deep"], 2, "NOT_A_FOLDER");
    refused(&cluster, &["mv", "/folder", "/file/below"], 2, "NOT_A_FOLDER");
    refused(&cluster, &["read", "/folder"], 2, "IS_A_FOLDER");
    refused(&cluster, &["write", "/folder"], 2, "IS_A_FOLDER");
    assert_eq!(cluster.read("/file"), b"content");
}

#[test]
fn a_folder_cannot_be_moved_into_itself() {
    let cluster = Cluster::start(true);
    cluster.write("/a/b/file", b"content");
    for target in ["/a/b/inside", "/a/inside", "/a/b/c/d"] {
        assert_ne!(cluster.pairfs(&["mv", "/a", target]).status, 0, "into {target}");
    }
    assert_eq!(cluster.read("/a/b/file"), b"content");
}

#[test]
fn a_path_with_a_nul_is_refused_by_the_server_too() {
    let cluster = Cluster::start(true);
    let wire = Wire::open(&cluster);
    for path in ["/a\0b", "\0", "/folder/..", &"/n".repeat(3_000)] {
        assert_eq!(wire.locate(path, 0).unwrap_err().code, Code::BadPath, "{path:?}");
    }
    cluster.write("/after", b"the server is well");
}

#[test]
fn a_range_outside_the_file_and_a_version_that_never_was_are_told_apart() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"0123456789");
    assert_eq!(cluster.pairfs(&["read", "/file", "--range", "2-4"]).ok().stdout, b"234");
    refused(&cluster, &["read", "/file", "--range", "100-200"], 2, "BAD_RANGE");
    refused(&cluster, &["read", "/file", "--version", "9.9"], 3, "NO_SUCH_VERSION");
    assert_eq!(cluster.pairfs(&["read", "/file", "--version", "nonsense"]).status, 2);
    assert_eq!(cluster.pairfs(&["read", "/file", "--range", "4-2"]).status, 2);
}
