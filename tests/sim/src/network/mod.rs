//! The network between simulated hosts: streams of bytes that arrive late, wait while a way is cut, break, and never
//! arrive in another order than they were sent, as TCP gives them. Between streams there is no order: what was sent on one
//! that broke may arrive after what was sent later on another.
//!
//! Time is counted in ticks of a millisecond. What happens within a tick is delivered at the earliest in the next one.

mod delivery;
mod stream;

use fastrand::Rng;
use net::BoxFuture;
use net::probe::ProbeResult;
use net::transport::{Listen, Stream};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use stream::{Listener, Reader, Writer};
use types::{Code, Error, Result};

/// Ticks, each a millisecond.
pub type Tick = u64;

/// Bytes that a stream takes before its reader has taken some.
pub const WINDOW: usize = 1 << 20;
/// How long a try to reach a host that says nothing takes.
const SYN_TIMEOUT: Tick = 60_000;
/// How often hosts ask whether silent streams are alive.
const KEEPALIVE: Tick = net::bounds::KEEPALIVE_IDLE.as_millis() as Tick;

/// How long things are on their way, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Usually up to so many more than one.
    pub jitter: Tick,
    /// One in so many pieces takes up to `slow`; zero: none.
    pub slow_one_in: u32,
    /// As long as this.
    pub slow: Tick,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { jitter: 1, slow_one_in: 0, slow: 0 }
    }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Streams between all hosts.
    pub streams: usize,
    /// Bytes on their way in the fullest direction of one.
    pub bytes: usize,
    /// Streams that are being made.
    pub dials: usize,
}

/// The network; clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    random: Rng,
    now: Tick,
    latency: Latency,
    hosts: BTreeMap<IpAddr, HostState>,
    listeners: BTreeMap<SocketAddr, Arc<Mutex<Queue>>>,
    pipes: BTreeMap<u64, Pipe>,
    tries: BTreeMap<u64, Try>,
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    next: u64,
    next_port: u16,
    /// Of everything that was delivered, in order.
    trace: u64,
}

#[derive(Default)]
struct HostState {
    /// Without power: nothing goes in or out, and nobody is told.
    off: bool,
    /// Tells whether it has lost power in the middle of a step.
    has_stopped: Option<Box<dyn Fn() -> bool + Send>>,
}

#[derive(Default)]
struct Queue {
    streams: VecDeque<Stream>,
    waker: Option<Waker>,
}

enum Item {
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// One direction of a stream.
struct Pipe {
    from: IpAddr,
    to: IpAddr,
    /// The other direction.
    back: u64,
    flight: VecDeque<(Tick, Item)>,
    arrived: VecDeque<u8>,
    bytes: usize,
    end: Option<End>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    reader_gone: bool,
    writer_gone: bool,
    /// What is in flight arrives although its writer knows that the stream is broken.
    lingers: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// A connection that is being made, or a probe.
struct Try {
    from: IpAddr,
    to: SocketAddr,
    due: Tick,
    is_probe: bool,
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

enum Outcome {
    Open(Box<Stream>),
    Answered,
    Refused,
    Silent,
}

impl State {
    fn delay(&mut self) -> Tick {
        let Latency { jitter, slow_one_in, slow } = self.latency;
        match slow_one_in > 0 && self.random.u32(0..slow_one_in) == 0 {
            true => 1 + self.random.u64(0..=slow),
            false => 1 + self.random.u64(0..=jitter),
        }
    }

    fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn is_off(&self, host: IpAddr) -> bool {
        self.hosts.get(&host).is_some_and(|host| host.off)
    }

    /// Whether what it says now never leaves it.
    fn is_mute(&self, host: IpAddr) -> bool {
        self.hosts
            .get(&host)
            .is_some_and(|host| host.off || host.has_stopped.as_ref().is_some_and(|has| has()))
    }

    fn send(&mut self, pipe: u64, item: Item) {
        let delay = self.delay();
        let due = self.now + delay;
        if let Some(pipe) = self.pipes.get_mut(&pipe) {
            let due = due.max(pipe.flight.back().map_or(0, |(due, _)| *due));
            if let Item::Data(data) = &item {
                pipe.bytes += data.len();
            }
            pipe.flight.push_back((due, item));
        }
    }

