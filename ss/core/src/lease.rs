//! The lease: whether this server may serve now (R1, R2, R9), and in which epoch.
//!
//! It counts from the *sending* of the heartbeat that a grant answers, so however slow the answer was, it
//! is over before the name manager, which counts from the arrival, lets somebody else serve.

use std::collections::VecDeque;
use std::time::Duration;
use types::mutation::{self, Mutation};
use types::{Code, Error, Result};

/// Heartbeats whose sending is remembered; a grant for an older one is worth nothing any more.
pub const SENT_KEPT: usize = 64;

/// How far both feeds are applied here, or must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// The control feed.
    pub control: u64,
    /// The feed of this server's pair.
    pub pair: u64,
}

impl Cursors {
    /// Whether both are at least as far as `mark`.
    pub fn cover(self, mark: Cursors) -> bool {
        self.control >= mark.control && self.pair >= mark.pair
    }
}

/// What the name manager said to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The heartbeat it answers.
    pub number: u64,
    /// The registration it is for.
    pub incarnation: u64,
    /// Whether the server may serve.
    pub serve: bool,
    /// The pair's epoch.
    pub epoch: u64,
    /// Nothing is served before this is applied (R9).
    pub serve_from: Cursors,
    /// The registration is over.
    pub register_again: bool,
    /// Commits go on only once they are prepared on both (R27).
    pub both_first: bool,
}

/// What a grant brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is old, or for another registration.
    Ignored,
    /// The lease runs (on).
    Held,
    /// There is no lease.
    None,
    /// The server has to register again; it has no lease.
    RegisterAgain,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: u64,
    until: Duration,
    serve_from: Cursors,
    both_first: bool,
}

/// The lease of one server.
#[derive(Debug, Default)]
pub struct Lease {
    incarnation: u64,
    length: Duration,
    last_number: u64,
    sent: VecDeque<(u64, Duration)>,
    held: Option<Held>,
    /// Highest epoch heard of in this registration.
    epoch: u64,
    /// Grants for heartbeats up to this one are void: the lease was given up after they were sent.
    void_up_to: u64,
    /// The lease was given up for a handover, and none was granted since.
    handing_over: bool,
    stopping: bool,
}

impl Lease {
    /// A server that has not registered: no lease.
    pub fn new() -> Lease {
        Lease::default()
    }

    /// A new registration: whatever was granted to the one before is void (R6). Heartbeat numbers go on.
    pub fn registered(&mut self, incarnation: u64, length: Duration) {
        self.drop_lease();
        self.incarnation = incarnation;
        self.length = length;
        self.epoch = 0;
        self.handing_over = false;
    }

    /// The registration; 0 before the first.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Takes the number of the heartbeat that is sent at `now`.
    pub fn sending(&mut self, now: Duration) -> u64 {
        self.last_number += 1;
        if self.sent.len() == SENT_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back((self.last_number, now));
        self.last_number
    }

    /// Takes the name manager's word.
    pub fn granted(&mut self, grant: Grant) -> Effect {
        if grant.incarnation != self.incarnation || self.incarnation == 0 {
            return Effect::Ignored;
        }
        if grant.register_again {
            self.drop_lease();
            return Effect::RegisterAgain;
        }
        if grant.epoch < self.epoch || grant.number <= self.void_up_to || self.stopping {
            return Effect::Ignored;
        }
        let Some(sent) = self.sent.iter().find(|sent| sent.0 == grant.number).map(|sent| sent.1) else {
            return Effect::Ignored;
        };
        self.epoch = grant.epoch;
        if !grant.serve {
            // What was granted before stays what it is only within its own epoch and time; the name
            // manager says no because it will not wait for it any longer.
            self.held = None;
            return Effect::None;
        }
        let until = sent + self.length;
        let before = self.held.filter(|held| held.epoch == grant.epoch);
        self.held = Some(Held {
            epoch: grant.epoch,
            // An answer that overtook a later one does not shorten the lease.
            until: before.map_or(until, |held| held.until.max(until)),
            serve_from: match before {
                Some(held) => Cursors {
                    control: held.serve_from.control.max(grant.serve_from.control),
                    pair: held.serve_from.pair.max(grant.serve_from.pair),
                },
                None => grant.serve_from,
            },
            both_first: grant.both_first,
        });
        self.handing_over = false;
        Effect::Held
    }

    /// Gives the lease of `epoch` up for a handover (R27). Only a heartbeat sent after this can bring one
    /// back, as a grant may be on its way that was made before.
    pub fn let_go(&mut self, epoch: u64) {
        if self.held.is_some_and(|held| held.epoch > epoch) || self.epoch > epoch {
            return;
        }
        self.drop_lease();
        self.handing_over = true;
    }

    /// Gives the lease up, whatever it is: the registration is void.
    pub fn drop_lease(&mut self) {
        self.held = None;
        self.void_up_to = self.last_number;
    }

    /// Gives the lease up for good: the server stops.
    pub fn stop(&mut self) {
        self.drop_lease();
        self.stopping = true;
    }

