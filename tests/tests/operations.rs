//! What an operator does and meets: logs that grow, options that change, servers that are stopped, few open files,
//! data folders that are not right.

use pairfs_tests::by_hand::{ByHand, Conditions};
use pairfs_tests::cluster::{LATER, SOON, all_active, pair};
use pairfs_tests::wait::until;
use pairfs_tests::workload::under_load;
use pairfs_tests::{Cluster, command};
use rustix::process::{Signal, kill_process};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

fn log_of(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.dir().join(format!("{name}.log"))
}

fn logged(cluster: &Cluster, name: &str, text: &str) -> bool {
    fs::read_to_string(log_of(cluster, name)).unwrap_or_default().contains(text)
}

// ---- logs

#[test]
fn the_log_of_a_running_server_is_rotated_in_whole_lines_without_a_restart() {
    let cluster = Cluster::start(true);
    let mut conditions = Conditions::env("PAIRFS_LOG", "trace");
    conditions.words = vec!["--log-file-kib".into(), "4".into()];
    let mut ss1 = cluster.restart_by_hand("ss1", &conditions);
    let old = |number: u32| cluster.dir().join(format!("ss1.log.{number}"));
    until(LATER, "three old logs", || {
        cluster.write("/file", b"content");
        old(3).exists()
    });
    assert!(ss1.runs(), "it was restarted");
    let current = fs::read_to_string(log_of(&cluster, "ss1")).unwrap();
    assert!(!old(4).exists() && current.len() <= 4 << 10);
    // Each file begins and ends with a whole line, and the times go on from one to the next.
    let mut last = String::new();
    for path in [old(2), old(1), log_of(&cluster, "ss1")] {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n') && text.len() <= 4 << 10, "{}", path.display());
        let first = text.lines().next().unwrap().split(' ').next().unwrap().to_owned();
        assert!(first.len() == 27 && first.ends_with('Z'), "{}: {first}", path.display());
        assert!(first >= last, "{first} after {last}");
        last = text.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    }
    // What is not logged but printed (a panic, the last words) goes with it.
    until(SOON, "stderr to go into the present log", || {
        fs::read_link(format!("/proc/{}/fd/2", ss1.pid().as_raw_nonzero())).unwrap()
            == log_of(&cluster, "ss1")
    });
}

// ---- options

#[test]
fn sighup_takes_new_options_names_those_that_need_a_restart_and_keeps_all_on_a_bad_file() {
    let cluster = Cluster::start(true);
    let file = cluster.desk().join("nm.toml");
    fs::write(&file, "log-level = 'info'\nfailback = 'manual'\n").unwrap();
    let conditions =
        Conditions { words: vec!["--config".into(), file.to_str().unwrap().into()], ..Conditions::default() };
    let nm = cluster.restart_by_hand("nm", &conditions);
    until(LATER, "the name manager to serve", || cluster.try_status().is_some());
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", LATER);
    cluster.node_start("ss1");
    let waits =
        |status: &serde_json::Value| pair(status)["state"] == "failed_over" && pair(status)["lag_rows"] == 0;
    cluster.wait(LATER, "ss1 to wait for a manual failback", waits);

    fs::write(&file, "failback = 'sideways'\n").unwrap();
    nm.signal(Signal::HUP);
    until(SOON, "the bad file to be told of", || logged(&cluster, "nm", "every setting stays as it was"));
    assert!(logged(&cluster, "nm", "sideways"));
    assert_eq!(pair(&cluster.status())["acting"], "ss1_backup");

    fs::write(&file, "failback = 'auto'\nlog-level = 'debug'\nname = 'other'\n").unwrap();
    nm.signal(Signal::HUP);
    cluster.wait_acting("ss1", LATER);
    until(SOON, "the name to need a restart", || {
        logged(&cluster, "nm", "needs a restart") && logged(&cluster, "nm", "option=\"name\"")
    });
    assert!(!logged(&cluster, "nm", "option=\"failback\""));
    cluster.write("/file", b"content");
    until(SOON, "debug lines", || logged(&cluster, "nm", " DEBUG "));
}

#[test]
fn a_file_of_options_is_weaker_than_words_and_variables_and_a_wrong_one_is_refused() {
    let cluster = Cluster::start(true);
    let line = cluster.command_line("ss1");
    let at = |word: &str| line.iter().position(|known| known == word).unwrap();
    let name_manager = line[at("--nm") + 1].clone();
    let mut short = line.clone();
    short.drain(at("--nm")..at("--nm") + 2);
    cluster.kill9("ss1");
    let file = cluster.desk().join("ss1.toml");
    fs::write(&file, format!("nm = ['{name_manager}']\nname = 'wrong'\nlog-level = 'warn'\n")).unwrap();
    let mut conditions = Conditions::env("PAIRFS_LOG", "debug");
    conditions.words = vec!["--config".into(), file.to_str().unwrap().into()];
    let ss1 = cluster.start_by_hand("ss1", &short, &conditions);
    cluster.wait(LATER, "the pair to be active", all_active);
    assert!(logged(&cluster, "ss1", " DEBUG "));
    ss1.kill();
    fs::write(&file, "colour = 'red'\n").unwrap();
    let mut refused = cluster.start_by_hand("ss1", &line, &conditions);
    assert_eq!(refused.wait_ended(SOON).code(), Some(2));
    assert!(logged(&cluster, "ss1", "colour is no option"));
}

