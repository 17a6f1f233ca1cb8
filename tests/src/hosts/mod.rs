//! Several hosts on one machine: network namespaces on a bridge where the test runs as root, each with an address
//! and a boot id of its own; else this one host, with a proxy before each server.
//!
//! Supervisor and network only: what runs on the hosts is the test's.

mod namespaces;
mod proxies;

use self::namespaces::ip;
use self::proxies::Proxies;
use crate::binary;
use crate::cluster::{LATER, SOON, is_gone};
use crate::command::{self, Ran};
use crate::tree::text;
use crate::turns::Turn;
use crate::wait::{until, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// What keeps the hosts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A network namespace each.
    Namespaces,
    /// One host, where a proxy before each server knows who dials it.
    Proxies,
    /// A loopback address each; nothing can be cut.
    Loopback,
}

/// Namespaces are told apart by the process and this number.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Where the name manager listens, in namespaces.
const PORT: u16 = 7400;

/// Some hosts. When dropped everything on them is killed and they are gone.
pub struct Hosts {
    way: Way,
    proxies: Proxies,
    /// Where the server listens that is reached at an address, if that is another one.
    listens: Mutex<BTreeMap<String, String>>,
    tag: String,
    count: usize,
    served: BTreeMap<String, Child>,
    /// The name manager's address and the key file, once it was started.
    nm: Option<(String, PathBuf)>,
    folder: TempDir,
    _turn: Turn,
}

impl Hosts {
    /// `count` hosts, numbered from 0, and one more for clients. Says what they are.
    pub fn new(count: usize) -> Hosts {
        let mut hosts = Hosts::bare(Way::Namespaces, count);
        match hosts.make() {
            Ok(()) => eprintln!("hosts are network namespaces"),
            Err(why) => {
                hosts.unmake();
                hosts.way = Way::Proxies;
                eprintln!("hosts are processes behind proxies, because: {why}");
            }
        }
        hosts
    }

    /// The same without namespaces, whoever runs the test.
    pub fn behind_proxies(count: usize) -> Hosts {
        Hosts::bare(Way::Proxies, count)
    }

    /// Loopback addresses: 0 and 1 of the old family, 2 of the new one.
    pub fn on_loopback() -> Hosts {
        Hosts::bare(Way::Loopback, 3)
    }

    fn bare(way: Way, count: usize) -> Hosts {
        let _turn = Turn::take(false);
        let folder = tempfile::Builder::new().prefix("pairfs-hosts-").tempdir().expect("a temporary folder");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("pfh-{}-{number}", std::process::id());
        let (proxies, listens) = (Proxies::new(count), Mutex::default());
        let (served, nm) = (BTreeMap::new(), None);
        Hosts { way, proxies, listens, tag, count, served, nm, folder, _turn }
    }

    /// From now on what goes through the proxies is written down in `folder`: a file for each direction of a connection.
    pub fn record(&self, folder: &Path) {
        self.proxies.record(folder);
    }

    /// The number of the clients' host.
    pub fn clients(&self) -> usize {
        self.count
    }

    /// How they are kept apart.
    pub fn way(&self) -> Way {
        self.way
    }

