//! Whether the answers about one file can be put into one order in which each is right, and which contradicts none of
//! them having ended before another began (linearizability: Herlihy and Wing, TOPLAS 1990), found by trying orders and
//! remembering what was tried (Wing and Gong, JPDC 1993; Lowe, "Testing for linearizability", 2017).
//!
//! A file is a register that may hold nothing. A request of unknown outcome may have been done at any time after it
//! began, or never.

use crate::load::{Ask, Came, Request, Value};
use std::collections::HashSet;

/// What a request did to the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Write(Value),
    Read(Option<Value>),
    /// Whether something was there; none: unknown.
    Remove(Option<bool>),
}

#[derive(Clone, Copy, Debug)]
struct Op {
    did: Did,
    begun: usize,
    /// `usize::MAX`: it may never have been done.
    ended: usize,
}

/// Orders that are tried at most.
const TRIES: usize = 5_000_000;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Not,
    /// Too many to try.
    Undecided,
}

/// Checks the requests for one file.
pub fn check(requests: &[&Request]) -> Verdict {
    let read: HashSet<Value> = requests
        .iter()
        .filter_map(|request| match &request.ended {
            Some((_, Came::Read(value))) => *value,
            _ => None,
        })
        .collect();
    let mut ops: Vec<Op> = requests.iter().filter_map(|request| op(request)).collect();
    // That it was done and nobody ever saw it is as good as that it was not done.
    ops.retain(|op| op.ended != usize::MAX || !matches!(op.did, Did::Write(value) if !read.contains(&value)));
    order(&ops)
}

fn op(request: &Request) -> Option<Op> {
    let unknown = (usize::MAX, Came::Unknown(types::Code::OutcomeUnknown));
    let (ended, came) = request.ended.as_ref().unwrap_or(&unknown);
    let (did, ended) = match (&request.ask, came) {
        (_, Came::Nothing(_)) | (Ask::Read, Came::Unknown(_)) => return None,
        (Ask::Write { value, .. }, Came::Unknown(_)) => (Did::Write(*value), usize::MAX),
        (Ask::Write { value, .. }, _) => (Did::Write(*value), *ended),
        (Ask::Read, Came::Read(value)) => (Did::Read(*value), *ended),
        (Ask::Remove, Came::Removed(there)) => (Did::Remove(Some(*there)), *ended),
        (Ask::Remove, _) => (Did::Remove(None), usize::MAX),
        (Ask::Read, _) => return None,
    };
    Some(Op { did, begun: request.begun, ended })
}

/// What is left of the register after `did`; none: it cannot have happened on `now`.
fn after(did: Did, now: Option<Value>) -> Option<Option<Value>> {
    match did {
        Did::Write(value) => Some(Some(value)),
        Did::Read(value) => (value == now).then_some(now),
        Did::Remove(None) => Some(None),
        Did::Remove(Some(there)) => (there == now.is_some()).then_some(None),
    }
}

/// A partial order that is being tried.
struct Place {
    value: Option<Value>,
    /// What may come next and was not tried.
    left: Vec<usize>,
    /// What led here.
    last: Option<usize>,
}

fn order(ops: &[Op]) -> Verdict {
    let mut done = vec![false; ops.len()];
    let mut known: HashSet<(Vec<u64>, Option<Value>)> = HashSet::new();
    let mut places = vec![Place { value: None, left: next(ops, &done), last: None }];
    let mut tries = 0;
    loop {
        // What is only perhaps done need not be.
        if ops.iter().zip(&done).all(|(op, done)| *done || op.ended == usize::MAX) {
            return Verdict::Linearizable;
        }
        let Some(place) = places.last_mut() else { return Verdict::Not };
        let Some(number) = place.left.pop() else {
            let last = place.last;
            places.pop();
            match last {
                Some(number) => done[number] = false,
                None => return Verdict::Not,
            }
            continue;
        };
        let Some(value) = after(ops[number].did, place.value) else { continue };
        tries += 1;
        if tries > TRIES {
            return Verdict::Undecided;
        }
        done[number] = true;
        if !known.insert((bits(&done), value)) {
            done[number] = false;
            continue;
        }
        let left = next(ops, &done);
        places.push(Place { value, left, last: Some(number) });
    }
}

