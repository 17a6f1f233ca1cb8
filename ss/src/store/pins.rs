//! Pins (R32): what is being read or copied is not collected meanwhile.
//!
//! A content that no version names is collected by the one thread that changes the store. Whoever reads it pins
//! it first; the collector takes only what is not pinned and says under the same lock what it takes, so a pin
//! is either in time or refused. Contents that are prepared, open or kept need no pin: they are not collected.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use types::ids::SessionId;
use types::{Code, Error, Result};

use super::trouble::lock;

/// Contents that may be pinned at once (I9). At the bound nothing more is pinned, and nothing is collected
/// that would have been: what cannot pin is refused and comes again.
const PINS_MAX: usize = 16_384;

/// The pinned contents of a store.
#[derive(Default)]
pub(crate) struct Pins {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    held: HashMap<SessionId, Held>,
    /// Being collected now.
    going: HashSet<SessionId>,
}

#[derive(Default)]
struct Held {
    guards: usize,
    /// Pinned until then without a guard.
    until: Option<Instant>,
}

impl Held {
    fn is_over(&self, now: Instant) -> bool {
        self.guards == 0 && self.until.is_none_or(|until| until <= now)
    }
}

/// Keeps a content from being collected until it is dropped.
pub struct Pin {
    pins: Arc<Pins>,
    session: SessionId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut table = lock(&self.pins.table);
        if let Some(held) = table.held.get_mut(&self.session) {
            held.guards = held.guards.saturating_sub(1);
            if held.is_over(Instant::now()) {
                table.held.remove(&self.session);
            }
        }
    }
}

impl Pins {
    /// Pins a content, be it here or not.
    pub fn pin(self: &Arc<Self>, session: SessionId) -> Result<Pin> {
        self.held(session, |held| held.guards += 1)?;
        Ok(Pin { pins: self.clone(), session })
    }

    /// Pins a content for some time; asking again renews that.
    pub fn renew(&self, session: SessionId, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        self.held(session, |held| held.until = Some(held.until.map_or(until, |before| before.max(until))))
    }

    fn held(&self, session: SessionId, change: impl FnOnce(&mut Held)) -> Result<()> {
        let mut table = lock(&self.table);
        if table.going.contains(&session) {
            return Err(Error::new(
                Code::Unavailable,
                format_args!("the content {session} is being collected"),
                "look at the file again: the version is not kept any more",
            ));
        }
        if table.held.len() >= PINS_MAX && !table.held.contains_key(&session) {
            let now = Instant::now();
            table.held.retain(|_, held| !held.is_over(now));
            if table.held.len() >= PINS_MAX {
                return Err(Error::new(
                    Code::Unavailable,
                    format_args!("{PINS_MAX} contents are being read or copied already"),
                    "try again",
                ));
            }
        }
        change(table.held.entry(session).or_default());
        Ok(())
    }

    /// Takes a content for collection unless it is pinned. It cannot be pinned until [`gone`](Self::gone).
    pub fn take(&self, session: SessionId) -> bool {
        let mut table = lock(&self.table);
        if table.held.get(&session).is_some_and(|held| !held.is_over(Instant::now())) {
            return false;
        }
        table.going.insert(session)
    }

    /// What was taken is gone, or is not after all.
    pub fn gone(&self, sessions: &[SessionId]) {
        let mut table = lock(&self.table);
        for session in sessions {
            table.going.remove(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(n: u16) -> SessionId {
        let mut bytes = [7; 16];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        SessionId(bytes)
    }

    #[test]
    fn what_is_pinned_is_not_taken_and_what_is_taken_is_not_pinned() {
        let pins = Arc::new(Pins::default());
        let (first, second) = (pins.pin(session(1)).unwrap(), pins.pin(session(1)).unwrap());
        drop(first);
        assert!(!pins.take(session(1)));
        drop(second);
        assert!(pins.take(session(1)));
        assert!(pins.pin(session(1)).is_err());
        pins.gone(&[session(1)]);
        assert!(pins.pin(session(1)).is_ok());
    }

    #[test]
    fn a_pin_for_some_time_ends_and_is_renewed() {
        let pins = Arc::new(Pins::default());
        pins.renew(session(1), Duration::from_secs(60)).unwrap();
        pins.renew(session(1), Duration::ZERO).unwrap();
        drop(pins.pin(session(1)).unwrap());
        assert!(!pins.take(session(1)));
        pins.renew(session(2), Duration::ZERO).unwrap();
        assert!(pins.take(session(2)));
    }

    #[test]
    fn there_is_room_again_when_pins_are_over() {
        let pins = Arc::new(Pins::default());
        for n in 0..PINS_MAX as u16 {
            pins.renew(session(n), Duration::ZERO).unwrap();
        }
        let guards: Vec<_> = (0..PINS_MAX as u16).map(|n| pins.pin(session(n)).unwrap()).collect();
        assert!(pins.pin(session(u16::MAX)).is_err());
        drop(guards);
        assert!(pins.pin(session(u16::MAX)).is_ok());
    }
}
