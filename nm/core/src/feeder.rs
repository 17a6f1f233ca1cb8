//! One feed on its way to one server: what was sent, what was acknowledged, and the watermark that follows
//! (R20, R21). The rows themselves stay in the state; here is only which of them are under way.
//!
//! A row that fails backs off by itself and holds up no other; a newer row of the same subject takes its
//! place. Time is the leader's monotonic clock, as a value.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use types::limits::{PAGE_ROWS, ROW_BACKOFF};
use types::mutation::{self, Mutation};
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
        if mutation::is(Mutation::DropFailedRow) {
            self.remove(seq);
        }
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
            Some((seq, _)) if !mutation::is(Mutation::AdvanceEarly) => self.scanned.min(seq - 1),
            _ => self.scanned,
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

    /// How rows have been acknowledged since that began, without a pause.
    pub fn pace(&self, now: Duration) -> Moved {
        self.rate.moved(now)
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

    /// How bytes have been copied since that began, without a pause.
    pub fn byte_pace(&self, now: Duration) -> Moved {
        self.copied.rate.moved(now)
    }

    /// Bytes that it has of contents that are not complete.
    pub fn partial(&self) -> u64 {
        self.copied.partial
    }
}

/// What has moved, and within what time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Rows or bytes.
    pub count: u64,
    /// Within this time.
    pub span: Duration,
}

impl Moved {
    /// Less says nothing of what comes.
    const SPAN_MIN: Duration = Duration::from_millis(300);
    /// So many times as long as it was measured for may be foretold: from a second a quarter of an hour, from a minute
    /// the better part of a day.
    const FORETOLD: u32 = 1000;

    /// How long `left` more of it take at this pace; none if it was not measured for long enough to say so.
    pub fn time_for(self, left: u64) -> Option<Duration> {
        if self.count == 0 || self.span < Self::SPAN_MIN {
            return None;
        }
        let millis = u128::from(left) * self.span.as_millis() / u128::from(self.count);
        let time = Duration::from_millis(u64::try_from(millis).ok()?);
        Some(time).filter(|time| *time <= self.span * Self::FORETOLD)
    }
}

/// Counts what happened in the last second, in slots of 100 ms, and since it began to happen.
#[derive(Clone, Debug, Default)]
struct Rate {
    slots: VecDeque<(u128, u64)>,
    /// When the present movement began, what has moved since, and when last.
    since: Duration,
    moved: u64,
    last: Option<Duration>,
}

impl Rate {
    const SLOT_MS: u128 = 100;
    /// What is longer ago belongs to another movement.
    const PAUSE: Duration = Duration::from_secs(2);
    /// A longer movement is measured over about so long: what was before says little.
    const MEMORY: Duration = Duration::from_secs(120);

    fn count(&mut self, now: Duration, more: u64) {
        if self.last.is_none_or(|last| now.saturating_sub(last) > Self::PAUSE) {
            // What comes first took its time before.
            (self.since, self.moved) = (now, 0);
        } else {
            self.moved += more;
        }
        self.last = Some(now);
        let span = now.saturating_sub(self.since);
        if span > Self::MEMORY {
            (self.since, self.moved) = (now - span / 2, self.moved / 2);
        }
        let slot = now.as_millis() / Self::SLOT_MS;
        match self.slots.back_mut() {
            Some((last, count)) if *last == slot => *count += more,
            _ => self.slots.push_back((slot, more)),
        }
        while self.slots.len() > 10 {
            self.slots.pop_front();
        }
    }

    fn moved(&self, now: Duration) -> Moved {
        match self.last.filter(|last| now.saturating_sub(*last) <= Self::PAUSE) {
            Some(_) => Moved { count: self.moved, span: now.saturating_sub(self.since) },
            None => Moved::default(),
        }
    }

    fn last_second(&self, now: Duration) -> u64 {
        let slot = now.as_millis() / Self::SLOT_MS;
        self.slots.iter().filter(|(at, _)| at + 10 > slot).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
#[path = "feeder_tests.rs"]
mod tests;