    /// The epoch in which this server may serve at `now`, with its feeds applied up to `cursors`, and
    /// `resolved` telling whether it knows what became of the sessions it had prepared. `asked` is the
    /// epoch that the client believes in.
    ///
    /// # Errors
    /// `HANDOVER`, `NOT_ACTING` or `PAST_EPOCH`, whichever tells the client best what to do; all can be
    /// retried with the same key, as nothing was done.
    pub fn may_serve(&self, now: Duration, asked: u64, cursors: Cursors, resolved: bool) -> Result<u64> {
        if self.handing_over {
            return Err(handover());
        }
        let Some(held) = self.held else {
            return Err(not_acting(if self.stopping { "the server is stopping" } else { "it has no lease" }));
        };
        if now >= held.until && !mutation::is(Mutation::EndedLeaseServes) {
            return Err(not_acting("its lease has ended and was not renewed"));
        }
        if asked != held.epoch {
            return Err(other_epoch(asked, held.epoch));
        }
        if !cursors.cover(held.serve_from) && !mutation::is(Mutation::IgnoreServeFrom) {
            return Err(not_acting("it still applies what happened before its lease"));
        }
        if !resolved {
            return Err(not_acting("it still asks what became of the writes it had prepared"));
        }
        Ok(held.epoch)
    }

    /// The epoch of the lease that holds at `now`, if one does; whether it may be served is another question.
    pub fn epoch(&self, now: Duration) -> Option<u64> {
        self.held.filter(|held| now < held.until).map(|held| held.epoch)
    }

    /// Highest epoch that this registration has heard of.
    pub fn known_epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether commits must be prepared on both members before they are sent (R27).
    pub fn both_first(&self) -> bool {
        self.held.is_some_and(|held| held.both_first)
    }
}

fn not_acting(why: &str) -> Error {
    Error::new(
        Code::NotActing,
        format_args!("this server does not serve its pair now ({why})"),
        "ask the name manager who does, then repeat the request there",
    )
}

fn handover() -> Error {
    Error::new(Code::Handover, "the pair is being handed over", "repeat the request in a moment")
}

