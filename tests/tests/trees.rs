//! `put` and `get`: files and trees as `cp -r` would, resumable, and nothing that is bad stops the rest.

use pairfs_tests::cluster::SOON;
use pairfs_tests::command::{Started, command, start};
use pairfs_tests::tree::{shape, shape_of_files, text, write};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A tree with all that can be kept.
fn make_tree(root: &Path) {
    write(&root.join("small"), b"hello", 0o644, 1);
    write(&root.join("empty"), b"", 0o600, 2);
    write(&root.join("run.sh"), b"#!/bin/sh\n", 0o755, 3);
    write(&root.join("a/b/c/medium"), &filled(1, 100_000), 0o640, 4);
    write(&root.join("a/large"), &filled(2, 9 << 20), 0o644, 5);
    write(&root.join("a/with space \u{e9} \u{1f600}"), b"named", 0o644, 6);
    fs::create_dir_all(root.join("hollow/inner")).unwrap();
    symlink("../small", root.join("a/link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("a", root.join("folder link")).unwrap();
}

#[test]
fn a_tree_comes_back_with_its_bytes_times_modes_links_and_empty_folders() {
    let cluster = Cluster::start(true);
    let (tree, back) = (cluster.desk().join("tree"), cluster.desk().join("back"));
    make_tree(&tree);
    cluster.pairfs(&["put", "-r", text(&tree), "/tree"]).ok();
    let ran = cluster.pairfs(&["get", "-r", "/tree", text(&back)]).ok();
    assert!(shape_of_files(&tree) == shape_of_files(&back), "{:?}", shape_of_files(&back).keys());
    assert!(ran.stderr.is_empty(), "no progress without a terminal: {}", ran.stderr);
    assert!(ran.text().contains("6 files"), "{}", ran.text());
    let info = cluster.info("/tree/a/link");
    assert_eq!((info["kind"].as_str(), info["target"].as_str()), (Some("symlink"), Some("../small")));
    assert_eq!(cluster.info("/tree/run.sh")["mode"], "0755");
    cluster.assert_copies_equal();
}

/// By relative path: mode and modification time in ms of everything, links and folders included, as `stat` tells.
fn stats(root: &Path) -> BTreeMap<String, (u32, i64)> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        // A link has no mode of its own.
        let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o777 };
        all.insert(name, (mode, meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000));
    }
    all
}

#[test]
fn folders_and_links_keep_their_times_and_all_modes_even_none_whatever_the_umask() {
    let cluster = Cluster::start(true);
    let (tree, back) = (cluster.desk().join("tree"), cluster.desk().join("back"));
    make_tree(&tree);
    write(&tree.join("locked"), b"for nobody", 0o000, 7);
    for (n, (name, mode)) in [
        ("a/b/c", 0o700),
        ("a/b", 0o550),
        ("a", 0o777),
        ("hollow/inner", 0o711),
        ("hollow", 0o755),
        ("", 0o750),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = tree.join(name);
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        set_time(&folder, 1_500_000_000 + n as i64);
    }
    set_time(&tree.join("a/link"), 1_400_000_000);
    // What `cp -a` makes of it, to the millisecond.
    let copy = cluster.desk().join("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(&tree).arg(&copy).status().unwrap();
    assert!(copied.success());
    let with_umask = |words: &[&str]| {
        let mut command = pairfs_tests::command::command(Some(&cluster.dir()), words);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask 0177; exec \"$0\" \"$@\""]).arg(command.get_program());
        shell.args(command.get_args());
        std::mem::swap(&mut command, &mut shell);
        pairfs_tests::command::run(command, b"").ok()
    };
    with_umask(&["put", "-r", text(&tree), "/tree"]);
    with_umask(&["get", "-r", "/tree", text(&back)]);
    assert_eq!(stats(&back), stats(&copy));
    assert_eq!(cluster.info("/tree/locked")["mode"], "0000");
    assert_eq!(cluster.info("/tree/a/b")["mode"], "0550");
    // A change of a folder alone is taken over as well, in both directions, and nothing else is sent again.
    fs::set_permissions(tree.join("hollow"), fs::Permissions::from_mode(0o701)).unwrap();
    set_time(&tree.join("hollow"), 1_450_000_000);
    let from = format!("{}/.", text(&tree));
    let ran = cluster.pairfs(&["--json", "put", "-r", &from, "/tree"]).ok();
    assert_eq!(ran.json_lines().last().unwrap()["summary"]["files"], 0);
    // Into a folder that is there a tree goes under its own name, as with cp.
    fs::rename(&back, cluster.desk().join("got")).unwrap();
    fs::create_dir(&back).unwrap();
    fs::rename(cluster.desk().join("got"), back.join("tree")).unwrap();
    let ran = cluster.pairfs(&["--json", "get", "-r", "/tree", text(&back)]).ok();
    assert_eq!(ran.json_lines().last().unwrap()["summary"]["files"], 0);
    assert_eq!(stats(&back.join("tree/hollow")), stats(&tree.join("hollow")));
    cluster.assert_copies_equal();
}

