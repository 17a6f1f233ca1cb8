//! Sends the rows of a feed to one server and logs how far it has got: the pure tracker of `nm_core::feeder`
//! with a clock, a state to read and a connection.

use crate::manager::Manager;
use crate::members::Member;
use nm_core::feeder::Feeder;
use nm_core::state::State;
use nm_core::store::StoreError;
use prost::Message;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::command::{Acknowledge, Op};
use types::limits::{PAGE_BYTES, PAGE_ROWS};
use types::message::member::{Apply, ApplyReply, ApplyRequest};
use types::record::Row;
use types::{Code, Result};

/// Pages on their way at once.
const PAGES: usize = 2;
/// Rows nobody waits for travel together: after a page that was not full the next goes this much later. Each page
/// costs its member a sync of the disk that the writes under way wait for, too.
const PAGE_PAUSE: Duration = Duration::from_millis(20);
/// A watermark nobody waits for rides on the next page, or goes alone after this time.
const TELL_PAUSE: Duration = Duration::from_millis(40);
/// Acknowledgements nobody waits for share one log entry in this time.
const LOG_PAUSE: Duration = Duration::from_millis(50);
/// A page may wait for its partner's bytes this long.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// After a page that failed as a whole.
const REST: Duration = Duration::from_millis(100);
/// Look at the state at least this often.
const LOOK: Duration = Duration::from_secs(1);

/// One feed on its way to one server.
pub(crate) struct Line {
    pub(crate) feed: u32,
    feeder: Mutex<Feeder>,
    /// Counts the news of `feeder`, for those that wait for a row.
    progress: watch::Sender<u64>,
}

impl Line {
    pub(crate) fn new(feed: u32, cursor: u64) -> Line {
        Line { feed, feeder: Mutex::new(Feeder::new(cursor)), progress: watch::Sender::new(0) }
    }

