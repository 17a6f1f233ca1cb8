//! Large files and many writers: uploads that survive the loss of their server, more than once, and servers whose
//! memory stays bounded.
//!
//! Short in every run. Larger by hand, with the size of the large files in MiB:
//!
//! ```text
//! PAIRFS_BIG_MIB=3072 cargo test --release -p pairfs-tests --test big -- --nocapture --test-threads 1
//! ```

use pairfs_tests::by_hand::{ByHand, Conditions};
use pairfs_tests::cluster::{LATER, SOON, pair};
use pairfs_tests::command::Started;
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, Options};
use pairfs_tests::{until, within};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::limits::{CHUNK, CLIENT_WINDOW, MIB, PIECE, SERVER_READS, SERVER_WINDOW};

/// Bytes of a large file.
fn size(default_mib: usize) -> usize {
    let asked = std::env::var("PAIRFS_BIG_MIB").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(default_mib) * MIB
}

/// The bytes of a large file, a mebibyte at a time; the last one is not whole.
fn blocks(size: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..size / MIB).map(move |block| {
        let last = block + 1 == size / MIB;
        filled(block as u64, if last { MIB - 4321 } else { MIB })
    })
}

fn source(cluster: &Cluster, size: usize) -> PathBuf {
    let path = cluster.desk().join("source");
    let mut file = File::create(&path).unwrap();
    blocks(size).for_each(|block| file.write_all(&block).unwrap());
    path
}

fn digest(cluster: &Cluster, local: &Path) -> String {
    let told = cluster.pairfs(&["--json", "digest", local.to_str().unwrap()]).ok().json();
    told["digest"].as_str().unwrap().to_owned()
}

