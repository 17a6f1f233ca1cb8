//! Group commit: batches, bounds, lazy records, idleness, and the end of the thread.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use log::sim::{Count, SimDisk};
use log::{Bounds, Committer, Log, LogError, OwnerHandle, Position, Refused, Stage};

use crate::model::open;

const LONG: Duration = Duration::from_secs(20);
const FAR: Duration = Duration::from_secs(3600);

enum Job {
    Write(Vec<u8>),
    Lazy(Vec<u8>),
    /// Says that it has begun, then waits until it is let go.
    Hold(Sender<()>, Receiver<()>),
    Panic,
}

#[derive(Debug, PartialEq)]
enum Event {
    Finished(usize, Result<Position, String>),
    Idle,
}

struct Owner {
    events: Sender<Event>,
}

impl Stage for Owner {
    type Job = Job;
    type Done = bool;

    fn stage(&mut self, job: Job, log: &mut Log) -> bool {
        match job {
            Job::Write(bytes) => {
                let _ = log.append(1, &[&bytes]);
                true
            }
            Job::Lazy(bytes) => {
                log.append(2, &[&bytes]).unwrap();
                false
            }
            Job::Hold(begun, go) => {
                begun.send(()).unwrap();
                let _ = go.recv();
                false
            }
            Job::Panic => panic!("asked for"),
        }
    }

    fn finish(&mut self, done: Vec<bool>, outcome: Result<Position, LogError>, _: &mut Log) {
        let _ = self.events.send(Event::Finished(done.len(), outcome.map_err(|e| e.code().into())));
    }

    fn needs_sync(&self, done: &[bool]) -> bool {
        done.contains(&true)
    }

    fn idle(&mut self, _: &mut Log) {
        let _ = self.events.send(Event::Idle);
    }

