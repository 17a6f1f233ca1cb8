//! I2 Nothing acknowledged is lost. Files that are answered for when both members have them are linearizable whatever
//! fails; of a file that is answered for when one member has it, the last acknowledged content is there in the end, as
//! the head or beside it.

use super::linearizable::{Verdict, check};
use super::{Violation, by_path};
use crate::load::{Ask, Came, Request, Value};
use std::collections::{BTreeMap, BTreeSet};
use types::ids::VersionNumber;
use types::limits::VERSIONS_KEPT;

const INVARIANT: &str = "I2 nothing acknowledged is lost";

/// Checks the shared files.
pub fn shared_files(requests: &[Request]) -> Vec<Violation> {
    let shared = by_path(requests).into_iter().filter(|(path, _)| path.starts_with("/shared/"));
    let judged = shared.filter_map(|(path, requests)| match check(&requests) {
        Verdict::Linearizable => None,
        Verdict::Not => Some((path, first_contradiction(&requests), "its answers contradict each other")),
        Verdict::Undecided => Some((path, requests, "there are too many orders to try")),
    });
    judged.map(|(path, requests, why)| violation(path, why, &requests)).collect()
}

/// How many requests before a contradiction are shown.
const SHOWN: usize = 15;

/// The requests up to the answer with which they first contradict each other, the last of them.
fn first_contradiction<'a>(requests: &[&'a Request]) -> Vec<&'a Request> {
    let mut ends: Vec<usize> =
        requests.iter().filter_map(|request| request.ended.as_ref().map(|(place, _)| *place)).collect();
    ends.sort_unstable();
    // Up to a place: what ended later is as if it had not ended.
    let upto = |end: usize| -> Vec<Request> {
        let known = requests.iter().filter(|request| request.begun < end);
        let mut known: Vec<Request> = known.map(|request| Request::clone(request)).collect();
        for request in &mut known {
            request.ended = request.ended.take().filter(|(place, _)| *place <= end);
        }
        known
    };
    let contradict = |end: usize| {
        let known = upto(end);
        check(&known.iter().collect::<Vec<_>>()) == Verdict::Not
    };
    let first = ends.partition_point(|end| !contradict(*end));
    let end = ends.get(first).copied().unwrap_or(usize::MAX);
    let mut shown: Vec<&Request> = requests.iter().filter(|request| request.begun < end).copied().collect();
    shown.drain(..shown.len().saturating_sub(SHOWN));
    shown
}

fn violation(path: &str, why: &str, requests: &[&Request]) -> Violation {
    let lines: Vec<String> = requests.iter().map(|request| line(request)).collect();
    Violation { invariant: INVARIANT, what: format!("{path}: {why}\n{}", lines.join("\n")) }
}

fn line(request: &Request) -> String {
    let Request { worker, ask, at, begun, ended, .. } = request;
    match ended {
        Some((place, came)) => {
            format!("  {at:>6} ms {begun:>5}–{place:<5} worker {worker} {ask:?} → {came:?}")
        }
        None => format!("  {at:>6} ms {begun:>5}–      worker {worker} {ask:?}"),
    }
}

/// What a file is in the end: its contents by version, and its head.
#[derive(Clone, Debug, Default)]
pub struct Final {
    /// Contents of all versions that can be read.
    pub versions: BTreeMap<VersionNumber, Value>,
    /// The head.
    pub head: Option<VersionNumber>,
}

