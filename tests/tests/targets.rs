//! Where `get`, `put` and `read -o` write to and read from when it is no regular file: pipes, links, standard input
//! and output; and names that are one name in the store.

use pairfs_tests::Cluster;
use pairfs_tests::command::{command, run};
use pairfs_tests::tree::text;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::Command;

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn is_pipe(path: &Path) -> bool {
    path.symlink_metadata().unwrap().file_type().is_fifo()
}

/// What comes out of the pipe at `path` while `words` run.
fn through_pipe(cluster: &Cluster, path: &Path, words: &[&str]) -> Vec<u8> {
    make_pipe(path);
    let place = path.to_owned();
    let reader = std::thread::spawn(move || fs::read(place).unwrap());
    let ran = cluster.pairfs(words);
    if !is_pipe(path) {
        panic!("the pipe was replaced by `pairfs {}`", ran.words);
    }
    // If it was never opened, the reader would wait for ever.
    drop(fs::File::options().read(true).write(true).open(path).unwrap());
    ran.ok();
    reader.join().unwrap()
}

#[test]
fn a_pipe_or_device_that_a_file_is_got_to_is_written_to_and_stays() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    let large = pairfs_tests::workload::filled(7, 5 << 20);
    cluster.write("/tree/file", b"through");
    cluster.write("/tree/large", &large);
    cluster.write("/tree/empty", b"");
    let (one, two, three) = (desk.join("one"), desk.join("two"), desk.join("three"));
    assert_eq!(through_pipe(&cluster, &one, &["get", "/tree/file", text(&one)]), b"through");
    assert!(through_pipe(&cluster, &two, &["get", "/tree/large", text(&two)]) == large);
    assert_eq!(through_pipe(&cluster, &three, &["read", "/tree/file", "-o", text(&three)]), b"through");
    symlink("/dev/null", desk.join("null")).unwrap();
    for path in ["/tree/file", "/tree/empty", "/tree/large"] {
        cluster.pairfs(&["get", path, text(&desk.join("null"))]).ok();
    }
    assert!(fs::metadata(desk.join("null")).unwrap().file_type().is_char_device());

    // Within a tree it is an error of its own, and stays too.
    fs::create_dir_all(desk.join("back/tree")).unwrap();
    make_pipe(&desk.join("back/tree/file"));
    let ran = cluster.pairfs(&["get", "-r", "/tree", text(&desk.join("back"))]).exits(1);
    assert!(ran.stderr.contains("error[EXISTS]") && ran.stderr.contains("is a pipe"), "{}", ran.stderr);
    assert!(is_pipe(&desk.join("back/tree/file")));
    assert!(fs::read(desk.join("back/tree/large")).unwrap() == large);
}

#[test]
fn a_link_that_a_file_is_got_to_is_followed() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    cluster.write("/file", b"new");
    let (link, real) = (desk.join("link"), desk.join("below/real"));
    fs::create_dir(desk.join("below")).unwrap();
    symlink("below/real", &link).unwrap();
    for words in [["get", "/file", text(&link)].as_slice(), &["read", "/file", "-o", text(&link)]] {
        fs::write(&real, b"what was there").unwrap();
        cluster.pairfs(words).ok();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("below/real"), "{words:?}");
        assert_eq!(fs::read(&real).unwrap(), b"new", "{words:?}");
        // As cp: not through a link to nothing.
        fs::remove_file(&real).unwrap();
        cluster.pairfs(words).exits(3);
        assert!(link.is_symlink() && !real.exists(), "{words:?}");
    }
}

#[test]
fn what_goes_to_standard_output_is_the_file_and_nothing_else() {
    let cluster = Cluster::start(true);
    cluster.write("/tree/file", b"content\n");
    for words in
        [["get", "/tree/file", "/dev/stdout"].as_slice(), &["read", "/tree/file", "-o", "/dev/stdout"]]
    {
        let ran = cluster.pairfs(words).ok();
        assert_eq!((ran.stdout.as_slice(), ran.stderr.as_str()), (b"content\n".as_slice(), ""), "{words:?}");
    }
    // Into a file that others write to as well.
    let log = cluster.desk().join("log");
    let get = command(Some(&cluster.dir()), &["get", "/tree/file", "/dev/stdout"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "out=$1; shift; (echo before; \"$@\"; echo after) > \"$out\"", "sh", text(&log)]);
    shell.arg(get.get_program()).args(get.get_args());
    run(shell, b"").ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\ncontent\nafter\n");
    for out in ["-", "/dev/stdout"] {
        cluster.pairfs(&["get", "-r", "/tree", out]).exits(2);
        cluster.pairfs(&["get", "/tree/file", "/tree/file", out]).exits(2);
        cluster.pairfs(&["get", "/nothing", out]).exits(3);
    }
    assert!(!cluster.dir().with_file_name("-").exists());
}