fn set_time(path: &Path, seconds: i64) {
    use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn names_go_where_cp_would_put_them() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    make_tree(&desk.join("tree"));
    let (tree, small) = (desk.join("tree"), desk.join("tree/small"));
    cluster.pairfs(&["put", text(&small), "/one"]).ok();
    assert_eq!(cluster.read("/one"), b"hello");
    cluster.pairfs(&["mkdir", "/folder"]).ok();
    cluster.pairfs(&["put", text(&small), "/folder"]).ok();
    assert_eq!(cluster.read("/folder/small"), b"hello");
    cluster.pairfs(&["put", "-r", text(&tree), "/folder"]).ok();
    assert_eq!(cluster.read("/folder/tree/small"), b"hello");
    cluster.pairfs(&["put", "-r", &format!("{}/.", text(&tree)), "/folder"]).ok();
    assert_eq!(cluster.read("/folder/run.sh"), b"#!/bin/sh\n");
    let several = [text(&small), text(&desk.join("tree/empty"))].map(str::to_owned);
    cluster.pairfs(&["put", &several[0], &several[1], "/missing"]).exits(2);
    cluster.pairfs(&["put", &several[0], "/missing/"]).exits(3);
    cluster.pairfs(&["put", &several[0], "/missing/name"]).exits(3);
    cluster.pairfs(&["put", "-p", &several[0], &several[1], "/missing"]).ok();
    assert_eq!(cluster.read("/missing/small"), b"hello");
    cluster.pairfs(&["put", text(&tree), "/x"]).exits(2);
    cluster.pairfs(&["put", "no-such-file", "/x"]).exits(3);

    let out = desk.join("out");
    fs::create_dir(&out).unwrap();
    cluster.pairfs(&["get", "/one", text(&out)]).ok();
    assert_eq!(fs::read(out.join("one")).unwrap(), b"hello");
    cluster.pairfs(&["get", "/one", "/folder/small", text(&out)]).ok();
    cluster.pairfs(&["get", "-r", "/folder", text(&out)]).ok();
    assert_eq!(fs::read(out.join("folder/tree/small")).unwrap(), b"hello");
    cluster.pairfs(&["get", "/folder", text(&out)]).exits(2);
    cluster.pairfs(&["get", "/nothing", text(&out)]).exits(3);
    cluster.pairfs(&["get", "/one", text(&desk.join("no/such/name"))]).exits(3);
    cluster.pairfs(&["get", "-p", "/one", text(&desk.join("no/such/name"))]).ok();
}

#[test]
fn the_same_command_again_does_only_what_is_missing() {
    let cluster = Cluster::start(true);
    let (tree, back) = (cluster.desk().join("tree"), cluster.desk().join("back"));
    make_tree(&tree);
    let from = format!("{}/.", text(&tree));
    let put = || cluster.pairfs(&["--json", "put", "-r", "-p", &from, "/tree"]).ok();
    let summary = |ran: &pairfs_tests::Ran| ran.json_lines().last().unwrap()["summary"].clone();
    assert_eq!(summary(&put())["files"], 6);
    let again = summary(&put());
    assert_eq!(
        (again["files"].as_u64(), again["links"].as_u64(), again["skipped"].as_u64()),
        (Some(0), Some(0), Some(9))
    );
    assert_eq!(cluster.info("/tree/small")["versions"].as_array().map(Vec::len), Some(1));
    // Of the same size, but newer.
    write(&tree.join("small"), b"HELLO", 0o644, 100);
    assert_eq!(summary(&put())["files"], 1);
    assert_eq!(cluster.read("/tree/small"), b"HELLO");

    let get = || cluster.pairfs(&["--json", "get", "-r", "/tree", text(&back)]).ok();
    assert_eq!(summary(&get())["files"], 6);
    fs::rename(&back, cluster.desk().join("moved")).unwrap();
    fs::create_dir(&back).unwrap();
    fs::rename(cluster.desk().join("moved"), back.join("tree")).unwrap();
    fs::remove_file(back.join("tree/a/large")).unwrap();
    fs::write(back.join("tree/small"), b"cut").unwrap();
    assert_eq!(summary(&get())["files"], 2);
    assert!(shape_of_files(&tree) == shape_of_files(&back.join("tree")));
}