/// Checks the files that one worker writes: the newest acknowledged version is there with its content, and nothing is
/// newer than it but what may have been written.
pub fn own_files(requests: &[Request], finals: &BTreeMap<String, Final>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, requests) in by_path(requests).into_iter().filter(|(path, _)| path.starts_with("/own/")) {
        let nothing = Final::default();
        let end = finals.get(path).unwrap_or(&nothing);
        let acknowledged = requests.iter().filter_map(|request| match (&request.ask, &request.ended) {
            (Ask::Write { value, .. }, Some((_, Came::Written(version, _)))) => Some((*version, *value)),
            _ => None,
        });
        let asked: BTreeSet<Value> = requests
            .iter()
            .filter_map(|request| match request.ask {
                Ask::Write { value, .. } => Some(value),
                _ => None,
            })
            .collect();
        let acknowledged: BTreeMap<VersionNumber, Value> = acknowledged.collect();
        if let Some((version, value)) = acknowledged.last_key_value()
            && end.versions.get(version) != Some(value)
        {
            let why =
                format!("{version:?} with content {value} was acknowledged, and in the end there is {end:?}");
            violations.push(violation(path, &why, &requests));
        }
        // The newest ones are kept, be it as conflict versions; older ones may have gone by the rule.
        for (version, value) in acknowledged.iter().rev().skip(1) {
            let newer = end.versions.range(version..).filter(|(other, _)| *other != version).count();
            if newer < VERSIONS_KEPT && end.versions.get(version) != Some(value) {
                let why =
                    format!("{version:?} with content {value} was acknowledged and is not kept: {end:?}");
                violations.push(violation(path, &why, &requests));
            }
        }
        for (version, value) in &end.versions {
            if acknowledged.get(version).is_some_and(|known| known != value) || !asked.contains(value) {
                let why = format!("{version:?} is content {value} in the end, which nobody was told");
                violations.push(violation(path, &why, &requests));
            }
        }
        let head = end.head.and_then(|head| end.versions.get(&head));
        let newest = acknowledged.last_key_value();
        if let (Some((newest, _)), Some(head)) = (newest, end.head)
            && head < *newest
        {
            let why = format!("the head is {head:?}, older than {newest:?}, which was acknowledged");
            violations.push(violation(path, &why, &requests));
        }
        if head.is_none() && newest.is_some() {
            violations.push(violation(path, "it has no head in the end", &requests));
        }
        violations.extend(from_the_future(path, &requests));
    }
    violations
}

/// A content is not read before it was written.
fn from_the_future(path: &str, requests: &[&Request]) -> Vec<Violation> {
    let begun: BTreeMap<Value, usize> = requests
        .iter()
        .filter_map(|request| match request.ask {
            Ask::Write { value, .. } => Some((value, request.begun)),
            _ => None,
        })
        .collect();
    let reads = requests.iter().filter_map(|request| match &request.ended {
        Some((place, Came::Read(Some(value)))) => Some((*place, *value)),
        _ => None,
    });
    let early = reads.filter(|(place, value)| begun.get(value).is_none_or(|begun| begun > place));
    early
        .map(|(_, value)| {
            violation(path, &format!("content {value} was read before it was written"), requests)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: fn(u64) -> VersionNumber = |number| VersionNumber { epoch: 1, number };

    fn request(ask: Ask, begun: usize, came: Came) -> Request {
        Request {
            worker: 0,
            path: "/own/0".into(),
            ask,
            at: 0,
            begun,
            ended: Some((begun + 1, came)),
            most: 0,
            took: None,
        }
    }

    fn write(value: Value, begun: usize) -> Request {
        request(Ask::Write { value, sync: false }, begun, Came::Written(V(value), false))
    }

    fn end(versions: &[(u64, Value)], head: u64) -> BTreeMap<String, Final> {
        let versions = versions.iter().map(|(number, value)| (V(*number), *value)).collect();
        BTreeMap::from([("/own/0".to_owned(), Final { versions, head: Some(V(head)) })])
    }

    #[test]
    fn what_is_there_in_the_end_is_compared_with_what_was_acknowledged() {
        let asked = [write(1, 1), write(2, 3)];
        assert!(own_files(&asked, &end(&[(1, 1), (2, 2)], 2)).is_empty());
        assert!(!own_files(&asked, &end(&[(2, 2)], 2)).is_empty(), "the one before it is not kept");
        assert!(!own_files(&asked, &end(&[(1, 1)], 1)).is_empty(), "the last one is lost");
        assert!(!own_files(&asked, &end(&[(2, 1)], 2)).is_empty(), "it has another content");
        assert!(!own_files(&asked, &end(&[(1, 1), (2, 2)], 1)).is_empty(), "an old one is the head");
        assert!(!own_files(&asked, &end(&[(1, 1), (2, 2), (3, 9)], 3)).is_empty(), "nobody asked for 9");
        assert!(!own_files(&asked, &BTreeMap::new()).is_empty(), "the file is gone");
    }

    #[test]
    fn a_content_cannot_be_read_before_it_is_written() {
        let early = [request(Ask::Read, 1, Came::Read(Some(1))), write(1, 5)];
        assert!(!own_files(&early, &end(&[(1, 1)], 1)).is_empty());
    }

    #[test]
    fn a_shared_file_that_contradicts_itself_is_told_with_its_history() {
        let path = |request: Request| Request { path: "/shared/0".into(), ..request };
        let lost = [path(write(1, 1)), path(request(Ask::Read, 5, Came::Read(None)))];
        let found = shared_files(&lost);
        assert!(found[0].what.contains("Write"), "{found:?}");
        assert!(shared_files(&lost[..1]).is_empty());
    }
}
