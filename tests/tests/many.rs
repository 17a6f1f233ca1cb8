//! Many files, many rows, many names. In CI the numbers are those of the issue that asked for them; for a quicker run
//! `PAIRFS_TEST_MANY=N` divides them by N.

use client::{Client, ClientConfig, Content, ReadOptions, WriteOptions};
use pairfs_tests::cluster::{LATER, SOON, number, pair};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, Options, command, until};
use std::collections::BTreeSet;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Writers at once.
const WRITERS: usize = 96;

/// `number`, or the part of it that the environment asks for.
fn many(number: usize) -> usize {
    let part = std::env::var("PAIRFS_TEST_MANY").ok().and_then(|part| part.parse().ok()).unwrap_or(1);
    number / std::cmp::max(part, 1usize)
}

fn alone() -> Options {
    Options { alone: true, ..Options::default() }
}

fn connect(runtime: &Runtime, cluster: &Cluster) -> Client {
    let config =
        ClientConfig::with_key_file(vec![cluster.addr("nm")], &cluster.dir().join("admin.key")).unwrap();
    runtime.block_on(Client::connect(config)).unwrap()
}

/// Does `step` for each number, [`WRITERS`] at a time.
fn at_once<Done>(runtime: &Runtime, count: usize, step: impl Fn(usize) -> Done)
where
    Done: Future<Output = types::Result<()>> + Send + 'static,
{
    runtime.block_on(async {
        let mut tasks: JoinSet<types::Result<()>> = JoinSet::new();
        for number in 0..count {
            if tasks.len() >= WRITERS {
                tasks.join_next().await.unwrap().unwrap().unwrap();
            }
            tasks.spawn(step(number));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
    });
}

fn write_all(runtime: &Runtime, client: &Client, folder: &str, count: usize, content: fn(usize) -> Vec<u8>) {
    runtime.block_on(client.mkdir(folder, true, None)).unwrap();
    at_once(runtime, count, |number| {
        let (client, path) = (client.clone(), format!("{folder}/{number}"));
        async move {
            let options = WriteOptions { create_only: true, ..WriteOptions::default() };
            client.write(&path, Content::from(content(number)), &options).await.map(|_| ())
        }
    });
}

fn small(number: usize) -> Vec<u8> {
    filled(number as u64, 64 + number % 4_000)
}

#[test]
fn five_thousand_files_registered_at_once_are_all_there_on_both_members() {
    let (cluster, runtime) = (Cluster::with(alone()), Runtime::new().unwrap());
    let (client, count) = (connect(&runtime, &cluster), many(5_000));
    write_all(&runtime, &client, "/many", count, small);
    let listed: BTreeSet<String> =
        cluster.pairfs(&["ls", "/many"]).ok().text().lines().map(str::to_owned).collect();
    assert_eq!(listed, (0..count).map(|number| number.to_string()).collect(), "each once");
    cluster.assert_copies_equal();
    cluster.switch_over();
    at_once(&runtime, count, |number| {
        let client = client.clone();
        async move {
            let mut reader = client.read(&format!("/many/{number}"), &ReadOptions::default()).await?;
            assert!(reader.to_end(1 << 20).await? == small(number), "{number} holds other bytes");
            Ok(())
        }
    });
}

#[test]
fn a_backup_that_missed_twenty_thousand_writes_is_sent_exactly_those() {
    let (cluster, runtime) = (Cluster::with(alone()), Runtime::new().unwrap());
    let (client, count) = (connect(&runtime, &cluster), many(20_000));
    write_all(&runtime, &client, "/before", 500, small);
    runtime.block_on(client.mkdir("/missed", true, None)).unwrap();
    cluster.wait_settled();
    cluster.node_stop("ss1_backup");
    cluster.wait(SOON, "the backup to be missed", |status| pair(status)["state"] != "active");
    write_all(&runtime, &client, "/missed", count, small);
    let lag = |status: &serde_json::Value| pair(status)["lag_rows"].as_u64().unwrap();
    assert_eq!(lag(&cluster.status()), count as u64);

    let begin = std::time::Instant::now();
    cluster.node_start("ss1_backup");
    until(LATER, "the lag to drain", || cluster.try_status().is_some_and(|status| lag(&status) == 0));
    eprintln!("{count} rows of lag are gone {:?} after the start of the backup", begin.elapsed());
    cluster.assert_copies_equal();
    let caught_up = cluster.events_of("caught-up", "ss1_backup").pop().expect("it tells that it caught up");
    assert_eq!(number(&caught_up, "rows_missed"), Some(count as u64), "{caught_up}");
    assert_eq!(number(&caught_up, "rows_resent"), Some(count as u64), "no more: {caught_up}");
}

#[test]
fn empty_files_made_by_many_at_once_live_through_the_loss_of_a_server() {
    let (cluster, runtime) = (Cluster::with(alone()), Runtime::new().unwrap());
    let (client, count) = (connect(&runtime, &cluster), many(1_000));
    write_all(&runtime, &client, "/written", count, |_| Vec::new());
    runtime.block_on(client.mkdir("/created", true, None)).unwrap();
    at_once(&runtime, count, |number| {
        let client = client.clone();
        async move { client.create(&format!("/created/{number}"), None).await.map(|_| ()) }
    });
    cluster.assert_copies_equal();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    for folder in ["/written", "/created"] {
        assert_eq!(cluster.pairfs(&["ls", folder]).ok().text().lines().count(), count);
        at_once(&runtime, count, |number| {
            let (client, path) = (client.clone(), format!("{folder}/{number}"));
            async move {
                let mut reader = client.read(&path, &ReadOptions::default()).await?;
                assert!(reader.to_end(1).await?.is_empty(), "{path} is not empty");
                Ok(())
            }
        });
    }
    cluster.write("/written/0", b"not empty any more");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
}

// ---- listings

/// A name manager with `files` files of two versions in one folder, `/0`; no storage server runs.
fn one_large_folder(files: usize) -> Cluster {
    let cluster = Cluster::empty(false);
    let number = files.to_string();
    let mut fill = command::command(None, &["bench", "--files", &number, "--in-folder", &number, "--fill"]);
    fill.arg(cluster.dir()).env("PAIRFS_PARENT", std::process::id().to_string());
    let mut filling = Killed(fill.stdout(Stdio::piped()).spawn().unwrap());
    let mut said = String::new();
    BufReader::new(filling.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("filled"), "{said}");
    drop(filling);
    cluster.node_start("nm");
    cluster
}

/// Killed with `kill -9` when it goes.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The most memory a process had, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads what `words` prints, all lines; its memory must not grow while the reader is slow.
fn lines_of_a_slow_reader(cluster: &Cluster, words: &[&str], count: usize) -> Vec<String> {
    let mut list = command::command(Some(&cluster.dir()), words);
    let mut list = Killed(list.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::with_capacity(4096, list.0.stdout.take().unwrap()).lines();
    let mut read: Vec<String> = lines.by_ref().take(10).map(Result::unwrap).collect();
    assert_eq!(read.len(), 10, "the first lines come while the others are still to be asked for");
    read.extend(lines.by_ref().take(count / 10).map(Result::unwrap));
    let at_first = peak_memory(list.0.id());
    // It cannot have ended: the names that are left do not fit into the pipe.
    read.extend(lines.by_ref().take(count / 10 * 7).map(Result::unwrap));
    let late = peak_memory(list.0.id());
    read.extend(lines.map(Result::unwrap));
    assert!(list.0.wait().unwrap().success());
    let grown = late.saturating_sub(at_first);
    assert!(grown < 4_096, "{words:?} keeps what it has listed: {grown} KiB more after {count} names");
    read
}

/// One test, as it is the filling that takes its time.
#[test]
fn a_folder_of_many_names_is_listed_page_by_page_and_its_name_manager_serves_soon_after_kill_9() {
    let count = many(100_000).max(50_000);
    let cluster = one_large_folder(count);
    is_listed_page_by_page_and_not_kept_in_memory(&cluster, count);
    serves_soon_after_kill_9_and_its_log_is_short(&cluster, count);
}

fn is_listed_page_by_page_and_not_kept_in_memory(cluster: &Cluster, count: usize) {
    let nm = cluster.pid("nm").as_raw_nonzero().get().unsigned_abs();
    cluster.pairfs(&["ls", "/0", "--limit", "1"]).ok();
    let before = peak_memory(nm);

    let all: BTreeSet<String> = (0..count).map(|number| number.to_string()).collect();
    let listed = lines_of_a_slow_reader(cluster, &["ls", "/0"], count);
    assert!(listed.iter().eq(&all), "each name once, in order");
    let below = lines_of_a_slow_reader(cluster, &["ls", "-R", "/"], count);
    assert!(below.iter().filter(|line| all.contains(*line)).count() >= count);
    let found = lines_of_a_slow_reader(cluster, &["find", "*"], count);
    assert_eq!(found.len(), count + 1, "the folder, too");
    // The index is cached up to its bound; a listing of its own would be far more than that.
    let grown = peak_memory(nm).saturating_sub(before);
    assert!(grown < 96 << 10, "the name manager's memory grew by {grown} KiB");

    let page = cluster.pairfs(&["ls", "/0", "--limit", "3", "--after", "10"]).ok().text();
    let wanted: Vec<&String> = all.range("10".to_owned()..).skip(1).take(3).collect();
    assert!(page.lines().eq(wanted), "{page}");
    assert!(cluster.pairfs(&["ls", "/0", "--after", "99999999"]).ok().text().is_empty());
}

fn serves_soon_after_kill_9_and_its_log_is_short(cluster: &Cluster, count: usize) {
    let last = format!("/0/{}", count - 1);
    for _ in 0..2 {
        cluster.kill9("nm");
        cluster.node_start("nm");
        let info = cluster.info(&last);
        assert_eq!(info["versions"].as_array().map(Vec::len), Some(2), "{info}");
    }
    // Purged behind what is durable: what is left is bounded, whatever was written.
    let log = bytes_below(&cluster.dir().join("nm").join("raft"));
    assert!(log <= 64 << 20, "the log has {log} bytes");
    let quick = Duration::from_secs(20);
    cluster.kill9("nm");
    cluster.node_start("nm");
    until(quick, "the name manager to serve", || cluster.pairfs(&["info", &last]).status == 0);
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files.map(|file| file.metadata().unwrap().len()).sum()
}
