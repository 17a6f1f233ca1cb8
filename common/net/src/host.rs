//! The host that a server runs on, as far as a simulation stands in for it: its clocks, its boot, its network. Without
//! one ([`simulate`]) everything comes from the system.

use crate::BoxFuture;
use crate::probe::ProbeResult;
use crate::transport::{Listen, Stream};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use types::Result;

/// A simulated host.
pub trait Host {
    /// As [`crate::clock::boottime`].
    fn boottime(&self) -> Duration;

    /// As [`crate::clock::wall_millis`].
    fn wall_millis(&self) -> u64;

    /// As [`crate::clock::boot_id`].
    fn boot_id(&self) -> String;

    /// Opens a stream to `addr`, an IP address and a port; as [`crate::transport::Dial`].
    fn dial(&self, addr: &str) -> BoxFuture<'static, Result<Stream>>;

    /// Listens at `addr`.
    ///
    /// # Errors
    /// `ALREADY_RUNNING` when somebody does.
    fn listen(&self, addr: SocketAddr) -> Result<Box<dyn Listen>>;

    /// As [`crate::probe::probe_refused`].
    fn probe(&self, addr: SocketAddr, timeout: Duration) -> BoxFuture<'static, ProbeResult>;
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// What runs on this thread runs on `host` from now on; none: on this machine.
pub fn simulate(host: Option<Rc<dyn Host>>) {
    HOST.with_borrow_mut(|place| *place = host);
}

pub(crate) fn simulated() -> Option<Rc<dyn Host>> {
    HOST.with_borrow(Clone::clone)
}
