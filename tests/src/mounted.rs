//! A member whose data is on a file system of its own: ext4 in a file, which can turn read-only and be frozen as a disk that
//! fails or hangs makes it. Needs root, `mkfs.ext4` and a loop device; what cannot be had is told as skipped.

use crate::Cluster;
use crate::tree::text;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
pub struct Disk {
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
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn turn_read_only(&self) {
        run("mount", &["-o", "remount,abort", text(&self.folder)]).expect("it is mounted");
    }

    /// Another start of the machine: the file system is checked and mounted again.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn come_back(&self) {
        run("umount", &[text(&self.folder)]).expect("nobody uses it");
        let checked = Command::new("e2fsck").args(["-fy", text(&self.image)]).output().expect("e2fsck runs");
        // 1: it had something to mend.
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount().expect("it can be mounted again");
    }

    /// Whoever writes to it waits in the kernel from now on, and cannot be killed, until what this gives is dropped. So it
    /// has to be dropped before anything that waits for such a process.
    ///
    /// # Panics
    /// If it cannot be frozen.
    pub fn freeze(&self) -> Frozen {
        // Whatever happens to this program: the pipe ends with it, and the disk thaws.
        let mut thaw = Command::new("sh");
        thaw.args(["-c", "cat > /dev/null; exec fsfreeze --unfreeze \"$0\"", text(&self.folder)]);
        thaw.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let frozen = Frozen(thaw.spawn().expect("a shell runs"));
        run("fsfreeze", &["--freeze", text(&self.folder)]).expect("it can be frozen");
        frozen
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", text(&self.folder)]);
    }
}

/// A disk that hangs; dropped, it goes on.
pub struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A running cluster, fast, where `member` has a disk of its own, for `play`; every member is stopped cleanly then.
///
/// # Panics
/// With what is not as it should be.
pub fn with_disk(member: &str, play: impl FnOnce(&Cluster, &Disk)) {
    let cluster = Cluster::empty(false);
    let place = |name: &str| Path::new(cluster.desk()).join(name);
    // Dropped before the cluster is, whose folder it is mounted in.
    let disk = match Disk::make(place("disk.img"), cluster.disk(member)) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: {why}"),
    };
    run("chmod", &["0700", text(&cluster.dir())]).expect("the folder is ours");
    cluster.up(&["up", "--fast"]);
    play(&cluster, &disk);
    for member in cluster.members() {
        cluster.node_stop(&member);
    }
}
