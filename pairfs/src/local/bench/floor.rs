//! What this disk and this machine can do at best for the same work, without PairFS.

use super::{LARGE, SMALL, megabytes_per_second, noise};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::Scope;
use std::time::{Duration, Instant};
use types::limits::PIECE;
use types::{Error, Result};

/// Bytes of a small request.
const REQUEST: usize = 64;

/// Files of 4 KiB created, written and synced by `at_once` threads, per second.
pub fn create_small(folder: &Path, at_once: usize, span: Duration) -> Result<f64> {
    let folder = tempfile::tempdir_in(folder).map_err(Error::from)?;
    let content = noise(1, SMALL);
    per_second(at_once, span, |thread| {
        let (content, folder) = (&content, folder.path());
        let mut number = 0u64;
        Ok(move || {
            number += 1;
            let mut file = File::create_new(folder.join(format!("{thread}-{number}")))?;
            file.write_all(content)?;
            file.sync_all()
        })
    })
}

/// Requests answered with 4 KiB over loopback TCP, `at_once` at a time, per second.
pub fn round_trips(at_once: usize, span: Duration) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::from)?;
    let addr = listener.local_addr().map_err(Error::from)?;
    std::thread::scope(|scope| {
        scope.spawn(|| serve(scope, &listener, at_once));
        per_second(at_once, span, |_| {
            let mut stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            let mut answer = vec![0; SMALL];
            Ok(move || {
                stream.write_all(&[0; REQUEST])?;
                stream.read_exact(&mut answer)
            })
        })
    })
}

fn serve<'scope>(scope: &'scope Scope<'scope, '_>, listener: &TcpListener, clients: usize) {
    for stream in listener.incoming().take(clients) {
        let Ok(mut stream) = stream else { return };
        scope.spawn(move || -> std::io::Result<()> {
            stream.set_nodelay(true)?;
            let (mut request, answer) = ([0; REQUEST], [7; SMALL]);
            loop {
                stream.read_exact(&mut request)?;
                stream.write_all(&answer)?;
            }
        });
    }
}

/// 1 GiB written and synced to two files by two threads, in MB/s of one of them.
pub fn write_large(folder: &Path) -> Result<f64> {
    let folder = tempfile::tempdir_in(folder).map_err(Error::from)?;
    let content = noise(2, 1 << 20);
    let begin = Instant::now();
    let write = |name: &str| -> std::io::Result<()> {
        let mut file = File::create_new(folder.path().join(name))?;
        for _ in 0..LARGE / content.len() {
            file.write_all(&content)?;
        }
        file.sync_all()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| write("two"));
        write("one").and(joined(other.join()))
    })
    .map_err(Error::from)?;
    Ok(megabytes_per_second(LARGE, begin.elapsed()))
}

/// 1 GiB over one loopback TCP connection, in MB/s.
pub fn transfer_large() -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::from)?;
    let addr = listener.local_addr().map_err(Error::from)?;
    let mut took = Duration::ZERO;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut stream, _) = listener.accept()?;
            let piece = noise(3, PIECE);
            (0..LARGE / PIECE).try_for_each(|_| stream.write_all(&piece))
        });
        let mut stream = TcpStream::connect(addr)?;
        let begin = Instant::now();
        let mut buffer = vec![0; PIECE];
        while stream.read(&mut buffer)? > 0 {}
        took = begin.elapsed();
        joined(sender.join())
    })
    .map_err(Error::from)?;
    Ok(megabytes_per_second(LARGE, took))
}

/// How often `at_once` threads do for `span` what `prepare` gives each of them, per second.
fn per_second<Step: FnMut() -> std::io::Result<()>>(
    at_once: usize,
    span: Duration,
    prepare: impl Fn(usize) -> std::io::Result<Step> + Sync,
) -> Result<f64> {
    let begin = Instant::now();
    let count = |thread| -> std::io::Result<u64> {
        let mut step = prepare(thread)?;
        let mut done = 0;
        while begin.elapsed() < span {
            step()?;
            done += 1;
        }
        Ok(done)
    };
    let count = &count;
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|thread| scope.spawn(move || count(thread))).collect();
        threads.into_iter().map(|thread| joined(thread.join())).sum::<std::io::Result<u64>>()
    });
    Ok(done.map_err(Error::from)? as f64 / begin.elapsed().as_secs_f64())
}

fn joined<T>(ended: std::thread::Result<std::io::Result<T>>) -> std::io::Result<T> {
    ended.unwrap_or_else(|_| Err(std::io::Error::other("a thread of the benchmark ended early")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floors_can_be_measured_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let span = Duration::from_millis(50);
        assert!(create_small(folder.path(), 2, span).unwrap() > 0.0);
        assert!(round_trips(3, span).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