    pub(crate) fn feeder(&self) -> MutexGuard<'_, Feeder> {
        self.feeder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the server has applied row `seq`.
    pub(crate) async fn applied(&self, seq: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`.
        let _ = progress.wait_for(|_| self.feeder().has_applied(seq)).await;
    }
}

/// A page that was sent: which rows, and what it told.
struct Sent {
    seqs: Vec<u64>,
    told: u64,
    reply: Result<ApplyReply>,
}

/// What is to be sent, all read from one state.
struct Page {
    rows: Vec<Row>,
    /// The watermark to tell.
    tell: Option<u64>,
    /// Up to where tombstones have been collected.
    collected: u64,
}

/// When to look at the feed again.
struct Wake {
    at: Instant,
    /// One row more would change nothing until then.
    deaf: bool,
}

struct Pump {
    manager: Arc<Manager>,
    member: Arc<Member>,
    line: Arc<Line>,
    pages: JoinSet<Sent>,
    /// When the last page with rows went out, or the last that told something.
    sent: Instant,
    /// The last page was full: more waits, and nothing is gained by holding it back.
    behind: bool,
}

/// Feeds one line until its task is ended.
pub(crate) async fn pump(manager: Arc<Manager>, member: Arc<Member>, line: Arc<Line>) {
    let mut news = manager.feeds.watch(line.feed);
    let mut up = member.watch();
    let mut pump = Pump { manager, member, line, pages: JoinSet::new(), sent: Instant::now(), behind: false };
    loop {
        news.end.mark_unchanged();
        news.urgent.mark_unchanged();
        up.mark_unchanged();
        let Wake { at, deaf } = match pump.send() {
            Ok(wake) => wake,
            Err(error) => {
                tracing::error!(server = pump.member.server, %error, "the feed cannot be read");
                Wake { at: Instant::now() + LOOK, deaf: false }
            }
        };
        let rested = tokio::select! {
            Some(done) = pump.pages.join_next() => done.is_ok_and(|sent| pump.take(sent)),
            // While rows are held back, a write that is decided wakes nobody here.
            changed = news.end.changed(), if !deaf => changed.is_ok(),
            changed = news.urgent.changed() => changed.is_ok(),
            changed = up.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(at) => true,
        };
        if !rested {
            tokio::time::sleep(REST).await;
        }
    }
}

impl Pump {
    /// Sends what there is to send; gives when to look again.
    fn send(&mut self) -> Result<Wake, StoreError> {
        let look = Instant::now() + LOOK;
        let Some(connection) = self.member.connection() else { return Ok(Wake { at: look, deaf: true }) };
        loop {
            if self.pages.len() >= PAGES {
                return Ok(Wake { at: look, deaf: true });
            }
            let urgent = self.manager.feeds.urgent(self.line.feed);
            let (urgent, retry) = {
                let feeder = self.line.feeder();
                (urgent > feeder.cursor(), feeder.next_retry())
            };
            let hurried = urgent || self.member.hurried.load(Ordering::Acquire);
            let page_at = if hurried || self.behind { self.sent } else { self.sent + PAGE_PAUSE };
            if Instant::now() < page_at {
                return Ok(Wake { at: page_at, deaf: true });
            }
            let Page { rows, tell, collected } = self.page()?;
            self.behind = is_full(&rows);
            let tell_at = if hurried { self.sent } else { self.sent + TELL_PAUSE };
            if rows.is_empty() && (tell.is_none() || Instant::now() < tell_at) {
                let retry_at = retry.map(|at| Instant::now() + at.saturating_sub(self.manager.now()));
                let wake = retry_at.unwrap_or(look).min(look);
                let at = if tell.is_some() { wake.min(tell_at) } else { wake };
                return Ok(Wake { at, deaf: false });
            }
            self.sent = Instant::now();
            let told = tell.unwrap_or(0);
            self.line.feeder().telling(told);
            let seqs = rows.iter().map(|row| row.seq).collect();
            let request = ApplyRequest {
                generation: self.manager.cluster.generation,
                incarnation: self.member.incarnation,
                feed: self.line.feed,
                rows,
                advance: told,
                collected,
            };
            let connection = connection.clone();
            self.pages.spawn(async move {
                let deadline = Instant::now() + PAGE_TIMEOUT;
                let reply = connection.call::<Apply>(request, bytes::Bytes::new(), deadline).await;
                Sent { seqs, told, reply: reply.map(|(reply, _)| reply) }
            });
        }
    }

    /// The next rows to send, noted as sent, and the watermark to tell.
    fn page(&self) -> Result<Page, StoreError> {
        let view = self.manager.view()?;
        let state = State::new(&view);
        let collected = state.collected(self.line.feed)?;
        let mut feeder = self.line.feeder();
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        for seq in feeder.due(self.manager.now(), PAGE_ROWS) {
            if bytes >= PAGE_BYTES {
                break;
            }
            match state.feed_rows(self.line.feed, seq - 1, 1, PAGE_BYTES)?.pop().filter(|row| row.seq == seq)
            {
                Some(row) => {
                    bytes += row.encoded_len();
                    feeder.sent(&row);
                    rows.push(row);
                }
                None => feeder.vanished(seq),
            }
        }
        if let Some((after, room)) = feeder.scan()
            && bytes < PAGE_BYTES
            && rows.len() < PAGE_ROWS
        {
            let room = room.min(PAGE_ROWS - rows.len());
            let found = state.feed_rows(self.line.feed, after, room, PAGE_BYTES - bytes)?;
            if found.is_empty() {
                // The last place of the feed may be that of a tombstone that was collected (R24). A member that
                // registered since would wait for it for ever: it serves nothing before it is there (R9).
                feeder.scanned(state.feed_end(self.line.feed)?);
            }
            for row in found {
                feeder.sent(&row);
                feeder.scanned(row.seq);
                rows.push(row);
            }
        }
        Ok(Page { rows, tell: feeder.to_tell(), collected })
    }

    /// Notes an answer; `false` if the page failed as a whole.
    fn take(&self, sent: Sent) -> bool {
        let now = self.manager.now();
        let mut feeder = self.line.feeder();
        let well = match sent.reply {
            Ok(reply) => {
                for seq in &reply.applied {
                    feeder.applied(*seq, now);
                }
                for failure in &reply.failed {
                    if failure.under_way {
                        feeder.under_way(failure.seq, now);
                        continue;
                    }
                    let code = Code::from_number(failure.code).name();
                    tracing::info!(
                        server = self.member.server,
                        feed = self.line.feed,
                        row = failure.seq,
                        code,
                        why = failure.message,
                        "a row waits"
                    );
                }
                // What it does not mention has failed too; those that were applied are no longer known.
                sent.seqs.iter().for_each(|seq| feeder.failed(*seq, now));
                feeder.copied(reply.copied_bytes, reply.partial_bytes, now);
                feeder.durable(reply.cursor);
                if sent.told > 0 && reply.cursor < sent.told {
                    feeder.untold();
                }
                self.member.journal.fetch_max(reply.journal, Ordering::AcqRel);
                true
            }
            Err(error) => {
                tracing::debug!(server = self.member.server, feed = self.line.feed, %error, "page lost");
                sent.seqs.iter().for_each(|seq| feeder.lost(*seq, now));
                feeder.untold();
                false
            }
        };
        drop(feeder);
        self.line.progress.send_modify(|count| *count += 1);
        self.member.moved.notify_one();
        well
    }
}

fn is_full(rows: &[Row]) -> bool {
    let bytes = || rows.iter().map(Message::encoded_len).sum::<usize>();
    rows.len() >= PAGE_ROWS || bytes() >= PAGE_BYTES / 2
}

/// Logs the cursors of a member as they move.
pub(crate) async fn acknowledge(manager: Arc<Manager>, member: Arc<Member>) {
    let cursors = || (member.control.feeder().cursor(), member.own.feeder().cursor());
    let mut logged = cursors();
    let mut last = Instant::now();
    loop {
        member.moved.notified().await;
        while !member.hurried.load(Ordering::Acquire) && last.elapsed() < LOG_PAUSE {
            tokio::select! {
                () = tokio::time::sleep_until(last + LOG_PAUSE) => {}
                () = member.moved.notified() => {}
            }
        }
        let now = cursors();
        if now == logged {
            continue;
        }
        last = Instant::now();
        let command = Acknowledge {
            server: member.server.clone(),
            incarnation: member.incarnation,
            control_cursor: now.0,
            pair_cursor: now.1,
            journal: member.journal.load(Ordering::Acquire),
        };
        match manager.proposer.propose(Op::Acknowledge(command)).await {
            Ok(_) => logged = now,
            Err(error) => {
                tracing::debug!(server = member.server, %error, "not acknowledged");
                tokio::time::sleep(REST).await;
                member.moved.notify_one();
            }
        }
        manager.signals.wake(member.pair);
    }
}
