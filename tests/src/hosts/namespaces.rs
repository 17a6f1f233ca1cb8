//! Hosts that are network namespaces on a bridge, each with an address and a boot id of its own. Needs root and `ip`.

use super::Hosts;
use crate::command;
use std::path::Path;
use std::process::Command;

/// A hardware address that no host has.
const NOBODY: &str = "02:00:00:00:0f:ff";

impl Hosts {
    /// Makes a namespace for each host and the bridge between them.
    pub(super) fn make(&self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("namespaces need root".to_owned());
        }
        sweep()?;
        let net = &self.tag;
        ip(&["netns", "add", net])?;
        ip(&["-n", net, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", net, "link", "set", "br0", "up"])?;
        for number in 0..=self.count {
            let (host, port) = (self.host(number), format!("p{number}"));
            ip(&["netns", "add", &host])?;
            ip(&[
                "link", "add", "eth0", "netns", &host, "type", "veth", "peer", "name", &port, "netns", net,
            ])?;
            ip(&["-n", net, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &host, "addr", "add", &format!("{}/24", self.ip(number)), "dev", "eth0"])?;
            ip(&["-n", &host, "link", "set", "eth0", "up"])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            let boot = format!("{:08x}-0000-4000-8000-{number:012x}\n", std::process::id());
            std::fs::write(self.folder(number).join("boot_id"), boot).map_err(|error| error.to_string())?;
            let said = command::run(self.command(number, &["--version"]), b"");
            if said.status != 0 {
                return Err(format!("a host has no boot id of its own: {}", said.stderr));
            }
        }
        Ok(())
    }

    /// Removes what [`Hosts::make`] made.
    pub(super) fn unmake(&self) {
        for name in (0..=self.count).map(|number| self.host(number)).chain([self.tag.clone()]) {
            // Some may never have been made.
            let _ = ip(&["netns", "del", &name]);
        }
    }

    /// What `from` sends to `to` arrives nowhere from now on, in silence; or it arrives again.
    pub(super) fn set_packets(&self, from: usize, to: usize, arrive: bool) {
        let (host, to) = (self.host(from), self.ip(to));
        let words: &[&str] = if arrive {
            &["-n", &host, "neigh", "del", &to, "dev", "eth0"]
        } else {
            &["-n", &host, "neigh", "replace", &to, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"]
        };
        ip(words).expect("a neighbour can be set");
    }
}

/// Removes the namespaces of tests that were killed.
fn sweep() -> Result<(), String> {
    let listed = Command::new("ip").args(["netns", "list"]).output();
    let listed = listed.map_err(|error| format!("there is no `ip` (package iproute2): {error}"))?;
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.split(' ').next()) {
        let owner = name.strip_prefix("pfh-").and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // Another test may be sweeping, too.
            let _ = ip(&["netns", "del", name]);
        }
    }
    Ok(())
}

/// Runs `ip`.
pub(super) fn ip(words: &[&str]) -> Result<(), String> {
    let ran = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("`ip {}`: {}", words.join(" "), String::from_utf8_lossy(&ran.stderr).trim())),
    }
}
