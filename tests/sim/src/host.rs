//! One host: its clock, its disk, its network address, and the process that runs on it.
//!
//! Each process has a tokio runtime of its own, whose clock stands still except in the host's turn. So a process can be
//! killed (its runtime is dropped), paused (it gets no turn while its clocks go on) and have a clock that goes wrong; and a
//! host can be suspended: then CLOCK_BOOTTIME and the wall clock go on, and CLOCK_MONOTONIC, on which timers run, stands
//! still.

use crate::network::{Network, Tick};
use crate::tape;
use fastrand::Rng;
use log::Disk;
use log::sim::SimDisk;
use net::BoxFuture;
use net::host::Host;
use net::probe::ProbeResult;
use net::transport::{Listen, Stream};
use std::cell::RefCell;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use threads::{Due, Runner, Steps, Wake};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use types::Result;

/// What a process of a host sees of it.
struct Seen {
    ip: IpAddr,
    boot: String,
    network: Network,
}

impl Host for Seen {
    fn boottime(&self) -> Duration {
        // Hosts were not all started at the same moment.
        let [.., last] = ip_bytes(self.ip);
        tape::now() + Duration::from_secs(1000 * u64::from(last))
    }

    fn wall_millis(&self) -> u64 {
        tape::wall_millis()
    }

    fn boot_id(&self) -> String {
        self.boot.clone()
    }

    fn dial(&self, addr: &str) -> BoxFuture<'static, Result<Stream>> {
        self.network.connect(self.ip, addr)
    }

    fn listen(&self, addr: SocketAddr) -> Result<Box<dyn Listen>> {
        self.network.listen(addr)
    }

    fn probe(&self, addr: SocketAddr, timeout: Duration) -> BoxFuture<'static, ProbeResult> {
        let asked = self.network.probe(self.ip, addr);
        Box::pin(async move { tokio::time::timeout(timeout, asked).await.unwrap_or(ProbeResult::Silent) })
    }
}

fn ip_bytes(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

/// How long a step of a worker waits for its disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskPace {
    /// Up to so many ticks.
    pub jitter: Tick,
}

/// Runs workers as tasks of the host's runtime, each step after a while.
struct Hands {
    random: RefCell<Rng>,
    pace: Arc<Mutex<DiskPace>>,
}

