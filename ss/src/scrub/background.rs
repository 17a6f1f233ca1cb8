//! The background scrubber: goes its rounds by itself, with what an operator's scrub uses too, at a bounded rate and behind
//! whoever waits for the disk. How far it is stands in a file, so that it goes on there after a restart.

use super::Scrubber;
use crate::node::Node;
use crate::ops::scrub::report;
use crate::summed::{self, replace};
use net::clock::wall_millis;
use serde::{Deserialize, Serialize};
use ss_core::rounds::{Round, Rounds};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use types::limits::SCRUB_PAGE;
use types::message::member::ScrubState;
use types::message::store::ScrubReply;
use types::{Error, Result};

/// Name of its file in the data directory, and the version of its format.
const FILE: &str = "scrub";
const FORMAT: u32 = 1;
/// Between two looks whether a round is due.
const REST: Duration = Duration::from_secs(5);
/// The shortest of those.
const REST_MIN: Duration = Duration::from_millis(100);
/// How far a round is, is written down so often: after a crash at most that much is looked at again.
const SAVE: Duration = Duration::from_secs(5);
/// Files with a bad copy are looked at again so often while the partner is there.
const AGAIN: Duration = Duration::from_secs(60);
/// The rate that is told is that of this time.
const LATELY: Duration = Duration::from_secs(10);

/// What an operator says of it; may change while it runs.
#[derive(Debug, Default)]
pub struct Setting {
    period_ms: AtomicU64,
    rate: AtomicU64,
}

impl Setting {
    /// In `period` everything is to be looked at once (zero: the scrubber is off), at most `rate` bytes a second (0: no
    /// bound).
    pub fn set(&self, period: Duration, rate: u64) {
        let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        self.period_ms.store(period, Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
    }
}

/// The file, in TOML. Persisted because a round over a large disk takes days, and because only this says when the copies
/// were verified.
#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    verified_ms: u64,
    bad: Vec<u64>,
    round: Option<Part>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    started_ms: u64,
    file: u64,
    number: u64,
    chunk: u32,
    bytes: u64,
    bad: Vec<u64>,
}

/// How far it was; from the start if that cannot be told: then everything is looked at once more.
fn load(folder: &Path) -> Rounds {
    // Else a flipped bit could say that all was verified yesterday.
    let contents = match summed::read::<Contents>(folder, FILE, FORMAT, "it is written anew") {
        Ok(Some(contents)) => contents,
        Ok(None) => return Rounds::default(),
        Err(error) => {
            tracing::warn!(%error, "everything is scrubbed from the start");
            return Rounds::default();
        }
    };
    let round = contents.round.map(|part| Round {
        started_ms: part.started_ms,
        place: (part.file, part.number, part.chunk),
        bytes: part.bytes,
        bad: part.bad.into_iter().collect(),
    });
    Rounds { verified_ms: contents.verified_ms, bad: contents.bad.into_iter().collect(), round }
}

/// The file read and written again.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`.
pub(crate) fn reread(bytes: &[u8]) -> Result<Vec<u8>> {
    summed::reread::<Contents>(FILE, bytes, FORMAT)
}

fn text(rounds: &Rounds) -> Result<String> {
    let round = rounds.round.as_ref().map(|round| Part {
        started_ms: round.started_ms,
        file: round.place.0,
        number: round.place.1,
        chunk: round.place.2,
        bytes: round.bytes,
        bad: round.bad.iter().copied().collect(),
    });
    let bad = rounds.bad.iter().copied().collect();
    let contents = Contents { format: FORMAT, verified_ms: rounds.verified_ms, bad, round };
    toml::to_string(&contents).map_err(Error::internal)
}

/// Goes its rounds until the server stops. `folder` is the data directory.
pub async fn run(node: Arc<Node>, folder: PathBuf) {
    let mut walk = Walk {
        rounds: load(&folder),
        node,
        folder,
        scrubber: None,
        lately: VecDeque::new(),
        saved: Instant::now(),
        again: Instant::now(),
    };
    let mut pause = REST_MIN;
    while !walk.node.is_stopped() {
        tokio::select! {
            () = walk.node.stopped() => return,
            () = sleep(pause) => {}
        }
        pause = match walk.step().await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::debug!(%error, "the scrubber rests");
                walk.scrubber = None;
                REST
            }
        };
    }
}

struct Walk {
    node: Arc<Node>,
    folder: PathBuf,
    rounds: Rounds,
    /// That of the round under way, and the rate it was made with.
    scrubber: Option<(Scrubber, u64)>,
    /// Bytes that were looked at, and when.
    lately: VecDeque<(Instant, u64)>,
    saved: Instant,
    again: Instant,
}