#[test]
fn what_comes_from_standard_input_is_put_as_one_file() {
    let cluster = Cluster::start(true);
    let ran = cluster.pairfs_with(&["--json", "put", "-p", "-", "/new/file"], b"typed").ok();
    assert_eq!((&ran.json()["path"], &ran.json()["size"]), (&"/new/file".into(), &5.into()));
    assert_eq!(cluster.read("/new/file"), b"typed");
    cluster.pairfs_with(&["put", "-", "/new"], b"into a folder").exits(2);
    cluster.pairfs_with(&["put", "-", "-", "/new"], b"twice").exits(2);
    cluster.pairfs_with(&["put", "-n", "-", "/new/other"], b"not yet").exits(2);
    cluster.pairfs(&["info", "/new/other"]).exits(3);
    // A file of that name goes by another path.
    let file = cluster.dir().with_file_name("-");
    fs::write(&file, "a dash").unwrap();
    cluster.pairfs(&["put", "./-", "/new/dash"]).ok();
    assert_eq!(cluster.read("/new/dash"), b"a dash");
}

#[test]
fn of_two_names_that_are_one_name_there_the_second_is_an_error_and_nothing_is_overwritten() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    let tree = desk.join("tree");
    let (composed, apart) = ("caf\u{e9}", "cafe\u{301}");
    for (name, content) in [(composed, "one"), (apart, "two"), ("plain", "three")] {
        fs::create_dir_all(tree.join("d").join(name)).unwrap();
        fs::write(tree.join(name), content).unwrap();
        fs::write(tree.join("d").join(name).join(content), content).unwrap();
    }
    let from = format!("{}/.", text(&tree));
    // The second time nothing is put: the one that is there stays what it was.
    for (files, skipped) in [(4, 0), (0, 4)] {
        let ran = cluster.pairfs(&["--json", "put", "-r", "-p", &from, "/tree"]).exits(1);
        let summary = ran.json_lines().last().unwrap()["summary"].clone();
        assert_eq!(
            (&summary["files"], &summary["skipped"], &summary["failed"]),
            (&files.into(), &skipped.into(), &2.into()),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stderr.matches("\"EXISTS\"").count(), 2, "{}", ran.stderr);
        for spelled in ["caf\\\\u{e9}", "cafe\\\\u{301}"] {
            assert!(ran.stderr.contains(spelled), "both names are told: {}", ran.stderr);
        }
    }
    assert_eq!(cluster.read(&format!("/tree/{composed}")), b"two");
    assert_eq!(cluster.read(&format!("/tree/d/{composed}/two")), b"two");
    cluster.pairfs(&["info", &format!("/tree/d/{composed}/one")]).exits(3);

    // What is left out takes no name, and what is named on the command line is no different.
    let only = desk.join("only");
    fs::create_dir(&only).unwrap();
    make_pipe(&only.join(apart));
    fs::write(only.join(composed), "file").unwrap();
    cluster.pairfs(&["put", "-r", text(&only), "/only"]).ok();
    assert_eq!(cluster.read(&format!("/only/{composed}")), b"file");
    cluster.pairfs(&["mkdir", "/both"]).ok();
    let both = [tree.join(composed), tree.join(apart)];
    let ran = cluster.pairfs(&["put", text(&both[0]), text(&both[1]), "/both"]).exits(2);
    assert!(ran.stderr.contains("error[USAGE]") && ran.stderr.contains("cafe\\u{301}"), "{}", ran.stderr);
    cluster.pairfs(&["info", &format!("/both/{composed}")]).exits(3);
}

