//! Waiting for something, with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(30);

/// Looks until `look` gives something and returns it, with the time it took.
///
/// # Panics
/// After `most`, with `what` was waited for and the last thing seen.
pub fn within<T, Seen: Debug>(
    most: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, Seen>,
) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(value) => return (value, begin.elapsed()),
            Err(seen) if begin.elapsed() >= most => {
                panic!("waited {most:?} for {what}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Looks until `holds`.
///
/// # Panics
/// After `most`, with `what` was waited for.
pub fn until(most: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    within(most, what, || if holds() { Ok(()) } else { Err("it does not hold") }).1
}

/// Looks again and again for `span`, and fails as soon as `holds` does not: what must not happen cannot be waited for.
///
/// # Panics
/// With `what` was to hold all the time.
#[track_caller]
pub fn all_along(span: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    loop {
        assert!(holds(), "after {:?} it does not hold any more: {what}", begin.elapsed());
        if begin.elapsed() >= span {
            return;
        }
        std::thread::sleep(POLL);
    }
}
