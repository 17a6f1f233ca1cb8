//! The clocks of the machine. Cores take time as a value; shells read it here.

use crate::host::simulated;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use types::{Error, Result};

/// Time since this machine started. It never goes back and runs on while the machine sleeps, so a lease
/// counted on it (R2) cannot outlive a suspend.
pub fn boottime() -> Duration {
    if let Some(host) = simulated() {
        return host.boottime();
    }
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Milliseconds since 1970 by the wall clock, which people set and which may jump. For display and logs.
pub fn wall_millis() -> u64 {
    if let Some(host) = simulated() {
        return host.wall_millis();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The random name of this machine's present boot: two processes with the same one run on the same start
/// of the same host (R6).
///
/// # Errors
/// `IO` when the system does not tell.
pub fn boot_id() -> Result<String> {
    if let Some(host) = simulated() {
        return Ok(host.boot_id());
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(Error::from)?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_clock_never_goes_back() {
        let first = boottime();
        assert!(first > Duration::ZERO);
        assert!(boottime() >= first);
    }

    #[test]
    fn two_reads_name_the_same_boot() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(wall_millis() > 1_600_000_000_000);
    }
}