// ---- stopping

#[test]
fn sigterm_stops_each_server_cleanly_and_no_client_notices() {
    let cluster = Cluster::start(true);
    let ledger = under_load(&cluster, 2, 2, |ledger| {
        for name in ["ss1", "ss1_backup", "nm", "ss1"] {
            let mut server = cluster.restart_by_hand(name, &Conditions::default());
            cluster.wait(LATER, "the pair to be active", |status| {
                all_active(status) && pair(status)["acting"] == "ss1"
            });
            ledger.wait_writes(3, LATER);
            server.signal(Signal::TERM);
            // Handing over takes half a second, the bound for all of it is that of `down`.
            assert_eq!(server.wait_ended(SOON).code(), Some(0), "{name}");
            if name == "ss1" {
                assert_eq!(pair(&cluster.status())["acting"], "ss1_backup");
                assert!(cluster.events_of("failed", "ss1").iter().all(|event| event["reason"] != "silent"));
            }
            if name != "nm" {
                ledger.wait_writes(3, LATER);
            }
            cluster.node_start(name);
        }
    });
    cluster.assert_whole(&ledger);
}

#[test]
fn a_second_sigterm_ends_a_server_at_once() {
    let cluster = Cluster::start(true);
    let mut ss1 = cluster.restart_by_hand("ss1", &Conditions::default());
    cluster.wait(LATER, "ss1 to act", |status| all_active(status) && pair(status)["acting"] == "ss1");
    // It wants to hand over, and nobody answers.
    cluster.freeze("nm");
    ss1.signal(Signal::TERM);
    until(SOON, "it to begin to stop", || logged(&cluster, "ss1", "handing over first"));
    ss1.signal(Signal::INT);
    let status = ss1.wait_ended(std::time::Duration::from_secs(5));
    assert_eq!(status.code(), Some(1), "{status}");
    cluster.thaw("nm");
    cluster.node_start("ss1");
    cluster.write("/file", b"content");
    cluster.assert_copies_equal();
}

#[test]
fn sigterm_stops_up_and_all_its_servers_while_clients_write() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    let up = cluster.take_up();
    let pid = rustix::process::Pid::from_raw(i32::try_from(up.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ran = up.end().ok();
    assert!(ran.took < LATER + LATER);
    cluster.up(&["up"]);
    assert_eq!(cluster.read("/file"), b"content");
}

// ---- open files

fn open_files(server: &ByHand) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid().as_raw_nonzero())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn a_server_raises_its_soft_limit_and_refuses_a_hard_one_that_is_too_low() {
    let cluster = Cluster::start(true);
    let line = cluster.command_line("ss1");
    let limits = |soft, hard| Conditions { open_files: Some((soft, hard)), ..Conditions::default() };
    let ss1 = cluster.restart_by_hand("ss1", &limits(64, 2048));
    until(SOON, "the limit to be raised", || open_files(&ss1) == ("2048".into(), "2048".into()));
    ss1.kill();
    let mut refused = cluster.start_by_hand("ss1", &line, &limits(64, 64));
    assert_eq!(refused.wait_ended(SOON).code(), Some(1));
    assert!(logged(&cluster, "ss1", "may have 64 files open") && logged(&cluster, "ss1", "ulimit -Hn"));
}

#[test]
fn a_burst_of_clients_beyond_the_open_files_ends_no_server_and_later_clients_are_served() {
    let cluster = Cluster::start(true);
    let low = Conditions { open_files: Some((128, 128)), ..Conditions::default() };
    let mut nm = cluster.restart_by_hand("nm", &low);
    let mut ss1 = cluster.restart_by_hand("ss1", &low);
    cluster.wait(LATER, "ss1 to act", |status| all_active(status) && pair(status)["acting"] == "ss1");
    // Strangers who say nothing, more than there is room for.
    let addrs = [cluster.addr("nm"), cluster.addr("ss1")];
    let strangers: Vec<TcpStream> = (0..300).filter_map(|n| TcpStream::connect(&addrs[n % 2]).ok()).collect();
    assert!(strangers.len() > 250);
    let clients: Vec<_> = (0..24).map(|n| cluster.begin(&["create", &format!("/f{n}")])).collect();
    for client in clients {
        client.end().ok();
    }
    drop(strangers);
    cluster.write("/later", b"later");
    assert!(nm.runs() && ss1.runs());
    let listed = cluster.pairfs(&["ls", "/"]).ok().text();
    assert_eq!(listed.lines().count(), 25, "{listed}");
    // Told of, but not in every try.
    for name in ["nm", "ss1"] {
        let log = fs::read_to_string(log_of(&cluster, name)).unwrap();
        assert!(log.lines().filter(|line| line.contains("could not be accepted")).count() < 30);
    }
    cluster.assert_copies_equal();
}