/// What may come next: what began before anything that is not done ended.
fn next(ops: &[Op], done: &[bool]) -> Vec<usize> {
    let open = || ops.iter().enumerate().filter(|(number, _)| !done[*number]);
    let first_end = open().map(|(_, op)| op.ended).min().unwrap_or(usize::MAX);
    let mut next: Vec<usize> =
        open().filter(|(_, op)| op.begun < first_end).map(|(number, _)| number).collect();
    // The last is tried first: what ends first most likely comes first.
    next.sort_by_key(|number| std::cmp::Reverse(ops[*number].ended));
    next
}

fn bits(done: &[bool]) -> Vec<u64> {
    let bit = |part: &[bool]| part.iter().rev().fold(0, |bits, done| bits << 1 | u64::from(*done));
    done.chunks(64).map(bit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Did::*;

    /// (what, begun, ended); 0: unknown.
    fn verdict(ops: &[(Did, usize, usize)]) -> Verdict {
        let op = |&(did, begun, ended)| Op { did, begun, ended: if ended == 0 { usize::MAX } else { ended } };
        order(&ops.iter().map(op).collect::<Vec<_>>())
    }

    #[test]
    fn one_after_the_other() {
        let ok = [(Write(1), 1, 2), (Read(Some(1)), 3, 4), (Remove(Some(true)), 5, 6), (Read(None), 7, 8)];
        assert_eq!(verdict(&ok), Verdict::Linearizable);
        assert_eq!(verdict(&[(Read(Some(1)), 1, 2)]), Verdict::Not, "nobody wrote it");
    }

    #[test]
    fn a_stale_read_is_found() {
        assert_eq!(verdict(&[(Write(1), 1, 2), (Write(2), 3, 4), (Read(Some(1)), 5, 6)]), Verdict::Not);
    }

    #[test]
    fn a_lost_write_is_found() {
        assert_eq!(verdict(&[(Write(1), 1, 2), (Read(None), 3, 4)]), Verdict::Not);
    }

    #[test]
    fn what_came_back_after_its_removal_is_found() {
        let back = [(Write(1), 1, 2), (Remove(Some(true)), 3, 4), (Read(Some(1)), 5, 6)];
        assert_eq!(verdict(&back), Verdict::Not);
    }

    #[test]
    fn two_readers_that_see_two_writes_in_different_orders_are_found() {
        let writes = [(Write(1), 1, 20), (Write(2), 2, 21)];
        let reads = [(Read(Some(1)), 3, 4), (Read(Some(2)), 5, 6), (Read(Some(1)), 7, 8)];
        assert_eq!(verdict(&[&writes[..], &reads[..]].concat()), Verdict::Not);
        assert_eq!(verdict(&[&writes[..], &reads[..2]].concat()), Verdict::Linearizable);
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_but_not_twice() {
        let late = [(Write(1), 1, 0), (Write(2), 2, 3), (Read(Some(2)), 4, 5), (Read(Some(1)), 6, 7)];
        assert_eq!(verdict(&late), Verdict::Linearizable);
        let never = [(Write(1), 1, 0), (Write(2), 2, 3), (Read(Some(2)), 4, 5)];
        assert_eq!(verdict(&never), Verdict::Linearizable);
        let twice = [&late[..], &[(Write(3), 8, 9), (Read(Some(1)), 10, 11)]].concat();
        assert_eq!(verdict(&twice), Verdict::Not);
        assert_eq!(verdict(&[(Read(Some(1)), 1, 2), (Write(1), 3, 0)]), Verdict::Not, "not before it began");
    }

    #[test]
    fn a_removal_that_found_nothing_is_checked() {
        assert_eq!(verdict(&[(Write(1), 1, 2), (Remove(Some(false)), 3, 4)]), Verdict::Not);
        assert_eq!(verdict(&[(Write(1), 1, 4), (Remove(Some(false)), 3, 5)]), Verdict::Linearizable);
        assert_eq!(verdict(&[(Remove(Some(true)), 1, 2)]), Verdict::Not);
    }

    #[test]
    fn many_at_once_are_decided() {
        let mut ops = Vec::new();
        for round in 0..100 {
            let at = round * 100;
            for writer in 0..4 {
                let value = (round * 4 + writer) as Value;
                ops.push((Write(value), at + writer, at + 50 + writer));
            }
            ops.push((Read(Some((round * 4 + 2) as Value)), at + 60, at + 61));
        }
        assert_eq!(verdict(&ops), Verdict::Linearizable);
        ops.push((Read(Some(1)), 20_000, 20_001));
        assert_eq!(verdict(&ops), Verdict::Not);
    }
}