    /// A folder of a host.
    pub fn folder(&self, host: usize) -> PathBuf {
        let folder = self.folder.path().join(format!("host{host}"));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    /// The IP address of a host, as it stands in `IP:PORT`.
    pub fn ip(&self, host: usize) -> String {
        match (self.way, host) {
            (Way::Namespaces, _) => format!("10.77.0.{}", host + 1),
            (Way::Proxies, _) => "127.0.0.1".to_owned(),
            // Both families.
            (Way::Loopback, 2) => "[::1]".to_owned(),
            (Way::Loopback, _) => format!("127.0.0.{}", host + 1),
        }
    }

    /// An address of a host, with a port nobody listens at, at which a server of it is reached; see [`Hosts::listen`].
    pub fn addr(&self, host: usize) -> String {
        if self.way == Way::Namespaces {
            let port = PORT + u16::try_from(self.served.len()).expect("few servers");
            return format!("{}:{port}", self.ip(host));
        }
        let free = TcpListener::bind(format!("{}:0", self.ip(host))).expect("a free port");
        let server = free.local_addr().expect("it is bound");
        if self.way == Way::Loopback {
            return format!("{}:{}", self.ip(host), server.port());
        }
        let reached = self.proxies.stand_before(host, server).to_string();
        self.listens.lock().expect("no test panics here").insert(reached.clone(), server.to_string());
        reached
    }

    /// Where the server has to listen that is to be reached at `addr`.
    pub fn listen(&self, addr: &str) -> String {
        let listens = self.listens.lock().expect("no test panics here");
        listens.get(addr).map_or(addr, String::as_str).to_owned()
    }

    /// The program with `words`, to be run on a host.
    pub fn command(&self, host: usize, words: &[&str]) -> Command {
        let plain = command::command(None, words);
        if self.way != Way::Namespaces {
            return plain;
        }
        let boot = self.folder(host).join("boot_id");
        let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host), "sh", "-c", script, "sh"]).arg(boot);
        command.arg(binary::pairfs()).args(words);
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Starts the server `name` on a host; what it says goes to its log.
    pub fn serve(&mut self, host: usize, name: &str, words: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(name));
        let log = log.expect("a log can be written");
        let mut command = self.command(host, words);
        command.env("PAIRFS_PARENT", std::process::id().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("a server starts");
        self.proxies.is_on(child.id(), host);
        self.served.insert(name.to_owned(), child);
    }

    /// Starts a name manager on host 0, at the fast pace, with further options; waits until it has made its files.
    pub fn serve_nm(&mut self, more: &[&str]) {
        let addr = self.nm.as_ref().map_or_else(|| self.addr(0), |(addr, _)| addr.clone());
        self.serve_nm_at(&addr, more);
    }

    /// The same at `addr`.
    pub fn serve_nm_at(&mut self, addr: &str, more: &[&str]) {
        let folder = self.folder(0);
        let data = folder.join("nm");
        let listen = self.listen(addr);
        let port = listen.rsplit_once(':').expect("a port").1;
        let (data_text, any) = (text(&data), format!("0.0.0.0:{port}"));
        let words =
            ["nm", "--data", data_text, "--listen", &any, "--advertise", addr, "--insecure-plaintext"];
        self.serve(0, "nm", &[&words[..], &["--fast"], more].concat());
        let key = data.join("admin.key");
        until(SOON, "the first start of the name manager", || {
            key.exists() && data.join("cluster.secret").exists()
        });
        self.look_at(addr, &key);
    }

    /// Starts a name manager named `name` on host 0, with data and key of its own and the cluster's `secret`; waits until it
    /// has made its files. From then on it is the one to look for.
    pub fn serve_other_nm(&mut self, name: &str, addr: &str, secret: &Path, more: &[&str]) {
        let (data, key) = (self.folder(0).join(name), self.folder(0).join(format!("{name}.key")));
        let listen = self.listen(addr);
        let words = ["nm", "--data", text(&data), "--listen", &listen, "--advertise", addr, "--fast"];
        let own = ["--insecure-plaintext", "--cluster-secret", text(secret), "--admin-key", text(&key)];
        self.serve(0, name, &[&words[..], &own, more].concat());
        until(SOON, "the other name manager to have made its files", || key.exists());
        self.look_at(addr, &key);
    }

    /// Where the name manager is.
    pub fn nm_addr(&self) -> String {
        self.nm.as_ref().expect("nm runs").0.clone()
    }

    /// The key file of the first account.
    pub fn key(&self) -> &Path {
        &self.nm.as_ref().expect("nm runs").1
    }

    /// From now on clients, and servers that are started, look for the name manager at `addr`; the account's key is in
    /// `key`.
    pub fn look_at(&mut self, addr: &str, key: &Path) {
        self.nm = Some((addr.to_owned(), key.to_owned()));
    }

    /// Starts a storage server on a host with a copy of the cluster's secret; `addr` is where it listens.
    pub fn serve_ss(&mut self, host: usize, name: &str, addr: &str, more: &[&str]) {
        let words = self.words_of_ss(host, name, addr, more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.serve(host, name, &words);
    }

    /// The same for one that ends by itself.
    pub fn run_ss(&self, host: usize, name: &str, addr: &str, more: &[&str]) -> Ran {
        self.run_ss_with(host, name, addr, more, &[])
    }

    /// The same with variables in its environment.
    pub fn run_ss_with(
        &self,
        host: usize,
        name: &str,
        addr: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Ran {
        let words = self.words_of_ss(host, name, addr, more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.command(host, &words);
        command.env("PAIRFS_PARENT", std::process::id().to_string());
        command.envs(variables.iter().copied());
        command::run(command, b"")
    }

    fn words_of_ss(&self, host: usize, name: &str, addr: &str, more: &[&str]) -> Vec<String> {
        let secret = self.folder(host).join("cluster.secret");
        // Once: another server of this host may be reading it.
        if !secret.exists() {
            std::fs::copy(self.folder(0).join("nm/cluster.secret"), &secret)
                .expect("the secret can be copied");
        }
        let (nm, data) = (&self.nm.as_ref().expect("nm runs").0, self.folder(host).join(name));
        let listen = self.listen(addr);
        let words = ["ss", "--name", name, "--data", text(&data), "--listen", &listen, "--nm", nm];
        let own: &[&str] = match listen == addr {
            true => &["--cluster-secret", text(&secret), "--insecure-plaintext"],
            false => &["--cluster-secret", text(&secret), "--insecure-plaintext", "--advertise", addr],
        };
        [&words[..], own, more].concat().into_iter().map(str::to_owned).collect()
    }

    /// Runs a client's command, on the clients' host.
    pub fn pairfs(&self, words: &[&str]) -> Ran {
        self.pairfs_with(words, b"")
    }

    /// Runs a client's command with `input`.
    pub fn pairfs_with(&self, words: &[&str], input: &[u8]) -> Ran {
        let (nm, key) = self.nm.as_ref().expect("nm runs");
        let all = [&["--nm", nm, "--key-file", text(key)], words].concat();
        command::run(self.command(self.count, &all), input)
    }

    /// Waits until the status is as wanted.
    pub fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
        within(LATER, what, || {
            let ran = self.pairfs(&["--json", "status", "--timeout", "2"]);
            match serde_json::from_slice::<Value>(&ran.stdout) {
                Ok(status) if holds(&status) => Ok(()),
                _ => Err((ran.text(), ran.stderr)),
            }
        })
        .1
    }

    /// `events --json` of a kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.pairfs(&["--json", "events"]).ok().json_lines();
        events.into_iter().filter(|event| event["kind"] == kind).collect()
    }

    /// `kill -9`; gone when this returns.
    pub fn kill9(&mut self, name: &str) {
        let mut served = self.served.remove(name).expect("it runs");
        let pid = pid(&served);
        served.kill().expect("it can be killed");
        served.wait().expect("it ends");
        until(SOON, "the server to be gone", || is_gone(pid));
    }

    /// SIGHUP: it reads its options again.
    pub fn reload(&self, name: &str) {
        kill_process(pid(&self.served[name]), Signal::HUP).expect("it runs");
    }

    /// Pulls the cable of a host.
    pub fn cut(&self, host: usize) {
        self.set_cable(host, false);
    }

    /// Plugs it in again.
    pub fn mend(&self, host: usize) {
        self.set_cable(host, true);
    }

    fn set_cable(&self, host: usize, up: bool) {
        match self.way {
            Way::Namespaces => {
                let state = if up { "up" } else { "down" };
                let port = format!("p{host}");
                ip(&["-n", &self.tag, "link", "set", &port, state]).expect("a cable can be pulled");
            }
            _ => {
                for other in (0..=self.count).filter(|other| *other != host) {
                    self.set_way(host, other, up);
                    self.set_way(other, host, up);
                }
            }
        }
    }

    /// What `from` sends to `to` arrives nowhere from now on; nobody is told.
    pub fn cut_way(&self, from: usize, to: usize) {
        self.set_way(from, to, false);
    }

    /// It arrives again.
    pub fn mend_way(&self, from: usize, to: usize) {
        self.set_way(from, to, true);
    }

    fn set_way(&self, from: usize, to: usize, open: bool) {
        match self.way {
            Way::Namespaces => self.set_packets(from, to, open),
            Way::Proxies => self.proxies.set((from, to), open),
            Way::Loopback => panic!("nothing stands between loopback addresses"),
        }
    }

    /// From now on `host` finds no way to `other` (the other way round it goes on) and is told so at once; through proxies
    /// it is a silent cut.
    pub fn lose_way(&self, host: usize, other: usize) {
        self.set_route(host, other, false);
    }

    /// It finds the way again.
    pub fn find_way(&self, host: usize, other: usize) {
        self.set_route(host, other, true);
    }

    fn set_route(&self, host: usize, other: usize, known: bool) {
        if self.way != Way::Namespaces {
            return self.set_way(host, other, known);
        }
        let (change, to) = (if known { "del" } else { "add" }, format!("{}/32", self.ip(other)));
        ip(&["-n", &self.host(host), "route", change, "blackhole", &to]).expect("a route can be changed");
    }

    /// What a server has said so far.
    pub fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn host(&self, host: usize) -> String {
        format!("{}-{host}", self.tag)
    }
}

impl command::Shell for Hosts {
    fn run(&self, words: &[&str], input: &[u8]) -> Ran {
        self.pairfs_with(words, input)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for served in self.served.values_mut() {
            let _ = served.kill();
            let _ = served.wait();
        }
        if std::thread::panicking() {
            const LINES: usize = 40;
            let mut out = std::io::stderr().lock();
            for name in self.served.keys() {
                let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let _ = writeln!(out, "---- the end of the log of {name}");
                for line in &lines[lines.len().saturating_sub(LINES)..] {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
        if self.way == Way::Namespaces {
            self.unmake();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}
