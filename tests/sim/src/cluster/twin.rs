//! A second server on a copy of a storage server's disk, at another address (R7).

use super::{Cluster, ip};
use crate::faults::ROOMY;
use crate::host::{Condition, Machine};
use crate::network::Network;
use fastrand::Rng;
use std::fs::{self, DirBuilder};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use types::{Code, Error, Result};

/// Its place among addresses: no host has it.
const PLACE: usize = 200;

/// A copy and what runs on it.
pub(super) struct Twin {
    pub(super) machine: Machine,
    /// Whose copy it is, while there is one.
    pub(super) of: Option<usize>,
    /// How many there were.
    copies: usize,
}

impl Twin {
    pub(super) fn new(network: &Network, random: Rng) -> Twin {
        let machine = Machine::new("twin", ip(PLACE), network, random);
        network.turn_on(machine.ip, Box::new(|| false));
        Twin { machine, of: None, copies: 0 }
    }

    fn folder(&self) -> String {
        format!("twin-{}", self.copies)
    }

    /// Whether one of two servers on the same disk may end so: it was told that the other one is the server, or that its disk
    /// is not the newest.
    pub(super) fn may_end(ended: &Result<()>) -> bool {
        matches!(ended, Err(error) if matches!(error.code, Code::Locked | Code::Denied | Code::Damaged))
    }
}

impl Cluster {
    /// Copies the disk of a storage server as it is now, and starts a second server on the copy.
    ///
    /// # Errors
    /// When the small files cannot be copied.
    pub fn start_twin(&mut self, of: usize) -> Result<()> {
        self.twin.copies += 1;
        let (from, to) = (self.path(&self.hosts[of].name), self.path(&self.twin.folder()));
        copy_files(&from, &to)?;
        let disk = self.hosts[of].disk.restart();
        // A copy is on a disk of its own.
        disk.set_full(ROOMY);
        self.twin.machine.disk = disk;
        self.twin.of = Some(of);
        self.start_on_copy();
        Ok(())
    }

    /// Starts the server on the copy, if there is one.
    pub(super) fn start_on_copy(&mut self) {
        let Some(of) = self.twin.of else { return };
        let (addr, folder) = (self.twin.machine.ip, self.twin.folder());
        let main = self.storage_server(of, &folder, addr, 2, &[]);
        self.timeline.note(self.now, &format!("a copy of {} starts at {addr}", self.hosts[of].name));
        self.twin.machine.start(main);
    }

    /// Whose copy there is.
    pub fn twin_of(&self) -> Option<usize> {
        self.twin.of
    }

    /// Whether a server runs on the copy.
    pub fn twin_runs(&self) -> bool {
        self.twin.machine.condition() == Condition::Runs
    }

    /// The address of the host with the copy.
    pub fn twin_ip(&self) -> IpAddr {
        self.twin.machine.ip
    }

    /// Stops the server on the copy, and the one that it is a copy of; nobody starts them until [`end_twin`](Self::end_twin).
    pub fn stop_twins(&mut self) {
        self.twin.machine.kill();
        if let Some(of) = self.twin.of {
            self.hosts[of].kill();
        }
    }

    /// The copy goes; or, if that is the newest, takes the place of what it is a copy of. The server is started if it is down.
    ///
    /// # Errors
    /// When the small files cannot be copied.
    pub fn end_twin(&mut self, is_newest: bool) -> Result<()> {
        self.twin.machine.kill();
        let Some(of) = self.twin.of.take() else { return Ok(()) };
        if is_newest {
            self.hosts[of].kill();
            let place = self.path(&self.hosts[of].name);
            fs::remove_dir_all(&place).map_err(Error::from)?;
            copy_files(&self.path(&self.twin.folder()), &place)?;
            self.hosts[of].disk = self.twin.machine.disk.restart();
            self.timeline
                .note(self.now, &format!("{} goes on with the copy of its disk", self.hosts[of].name));
        }
        // Also one that lost power meanwhile: it was held.
        if matches!(self.hosts[of].condition(), Condition::Down | Condition::Off) {
            self.start(of);
        }
        Ok(())
    }

    /// Whether nobody is to start this server: it is not known yet which disk is the newest.
    pub(super) fn is_held(&self, host: usize) -> bool {
        self.twin.of == Some(host) && self.twin.machine.condition() != Condition::Runs
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(to).map_err(Error::from)?;
    for entry in fs::read_dir(from).map_err(Error::from)? {
        let entry = entry.map_err(Error::from)?;
        if entry.file_type().map_err(Error::from)?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).map_err(Error::from)?;
        }
    }
    Ok(())
}