    fn weight(job: &Job) -> usize {
        match job {
            Job::Write(bytes) | Job::Lazy(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

type Handle = OwnerHandle<Owner>;

fn start(bounds: Bounds) -> (SimDisk, Committer<Job>, Handle, Receiver<Event>) {
    let disk = SimDisk::new();
    let (events, seen) = unbounded();
    let (mut log, _) = open(&disk).unwrap();
    log.append(9, &[b"so that the segment exists"]).unwrap();
    log.sync().unwrap();
    let (committer, handle) = Committer::spawn("test", Owner { events }, log, bounds).unwrap();
    (disk, committer, handle, seen)
}

fn quiet() -> Bounds {
    Bounds { lazy: FAR, idle: FAR, ..Bounds::default() }
}

/// Occupies the thread until the returned sender is dropped.
fn hold(committer: &Committer<Job>) -> Sender<()> {
    let (begun, has_begun) = bounded(1);
    let (go, wait) = bounded(1);
    committer.submit(Job::Hold(begun, wait)).unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    go
}

#[test]
fn jobs_that_wait_share_one_sync() {
    let (disk, committer, handle, seen) = start(quiet());
    let syncs = disk.count(Count::Syncs);
    let go = hold(&committer);
    for n in 0..50 {
        committer.submit(Job::Write(vec![n; 10])).unwrap();
    }
    drop(go);
    let Event::Finished(jobs, Ok(end)) = seen.recv_timeout(LONG).unwrap() else { panic!() };
    assert_eq!(jobs, 51);
    assert_eq!(disk.count(Count::Syncs), syncs + 1);
    drop(committer);
    let (_, log) = handle.join().unwrap();
    assert!(log.synced() >= end);
    assert_eq!(open(&disk.crash(1)).unwrap().1.len(), 51);
}

#[test]
fn lazy_records_are_not_synced_at_once_but_in_time() {
    let (disk, committer, handle, seen) =
        start(Bounds { lazy: Duration::from_millis(1), idle: FAR, ..Bounds::default() });
    committer.submit(Job::Lazy(vec![5; 100])).unwrap();
    let Event::Finished(1, Ok(before)) = seen.recv_timeout(LONG).unwrap() else { panic!() };
    let Event::Finished(0, Ok(after)) = seen.recv_timeout(LONG).unwrap() else { panic!() };
    assert!(after > before, "{before} was durable, then {after}");
    assert_eq!(open(&disk.crash(7)).unwrap().1.len(), 2);
    drop(committer);
    handle.join().unwrap();
}

#[test]
fn lazy_records_become_durable_with_the_next_batch_that_needs_it() {
    let (disk, committer, handle, seen) = start(quiet());
    let syncs = disk.count(Count::Syncs);
    committer.submit(Job::Lazy(vec![5; 100])).unwrap();
    let Event::Finished(1, Ok(_)) = seen.recv_timeout(LONG).unwrap() else { panic!() };
    assert_eq!(disk.count(Count::Syncs), syncs);
    committer.submit(Job::Write(vec![6; 100])).unwrap();
    let Event::Finished(1, Ok(_)) = seen.recv_timeout(LONG).unwrap() else { panic!() };
    assert_eq!(disk.count(Count::Syncs), syncs + 1);
    assert_eq!(open(&disk.crash(7)).unwrap().1.len(), 3);
    drop(committer);
    handle.join().unwrap();
}

#[test]
fn an_idle_log_is_marked_and_the_owner_is_told() {
    let (disk, committer, handle, seen) =
        start(Bounds { idle: Duration::from_millis(1), ..Bounds::default() });
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Event::Idle);
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Event::Idle);
    let writes = disk.count(Count::Writes);
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Event::Idle);
    assert_eq!(disk.count(Count::Writes), writes, "one mark suffices");
    drop(committer);
    handle.join().unwrap();
}

#[test]
fn the_queue_is_bounded_in_jobs() {
    let (_disk, committer, handle, _seen) = start(Bounds { jobs: 2, ..quiet() });
    let go = hold(&committer);
    committer.submit(Job::Write(vec![])).unwrap();
    committer.submit(Job::Write(vec![])).unwrap();
    assert!(matches!(committer.try_submit(Job::Write(vec![])), Err(Refused::Full(_))));
    drop(go);
    committer.submit(Job::Write(vec![])).unwrap();
    drop(committer);
    handle.join().unwrap();
}

#[test]
fn the_queue_is_bounded_in_bytes_and_a_heavy_job_passes_alone() {
    let (disk, committer, handle, seen) = start(Bounds { bytes: 1000, ..quiet() });
    let go = hold(&committer);
    committer.try_submit(Job::Write(vec![1; 600])).unwrap();
    assert!(matches!(committer.try_submit(Job::Write(vec![2; 600])), Err(Refused::Full(_))));
    committer.try_submit(Job::Write(vec![3; 400])).unwrap();
    let (blocked, submitted) = (committer.clone(), bounded(1));
    let waiter = std::thread::spawn(move || {
        blocked.submit(Job::Write(vec![4; 2000])).unwrap();
        submitted.0.send(()).unwrap();
    });
    assert!(submitted.1.try_recv().is_err());
    drop(go);
    waiter.join().unwrap();
    let mut jobs = 0;
    while jobs < 4 {
        let Event::Finished(n, Ok(_)) = seen.recv_timeout(LONG).unwrap() else { panic!() };
        jobs += n;
    }
    drop(committer);
    handle.join().unwrap();
    assert_eq!(open(&disk.crash(0)).unwrap().1.len(), 4);
}

#[test]
fn shutdown_finishes_what_was_submitted_and_refuses_the_rest() {
    let (disk, committer, handle, _seen) = start(quiet());
    let go = hold(&committer);
    for n in 0..5 {
        committer.submit(Job::Lazy(vec![n])).unwrap();
    }
    committer.shutdown();
    drop(go);
    let (_, log) = handle.join().unwrap();
    assert_eq!(log.end(), log.synced());
    assert!(matches!(committer.submit(Job::Write(vec![1])), Err(Refused::Closed(_))));
    assert!(matches!(committer.try_submit(Job::Write(vec![1])), Err(Refused::Closed(_))));
    committer.shutdown();
    assert_eq!(open(&disk.crash(0)).unwrap().1.len(), 6);
}

#[test]
fn a_failed_sync_is_told_to_every_job_and_to_all_that_follow() {
    let (disk, committer, handle, seen) = start(quiet());
    disk.fail_next_sync();
    committer.submit(Job::Write(vec![1])).unwrap();
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Event::Finished(1, Err("log-io".into())));
    committer.submit(Job::Write(vec![2])).unwrap();
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Event::Finished(1, Err("log-failed".into())));
    drop(committer);
    assert!(handle.join().unwrap().1.failed());
}

#[test]
fn a_panic_of_the_owner_wakes_those_who_wait_for_room() {
    let (_disk, committer, handle, _seen) = start(Bounds { bytes: 10, ..quiet() });
    let go = hold(&committer);
    committer.submit(Job::Write(vec![0; 10])).unwrap();
    committer.submit(Job::Panic).unwrap();
    let blocked = committer.clone();
    let waiter = std::thread::spawn(move || blocked.submit(Job::Write(vec![0; 10])));
    drop(go);
    assert!(handle.join().is_none());
    // It was refused, or queued before the end came: it does not hang.
    let _ = waiter.join().unwrap();
    assert!(committer.submit(Job::Write(vec![0; 10])).is_err());
}

#[test]
fn who_asks_all_the_time_and_writes_nothing_does_not_keep_a_log_from_coming_to_rest() {
    let (_, committer, _handle, seen) =
        start(Bounds { idle: Duration::from_millis(100), ..Bounds::default() });
    let begin = std::time::Instant::now();
    while !seen.try_iter().any(|event| event == Event::Idle) {
        drop(hold(&committer));
        assert!(begin.elapsed() < LONG, "it never came to rest");
    }
}
