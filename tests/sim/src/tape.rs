//! Randomness and time of the thread that simulates, instead of the system's.
//!
//! Hash maps draw their keys from the system, `select!` its order, request keys and nonces their bytes; the standard
//! library reads its clocks. All of it goes through two functions of the C library, which this file stands in front of,
//! for the threads that ask for it; others get the system's answer (the idea of madsim, and of libfaketime).
//!
//! This is the one file of the simulation with `unsafe` code: two functions called by C's rules, which write to the
//! places that their callers own, and two system calls.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::time::Duration;

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static STATE: Cell<u64> = const { Cell::new(0) };
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static ASLEEP: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Monotonic clocks begin here: early enough that a difference can be taken from it.
const BEGINNING: Duration = Duration::from_secs(1_000_000);
/// The wall clock at that moment, since 1970.
const WALL: Duration = Duration::from_secs(1_800_000_000);

/// From now on this thread's randomness is drawn from `seed`, and its clocks stand still until [`set_now`].
pub fn play(seed: u64) {
    STATE.set(seed);
    NOW.set(Duration::ZERO);
    ASLEEP.set(Duration::ZERO);
    IS_ON.set(true);
}

/// This thread's randomness and time are the system's again.
pub fn stop() {
    IS_ON.set(false);
}

/// The clocks show `now` after their beginning.
pub fn set_now(now: Duration) {
    NOW.set(now);
}

/// So much of the time since their beginning the host was suspended: CLOCK_MONOTONIC stood still meanwhile.
pub fn set_asleep(asleep: Duration) {
    ASLEEP.set(asleep);
}

/// What [`set_now`] said last.
pub fn now() -> Duration {
    NOW.get()
}

/// The same without the time for which the host was suspended.
pub fn awake() -> Duration {
    NOW.get().saturating_sub(ASLEEP.get())
}

/// What the wall clock shows, ms since 1970.
pub fn wall_millis() -> u64 {
    u64::try_from((WALL + NOW.get()).as_millis()).unwrap_or(u64::MAX)
}

/// SplitMix64 (Steele et al., OOPSLA 2014).
fn next() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// As getrandom(2).
///
/// # Safety
/// `buffer` is valid for writes of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    if !IS_ON.get() {
        // SAFETY: the caller's promise is the one that the system call needs.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as isize };
    }
    if len > 0 {
        // SAFETY: the caller owns these bytes; that they may not be initialised does not matter, as each is written.
        unsafe { std::ptr::write_bytes(buffer.cast::<u8>(), 0, len) };
        // SAFETY: they are initialised now.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&next().to_le_bytes()[..part.len()]);
        }
    }
    isize::try_from(len).unwrap_or(isize::MAX)
}

/// As clock_gettime(2).
///
/// # Safety
/// `time` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let since = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => WALL + NOW.get(),
        libc::CLOCK_BOOTTIME => BEGINNING + NOW.get(),
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW => {
            BEGINNING + awake()
        }
        _ => Duration::ZERO,
    };
    if !IS_ON.get() || since.is_zero() {
        // SAFETY: the caller's promise is the one that the system call needs.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int };
    }
    let told = libc::timespec {
        tv_sec: libc::time_t::try_from(since.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: since.subsec_nanos().into(),
    };
    // SAFETY: the caller's promise.
    unsafe { time.write(told) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::{Instant, SystemTime};

    /// What depends on randomness all over the libraries.
    fn drawn(seed: u64) -> (Vec<u32>, [u8; 16]) {
        let drawn = move || {
            play(seed);
            let map: HashMap<u32, ()> = (0..50).map(|key| (key, ())).collect();
            (map.into_keys().collect(), net::secret::random().unwrap())
        };
        // The keys of hash maps are drawn once in each thread.
        std::thread::spawn(drawn).join().unwrap()
    }

    #[test]
    fn maps_and_keys_are_the_same_with_the_same_seed_and_only_then() {
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1).0, drawn(2).0);
        assert_ne!(drawn(1).1, drawn(2).1);
    }

    #[test]
    fn clocks_show_what_they_are_told_and_the_systems_time_otherwise() {
        let real = SystemTime::now();
        std::thread::spawn(move || {
            play(1);
            let (instant, wall) = (Instant::now(), SystemTime::now());
            assert_eq!(instant, Instant::now());
            set_now(Duration::from_millis(1500));
            assert_eq!(instant.elapsed(), Duration::from_millis(1500));
            assert_eq!(wall.elapsed().unwrap(), Duration::from_millis(1500));
            set_asleep(Duration::from_millis(400));
            assert_eq!(instant.elapsed(), Duration::from_millis(1100), "it stands still in a suspend");
            assert_eq!(wall.elapsed().unwrap(), Duration::from_millis(1500));
            stop();
            assert!(SystemTime::now() >= real && SystemTime::now() != wall);
        })
        .join()
        .unwrap();
    }
}
