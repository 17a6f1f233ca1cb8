//! One feed on its way to one server: what was sent, what was acknowledged, and the watermark that follows
//! (R20, R21). The rows themselves stay in the state; here is only which of them are under way.
//!
//! A row that fails backs off by itself and holds up no other; a newer row of the same subject takes its
//! place. Time is the leader's monotonic clock, as a value.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use types::limits::{PAGE_ROWS, ROW_BACKOFF};
use types::record::{Row, Subject};

/// Rows that are sent and not yet answered.
pub const IN_FLIGHT_MAX: usize = 2 * PAGE_ROWS;
/// Rows that are not acknowledged, failing ones included; beyond it nothing new is sent.
pub const PENDING_MAX: usize = 65_536;

/// A row whose bytes are on their way is sent again after this time; the server waits for them then.
const UNDER_WAY_PAUSE: Duration = Duration::from_millis(10);

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum About {
    Inode(u64),
    Pair(u32),
    User(String),
    Nothing(u64),
}

fn about(row: &Row) -> About {
    match &row.subject {
        Some(Subject::Record(record)) => About::Inode(record.id),
        Some(Subject::Pair(pair)) => About::Pair(pair.id),
        Some(Subject::User(user)) => About::User(user.name.clone()),
        None => About::Nothing(row.seq),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    Waits { until: Duration },
}

#[derive(Clone, Debug)]
struct Pending {
    about: About,
    state: State,
    failures: usize,
}

/// The tracker of one feed to one registration of one server.
#[derive(Clone, Debug)]
pub struct Feeder {
    scanned: u64,
    pending: BTreeMap<u64, Pending>,
    newest: HashMap<About, u64>,
    in_flight: usize,
    told: u64,
    cursor: u64,
    rows_resent: u64,
    rate: Rate,
    copied: Copied,
}

/// What the server has told of its copies.
#[derive(Clone, Debug, Default)]
struct Copied {
    total: Option<u64>,
    partial: u64,
    rate: Rate,
}

impl Feeder {
    /// A feeder of a server that has durably applied everything up to `cursor`. The server's own note of that
    /// may be older (it failed between the rows and the note), so it is told first.
    pub fn new(cursor: u64) -> Feeder {
        Feeder {
            scanned: cursor,
            pending: BTreeMap::new(),
            newest: HashMap::new(),
            in_flight: 0,
            told: 0,
            cursor: 0,
            rows_resent: 0,
            rate: Rate::default(),
            copied: Copied::default(),
        }
    }

    /// Failed rows whose time has come, at most `limit`: read each again and send it, or call
    /// [`Feeder::vanished`] if the feed has no such row any more.
    pub fn due(&self, now: Duration, limit: usize) -> Vec<u64> {
        let due = |pending: &Pending| matches!(pending.state, State::Waits { until } if until <= now);
        let limit = limit.min(IN_FLIGHT_MAX.saturating_sub(self.in_flight));
        self.pending.iter().filter(|(_, pending)| due(pending)).map(|(seq, _)| *seq).take(limit).collect()
    }

    /// When the next failed row is due.
    pub fn next_retry(&self) -> Option<Duration> {
        if self.in_flight == self.pending.len() {
            return None;
        }
        let waits = |pending: &Pending| match pending.state {
            State::Waits { until } => Some(until),
            State::InFlight => None,
        };
        self.pending.values().filter_map(waits).min()
    }

    /// After which row to read on, and how many rows at most; none while too much is under way.
    pub fn scan(&self) -> Option<(u64, usize)> {
        let room = IN_FLIGHT_MAX
            .saturating_sub(self.in_flight)
            .min(PENDING_MAX.saturating_sub(self.pending.len()))
            .min(PAGE_ROWS);
        (room > 0).then_some((self.scanned, room))
    }

    /// The feed was read up to here: a row at or below it is either sent or was merged into a later one.
    pub fn scanned(&mut self, to: u64) {
        self.scanned = self.scanned.max(to);
    }

    /// This row is being sent.
    pub fn sent(&mut self, row: &Row) {
        let about = about(row);
        if let Some(older) = self.newest.insert(about.clone(), row.seq)
            && older != row.seq
        {
            self.remove(older);
            self.newest.insert(about.clone(), row.seq);
        }
        let failures = match self.remove(row.seq) {
            Some(pending) => pending.failures,
            None => {
                self.rows_resent += 1;
                0
            }
        };
        self.newest.insert(about.clone(), row.seq);
        self.pending.insert(row.seq, Pending { about, state: State::InFlight, failures });
        self.in_flight += 1;
    }

    /// The server has it durably.
    pub fn applied(&mut self, seq: u64, now: Duration) {
        if self.remove(seq).is_some() {
            self.rate.count(now, 1);
        }
    }

    /// The feed has no such row any more: its subject has a later one.
    pub fn vanished(&mut self, seq: u64) {
        self.remove(seq);
    }

    /// The server could not apply it now: 1, 2, 4, 8 s, then every 8 s.
    pub fn failed(&mut self, seq: u64, now: Duration) {
        self.put_back(seq, |failures| {
            let pause = ROW_BACKOFF[(*failures).min(ROW_BACKOFF.len() - 1)];
            *failures += 1;
            now + pause
        });
    }

    /// Its bytes are on their way: it is due again in a moment, as what fails is not what this is.
    pub fn under_way(&mut self, seq: u64, now: Duration) {
        self.put_back(seq, |_| now + UNDER_WAY_PAUSE);
    }

    /// The answer was lost with the connection: the row is due at once, and applying it twice does no harm.
    pub fn lost(&mut self, seq: u64, now: Duration) {
        self.put_back(seq, |_| now);
    }

    fn put_back(&mut self, seq: u64, until: impl FnOnce(&mut usize) -> Duration) {
        if let Some(pending) = self.pending.get_mut(&seq)
            && pending.state == State::InFlight
        {
            pending.state = State::Waits { until: until(&mut pending.failures) };
            self.in_flight -= 1;
        }
    }

    fn remove(&mut self, seq: u64) -> Option<Pending> {
        let pending = self.pending.remove(&seq)?;
        if pending.state == State::InFlight {
            self.in_flight -= 1;
        }
        if self.newest.get(&pending.about) == Some(&seq) {
            self.newest.remove(&pending.about);
        }
        Some(pending)
    }

    /// Everything up to here is acknowledged or merged away.
    pub fn watermark(&self) -> u64 {
        match self.pending.first_key_value() {
            Some((seq, _)) => self.scanned.min(seq - 1),
            None => self.scanned,
        }
    }

    /// The watermark, if the server has not been told.
    pub fn to_tell(&self) -> Option<u64> {
        let watermark = self.watermark();
        (watermark > self.told).then_some(watermark)
    }

    /// The server is being told.
    pub fn telling(&mut self, watermark: u64) {
        self.told = self.told.max(watermark);
    }

    /// That message was lost.
    pub fn untold(&mut self) {
        self.told = self.cursor;
    }

    /// The server's durable cursor, by its own word.
    pub fn durable(&mut self, cursor: u64) {
        self.cursor = self.cursor.max(cursor.min(self.told));
    }

    /// Its durable cursor as far as known.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether the server has applied this row, or what it was merged into is under way after it.
    pub fn has_applied(&self, seq: u64) -> bool {
        seq <= self.scanned && !self.pending.contains_key(&seq)
    }

    /// Rows sent so far; repetitions are not counted.
    pub fn rows_resent(&self) -> u64 {
        self.rows_resent
    }

    /// Rows that are sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Rows that were acknowledged within the second before `now`.
    pub fn rate(&self, now: Duration) -> u64 {
        self.rate.last_second(now)
    }

    /// The server has copied `total` bytes since it was started, `partial` of them of contents that are not complete.
    pub fn copied(&mut self, total: u64, partial: u64, now: Duration) {
        // Answers may come out of order.
        let before = self.copied.total.unwrap_or(0);
        self.copied.total = Some(before.max(total));
        self.copied.partial = partial;
        if total > before {
            self.copied.rate.count(now, total - before);
        }
    }

    /// Bytes that it copied within the second before `now`.
    pub fn byte_rate(&self, now: Duration) -> u64 {
        self.copied.rate.last_second(now)
    }

    /// Bytes that it has of contents that are not complete.
    pub fn partial(&self) -> u64 {
        self.copied.partial
    }
}

/// Counts what happened in the last second, in slots of 100 ms.
#[derive(Clone, Debug, Default)]
struct Rate {
    slots: VecDeque<(u128, u64)>,
}

impl Rate {
    const SLOT_MS: u128 = 100;

    fn count(&mut self, now: Duration, more: u64) {
        let slot = now.as_millis() / Self::SLOT_MS;
        match self.slots.back_mut() {
            Some((last, count)) if *last == slot => *count += more,
            _ => self.slots.push_back((slot, more)),
        }
        while self.slots.len() > 10 {
            self.slots.pop_front();
        }
    }

    fn last_second(&self, now: Duration) -> u64 {
        let slot = now.as_millis() / Self::SLOT_MS;
        self.slots.iter().filter(|(at, _)| at + 10 > slot).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashMap};
    use types::record::Record;

    const S: Duration = Duration::from_secs(1);

    fn row(seq: u64, inode: u64) -> Row {
        Row { seq, subject: Some(Subject::Record(Record { id: inode, seq, ..Record::default() })) }
    }

    fn sent(feeder: &mut Feeder, rows: &[(u64, u64)]) {
        for (seq, inode) in rows {
            feeder.sent(&row(*seq, *inode));
            feeder.scanned(*seq);
        }
    }

    #[test]
    fn the_cursor_does_not_pass_a_row_that_was_not_applied() {
        let mut feeder = Feeder::new(4);
        assert_eq!(feeder.to_tell(), Some(4), "its own note of it may be older");
        feeder.telling(4);
        feeder.durable(4);
        sent(&mut feeder, &[(5, 1), (7, 2), (9, 3)]);
        assert_eq!(feeder.watermark(), 4);
        feeder.applied(7, S);
        feeder.applied(9, S);
        assert_eq!(feeder.to_tell(), None);
        feeder.applied(5, S);
        assert_eq!(feeder.to_tell(), Some(9), "6 and 8 were merged away");
        feeder.telling(9);
        assert_eq!(feeder.cursor(), 4, "told is not durable");
        feeder.durable(9);
        assert_eq!((feeder.cursor(), feeder.to_tell()), (9, None));
    }

    #[test]
    fn a_failing_file_holds_up_no_other_and_is_tried_after_1_2_4_8_8_s() {
        let mut feeder = Feeder::new(0);
        sent(&mut feeder, &[(1, 1), (2, 2)]);
        feeder.applied(2, S);
        let mut now = 10 * S;
        for pause in [1, 2, 4, 8, 8] {
            feeder.failed(1, now);
            assert_eq!(feeder.next_retry(), Some(now + pause * S));
            assert!(feeder.due(now + pause * S - Duration::from_millis(1), 9).is_empty());
            assert!(feeder.scan().is_some());
            now += pause * S;
            assert_eq!(feeder.due(now, 9), [1]);
            feeder.sent(&row(1, 1));
            assert_eq!(feeder.watermark(), 0);
        }
        assert_eq!(feeder.rows_resent(), 2, "a repetition is not another row");
        feeder.applied(1, now);
        assert_eq!(feeder.watermark(), 2);
    }

    #[test]
    fn a_large_file_on_its_way_is_not_punished_for_being_large() {
        let mut feeder = Feeder::new(0);
        sent(&mut feeder, &[(1, 1)]);
        let mut now = S;
        for _ in 0..20 {
            feeder.under_way(1, now);
            now += UNDER_WAY_PAUSE;
            assert_eq!(feeder.due(now, 9), [1]);
            feeder.sent(&row(1, 1));
        }
        assert_eq!(feeder.rows_resent(), 1);
        feeder.failed(1, now);
        assert_eq!(feeder.next_retry(), Some(now + S), "its first failure");
    }

    #[test]
    fn what_is_told_of_copies_is_a_rate_whatever_order_it_comes_in() {
        let mut feeder = Feeder::new(0);
        feeder.copied(1000, 1000, S);
        feeder.copied(3000, 3000, S + S / 2);
        feeder.copied(2000, 2000, S + S / 2);
        assert_eq!((feeder.byte_rate(S + S / 2), feeder.byte_rate(5 * S)), (3000, 0));
    }

    #[test]
    fn a_newer_version_of_a_file_takes_the_place_of_the_one_that_cannot_be_had() {
        let mut feeder = Feeder::new(0);
        sent(&mut feeder, &[(1, 1)]);
        feeder.failed(1, S);
        sent(&mut feeder, &[(2, 1)]);
        assert!(feeder.due(100 * S, 9).is_empty());
        feeder.applied(2, S);
        assert_eq!(feeder.watermark(), 2);
    }

    #[test]
    fn nothing_is_left_out_when_the_connection_breaks() {
        let mut feeder = Feeder::new(0);
        sent(&mut feeder, &[(1, 1), (2, 2)]);
        feeder.lost(1, S);
        feeder.lost(2, S);
        assert_eq!(feeder.in_flight(), 0);
        assert_eq!(feeder.due(S, 9), [1, 2]);
    }

    #[test]
    fn a_removal_counts_as_seen_only_once_it_is_applied() {
        let mut feeder = Feeder::new(0);
        assert!(!feeder.has_applied(3), "not even read");
        sent(&mut feeder, &[(3, 1)]);
        assert!(!feeder.has_applied(3));
        feeder.applied(3, S);
        assert!(feeder.has_applied(3));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut feeder = Feeder::new(0);
        let mut seq = 0;
        while let Some((_, room)) = feeder.scan() {
            for _ in 0..room {
                seq += 1;
                sent(&mut feeder, &[(seq, seq)]);
            }
        }
        assert_eq!(feeder.in_flight(), IN_FLIGHT_MAX);
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut feeder = Feeder::new(0);
        for seq in 1..=100 {
            feeder.sent(&row(seq, seq));
            feeder.applied(seq, Duration::from_millis(seq * 20));
        }
        let rate = feeder.rate(2 * S);
        assert!((40..=55).contains(&rate), "{rate}");
        assert_eq!(feeder.rate(10 * S), 0);
    }

    proptest! {
        /// A feed that goes on changing, a server that fails, answers late and loses its connection: in the
        /// end every file is there at its latest row, and no cursor ever covered a row that was missing.
        #[test]
        fn the_copy_becomes_the_same_whatever_fails(steps in prop::collection::vec((0u8..8, 1u64..6), 1..200)) {
            let mut feed: BTreeMap<u64, u64> = BTreeMap::new();
            let mut latest: HashMap<u64, u64> = HashMap::new();
            let mut copy: HashMap<u64, u64> = HashMap::new();
            let mut wire: Vec<(u64, u64)> = Vec::new();
            let mut feeder = Feeder::new(0);
            let (mut seq, mut now) = (0, Duration::ZERO);
            let heal = std::iter::repeat_n([(1u8, 1u64), (3, 1)], 40).flatten();
            for (what, inode) in steps.into_iter().chain(heal) {
                now += 3 * S;
                match what {
                    0 => {
                        seq += 1;
                        if let Some(old) = latest.insert(inode, seq) { feed.remove(&old); }
                        feed.insert(seq, inode);
                    }
                    1 | 2 => {
                        for old in feeder.due(now, 4) {
                            match feed.get(&old) {
                                Some(inode) => { feeder.sent(&row(old, *inode)); wire.push((old, *inode)); }
                                None => feeder.vanished(old),
                            }
                        }
                        if let Some((after, room)) = feeder.scan() {
                            let page: Vec<_> = feed.range(after + 1..).take(room.min(2)).map(|(s, i)| (*s, *i)).collect();
                            for (seq, inode) in page {
                                feeder.sent(&row(seq, inode));
                                feeder.scanned(seq);
                                wire.push((seq, inode));
                            }
                        }
                    }
                    3..=5 => for (seq, inode) in wire.drain(..) {
                        let known = copy.entry(inode).or_default();
                        *known = (*known).max(seq);
                        feeder.applied(seq, now);
                    },
                    6 => for (seq, _) in wire.drain(..) { feeder.failed(seq, now) },
                    _ => for (seq, _) in wire.drain(..) { feeder.lost(seq, now) },
                }
                let watermark = feeder.watermark();
                for (seq, inode) in feed.range(..=watermark) {
                    prop_assert!(copy.get(inode) == Some(seq), "cursor {watermark} covers row {seq}");
                }
            }
            prop_assert_eq!(copy, latest);
            prop_assert_eq!(feeder.watermark(), seq);
        }
    }
}
