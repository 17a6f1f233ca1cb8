//! I9 Bounded. Streams, what they hold, disks and waits have bounds; none grows with how long something goes on.

use super::Violation;
use crate::load::Request;
use crate::network::{Load, Tick, WINDOW};

const INVARIANT: &str = "I9 bounded";

/// Streams of a cluster of one pair and a few clients, those included that a cut has left open on one side. Three servers
/// have some to each other, and a client two or three; what broke is dialled anew, with pauses.
const STREAMS: usize = 200;
/// Streams that are being made at once.
const DIALS: usize = 100;
/// What a request takes beyond its own time: the client may have been stopped meanwhile, and more than once, and says so
/// only when it goes on.
const SLACK: Tick = 15_000;
/// What files of a few dozen KiB, their kept versions and all that is around them take on one disk, in bytes.
const DISK: u64 = 96 << 20;

/// Looks at the streams.
pub fn streams(now: Tick, load: Load) -> Option<Violation> {
    let wrong = load.streams > STREAMS || load.dials > DIALS || load.bytes > 2 * WINDOW;
    wrong.then(|| Violation {
        invariant: INVARIANT,
        what: format!("at {now} ms there are too many: {load:?}"),
    })
}

/// Checks that each request ended in its time.
pub fn waits(requests: &[Request]) -> Vec<Violation> {
    let late = requests.iter().filter(|request| request.took.is_some_and(|took| took > request.most + SLACK));
    late.map(|request| {
        let Request { path, ask, at, took, most, .. } = request;
        let took = took.unwrap_or(0);
        let what = format!("{path}: {ask:?} of {at} ms took {took} ms and should have given up after {most}");
        Violation { invariant: INVARIANT, what }
    })
    .collect()
}

/// Checks what is on a disk in the end.
pub fn disk(host: &str, bytes: u64) -> Option<Violation> {
    let what = format!("the disk of {host} has {bytes} bytes");
    (bytes > DISK).then_some(Violation { invariant: INVARIANT, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Ask, Came};

    #[test]
    fn more_streams_than_anybody_needs_are_found() {
        assert!(streams(1, Load { streams: 20, bytes: 1000, dials: 2 }).is_none());
        assert!(streams(1, Load { streams: 2000, ..Load::default() }).is_some());
        assert!(streams(1, Load { dials: 2000, ..Load::default() }).is_some());
        assert!(streams(1, Load { bytes: 1 << 30, ..Load::default() }).is_some());
    }

    #[test]
    fn a_request_that_outlasts_its_time_is_found() {
        let took = |took| Request {
            worker: 0,
            path: "/a".into(),
            ask: Ask::Read,
            at: 0,
            begun: 1,
            ended: Some((2, Came::Read(None))),
            most: 2000,
            took,
        };
        assert!(waits(&[took(Some(1999)), took(Some(5000)), took(None)]).is_empty());
        assert_eq!(waits(&[took(Some(40_000))]).len(), 1);
    }

    #[test]
    fn a_disk_that_grows_without_end_is_found() {
        assert!(disk("ss1", 10 << 20).is_none());
        assert!(disk("ss1", 1 << 30).is_some());
    }
}
