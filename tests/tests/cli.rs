//! Exit statuses, JSON and messages that scripts rely on.

use pairfs_tests::{Cluster, command};
use serde_json::Value;
use std::process::Command;

#[test]
fn exit_statuses_are_those_of_the_table() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.pairfs(&["read", "/file"]).exits(0);
    cluster.pairfs(&["read"]).exits(2);
    cluster.pairfs(&["no-such-command"]).exits(2);
    cluster.pairfs(&["read", "/missing"]).exits(3);
    cluster.pairfs(&["read", "/missing/file"]).exits(3);
    cluster.pairfs(&["write", "/missing/file"]).exits(3);
    cluster.pairfs(&["create", "/file"]).exits(4);
    cluster.pairfs(&["mv", "/file", "/file2"]).exits(0);
    cluster.pairfs(&["node", "kill", "ss7"]).exits(3);
    let words = ["--dir", "x", "--nm", "127.0.0.1:1", "status"];
    command::run(command::command(None, &words), b"").exits(2);
}

#[test]
fn a_wrong_key_is_not_permitted() {
    let cluster = Cluster::start(true);
    let path = cluster.dir().join("admin.key");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words[2] = "ab".repeat(32);
    std::fs::write(&path, words.join(" ")).unwrap();
    cluster.pairfs(&["read", "/file", "--timeout", "5"]).exits(5);
    std::fs::write(&path, text).unwrap();
    cluster.pairfs(&["ls"]).ok();
}

#[test]
fn an_error_is_one_line_or_one_json_object() {
    let cluster = Cluster::start(true);
    let plain = cluster.pairfs(&["read", "/missing"]).exits(3);
    assert!(plain.stderr.starts_with("error[NOT_FOUND]: "), "{}", plain.stderr);
    assert_eq!(plain.stderr.lines().count(), 1);
    let json = cluster.pairfs(&["--json", "read", "/missing"]).exits(3);
    let error: Value = serde_json::from_str(json.stderr.trim()).expect("stderr is one JSON object");
    assert_eq!(error["error"]["code"], "NOT_FOUND");
    assert!(error["error"]["message"].is_string());
    assert!(json.stdout.is_empty());
}

#[test]
fn status_json_has_what_scripts_rely_on() {
    let cluster = Cluster::start(true);
    let status = cluster.wait_settled();
    assert_eq!(status["leader"], "nm");
    for field in ["name", "addr", "role", "term", "applied"] {
        assert!(!status["nms"][0][field].is_null(), "nms[].{field} in {status}");
    }
    let servers = status["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    for server in servers {
        for field in ["name", "role", "state", "addr", "used_bytes"] {
            assert!(!server[field].is_null(), "servers[].{field} in {status}");
        }
        assert_eq!(server["state"], "alive");
        assert!(server["last_heartbeat_ms"].as_u64().is_some_and(|age| age < 2_000), "an age in {status}");
        let role = if server["name"] == "ss1" { "primary" } else { "backup" };
        assert_eq!(server["role"], role);
    }
    let pair = &status["pairs"][0];
    let expected = [("name", "ss1"), ("primary", "ss1"), ("backup", "ss1_backup"), ("acting", "ss1")];
    for (field, value) in expected.into_iter().chain([("preferred", "ss1"), ("state", "active")]) {
        assert_eq!(pair[field], value, "pairs[].{field}");
    }
    for field in ["epoch", "lag_rows", "lag_bytes", "at_risk_files", "owed_versions"] {
        assert!(pair[field].is_u64(), "pairs[].{field} in {status}");
    }
}

