//! Named places at which a test has a process kill itself: there, between two steps of which only the first has
//! happened, is where a program shows what it promises.
//!
//! In a debug build the environment variable `PAIRFS_CRASH_AT=NAME[:N]` ends the process by SIGKILL when it comes to
//! the point `NAME` for the `N`-th time (the first, unless given). A release build has no points and does not look
//! at the variable. Every point has a test of its name in `tests/tests/crash_points.rs`, and a test that says so.

use std::pin::{Pin, pin};
use std::task::Context;

/// The environment variable that names the point.
pub const CRASH_VARIABLE: &str = "PAIRFS_CRASH_AT";

/// Ends this process here, if that is what was asked for (see the module). Otherwise it does nothing.
#[inline]
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    armed::reach(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Runs `work`, and comes to the point `name` when it has begun to wait, after other tasks had a few turns: a request
/// is on its way then, and its answer is not here yet.
pub async fn crash_point_waiting<T>(name: &str, work: impl Future<Output = T>) -> T {
    /// Turns of other tasks, in which what was asked for is sent.
    const TURNS: u32 = 4;
    let (mut work, mut turns) = (pin!(work), 0);
    let poll = |context: &mut Context<'_>| {
        let polled = Pin::as_mut(&mut work).poll(context);
        if polled.is_pending() && cfg!(debug_assertions) && turns <= TURNS {
            if turns == TURNS {
                crash_point(name);
            }
            turns += 1;
            context.waker().wake_by_ref();
        }
        polled
    };
    std::future::poll_fn(poll).await
}

#[cfg(debug_assertions)]
mod armed {
    use super::CRASH_VARIABLE;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Asked {
        name: String,
        left: AtomicU64,
    }

    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();

    pub(super) fn parse(text: &str) -> (&str, u64) {
        let counted = text.rsplit_once(':').and_then(|(name, count)| Some((name, count.parse().ok()?)));
        counted.unwrap_or((text, 1))
    }

    pub(super) fn reach(name: &str) {
        let asked = ASKED.get_or_init(|| {
            let text = std::env::var(CRASH_VARIABLE).ok()?;
            let (name, count) = parse(&text);
            Some(Asked { name: name.to_owned(), left: AtomicU64::new(count.max(1)) })
        });
        let Some(asked) = asked.as_ref().filter(|asked| asked.name == name) else { return };
        if asked.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing of this process runs on, no buffer is flushed, no destructor runs.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[test]
    fn a_program_that_nobody_asked_to_crash_passes_every_point() {
        crash_point("no.such-point");
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_point_may_be_meant_for_the_nth_time() {
        assert_eq!(armed::parse("commit.begin"), ("commit.begin", 1));
        assert_eq!(armed::parse("commit.begin:7"), ("commit.begin", 7));
    }

    #[test]
    fn what_waits_at_a_point_gives_its_own_result() {
        let mut work = pin!(crash_point_waiting("no.such-point", std::future::ready(5)));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(work.as_mut().poll(&mut context), Poll::Ready(5));
    }
}
