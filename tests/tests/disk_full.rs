//! A full disk: writes are refused with what to do, everything else goes on, and room that is made is used without a
//! restart. The cluster's folder is a small file system of its own, which only root can mount.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON};
use pairfs_tests::wait::until;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file system: enough for the reserve of 128 MiB, the logs, and some files twice.
const SIZE_MIB: u64 = 512;
/// One file.
const FILE: usize = 12 << 20;

/// A file system in memory. Declared before the cluster in it, so that it is dropped after it.
struct Small {
    folder: PathBuf,
}

impl Small {
    /// Mounts it at `folder`; `None`, having said why, if that is not possible here.
    fn mount(folder: &Path) -> Option<Small> {
        Small::mount_of(folder, SIZE_MIB)
    }

    /// The same with another size.
    fn mount_of(folder: &Path, mib: u64) -> Option<Small> {
        fs::create_dir_all(folder).unwrap();
        let size = format!("size={mib}m,mode=0700");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "pairfs-test"]).arg(folder).output();
        match mount {
            Ok(output) if output.status.success() => Some(Small { folder: folder.to_owned() }),
            Ok(output) => {
                println!(
                    "skipped: no file system can be mounted: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                println!("skipped: there is no mount: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if let Some(desk) = self.folder.parent() {
            let _ = fs::remove_dir_all(desk);
        }
    }
}

fn content(n: usize) -> Vec<u8> {
    let mut x = n as u64 * 0x9E37_79B9 + 1;
    let mut draw = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    };
    (0..FILE / 8).flat_map(|_| draw()).collect()
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_is_usable_again_after_rm() {
    let empty = Cluster::empty(false);
    let Some(_small) = Small::mount(&empty.dir()) else { return };
    let cluster = empty;
    cluster.up(&["up", "--fast"]);
    cluster.write("/small", b"small");
    let mut written = 0;
    let refused = loop {
        assert!(written < 40, "it is never full");
        let ran = cluster.pairfs_with(&["write", &format!("/f{written}"), "-"], &content(written));
        if ran.status != 0 {
            break ran;
        }
        written += 1;
    };
    println!("full after {written} files of {} MiB", FILE >> 20);
    assert!(written >= 3);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("DISK_FULL") && refused.stderr.contains("room"), "{}", refused.stderr);
    // Nothing else is refused.
    assert_eq!(cluster.read("/small"), b"small");
    assert!(cluster.read("/f1") == content(1));
    cluster.pairfs(&["mkdir", "/folder"]).ok();
    cluster.pairfs(&["mv", "/f0", "/folder/f0"]).ok();
    for n in 1..written {
        cluster.pairfs(&["rm", &format!("/f{n}")]).ok();
    }
    // The trash makes room by itself, and no more of it goes than that takes.
    until(LATER, "room after rm", || {
        cluster.pairfs_with(&["write", "/again", "-"], &content(100)).status == 0
    });
    assert!(cluster.read("/again") == content(100));
    assert!(cluster.read("/folder/f0") == content(0));
    cluster.assert_copies_equal();
    cluster.node_stop("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    assert!(cluster.read("/again") == content(100));
}

#[test]
fn a_disk_without_any_room_leaves_the_name_manager_whole() {
    let empty = Cluster::empty(false);
    let Some(small) = Small::mount(&empty.dir()) else { return };
    let cluster = empty;
    cluster.up(&["up", "--fast"]);
    for n in 0..20 {
        cluster.write(&format!("/before/f{n}"), format!("content {n}").as_bytes());
    }
    cluster.wait_settled();
    // Someone else takes all room, the reserve too.
    let filler = small.folder.join("filler");
    fill(&filler);
    // Not even a line of a log can be written now: reads are served, and a write that is refused says why.
    for _ in 0..5 {
        let small = cluster.pairfs_with(&["write", "/small", "-", "--timeout", "5"], b"x").exits(1);
        assert!(small.stderr.contains("DISK_FULL"), "{}", small.stderr);
        assert_eq!(cluster.read("/before/f1"), b"content 1");
    }
    let mut made = Vec::new();
    let mut refused = 0;
    for n in 0..150 {
        let ran = cluster.pairfs(&["mkdir", &format!("/during{n}"), "--timeout", "3"]);
        match ran.status {
            0 => made.push(n),
            _ => refused += 1,
        }
        if refused > 3 {
            break;
        }
    }
    println!("{} folders made, {refused} refused without any room", made.len());
    assert!(cluster.pairfs_with(&["write", "/new", "-", "--timeout", "5"], &content(1)).status != 0);
    fs::remove_file(&filler).unwrap();
    // It may have ended by itself, with an error.
    if cluster.try_status().is_some() {
        cluster.kill9("nm");
    }
    let _ = cluster.pairfs(&["node", "start", "nm"]);
    until(LATER, "the name manager to serve", || cluster.try_status().is_some());
    cluster.wait_settled();
    for n in 0..20 {
        assert_eq!(cluster.read(&format!("/before/f{n}")), format!("content {n}").as_bytes());
    }
    let listed = cluster.pairfs(&["ls", "/"]).ok().text();
    for n in made {
        assert!(listed.contains(&format!("during{n}")), "an acknowledged folder is gone: {listed}");
    }
    cluster.write("/after", b"after");
    cluster.assert_copies_equal();
}

/// Puts a tree of links with long targets, which take room in the name manager only; whether all were acknowledged.
fn put_links(cluster: &Cluster, round: usize) -> bool {
    let tree = cluster.desk().join("tree");
    if !tree.exists() {
        fs::create_dir(&tree).unwrap();
        let long = format!("{}end", "folder/".repeat(570));
        (0..LINKS).for_each(|n| std::os::unix::fs::symlink(&long, tree.join(format!("link{n}"))).unwrap());
    }
    let target = format!("/round{round}");
    cluster.pairfs(&["put", "-r", tree.to_str().unwrap(), &target, "--timeout", "5"]).status == 0
}

/// Links of one round.
const LINKS: usize = 500;

#[test]
fn a_name_manager_whose_own_disk_is_full_says_so_loses_nothing_and_serves_again() {
    /// One segment of its log and a spare, its state, and little more.
    const SIZE: u64 = 64;
    let cluster = Cluster::empty(false);
    let Some(small) = Small::mount_of(&cluster.dir().join("nm"), SIZE) else { return };
    cluster.up(&["up", "--fast"]);
    for n in 0..10 {
        cluster.write(&format!("/before/f{n}"), format!("content {n}").as_bytes());
    }
    cluster.wait_settled();
    let filler = small.folder.join("filler");
    fill(&filler);
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for round in 0..200 {
        match put_links(&cluster, round) {
            true => acknowledged.push(round),
            false => refused += 1,
        }
        if refused > 0 {
            break;
        }
        fill(&small.folder.join(format!("filler{round}")));
    }
    println!("{} rounds before it was full", acknowledged.len());
    assert!(refused > 0, "it was never full");
    let log = || fs::read_to_string(cluster.dir().join("nm.log")).unwrap();
    until(SOON, "it to say why", || {
        let log = log().to_lowercase();
        log.contains("full") || log.contains("no space")
    });
    // Without room it does not come back by halves.
    if cluster.try_status().is_none() {
        let _ = cluster.pairfs(&["node", "start", "nm"]);
    }
    for entry in fs::read_dir(&small.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("filler") {
            fs::remove_file(path).unwrap();
        }
    }
    until(LATER, "the name manager to serve", || {
        cluster.try_status().is_some() || {
            let _ = cluster.pairfs(&["node", "start", "nm"]);
            false
        }
    });
    cluster.wait_settled();
    for n in 0..10 {
        assert_eq!(cluster.read(&format!("/before/f{n}")), format!("content {n}").as_bytes());
    }
    for round in acknowledged {
        let listed = cluster.pairfs(&["ls", &format!("/round{round}")]).ok().text();
        assert_eq!(listed.lines().count(), LINKS, "round {round}");
    }
    cluster.write("/after", b"after");
    cluster.assert_copies_equal();
    println!(
        "{}",
        log().lines().filter(|line| line.contains("ERROR")).take(3).collect::<Vec<_>>().join("\n")
    );
}

fn fill(path: &Path) {
    use std::io::Write;
    let mut file = File::create(path).unwrap();
    let mut piece = vec![7; 1 << 20];
    while !piece.is_empty() {
        match file.write(&piece) {
            Ok(n) if n > 0 => {}
            _ => piece.truncate(piece.len() / 2),
        }
    }
}