fn other_epoch(asked: u64, held: u64) -> Error {
    if asked > held {
        return not_acting("the request names an epoch that it has not heard of");
    }
    Error::new(
        Code::PastEpoch,
        format_args!("epoch {asked} is over, the pair is in epoch {held}"),
        "ask the name manager who serves, then repeat the request there",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_millis(800);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn grant(number: u64, epoch: u64) -> Grant {
        Grant {
            number,
            incarnation: 3,
            serve: true,
            epoch,
            serve_from: Cursors::default(),
            register_again: false,
            both_first: false,
        }
    }

    fn registered() -> Lease {
        let mut lease = Lease::new();
        lease.registered(3, LEASE);
        lease
    }

    fn serves(lease: &Lease, ms: u64, epoch: u64) -> Result<u64> {
        lease.may_serve(at(ms), epoch, Cursors { control: 9, pair: 9 }, true)
    }

    #[test]
    fn r2_a_server_whose_grant_came_late_stops_before_its_successor_may_start() {
        let mut lease = registered();
        let number = lease.sending(at(1000));
        // The answer takes 700 ms; the lease still ends 800 ms after the sending.
        assert_eq!(lease.granted(grant(number, 1)), Effect::Held);
        assert_eq!(serves(&lease, 1799, 1), Ok(1));
        assert_eq!(serves(&lease, 1800, 1).unwrap_err().code, Code::NotActing);
    }

    #[test]
    fn r1_a_client_of_the_reign_before_is_told_so() {
        let mut lease = registered();
        let number = lease.sending(at(0));
        lease.granted(grant(number, 4));
        assert_eq!(serves(&lease, 1, 3).unwrap_err().code, Code::PastEpoch);
        assert_eq!(serves(&lease, 1, 5).unwrap_err().code, Code::NotActing);
        assert_eq!(serves(&lease, 1, 4), Ok(4));
    }

    #[test]
    fn r9_a_removed_file_is_not_served_after_the_lease_lapsed_without_a_promotion() {
        let mut lease = registered();
        let number = lease.sending(at(0));
        let mark = Cursors { control: 5, pair: 7 };
        lease.granted(Grant { serve_from: mark, ..grant(number, 1) });
        let behind = [Cursors { control: 5, pair: 6 }, Cursors { control: 4, pair: 7 }, Cursors::default()];
        for cursors in behind {
            assert_eq!(lease.may_serve(at(1), 1, cursors, true).unwrap_err().code, Code::NotActing);
        }
        assert_eq!(lease.may_serve(at(1), 1, mark, true), Ok(1));
        // An extension on its way that names an older mark does not lower it.
        let number = lease.sending(at(2));
        lease.granted(grant(number, 1));
        assert!(lease.may_serve(at(3), 1, Cursors::default(), true).is_err());
    }

    #[test]
    fn r9_nothing_is_served_while_prepared_writes_are_in_doubt() {
        let mut lease = registered();
        let number = lease.sending(at(0));
        lease.granted(grant(number, 1));
        let error = lease.may_serve(at(1), 1, Cursors::default(), false).unwrap_err();
        assert_eq!(error.code, Code::NotActing);
    }

    #[test]
    fn a_grant_that_was_on_its_way_at_the_handover_does_not_make_two_servers_serve() {
        let mut lease = registered();
        let number = lease.sending(at(0));
        lease.granted(grant(number, 1));
        let on_its_way = lease.sending(at(10));
        lease.let_go(1);
        assert_eq!(serves(&lease, 11, 1).unwrap_err().code, Code::Handover);
        assert_eq!(lease.granted(grant(on_its_way, 1)), Effect::Ignored);
        assert_eq!(serves(&lease, 12, 1).unwrap_err().code, Code::Handover);
        // The handover is aborted: the next heartbeat brings the lease back.
        let next = lease.sending(at(13));
        assert_eq!(lease.granted(grant(next, 1)), Effect::Held);
        assert_eq!(serves(&lease, 14, 1), Ok(1));
        // An old LetGo does not end a later reign.
        let next = lease.sending(at(15));
        lease.granted(grant(next, 2));
        lease.let_go(1);
        assert_eq!(serves(&lease, 16, 2), Ok(2));
    }

    #[test]
    fn r6_a_grant_of_the_registration_before_is_worth_nothing() {
        let mut lease = registered();
        let number = lease.sending(at(0));
        lease.granted(grant(number, 1));
        lease.registered(4, LEASE);
        assert!(serves(&lease, 1, 1).is_err());
        assert_eq!(lease.granted(grant(number, 1)), Effect::Ignored);
        assert_eq!(lease.granted(Grant { incarnation: 4, ..grant(number, 1) }), Effect::Ignored);
    }

    #[test]
    fn a_server_declared_failed_stops_at_once() {
        let mut lease = registered();
        let number = lease.sending(at(0));
        lease.granted(grant(number, 1));
        let again = Grant { serve: false, register_again: true, ..grant(number, 1) };
        assert_eq!(lease.granted(again), Effect::RegisterAgain);
        assert!(serves(&lease, 1, 1).is_err());
    }

    #[test]
    fn a_server_that_stops_takes_no_lease_any_more() {
        let mut lease = registered();
        lease.stop();
        let number = lease.sending(at(0));
        assert_eq!(lease.granted(grant(number, 1)), Effect::Ignored);
        assert!(serves(&lease, 1, 1).is_err());
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Send,
        Grant { back: usize, epoch: u64, serve: bool, incarnation: u64 },
        LetGo(u64),
        Register,
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Send),
            (0..6usize, 1..4u64, any::<bool>(), 1..4u64).prop_map(|(back, epoch, serve, incarnation)| {
                Event::Grant { back, epoch, serve, incarnation }
            }),
            (1..4u64).prop_map(Event::LetGo),
            Just(Event::Register),
            (0..900u64).prop_map(Event::Wait),
        ]
    }

    proptest! {
        /// I1 on this side: whatever arrives in whatever order, a server serves only within the lease
        /// length of the sending of a heartbeat of this registration that was granted, in that epoch.
        #[test]
        fn i1_no_order_of_messages_lengthens_a_lease(events in prop::collection::vec(event(), 1..80)) {
            let mut lease = Lease::new();
            let (mut now, mut incarnation) = (1u64, 1u64);
            lease.registered(incarnation, LEASE);
            let mut sent: Vec<(u64, u64, u64)> = Vec::new();
            let mut void_before = 0;
            let mut granted: Vec<(u64, u64, u64)> = Vec::new();
            for event in events {
                match event {
                    Event::Send => sent.push((lease.sending(at(now)), now, incarnation)),
                    Event::Grant { back, epoch, serve, incarnation: of } => {
                        if let Some(&(number, when, _)) = sent.iter().rev().nth(back) {
                            let told = Grant { serve, incarnation: of, ..grant(number, epoch) };
                            lease.granted(told);
                            if serve && of == incarnation && number > void_before {
                                granted.push((epoch, when, incarnation));
                            }
                        }
                    }
                    Event::LetGo(epoch) => {
                        let before = lease.epoch(at(now));
                        lease.let_go(epoch);
                        if lease.epoch(at(now)).is_none() && before.is_some() {
                            void_before = sent.last().map_or(0, |sent| sent.0);
                            granted.clear();
                        }
                    }
                    Event::Register => {
                        incarnation += 1;
                        lease.registered(incarnation, LEASE);
                        void_before = sent.last().map_or(0, |sent| sent.0);
                        granted.clear();
                    }
                    Event::Wait(ms) => now += ms,
                }
                for epoch in 1..4 {
                    if lease.may_serve(at(now), epoch, Cursors::default(), true).is_ok() {
                        let lawful = granted.iter().any(|&(e, when, of)| {
                            e == epoch && of == incarnation && now < when + 800
                        });
                        prop_assert!(lawful, "serves epoch {} at {} without a grant", epoch, now);
                    }
                }
            }
        }
    }
}