    fn note(&mut self, parts: &[u64]) {
        for part in parts {
            self.trace = (self.trace.rotate_left(7) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn open(&mut self, from: SocketAddr, to: SocketAddr, network: &Network) -> (Stream, Stream) {
        let (there, back) = (self.next, self.next + 1);
        self.next += 2;
        for (id, from, to, back) in [(there, from, to, back), (back, to, from, there)] {
            let pipe = Pipe {
                from: from.ip(),
                to: to.ip(),
                back,
                flight: VecDeque::new(),
                arrived: VecDeque::new(),
                bytes: 0,
                end: None,
                reader: None,
                writer: None,
                reader_gone: false,
                writer_gone: false,
                lingers: false,
            };
            self.pipes.insert(id, pipe);
        }
        let stream = |read, write, local, peer| Stream {
            reader: Box::new(Reader { network: network.clone(), pipe: read }),
            writer: Box::new(Writer { network: network.clone(), pipe: write }),
            peer,
            local,
        };
        (stream(back, there, from, to), stream(there, back, to, from))
    }
}

impl Network {
    /// A network without hosts whose delays are drawn from `seed`.
    pub fn new(seed: u64) -> Network {
        Network(Arc::new(Mutex::new(State {
            random: Rng::with_seed(seed),
            now: 0,
            latency: Latency::default(),
            hosts: BTreeMap::new(),
            listeners: BTreeMap::new(),
            pipes: BTreeMap::new(),
            tries: BTreeMap::new(),
            cuts: BTreeSet::new(),
            next: 0,
            next_port: 40_000,
            trace: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of whatever is sent next.
    pub fn set_now(&self, now: Tick) {
        self.state().now = now;
    }

    /// A number that differs between two runs that did not deliver the same bytes in the same ticks.
    pub fn trace(&self) -> u64 {
        self.state().trace
    }

    /// How much there is of everything.
    pub fn load(&self) -> Load {
        let state = self.state();
        let bytes = state.pipes.values().map(|pipe| pipe.bytes).max();
        Load { streams: state.pipes.len() / 2, bytes: bytes.unwrap_or(0), dials: state.tries.len() }
    }

    /// How long things are on their way from now on.
    pub fn set_latency(&self, latency: Latency) {
        self.state().latency = latency;
    }

    /// Cuts the way from `from` to `to`: what is sent waits until it is mended.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        self.state().cuts.insert((from, to));
    }

    /// Mends every way.
    pub fn mend(&self) {
        self.state().cuts.clear();
    }

    /// A host gets power. `has_stopped` tells when it loses it again within a step.
    pub fn turn_on(&self, host: IpAddr, has_stopped: Box<dyn Fn() -> bool + Send>) {
        self.state().hosts.insert(host, HostState { off: false, has_stopped: Some(has_stopped) });
    }

    /// A host loses power: nobody is told, and nothing that it had not sent gets out.
    pub fn turn_off(&self, host: IpAddr) {
        let mut state = self.state();
        state.hosts.entry(host).or_default().off = true;
        // What it had not got is lost with it.
        state.pipes.values_mut().filter(|pipe| pipe.to == host).for_each(|pipe| pipe.arrived.clear());
    }

    /// A host is suspended: nothing gets in or out, and nothing is lost.
    pub fn sleep(&self, host: IpAddr) {
        self.state().hosts.entry(host).or_default().off = true;
    }

    /// It goes on.
    pub fn wake(&self, host: IpAddr) {
        self.state().hosts.entry(host).or_default().off = false;
    }

    /// The sockets of a process are closed, as its system does when it ends: listeners go, and the other sides are told.
    pub fn end_process(&self, host: IpAddr) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state();
            state.listeners.retain(|addr, _| addr.ip() != host);
            let theirs = |pipe: &(&u64, &Pipe)| pipe.1.from == host && !pipe.1.writer_gone;
            let writes: Vec<u64> = state.pipes.iter().filter(theirs).map(|(id, _)| *id).collect();
            let off = state.is_off(host);
            for id in writes {
                if let Some(pipe) = state.pipes.get_mut(&id) {
                    pipe.writer_gone = true;
                }
                if !off {
                    state.send(id, Item::Reset);
                }
            }
            for pipe in state.pipes.values_mut().filter(|pipe| pipe.to == host) {
                pipe.reader_gone = true;
                pipe.arrived.clear();
                wakers.extend(pipe.writer.take());
            }
            state.tries.retain(|_, waiting| waiting.from != host);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Breaks all streams between two hosts, as a device between them does that forgets them.
    pub fn break_streams(&self, one: IpAddr, other: IpAddr) {
        let mut state = self.state();
        let between = |pipe: &(&u64, &Pipe)| [(one, other), (other, one)].contains(&(pipe.1.from, pipe.1.to));
        let pipes: Vec<u64> = state.pipes.iter().filter(between).map(|(id, _)| *id).collect();
        for id in pipes {
            state.send(id, Item::Reset);
        }
    }

    /// Breaks all streams between two hosts, and only `from` is told at once: what it has sent arrives at `to` so much later,
    /// after what `from` sends on other streams meanwhile, and then the end. What was on its way to `from` is lost.
    pub fn break_streams_late(&self, from: IpAddr, to: IpAddr, late: Tick) {
        let mut state = self.state();
        let on_way = |pipe: &(&u64, &Pipe)| (pipe.1.from, pipe.1.to) == (from, to) && !pipe.1.lingers;
        let pipes: Vec<(u64, u64)> =
            state.pipes.iter().filter(on_way).map(|(id, pipe)| (*id, pipe.back)).collect();
        let now = state.now;
        for (id, back) in pipes {
            if let Some(pipe) = state.pipes.get_mut(&id) {
                pipe.lingers = true;
                pipe.flight.iter_mut().for_each(|(due, _)| *due += late);
                // The reader has a turn to take what came before it.
                let last = pipe.flight.back().map_or(now + late, |(due, _)| *due);
                pipe.flight.push_back((last + 2, Item::Reset));
            }
            if let Some(back) = state.pipes.get_mut(&back) {
                back.flight.clear();
                back.bytes = back.arrived.len();
            }
            state.send(back, Item::Reset);
        }
    }

    /// Delivers what is due at `now`.
    pub fn deliver(&self, now: Tick) {
        let wakers = {
            let mut state = self.state();
            state.now = now;
            if now.is_multiple_of(KEEPALIVE) {
                state.ask_the_silent();
            }
            let mut wakers = state.deliver_items();
            wakers.extend(state.answer_tries(self));
            wakers
        };
        // Outside: whoever is woken may look here.
        wakers.into_iter().for_each(Waker::wake);
    }

    fn dial(&self, from: IpAddr, to: SocketAddr, is_probe: bool) -> u64 {
        let mut state = self.state();
        let delay = state.delay();
        let (id, due) = (state.next, state.now + delay);
        state.next += 1;
        state.tries.insert(id, Try { from, to, due, is_probe, outcome: None, waker: None });
        id
    }

    async fn outcome(&self, id: u64) -> Outcome {
        let _forget = Forget(self, id);
        poll_fn(|context| {
            let mut state = self.state();
            let Some(waiting) = state.tries.get_mut(&id) else { return Poll::Ready(Outcome::Silent) };
            match waiting.outcome.take() {
                Some(outcome) => Poll::Ready(outcome),
                None => {
                    waiting.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// As [`net::host::Host::dial`], from the host `from`.
    pub fn connect(&self, from: IpAddr, addr: &str) -> BoxFuture<'static, Result<Stream>> {
        let (network, addr) = (self.clone(), addr.to_owned());
        Box::pin(async move {
            let to: SocketAddr = addr
                .parse()
                .map_err(|_| Error::new(Code::Usage, format_args!("{addr} is no address"), ""))?;
            let id = network.dial(from, to, false);
            let why = match network.outcome(id).await {
                Outcome::Open(stream) => return Ok(*stream),
                Outcome::Answered | Outcome::Refused => "Connection refused",
                Outcome::Silent => "Connection timed out",
            };
            Err(Error::new(Code::Unavailable, format_args!("{addr} does not answer ({why})"), "check it"))
        })
    }

    /// As [`net::host::Host::probe`], from the host `from`.
    pub fn probe(&self, from: IpAddr, to: SocketAddr) -> BoxFuture<'static, ProbeResult> {
        let network = self.clone();
        Box::pin(async move {
            let id = network.dial(from, to, true);
            match network.outcome(id).await {
                Outcome::Open(_) | Outcome::Answered => ProbeResult::Answered,
                Outcome::Refused => ProbeResult::Refused,
                Outcome::Silent => ProbeResult::Silent,
            }
        })
    }

    /// As [`net::host::Host::listen`].
    ///
    /// # Errors
    /// `ALREADY_RUNNING`.
    pub fn listen(&self, addr: SocketAddr) -> Result<Box<dyn Listen>> {
        let queue = Arc::new(Mutex::new(Queue::default()));
        let mut state = self.state();
        if state.listeners.contains_key(&addr) {
            return Err(Error::new(Code::AlreadyRunning, format_args!("{addr} is in use"), "stop it"));
        }
        state.listeners.insert(addr, queue.clone());
        Ok(Box::new(Listener { network: self.clone(), addr, queue }))
    }
}

struct Forget<'a>(&'a Network, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let gone = self.0.state().tries.remove(&self.1);
        // Its stream, if it has one, is closed where the state is not held.
        drop(gone);
    }
}