#[test]
fn a_receipt_and_info_tell_version_size_and_digest() {
    let cluster = Cluster::start(true);
    let receipt = cluster.write("/file", b"abc");
    assert_eq!(receipt["path"], "/file");
    assert_eq!(receipt["size"], 3);
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(receipt["digest"], digest);
    assert!(receipt["version"].as_str().is_some_and(|version| version.split_once('.').is_some()));
    let info = cluster.info("/file");
    assert_eq!(info["digest"], digest);
    assert_eq!(info["size"], 3);
    assert_eq!(info["version"], receipt["version"]);
    assert_eq!(info["owner"], "admin");
    assert_eq!(info["versions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_write_that_expects_another_version_changes_nothing() {
    let cluster = Cluster::start(true);
    let first = cluster.write("/file", b"first")["version"].as_str().unwrap().to_owned();
    cluster.pairfs_with(&["write", "/file", "-", "--if-version", &first], b"second").ok();
    cluster.pairfs_with(&["write", "/file", "-", "--if-version", &first], b"third").exits(4);
    assert_eq!(cluster.read("/file"), b"second");
}

#[test]
fn two_appends_at_once_both_land() {
    let cluster = Cluster::start(true);
    cluster.write("/log", b"");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..3 {
                    let line = format!("line {writer}.{round}\n");
                    cluster.pairfs_with(&["write", "/log", "-", "--append"], line.as_bytes()).ok();
                }
            });
        }
    });
    let text = String::from_utf8(cluster.read("/log")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 12, "{text}");
}