impl Runner for Hands {
    fn start(&self, _: &str, steps: Box<dyn Steps>) -> Wake {
        let news = Arc::new(Notify::new());
        let random = self.random.borrow_mut().fork();
        tokio::spawn(drive(steps, news.clone(), random, self.pace.clone()));
        Arc::new(move || news.notify_one())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn drive(mut steps: Box<dyn Steps>, news: Arc<Notify>, mut random: Rng, pace: Arc<Mutex<DiskPace>>) {
    loop {
        match steps.due() {
            Due::Ended => return,
            Due::News => news.notified().await,
            Due::At(at) => tokio::select! {
                biased;
                () = news.notified() => {}
                () = tokio::time::sleep_until(at.into()) => steps.step(),
            },
            Due::Now => {
                let wait = random.u64(0..=lock(&pace).jitter);
                if wait > 0 {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                steps.step();
            }
        }
    }
}

struct Process {
    runtime: Runtime,
    main: JoinHandle<Result<()>>,
}

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A process runs on it.
    Runs,
    /// Its process is stopped (SIGSTOP).
    Paused,
    /// It is suspended: nothing runs on it, and nobody hears of it.
    Suspended,
    /// No process runs on it.
    Down,
    /// It has no power.
    Off,
}

/// A host.
pub struct Machine {
    /// Its name, and that of its process.
    pub name: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its disk.
    pub disk: SimDisk,
    condition: Condition,
    process: Option<Process>,
    /// What its clock shows, ms.
    local: Tick,
    /// By so many millionths its clock is too fast.
    pub drift_ppm: i64,
    drifted: i64,
    /// Ticks its process has not seen.
    owed: Tick,
    /// Ticks for which it was suspended.
    asleep: Tick,
    boots: u64,
    network: Network,
    pace: Arc<Mutex<DiskPace>>,
    hands: Rc<Hands>,
}

impl Machine {
    /// A host with an empty disk and no process.
    pub fn new(name: &str, ip: IpAddr, network: &Network, random: Rng) -> Machine {
        let pace = Arc::<Mutex<DiskPace>>::default();
        let hands = Rc::new(Hands { random: RefCell::new(random), pace: pace.clone() });
        Machine {
            name: name.to_owned(),
            ip,
            disk: SimDisk::new(),
            condition: Condition::Down,
            process: None,
            local: 0,
            drift_ppm: 0,
            drifted: 0,
            owed: 0,
            asleep: 0,
            boots: 0,
            network: network.clone(),
            pace,
            hands,
        }
    }

    /// How it is.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// How slow its disk is from now on.
    pub fn set_pace(&self, pace: DiskPace) {
        *lock(&self.pace) = pace;
    }

    /// Has what is done on this thread done on this host.
    fn enter(&self) {
        tape::set_now(Duration::from_millis(self.local));
        tape::set_asleep(Duration::from_millis(self.asleep));
        let boot = format!("{:08}-boot-of-{}", self.boots, self.name);
        net::host::simulate(Some(Rc::new(Seen { ip: self.ip, boot, network: self.network.clone() })));
        let disk = self.disk.clone();
        let disks = move |_: &Path| -> std::io::Result<Arc<dyn Disk>> { Ok(Arc::new(disk.clone())) };
        log::simulate_disks(Some(Rc::new(disks)));
        threads::simulate(Some(self.hands.clone()));
    }

    /// Starts a process that does `main`.
    ///
    /// # Panics
    /// When the system gives no runtime.
    pub fn start(&mut self, main: impl Future<Output = Result<()>> + Send + 'static) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        if self.condition == Condition::Off {
            self.boots += 1;
        }
        self.enter();
        let disk = self.disk.clone();
        self.network.turn_on(self.ip, Box::new(move || disk.frozen()));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        let main = runtime.spawn(main);
        self.process = Some(Process { runtime, main });
        self.condition = Condition::Runs;
        self.owed = 0;
        leave();
    }

    /// What `look` sees with this host's clock.
    pub fn see<T>(&self, look: impl FnOnce() -> T) -> T {
        self.enter();
        let seen = look();
        leave();
        seen
    }

    /// Has its process do `work` now and gives what it gives.
    pub fn within<T>(&mut self, work: impl FnOnce(&Runtime) -> T) -> Option<T> {
        self.enter();
        let done = self.process.as_ref().map(|process| work(&process.runtime));
        leave();
        done
    }

    /// A tick passes on it.
    pub fn turn(&mut self) {
        let mut ticks = 1;
        self.drifted += self.drift_ppm;
        if self.drifted.abs() >= 1_000_000 {
            ticks = if self.drifted > 0 { 2 } else { 0 };
            self.drifted -= self.drifted.signum() * 1_000_000;
        }
        self.local += ticks;
        if self.condition == Condition::Suspended {
            self.asleep += ticks;
            return;
        }
        if self.condition != Condition::Runs {
            self.owed += ticks;
            return;
        }
        let owed = std::mem::take(&mut self.owed);
        if ticks == 0 {
            return;
        }
        // The clocks show the end of the tick all through it, so that no timer is early by them.
        self.enter();
        if let Some(process) = &self.process {
            process.runtime.block_on(async {
                if owed > 0 {
                    tokio::time::advance(Duration::from_millis(owed)).await;
                }
                tokio::time::sleep(Duration::from_millis(ticks)).await;
            });
        }
        leave();
    }

    /// The end of its process, if it has ended by itself.
    pub fn ended(&mut self) -> Option<Result<()>> {
        let process = self.process.as_mut().filter(|process| process.main.is_finished())?;
        let ended = process.runtime.block_on(&mut process.main);
        self.kill();
        Some(ended.unwrap_or_else(|error| Err(types::Error::internal(error))))
    }

    /// Its process is killed; what it wrote stays in the memory of the system.
    pub fn kill(&mut self) {
        if self.process.is_none() {
            return;
        }
        let disk = self.disk.restart();
        self.network.end_process(self.ip);
        self.drop_process();
        self.disk = disk;
        self.condition = Condition::Down;
    }

    /// It loses power: what was not made durable is lost or not, as `seed` says.
    pub fn cut_power(&mut self, seed: u64) {
        let disk = self.disk.crash(seed);
        self.network.turn_off(self.ip);
        self.network.end_process(self.ip);
        self.drop_process();
        self.disk = disk;
        self.condition = Condition::Off;
    }

    /// Its process gets no turn.
    pub fn pause(&mut self) {
        if self.condition == Condition::Runs {
            self.condition = Condition::Paused;
        }
    }

    /// Its process goes on, and finds that time has passed.
    pub fn go_on(&mut self) {
        if self.condition == Condition::Paused {
            self.condition = Condition::Runs;
        }
    }

    /// It is suspended: its process gets no turn, its timers stand still, and nothing gets in or out.
    pub fn suspend(&mut self) {
        if self.condition == Condition::Runs {
            self.condition = Condition::Suspended;
            self.network.sleep(self.ip);
        }
    }

    /// It goes on, and only the clocks that are made for it have counted the time.
    pub fn resume(&mut self) {
        if self.condition == Condition::Suspended {
            self.condition = Condition::Runs;
            self.network.wake(self.ip);
        }
    }

    fn drop_process(&mut self) {
        self.enter();
        // What a destructor still writes goes to a disk that nobody reads any more.
        drop(self.process.take());
        leave();
    }
}

fn leave() {
    net::host::simulate(None);
    threads::simulate(None);
    log::simulate_disks(None);
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.network.end_process(self.ip);
        self.drop_process();
    }
}
