//! The file system of a server turns read-only under it, as ext4 does when its disk fails: the server is failed over, says
//! why it ended, and takes its role back when the disk is well. Needs root, `mkfs.ext4` and a loop device.

use pairfs_tests::Cluster;
use pairfs_tests::by_hand::Conditions;
use pairfs_tests::cluster::{LATER, all_active, pair};
use pairfs_tests::tree::text;
use pairfs_tests::workload::under_load;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Larger than the reserve of a server; the file it lies in has holes.
const BYTES: u64 = 640 << 20;

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {words:?}: {}", String::from_utf8_lossy(&ran.stderr).trim())),
    }
}

/// A file system in a file.
struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// Makes one and mounts it at `folder`.
    fn make(image: PathBuf, folder: PathBuf) -> Result<Disk, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount".to_owned());
        }
        File::create(&image).and_then(|file| file.set_len(BYTES)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0", text(&image)])?;
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let disk = Disk { image, folder };
        disk.mount()?;
        // A data folder has nothing else in it.
        std::fs::remove_dir(disk.folder.join("lost+found")).map_err(|error| error.to_string())?;
        run("chmod", &["0700", text(&disk.folder)])?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop,errors=remount-ro", text(&self.image), text(&self.folder)])
    }

    /// As if an error of the disk had been met.
    fn turn_read_only(&self) {
        run("mount", &["-o", "remount,abort", text(&self.folder)]).unwrap();
    }

    /// Another start of the machine: the file system is checked and mounted again.
    fn come_back(&self) {
        run("umount", &[text(&self.folder)]).unwrap();
        let checked = Command::new("e2fsck").args(["-fy", text(&self.image)]).output().unwrap();
        // 1: it had something to mend.
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", text(&self.folder)]);
    }
}

fn with_disk(member: &str, play: impl FnOnce(&Cluster, &Disk)) {
    let cluster = Cluster::empty(false);
    let place = |name: &str| Path::new(cluster.desk()).join(name);
    let disk = match Disk::make(place("disk.img"), cluster.disk(member)) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: {why}"),
    };
    run("chmod", &["0700", text(&cluster.dir())]).unwrap();
    cluster.up(&["up", "--fast"]);
    play(&cluster, &disk);
    for member in cluster.members() {
        cluster.node_stop(&member);
    }
}

/// The member's word when it ended.
fn last_word(cluster: &Cluster, member: &str) -> String {
    let log = std::fs::read_to_string(cluster.dir().join(format!("{member}.log"))).unwrap();
    log.lines().rfind(|line| line.contains("error[")).expect("it says why it ended").to_owned()
}

#[test]
fn a_primary_whose_disk_turns_read_only_is_failed_over_loses_nothing_and_comes_back() {
    with_disk("ss1", |cluster, disk| {
        let ledger = under_load(cluster, 2, 1, |ledger| {
            let mut ss1 = cluster.restart_by_hand("ss1", &Conditions::default());
            cluster.wait(LATER, "ss1 to act", |status| all_active(status) && pair(status)["acting"] == "ss1");
            ledger.wait_writes(5, LATER);
            disk.turn_read_only();
            assert_eq!(ss1.wait_ended(LATER).code(), Some(1));
            let told = last_word(cluster, "ss1");
            assert!(told.contains("Read-only") && told.contains("check the server's disk"), "{told}");
            cluster.wait_acting("ss1_backup", LATER);
            ledger.wait_writes(5, LATER);
            // Started on it as it is, it says so again and harms nothing.
            assert_ne!(cluster.pairfs(&["node", "start", "ss1"]).status, 0);
            disk.come_back();
            cluster.node_start("ss1");
            cluster.wait_acting("ss1", LATER);
            ledger.wait_writes(5, LATER);
        });
        cluster.assert_whole(&ledger);
    });
}

#[test]
fn a_name_manager_whose_disk_turns_read_only_ends_and_goes_on_where_it_was() {
    with_disk("nm", |cluster, disk| {
        let ledger = under_load(cluster, 2, 1, |ledger| {
            let mut nm = cluster.restart_by_hand("nm", &Conditions::default());
            ledger.wait_writes(5, LATER);
            disk.turn_read_only();
            assert_eq!(nm.wait_ended(LATER).code(), Some(1));
            let told = last_word(cluster, "nm");
            assert!(told.contains("Read-only"), "{told}");
            disk.come_back();
            cluster.node_start("nm");
            ledger.wait_writes(5, LATER);
        });
        cluster.assert_whole(&ledger);
    });
}