// ---- the data folder

/// Starts the member with `--data` at `folder` and gives its exit status and last words.
fn on(cluster: &Cluster, line: &[String], folder: &Path) -> (i32, String) {
    let at = line.iter().position(|word| word == "--data").unwrap();
    let mut line = line.to_vec();
    line[at + 1] = folder.to_str().unwrap().to_owned();
    // Its words on stderr, not in a log.
    let at = line.iter().position(|word| word == "--log-file").unwrap();
    line.drain(at..at + 2);
    let mut server = command::command(None, &[]);
    server.args(&line[1..]).current_dir(cluster.dir());
    let ran = command::run(server, b"");
    let error = ran.stderr.lines().filter(|line| line.starts_with("error[")).collect::<Vec<_>>();
    assert_eq!(error.len(), 1, "one line of error: {}", ran.stderr);
    (ran.status, error[0].to_owned())
}

#[test]
fn a_data_folder_that_is_not_right_is_refused_in_one_line() {
    let cluster = Cluster::start(true);
    let lines = ["nm", "ss1"].map(|name| cluster.command_line(name));
    let place = |name: &str| cluster.desk().join(name);
    for line in &lines {
        let name = if line[1] == "nm" { "nm" } else { "ss1" };
        assert_eq!(on(&cluster, line, &cluster.dir().join(name)).0, 4, "in use");
        let file = place("file");
        fs::write(&file, "x").unwrap();
        let (status, error) = on(&cluster, line, &file);
        assert!(status == 2 && error.contains("no folder"), "{error}");
        let open = place(&format!("{name}-open"));
        fs::create_dir_all(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let (status, error) = on(&cluster, line, &open);
        assert!(status == 5 && error.contains("mode 0755") && error.contains("chmod 700"), "{error}");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        if chown(&open, Some(54_321), None).is_ok() {
            let (status, error) = on(&cluster, line, &open);
            assert!(status == 5 && error.contains("another user"), "{error}");
        }
        let other = if name == "nm" { "ss1" } else { "nm" };
        let (status, error) = on(&cluster, line, &cluster.dir().join(other));
        assert!(status == 2 && error.contains("is the data of"), "{error}");
    }
    cluster.node_stop("ss1");
    let (status, error) = on(&cluster, &cluster.command_line("ss1_backup"), &cluster.dir().join("ss1"));
    assert!(status == 2 && error.contains("is the data of ss1, not of ss1_backup"), "{error}");
    // All of it is for its owner's eyes only.
    for name in ["nm", "ss1", "ss1_backup"] {
        assert_private(&cluster.dir().join(name));
    }
}

fn assert_private(folder: &Path) {
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_private(&path);
        } else if let Ok(meta) = fs::metadata(&path) {
            assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
}

/// Where the checksum of a segment's header stands.
const HEADER_SUM_AT: usize = 56;

#[test]
fn data_of_a_newer_format_is_refused_and_left_alone() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.wait_settled();
    let lines = ["nm", "ss1"].map(|name| cluster.command_line(name));
    for (line, name, log) in [(&lines[0], "nm", "raft"), (&lines[1], "ss1", "store/journal")] {
        cluster.node_stop(name);
        let data = cluster.dir().join(name);
        let segment = first_segment(&data.join(log));
        // Magic, then the version, and in the end a checksum that fits: else it would be damage.
        let bytes = fs::read(&segment).unwrap();
        let mut newer = bytes.clone();
        newer[8] = 99;
        let sum = types::content::crc64(&newer[..HEADER_SUM_AT]);
        newer[HEADER_SUM_AT..HEADER_SUM_AT + 8].copy_from_slice(&sum.to_le_bytes());
        fs::write(&segment, &newer).unwrap();
        let (status, error) = on(&cluster, line, &data);
        assert!(status == 7 && error.contains("UNKNOWN_FORMAT") && error.contains("99"), "{status} {error}");
        fs::write(&segment, &bytes).unwrap();
        cluster.node_start(name);
    }
    cluster.node_stop("ss1");
    let identity = cluster.dir().join("ss1/identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replace("format = 1", "format = 9")).unwrap();
    let (status, error) = on(&cluster, &lines[1], &cluster.dir().join("ss1"));
    assert!(
        status == 7 && error.contains("UNKNOWN_FORMAT") && error.contains("format 9"),
        "{status} {error}"
    );
    fs::write(&identity, text).unwrap();
    cluster.node_start("ss1");
    assert_eq!(cluster.read("/file"), b"content");
    cluster.assert_copies_equal();
}

fn first_segment(folder: &Path) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|it| it == "seg")).min().expect("a segment")
}