/// Bytes of contents that lie on a server's disk, about.
fn stored(cluster: &Cluster, server: &str) -> u64 {
    let Ok(files) = std::fs::read_dir(cluster.dir().join(server).join("store/extents")) else { return 0 };
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

fn wait_stored(cluster: &Cluster, server: &str, upload: &mut Started, bytes: usize) {
    until(LATER, "the upload to get on", || stored(cluster, server) >= bytes as u64 || !upload.runs());
    assert!(upload.runs(), "the upload was over before its server could be killed");
}

/// The server that acts is killed in the middle; it returns and acts again; it is killed once more.
fn lose_the_server_twice(cluster: &Cluster, mut get_on: impl FnMut()) {
    get_on();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    get_on();
    cluster.node_start("ss1");
    cluster.wait(LATER, "ss1 to act again", |status| {
        pair(status)["acting"] == "ss1" && pair(status)["state"] == "active"
    });
    get_on();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
}

fn assert_arrived(cluster: &Cluster, written: &serde_json::Value, local: &Path) {
    let expected = digest(cluster, local);
    assert_eq!(written["digest"], expected.as_str());
    let got = cluster.desk().join("got");
    cluster.pairfs(&["read", "/big", "-o", got.to_str().unwrap()]).ok();
    assert_eq!(digest(cluster, &got), expected);
    std::fs::remove_file(got).unwrap();
    cluster.node_start("ss1");
    // Compares every byte on both members with its SHA-256.
    cluster.assert_copies_equal();
}

#[test]
fn r28_an_upload_from_a_slow_pipe_survives_the_loss_of_its_server_twice_without_an_error() {
    let cluster = Cluster::start(true);
    let size = size(200);
    let local = source(&cluster, size);
    let mut upload = cluster.begin(&["--json", "write", "/big"]);
    let mut pipe = upload.input();
    let mut blocks = blocks(size);
    lose_the_server_twice(&cluster, || {
        let third = size / MIB * 3 / 10;
        blocks.by_ref().take(third).for_each(|block| pipe.write_all(&block).unwrap());
    });
    blocks.for_each(|block| pipe.write_all(&block).unwrap());
    drop(pipe);
    let written = upload.end().ok().json();
    assert_arrived(&cluster, &written, &local);
}

#[test]
fn r28_an_upload_from_a_file_goes_on_at_the_partner_when_its_server_is_killed() {
    let cluster = Cluster::start(true);
    let size = size(200);
    let local = source(&cluster, size);
    let mut upload = cluster.begin(&["--json", "write", "/big", local.to_str().unwrap()]);
    wait_stored(&cluster, "ss1_backup", &mut upload, size / 8);
    cluster.kill9("ss1");
    let written = upload.end().ok().json();
    assert_arrived(&cluster, &written, &local);
}

/// A cluster in which the backup goes on acting when the primary is back.
fn start_with_manual_failback() -> (Cluster, ByHand) {
    let cluster = Cluster::start(true);
    let nm = cluster.restart_by_hand("nm", &Conditions::words(&["--failback", "manual"]));
    cluster.wait_acting("ss1", LATER);
    cluster.wait_settled();
    (cluster, nm)
}

/// ss1 is killed and its backup stands in; ss1 comes back and catches up, and does not act.
fn lose_the_primary_and_bring_it_back(cluster: &Cluster, mut get_on: impl FnMut()) {
    get_on();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    get_on();
    let before = cluster.events_of("caught-up", "ss1").len();
    cluster.node_start("ss1");
    until(LATER, "ss1 to catch up", || cluster.events_of("caught-up", "ss1").len() > before);
    assert_eq!(pair(&cluster.status())["acting"], "ss1_backup");
}

/// The content is there, and both copies of it once the backup is back.
fn assert_arrived_without_the_backup(cluster: &Cluster, written: &serde_json::Value, local: &Path) {
    cluster.wait_acting("ss1", SOON);
    let expected = digest(cluster, local);
    assert_eq!(written["digest"], expected.as_str());
    let got = cluster.desk().join("got");
    cluster.pairfs(&["read", "/big", "-o", got.to_str().unwrap()]).ok();
    assert_eq!(digest(cluster, &got), expected);
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
}

#[test]
fn r28_an_upload_from_a_file_goes_on_when_the_backup_that_stood_in_is_killed_as_well() {
    let (cluster, _nm) = start_with_manual_failback();
    let size = size(200);
    let local = source(&cluster, size);
    let mut upload = cluster.begin(&["--json", "write", "/big", local.to_str().unwrap()]);
    // The server stands still while ss1 is brought back, so that the upload is not over before.
    let mut part = 0;
    lose_the_primary_and_bring_it_back(&cluster, || {
        part += 1;
        wait_stored(&cluster, "ss1_backup", &mut upload, size / 16 * part);
        if part == 2 {
            upload.pause();
        }
    });
    cluster.kill9("ss1_backup");
    upload.resume();
    let written = upload.end().ok().json();
    assert_arrived_without_the_backup(&cluster, &written, &local);
}

#[test]
fn r28_an_upload_from_a_pipe_goes_on_when_the_backup_that_stood_in_is_killed_as_well() {
    let (cluster, _nm) = start_with_manual_failback();
    let size = size(200);
    let local = source(&cluster, size);
    let mut upload = cluster.begin(&["--json", "write", "/big"]);
    let mut pipe = upload.input();
    let mut blocks = blocks(size);
    let mut sent = 0;
    let mut send = |count: usize| {
        blocks.by_ref().take(count).for_each(|block| {
            pipe.write_all(&block).unwrap();
            sent += block.len();
        });
        sent
    };
    lose_the_primary_and_bring_it_back(&cluster, || _ = send(size / MIB / 4));
    // What it sent while ss1 was away only the backup has; that passes it on. Then a window has room only as ss1 has
    // what is before it.
    let sent = send(1);
    wait_stored(&cluster, "ss1", &mut upload, sent);
    send(CLIENT_WINDOW / MIB * 3);
    cluster.kill9("ss1_backup");
    send(usize::MAX);
    drop(pipe);
    let written = upload.end().ok().json();
    assert_arrived_without_the_backup(&cluster, &written, &local);
}

#[test]
fn r28_an_upload_from_a_pipe_whose_only_copy_is_away_ends_with_an_error_and_leaves_nothing_half_done() {
    let (cluster, _nm) = start_with_manual_failback();
    let size = size(200);
    let mut upload = cluster.begin(&["--json", "--timeout", "10s", "write", "/big"]);
    let mut pipe = upload.input();
    let mut blocks = blocks(size);
    let half = size / MIB / 2;
    let before = cluster.events_of("caught-up", "ss1").len();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    blocks.by_ref().take(half).for_each(|block| pipe.write_all(&block).unwrap());
    // More than a window: the client has forgotten the first of it, and ss1 never had it.
    wait_stored(&cluster, "ss1_backup", &mut upload, half * MIB - CLIENT_WINDOW);
    cluster.node_start("ss1");
    until(LATER, "ss1 to catch up", || cluster.events_of("caught-up", "ss1").len() > before);
    // At once: it is fresh, as no row is missing, while what was sent meanwhile is still on its way to it.
    cluster.kill9("ss1_backup");
    let held = stored(&cluster, "ss1");
    cluster.wait_acting("ss1", SOON);
    // It may have ended: then the pipe is closed.
    let fed = blocks.try_for_each(|block| pipe.write_all(&block));
    drop(pipe);
    let ended = upload.end();
    if ended.status == 0 {
        // Everything was passed on before the kill.
        assert!(held >= (half * MIB - CLIENT_WINDOW) as u64 && fed.is_ok(), "{ended:?}");
    } else {
        eprintln!("{held} bytes had come to ss1; it says: {}", ended.stderr);
        assert_eq!((ended.status, ended.code().as_deref()), (6, Some("NO_SUCH_SESSION")), "{ended:?}");
        assert!(ended.stderr.contains("its bytes cannot be read again"), "{ended:?}");
        cluster.pairfs(&["read", "/big"]).exits(3);
    }
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();
}

#[test]
fn a_pipe_that_pauses_longer_than_the_timeout_is_no_error() {
    let cluster = Cluster::start(true);
    let mut upload = cluster.begin(&["--json", "--timeout", "1500ms", "write", "/paused"]);
    let mut pipe = upload.input();
    pipe.write_all(&filled(1, CHUNK + PIECE)).unwrap();
    // The pause itself is what is tested: longer than the timeout and than the client's word to the server.
    std::thread::sleep(Duration::from_secs(6));
    pipe.write_all(&filled(2, PIECE)).unwrap();
    drop(pipe);
    let written = upload.end().ok().json();
    assert_eq!(written["size"], CHUNK + 2 * PIECE);
    assert_eq!(cluster.read("/paused"), [filled(1, CHUNK + PIECE), filled(2, PIECE)].concat());
}

#[test]
fn ranges_give_the_right_bytes_at_every_border_and_an_empty_file_has_none() {
    let cluster = Cluster::start(true);
    let size = size(24) as u64;
    let local = cluster.desk().join("sparse");
    let file = File::create(&local).unwrap();
    file.set_len(size).unwrap();
    let borders = [PIECE as u64, CHUNK as u64, 16 << 20, 1 << 31, 1 << 32];
    let borders: Vec<u64> = borders.into_iter().filter(|border| border + 100 < size).collect();
    for border in &borders {
        file.write_all_at(format!("<{border:014}>").as_bytes(), border - 8).unwrap();
    }
    file.write_all_at(b"the end", size - 7).unwrap();
    let written = cluster.pairfs(&["--json", "write", "/sparse", local.to_str().unwrap()]).ok().json();
    assert_eq!(written["digest"], digest(&cluster, &local).as_str());
    for border in &borders {
        let range = format!("{}-{}", border - 8, border + 7);
        let read = cluster.pairfs(&["read", "/sparse", "--range", &range]).ok();
        assert_eq!(read.stdout, format!("<{border:014}>").as_bytes(), "at {border}");
    }
    assert_eq!(cluster.pairfs(&["read", "/sparse", "--range", "-7"]).ok().stdout, b"the end");

    let empty = cluster.desk().join("empty");
    File::create(&empty).unwrap();
    let written = cluster.pairfs(&["--json", "write", "/empty", empty.to_str().unwrap()]).ok().json();
    assert_eq!((&written["size"], &written["digest"]), (&0.into(), &digest(&cluster, &empty).into()));
    assert_eq!(cluster.read("/empty"), b"");
    cluster.assert_copies_equal();
}

/// Resident memory of a server, in bytes.
fn resident(cluster: &Cluster, server: &str) -> usize {
    let status = format!("/proc/{}/status", cluster.pid(server).as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn r38_the_memory_of_a_server_stays_bounded_while_64_clients_write_at_once() {
    const WRITERS: usize = 64;
    /// The program, its threads, and the caches of the index and of contents.
    const BASE: usize = 128 * MIB;
    let cluster = Cluster::with(Options { alone: true, ..Options::default() });
    let local = cluster.desk().join("each");
    std::fs::write(&local, filled(3, 8 * MIB)).unwrap();
    let path = |writer: usize| format!("/many-{writer}");
    let mut uploads: Vec<Started> = (0..WRITERS)
        .map(|writer| cluster.begin(&["--json", "write", &path(writer), local.to_str().unwrap()]))
        .collect();
    let mut most = 0;
    within(LATER, "the uploads to end", || {
        for server in ["ss1", "ss1_backup"] {
            most = most.max(resident(&cluster, server));
        }
        let left = uploads.iter_mut().filter_map(|upload| upload.runs().then_some(())).count();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    let expected = digest(&cluster, &local);
    for upload in uploads {
        assert_eq!(upload.end().ok().json()["digest"], expected.as_str());
    }
    println!("at most {} MiB", most / MIB);
    assert!(most <= SERVER_WINDOW + SERVER_READS + BASE, "a server took {} MiB", most / MIB);
    cluster.assert_copies_equal();
}