#[test]
fn a_command_may_be_repeated_by_its_request_key_and_happens_once() {
    let cluster = Cluster::start(true);
    cluster.write("/log", b"");
    let first = cluster.pairfs_with(&["--json", "write", "/file", "-"], b"content").ok().json();
    if let Some(key) = first["request_key"].as_str() {
        let again =
            cluster.pairfs_with(&["--json", "write", "/file", "-", "--request-key", key], b"content").ok();
        assert_eq!(again.json()["version"], first["version"], "it is answered, not executed again");
        let other = cluster.pairfs_with(&["write", "/file", "-", "--request-key", key], b"other");
        other.exits(4);
    }
    assert_eq!(cluster.info("/file")["versions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn files_and_folders_are_listed_in_order_and_in_pages() {
    let cluster = Cluster::start(true);
    cluster.pairfs(&["mkdir", "/folder"]).ok();
    for name in ["b", "a", "c.txt"] {
        cluster.write(&format!("/folder/{name}"), b"x");
    }
    cluster.pairfs(&["mkdir", "/folder/c"]).ok();
    let text = cluster.pairfs(&["ls", "/folder"]).ok().text();
    let names: Vec<&str> = text.lines().map(|line| line.trim_end_matches('/')).collect();
    assert_eq!(names, ["a", "b", "c.txt", "c"], "a folder sorts as `name/`");
    let page = cluster.pairfs(&["ls", "/folder", "--limit", "2"]).ok().text();
    assert_eq!(page.lines().collect::<Vec<_>>(), ["a", "b"]);
    let rest = cluster.pairfs(&["ls", "/folder", "--limit", "1", "--after", "b"]).ok().text();
    assert_eq!(rest.lines().collect::<Vec<_>>(), ["c.txt"]);
}

#[test]
fn a_reader_that_closes_early_ends_a_command_quietly() {
    let cluster = Cluster::start(true);
    cluster.write("/large", &pairfs_tests::workload::filled(1, 4 << 20));
    let program = pairfs_tests::binary::pairfs().display().to_string();
    let line = format!("'{program}' --dir '{}' read /large | head -c 10", cluster.dir().display());
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.stdout.len(), 10);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn members_and_streams_answer_programs_in_json() {
    let cluster = Cluster::start(true);
    let text: &[u8] = b"One two\n\n three\xff  end";
    cluster.write("/file", text);
    let words = cluster.pairfs(&["stream", "/file", "--delay", "0", "--json"]).ok().json_lines();
    let mut streamed = Vec::new();
    for word in &words {
        assert_eq!(word["offset"], streamed.len());
        match word["hex"].as_str() {
            Some(hex) => {
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                streamed.extend((0..hex.len()).step_by(2).map(byte));
            }
            None => streamed.extend(word["word"].as_str().unwrap().as_bytes()),
        }
        assert_eq!(word["offset"].as_u64().unwrap() + word["size"].as_u64().unwrap(), streamed.len() as u64);
    }
    assert_eq!((words.len(), streamed.as_slice()), (4, text));

    let node = |what: &str| cluster.pairfs(&["node", what, "ss1_backup", "--json", "-q"]).ok().json();
    let pid = cluster.pid("ss1_backup").as_raw_nonzero().get();
    assert_eq!(node("stop"), serde_json::json!({"name": "ss1_backup", "state": "stopped", "pid": pid}));
    assert_eq!(node("stop"), serde_json::json!({"name": "ss1_backup", "state": "stopped", "pid": null}));
    let started = node("start");
    assert_eq!(started["state"], "running");
    assert_eq!(started["pid"], cluster.pid("ss1_backup").as_raw_nonzero().get());
    assert_eq!(node("kill")["state"], "killed");
    let down = cluster.pairfs(&["down", "--json"]).ok().json();
    assert_eq!((&down["state"], &down["ran"]), (&Value::from("stopped"), &Value::from(true)));
    // What was said since it served: which member ended, and that all are stopped.
    for line in cluster.take_up().end().ok().json_lines() {
        assert!(line.is_object(), "{line}");
    }
}

/// Runs a line of a shell, in which `pairfs` is the program on the cluster; its exit status and standard error.
fn shell(cluster: &Cluster, line: &str) -> (Option<i32>, String) {
    let program = pairfs_tests::binary::pairfs().display().to_string();
    let script = format!("pairfs() {{ '{program}' --dir '{}' \"$@\"; }}; {line}", cluster.dir().display());
    let output = Command::new("sh").args(["-c", &script]).current_dir(cluster.desk()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_transfer_goes_on_to_its_end_when_nobody_reads_what_it_says() {
    const FILES: usize = 400;
    let cluster = Cluster::start(true);
    let tree = cluster.desk().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for number in 0..FILES {
        std::fs::write(tree.join(format!("file-{number:03}")), b"content").unwrap();
    }
    let (_, said) = shell(&cluster, "{ pairfs put -v -r tree/. /tree; echo $? >put; } | head -n 1");
    assert_eq!(std::fs::read_to_string(cluster.desk().join("put")).unwrap(), "0\n", "{said}");
    assert_eq!(cluster.pairfs(&["--json", "ls", "/tree"]).ok().json_lines().len(), FILES);
    let (_, said) = shell(&cluster, "{ pairfs --json get -r /tree/. back; echo $? >got; } | head -n 1");
    assert_eq!(std::fs::read_to_string(cluster.desk().join("got")).unwrap(), "0\n", "{said}");
    assert_eq!(std::fs::read_dir(cluster.desk().join("back")).unwrap().count(), FILES, "no drafts either");
}

#[test]
fn an_output_that_takes_nothing_is_an_error_that_says_so() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    std::fs::write(cluster.desk().join("local"), b"local").unwrap();
    for words in [
        "ls",
        "read /file",
        "get /file -",
        "--json status",
        "stream /file",
        "put local /put",
        "--json put local /put",
        "node stop ss1_backup",
        "node start ss1_backup --json",
        "--help",
    ] {
        let (status, said) = shell(&cluster, &format!("pairfs {words} >/dev/full"));
        assert_eq!(status, Some(1), "{words}: {said}");
        assert!(said.contains("standard output") && said.lines().count() == 1, "{words}: {said}");
    }
    assert_eq!(cluster.read("/put"), b"local", "it was put all the same");
}

#[test]
fn wrong_words_are_told_once_with_one_code() {
    let cluster = Cluster::empty(false);
    for words in [&["find", "["][..], &["read", "/x", "--range", "5"], &["read", "/x", "--version", "x"]] {
        let ran = cluster.pairfs(words).exits(2);
        assert_eq!(ran.stderr.matches("error[").count(), 1, "{}", ran.stderr);
    }
    // Help for people, an object for programs.
    assert!(cluster.pairfs(&["node"]).exits(2).stderr.contains("Usage"));
    assert_eq!(cluster.pairfs(&["--json", "node"]).exits(2).code().as_deref(), Some("USAGE"));
    let folder = cluster.desk().display().to_string();
    assert_eq!(cluster.pairfs(&["digest", &folder]).exits(2).code().as_deref(), Some("IS_A_FOLDER"));
}