#[test]
fn two_sources_of_one_name_are_refused_before_anything_is_copied() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    for folder in ["a", "b"] {
        fs::create_dir_all(desk.join(folder)).unwrap();
        fs::write(desk.join(folder).join("x"), folder).unwrap();
        fs::write(desk.join(folder).join(folder), folder).unwrap();
        cluster.pairfs_with(&["write", "-p", &format!("/{folder}/x")], folder.as_bytes()).ok();
    }
    cluster.pairfs(&["mkdir", "/to"]).ok();
    let to = desk.join("to");
    fs::create_dir(&to).unwrap();
    let (one, other) = (desk.join("a/x"), desk.join("b/x"));
    let (one, other) = (text(&one), text(&other));
    let put = cluster.pairfs(&["put", text(&desk.join("a/a")), one, other, "/to"]).exits(2);
    let get = cluster.pairfs(&["get", "/a/x", "/b/x", text(&to)]).exits(2);
    for (ran, names) in [(put, [one, other]), (get, ["/a/x", "/b/x"])] {
        assert_eq!(ran.code().as_deref(), Some("USAGE"));
        assert!(names.iter().all(|name| ran.stderr.contains(name)), "both are named: {}", ran.stderr);
    }
    // With --delete one would remove what the other brought.
    let folders = ["a/.", "b/."].map(|folder| desk.join(folder).display().to_string());
    cluster.pairfs(&["put", "-r", "--delete", &folders[0], &folders[1], "/to"]).exits(2);
    cluster.pairfs(&["get", "-r", "--delete", "/a/.", "/b", text(&to)]).exits(2);
    assert!(cluster.pairfs(&["ls", "/to"]).ok().stdout.is_empty(), "nothing was copied");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "nothing was copied");
    cluster.pairfs(&["put", "-r", &folders[0], &folders[1], "/to"]).ok();
    assert_eq!(cluster.read("/to/b"), b"b");
}

#[test]
fn what_is_in_a_folder_is_got_again_by_the_same_command_which_does_only_what_is_missing() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    cluster.write("/tree/a", b"first");
    cluster.write("/tree/below/b", b"second");
    let back = desk.join("back");
    let get = |words: &[&str]| {
        let ran = cluster.pairfs(&[&["--json", "get", "-r"], words].concat()).ok();
        let summary = ran.json_lines().last().unwrap()["summary"].clone();
        (summary["files"].as_u64().unwrap(), summary["skipped"].as_u64().unwrap())
    };
    assert_eq!(get(&["/tree/.", text(&back)]), (2, 0));
    assert_eq!(get(&["/tree/.", text(&back)]), (0, 2));
    fs::remove_file(back.join("below/b")).unwrap();
    assert_eq!(get(&["/tree/.", text(&back)]), (1, 1));
    assert_eq!(fs::read(back.join("below/b")).unwrap(), b"second");
    assert!(!back.join("tree").exists());
    assert_eq!(get(&["/.", text(&desk.join("all"))]), (2, 0));
    // As cp: without the dot it is a folder in the folder.
    assert_eq!(get(&["/tree", text(&back)]), (2, 0));
    assert!(back.join("tree/below/b").exists());
    // Several go into a folder that is made when asked for.
    assert_eq!(get(&["-p", "/tree/.", "/tree/below/.", text(&desk.join("new/several"))]), (3, 0));
    assert!(desk.join("new/several/b").exists() && desk.join("new/several/below/b").exists());
    cluster.pairfs(&["get", "/tree/a/.", text(&back)]).exits(2);
    cluster.pairfs(&["get", "/tree/.", text(&back)]).exits(2);
}

#[test]
fn the_advice_to_give_a_command_again_names_the_form_that_goes_on() {
    let cluster = Cluster::start(true);
    let desk = cluster.desk().to_owned();
    cluster.write("/tree/a", b"content");
    cluster.write("/tree/b", b"content");
    let (back, tree) = (desk.join("back"), desk.join("tree"));
    fs::create_dir_all(back.join("a")).unwrap();
    let ran = cluster.pairfs(&["get", "-r", "/tree/.", text(&back)]).exits(1);
    assert!(ran.stderr.contains("the same command again does only what is missing"), "{}", ran.stderr);
    fs::create_dir(&tree).unwrap();
    for name in ["\u{e9}", "e\u{301}"] {
        fs::write(tree.join(name), "content").unwrap();
    }
    let ran = cluster.pairfs(&["put", "-r", text(&tree), "/other"]).exits(1);
    assert!(ran.stderr.contains("with FOLDER/. for FOLDER the same command"), "{}", ran.stderr);
    let ran = cluster.pairfs(&["put", "-r", text(&tree), "/other"]).exits(1);
    assert!(ran.stderr.contains("the same command again does only what is missing"), "{}", ran.stderr);
}
