//! A network without root: who dials a server gets a small proxy, which holds bytes back while their way is cut. Nothing
//! is refused and nothing is lost that TCP would not lose: what is held goes on when the way is mended, or ends with the
//! connection, as it would between two hosts that are silent to each other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes taken at once.
const CHUNK: usize = 64 << 10;

/// From one host to another.
pub(super) type Way = (usize, usize);

#[derive(Default)]
struct State {
    cut: HashSet<Way>,
    /// Which processes run on which host; whoever is not named is a client.
    processes: Vec<(u32, usize)>,
    /// Where what is carried is written down, and how many files are there.
    record: Option<(PathBuf, usize)>,
    over: bool,
}

/// What all proxies share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clients: usize,
}

/// The proxies of some hosts; dropped, they end.
pub(super) struct Proxies(Arc<Shared>);

impl Proxies {
    /// None yet; `clients` is the host of whoever is not said to be on another.
    pub(super) fn new(clients: usize) -> Proxies {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Proxies(Arc::new(Shared { state, changed, clients }))
    }

    /// Stands before the server on `host` that listens at `server`; gives the address at which it is reached.
    pub(super) fn stand_before(&self, host: usize, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let shared = self.0.clone();
        thread::spawn(move || {
            for dialled in listener.incoming().flatten() {
                if shared.lock().over {
                    return;
                }
                let shared = shared.clone();
                thread::spawn(move || shared.connect(dialled, addr, host, server));
            }
        });
        addr
    }

    /// This process runs on `host`.
    pub(super) fn is_on(&self, process: u32, host: usize) {
        self.0.lock().processes.push((process, host));
    }

    /// From now on what each new connection carries is written down: a file for each direction.
    pub(super) fn record(&self, folder: &Path) {
        self.0.lock().record = Some((folder.to_owned(), 0));
    }

    /// Cuts a way, or mends it.
    pub(super) fn set(&self, way: Way, open: bool) {
        let mut state = self.0.lock();
        if open {
            state.cut.remove(&way);
        } else {
            state.cut.insert(way);
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the way is open; false if everything is over.
    fn passes(&self, way: Way) -> bool {
        let held = |state: &mut State| !state.over && state.cut.contains(&way);
        let state = self.changed.wait_while(self.lock(), held).unwrap_or_else(PoisonError::into_inner);
        !state.over
    }

    /// Carries one connection until it ends.
    fn connect(self: &Arc<Self>, dialled: TcpStream, at: SocketAddr, host: usize, server: SocketAddr) {
        let from = self.host_of(&dialled, at);
        // Not even the first packet arrives.
        if !self.passes((from, host)) {
            return;
        }
        let Ok(reached) = TcpStream::connect(server) else { return };
        let _ = (dialled.set_nodelay(true), reached.set_nodelay(true));
        let (Ok(back_from), Ok(back_to)) = (reached.try_clone(), dialled.try_clone()) else { return };
        let shared = self.clone();
        let back = thread::spawn(move || shared.carry(back_from, back_to, (host, from)));
        self.carry(dialled, reached, (from, host));
        let _ = back.join();
    }

    /// Carries bytes one way until their end, which is carried, too.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, way: Way) {
        let (mut bytes, mut record) = (vec![0; CHUNK], self.new_record());
        loop {
            let came = from.read(&mut bytes);
            if !self.passes(way) {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
            if let (Ok(count), Some(record)) = (&came, &mut record) {
                record.write_all(&bytes[..*count]).expect("a record can be written");
            }
            match came {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) if to.write_all(&bytes[..count]).is_ok() => {}
                // The other end is gone, or this one was reset: both learn it.
                _ => {
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    return;
                }
            }
        }
    }

    fn new_record(&self) -> Option<File> {
        let mut state = self.lock();
        let (folder, count) = state.record.as_mut()?;
        *count += 1;
        Some(File::create(folder.join(count.to_string())).expect("a record can be made"))
    }

    /// On which host the process is that dialled.
    fn host_of(&self, dialled: &TcpStream, at: SocketAddr) -> usize {
        let socket = dialled.peer_addr().ok().and_then(|peer| socket_of(peer.port(), at.port()));
        let Some(socket) = socket else { return self.clients };
        let processes = self.lock().processes.clone();
        let owner = processes.into_iter().find(|(process, _)| holds(*process, &socket));
        owner.map_or(self.clients, |(_, host)| host)
    }
}

/// What the link of an open file in `/proc` says of the socket with these two ports.
fn socket_of(local: u16, remote: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |word: &str| u16::from_str_radix(word.rsplit_once(':')?.1, 16).ok();
        let is_it = port(words.get(1)?)? == local && port(words.get(2)?)? == remote;
        is_it.then(|| Some(format!("socket:[{}]", words.get(9)?)))?
    })
}

fn holds(process: u32, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket))
}