#[test]
fn one_bad_file_does_not_stop_the_rest() {
    let cluster = Cluster::start(true);
    let tree = cluster.desk().join("tree");
    make_tree(&tree);
    mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::write(tree.join(std::ffi::OsStr::from_bytes(b"not \xff utf-8")), b"x").unwrap();
    // A folder stands where a file should go.
    cluster.pairfs(&["mkdir", "-p", "/tree/tree/small"]).ok();
    let ran = cluster.pairfs(&["put", "-r", text(&tree), "/tree"]).exits(1);
    assert!(ran.stderr.contains("pipe is a pipe: left out"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("error[IS_A_FOLDER]") && ran.stderr.contains("error[BAD_PATH]"),
        "{}",
        ran.stderr
    );
    assert!(ran.text().contains("5 files") && ran.text().contains("2 failed"), "{}", ran.text());
    assert_eq!(cluster.read("/tree/tree/a/large"), filled(2, 9 << 20));

    let back = cluster.desk().join("back");
    fs::create_dir_all(back.join("tree/run.sh/in the way")).unwrap();
    let ran = cluster.pairfs(&["get", "-r", "/tree/tree", text(&back)]).exits(1);
    assert!(ran.text().contains("4 files") && ran.text().contains("1 failed"), "{}", ran.text());
    assert_eq!(fs::read(back.join("tree/a/large")).unwrap(), filled(2, 9 << 20));
}

#[test]
fn what_is_excluded_is_neither_transferred_nor_deleted() {
    let cluster = Cluster::start(true);
    let tree = cluster.desk().join("tree");
    make_tree(&tree);
    let from = format!("{}/.", text(&tree));
    cluster.pairfs(&["put", "-r", "-p", "--exclude", "*.sh", "--exclude", "a/b/**", &from, "/tree"]).ok();
    cluster.pairfs(&["info", "/tree/run.sh"]).exits(3);
    cluster.pairfs(&["info", "/tree/a/b/c"]).exits(3);
    assert_eq!(cluster.read("/tree/a/large").len(), 9 << 20);
    for path in ["/tree/keep.sh", "/tree/old/file", "/tree/stale"] {
        cluster.write(path, b"x");
    }
    let delete = ["put", "-r", "--exclude", "*.sh", "--delete", &from, "/tree"];
    let told = cluster.pairfs(&[&delete[..], &["--dry-run"]].concat()).ok().text();
    assert!(told.contains("delete /tree/old") && told.contains("delete /tree/stale"), "{told}");
    assert!(!told.contains("keep.sh"), "{told}");
    cluster.pairfs(&["info", "/tree/stale"]).ok();
    cluster.pairfs(&["info", "/tree/a/b/c/medium"]).exits(3);
    cluster.pairfs(&delete).ok();
    cluster.pairfs(&["info", "/tree/stale"]).exits(3);
    cluster.pairfs(&["info", "/tree/old"]).exits(3);
    cluster.pairfs(&["info", "/tree/keep.sh"]).ok();
    cluster.pairfs(&["info", "/tree/a/b/c/medium"]).ok();

    let back = cluster.desk().join("back");
    write(&back.join("tree/stale/file"), b"x", 0o644, 0);
    write(&back.join("tree/mine.sh"), b"x", 0o644, 0);
    cluster.pairfs(&["get", "-r", "--delete", "--exclude", "*.sh", "/tree", text(&back)]).ok();
    assert!(!back.join("tree/stale").exists());
    assert!(back.join("tree/mine.sh").exists() && !back.join("tree/keep.sh").exists());
}

#[test]
fn deleting_in_a_folder_of_many_pages_takes_only_what_the_source_has_not() {
    let cluster = Cluster::start(true);
    let (tree, back) = (cluster.desk().join("tree"), cluster.desk().join("back"));
    for number in 0..2300 {
        write(&tree.join(format!("f{number:04}")), format!("{number}").as_bytes(), 0o644, number);
    }
    cluster.pairfs(&["put", "-r", text(&tree), "/tree"]).ok();
    for number in 0..1500 {
        write(&back.join(format!("tree/stale{number}")), b"x", 0o644, 0);
    }
    cluster.pairfs(&["get", "-r", "--delete", "/tree", text(&back)]).ok();
    assert!(shape_of_files(&tree) == shape_of_files(&back.join("tree")));
    (0..2300).step_by(2).for_each(|number| fs::remove_file(tree.join(format!("f{number:04}"))).unwrap());
    cluster.pairfs(&["put", "-r", "--delete", &format!("{}/.", text(&tree)), "/tree"]).ok();
    let listed = cluster.pairfs(&["ls", "/tree"]).ok().text();
    assert_eq!(listed.lines().count(), 1150);
    assert!(listed.lines().all(|name| tree.join(name).exists()));
}

#[test]
fn a_link_that_came_with_a_tree_does_not_lead_out_of_it() {
    let cluster = Cluster::start(true);
    let (outside, back) = (cluster.desk().join("outside"), cluster.desk().join("back"));
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(back.join("tree")).unwrap();
    symlink(&outside, back.join("tree/a")).unwrap();
    cluster.write("/tree/a/planted", b"x");
    cluster.write("/tree/b", b"x");
    cluster.pairfs(&["get", "-r", "/tree", text(&back)]).exits(1);
    assert!(!outside.join("planted").exists());
    assert!(back.join("tree/b").exists(), "the rest goes on");
}

/// Sends `signal` to `get` once something is in the folder that it fills.
fn signal_under_way(get: &mut Started, back: &Path, signal: Signal) {
    until(SOON, "the file to arrive", || {
        fs::read_dir(back).is_ok_and(|mut entries| entries.next().is_some()) || !get.runs()
    });
    if let Some(pid) = i32::try_from(get.pid()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

#[test]
fn an_interrupted_get_leaves_no_half_file() {
    let cluster = Cluster::start(true);
    cluster.write("/tree/large", &filled(3, 48 << 20));
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let back = cluster.desk().join(format!("back{status}"));
        let mut get = cluster.begin(&["get", "-r", "/tree", text(&back)]);
        signal_under_way(&mut get, &back, signal);
        let ran = get.end();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let names: Vec<String> = fs::read_dir(&back).unwrap().map(name).collect();
        // It may have been faster than the signal.
        match ran.status {
            0 => assert_eq!(names, ["large"]),
            ended => assert!(names.is_empty() && ended == status, "{names:?}, {ended} by {signal:?}"),
        }
    }
    let again = cluster.desk().join("again");
    cluster.pairfs(&["get", "-r", "/tree", text(&again)]).ok();
    assert!(fs::read(again.join("large")).unwrap() == filled(3, 48 << 20));
}

#[test]
fn a_get_under_nohup_goes_on_when_the_terminal_is_gone() {
    let cluster = Cluster::start(true);
    cluster.write("/tree/large", &filled(3, 48 << 20));
    let back = cluster.desk().join("back");
    let get = command(Some(&cluster.dir()), &["get", "-r", "/tree", text(&back)]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(get.get_program()).args(get.get_args());
    let mut get = start(shell);
    signal_under_way(&mut get, &back, Signal::HUP);
    get.end().ok();
    assert!(fs::read(back.join("large")).unwrap() == filled(3, 48 << 20));
}

#[test]
fn a_tree_is_put_whole_while_its_server_is_killed() {
    let cluster = Cluster::start(true);
    let tree = cluster.desk().join("tree");
    for number in 0..600u64 {
        let length = if number % 50 == 0 { 6 << 20 } else { 40_000 };
        write(&tree.join(format!("d{}/f{number}", number % 7)), &filled(number, length), 0o644, number);
    }
    let put = cluster.begin(&["put", "-r", text(&tree), "/tree"]);
    until(SOON, "some files to be there", || {
        let ran = cluster.pairfs(&["ls", "/tree/d3"]);
        ran.status == 0 && ran.text().lines().count() > 3
    });
    cluster.kill9("ss1");
    put.end().ok();
    let back = cluster.desk().join("back");
    cluster.node_start("ss1");
    // What only ss1 had is owed until it has brought it.
    cluster.wait_settled();
    cluster.pairfs(&["get", "-r", "/tree", text(&back)]).ok();
    assert!(shape_of_files(&tree) == shape_of_files(&back));
    cluster.assert_copies_equal();
}

/// Trees of the same names, of which each is another kind of thing.
fn make_opposites(one: &Path, other: &Path) {
    for (folder, file) in [(one, other), (other, one)] {
        let name = if folder == one { "folder-or-file" } else { "file-or-folder" };
        fs::create_dir_all(folder.join(name).join("deep")).unwrap();
        fs::write(folder.join(name).join("deep/inner"), b"inner").unwrap();
        fs::create_dir_all(file).unwrap();
        fs::write(file.join(name), b"file").unwrap();
    }
    fs::create_dir(one.join("folder-or-link")).unwrap();
    fs::write(one.join("folder-or-link/inner"), b"inner").unwrap();
    symlink("same", other.join("folder-or-link")).unwrap();
    for place in [one, other] {
        fs::write(place.join("same"), b"same").unwrap();
    }
}

#[test]
fn with_delete_a_folder_takes_the_place_of_a_file_and_a_file_that_of_a_folder() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    let trees = [desk.join("one"), desk.join("other")];
    make_opposites(&trees[0], &trees[1]);
    let dots = trees.clone().map(|tree| format!("{}/.", text(&tree)));
    let back = desk.join("back");
    let read_back = || {
        cluster.pairfs(&["get", "-r", "--delete", "/tree/.", text(&back)]).ok();
        shape(&back)
    };
    cluster.pairfs(&["put", "-r", &dots[0], "/tree"]).ok();
    assert_eq!(read_back(), shape(&trees[0]));

    // Without it each is an error of its own, and the rest is done.
    let ran = cluster.pairfs(&["put", "-r", &dots[1], "/tree"]).exits(1);
    for code in ["error[IS_A_FOLDER]", "error[NOT_A_FOLDER]"] {
        assert!(ran.stderr.contains(code) && ran.stderr.contains("--delete"), "{}", ran.stderr);
    }
    let ran = cluster.pairfs(&["get", "-r", "/tree/.", text(&trees[1])]).exits(1);
    for code in ["error[IS_A_FOLDER]", "error[NOT_A_FOLDER]"] {
        assert!(ran.stderr.contains(code) && ran.stderr.contains("--delete"), "{}", ran.stderr);
    }
    assert_eq!(read_back(), shape(&trees[0]), "nothing was replaced");

    // With it, there and back; a dry run says the same and does nothing.
    for (tree, dot) in [(&trees[1], &dots[1]), (&trees[0], &dots[0])] {
        let before = shape(&back);
        let summary = |words: &[&str]| {
            let lines = cluster.pairfs(&[&["--json"], words].concat()).ok().json_lines();
            let summary = &lines.last().unwrap()["summary"];
            ["files", "folders", "links", "deleted"].map(|what| summary[what].as_u64().unwrap())
        };
        let put = ["put", "-r", "--delete", dot, "/tree"];
        let planned = summary(&[&put[..], &["--dry-run"]].concat());
        let get = ["get", "-r", "--delete", "/tree/.", text(&back)];
        assert_eq!(summary(&[&get[..], &["--dry-run"]].concat()), [0, 0, 0, 0], "nothing was put yet");
        assert_eq!(summary(&put), planned);
        assert_eq!(planned[3], 3, "three are of another kind");
        let planned = summary(&[&get[..], &["--dry-run"]].concat());
        assert_eq!(shape(&back), before, "a dry run does nothing");
        assert_eq!(summary(&get), planned);
        assert_eq!(shape(&back), shape(tree));
    }
    cluster.assert_copies_equal();
}