impl Walk {
    /// Looks at a page if there is one to look at; how long to rest then.
    async fn step(&mut self) -> Result<Duration> {
        let (period, rate) = {
            let setting = &self.node.scrubs.setting;
            (setting.period_ms.load(Ordering::Relaxed), setting.rate.load(Ordering::Relaxed))
        };
        let rest = REST.min(Duration::from_millis(period / 8)).max(REST_MIN);
        let pair = self.node.serving.pair();
        if period == 0 || pair == 0 || self.node.disk.get().is_none() {
            self.tell(period);
            return Ok(REST);
        }
        if !self.rounds.begin(wall_millis(), period) {
            let may_help = self.node.partner.way(false).is_some();
            if !self.rounds.bad.is_empty() && may_help && self.again.elapsed() >= AGAIN {
                self.look_again(pair, rate).await?;
            }
            self.tell(period);
            return Ok(rest);
        }
        // A page at a low rate takes its time.
        self.tell(period);
        if self.scrubber.as_ref().is_none_or(|(_, of)| *of != rate) {
            // Of one run: what several contents share is read once in it.
            let run = self.rounds.round.as_ref().map_or(0, |round| round.started_ms);
            self.scrubber = Some((Scrubber::new(self.node.clone(), pair, rate, run)?, rate));
        }
        let Some((scrubber, _)) = &mut self.scrubber else { return Ok(rest) };
        let page = {
            let _turn = self.node.scrubs.turn().await?;
            scrubber.page(self.rounds.place(), &[], SCRUB_PAGE).await?
        };
        self.note(&page);
        let ended = self.rounds.looked(&page);
        if ended {
            self.scrubber = None;
            self.lately.clear();
            tracing::info!(bad = self.rounds.bad.len(), "every copy here was compared with its SHA-256");
        }
        if ended || self.saved.elapsed() >= SAVE {
            self.save().await?;
        }
        self.tell(period);
        Ok(if ended { rest } else { Duration::ZERO })
    }

    /// Looks at the files with a bad copy once more.
    async fn look_again(&mut self, pair: u32, rate: u64) -> Result<()> {
        self.again = Instant::now();
        let files: Vec<u64> = self.rounds.bad.iter().copied().collect();
        let mut scrubber = Scrubber::new(self.node.clone(), pair, rate, 0)?;
        let mut place = self.rounds.place();
        loop {
            let mut page = {
                let _turn = self.node.scrubs.turn().await?;
                scrubber.page(place, &files, SCRUB_PAGE).await?
            };
            self.rounds.looked_again(&page);
            place = page.next.unwrap_or_default();
            // That the others are bad has been told.
            page.findings.retain(|finding| finding.repaired);
            self.note(&page);
            if page.end {
                return self.save().await;
            }
        }
    }

    /// Notes how fast it goes, and has what was found told.
    fn note(&mut self, page: &ScrubReply) {
        let now = Instant::now();
        self.lately.push_back((now, page.bytes));
        self.lately.retain(|(at, _)| now.duration_since(*at) <= LATELY);
        if let Some(report) = report(&self.node, page) {
            self.node.completions.report_damage(report);
        }
    }

    /// Bytes a second of late.
    fn speed(&self) -> u64 {
        let Some((first, _)) = self.lately.front() else { return 0 };
        // The first page took time as well.
        let time = first.elapsed() + SCRUB_PAGE;
        let bytes: u64 = self.lately.iter().map(|(_, bytes)| bytes).sum();
        (bytes as f64 / time.as_secs_f64()) as u64
    }

    fn tell(&self, period_ms: u64) {
        let expected = self.node.disk.get().map_or(0, |store| store.used_bytes());
        self.node.scrubs.tell(self.rounds.state(period_ms, expected, self.speed()));
    }

    async fn save(&mut self) -> Result<()> {
        self.saved = Instant::now();
        let (folder, text) = (self.folder.clone(), text(&self.rounds)?);
        threads::run(move || replace(&folder, FILE, &text)).await.map_err(Error::internal)?
    }
}

impl super::Scrubs {
    /// How far the background scrubber is; none: it has not begun.
    pub fn state(&self) -> Option<ScrubState> {
        crate::sessions::lock(&self.state).clone()
    }

    fn tell(&self, state: ScrubState) {
        *crate::sessions::lock(&self.state) = Some(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::tests::with_each_flipped_bit;

    #[test]
    fn a_round_goes_on_after_a_restart_and_begins_anew_if_nothing_tells_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), Rounds::default());
        let round = Round { started_ms: 9, place: (7, 2, 1), bytes: 100, bad: [3].into_iter().collect() };
        for round in [Some(round), None] {
            let rounds = Rounds { verified_ms: 5, bad: [4, 8].into_iter().collect(), round };
            replace(folder.path(), FILE, &text(&rounds).unwrap()).unwrap();
            assert_eq!(load(folder.path()), rounds);
        }
        for unknown in ["format = 2\nverified_ms = 5\nbad = []\n", "what"] {
            std::fs::write(folder.path().join(FILE), unknown).unwrap();
            assert_eq!(load(folder.path()), Rounds::default());
        }
    }

    #[test]
    fn each_flipped_bit_of_how_far_a_round_is_makes_it_begin_anew_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let round = Round { started_ms: 9, place: (7, 2, 1), bytes: 100, bad: [3].into_iter().collect() };
        let honest = Rounds { verified_ms: 5, bad: [4, 8].into_iter().collect(), round: Some(round) };
        replace(folder.path(), FILE, &text(&honest).unwrap()).unwrap();
        with_each_flipped_bit(&folder.path().join(FILE), || {
            let rounds = load(folder.path());
            assert!(rounds == honest || rounds == Rounds::default(), "{rounds:?}");
        });
        // One that an earlier version wrote.
        std::fs::write(folder.path().join(FILE), text(&honest).unwrap()).unwrap();
        assert_eq!(load(folder.path()), honest);
    }
}
