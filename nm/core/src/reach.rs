//! Whether the log of a leader that has just begun still has all that the servers know of (R6, R24).
//!
//! A server whose registration goes on does not report its store again when the name manager was restarted. It says with its heartbeats how far
//! it is, and is *met* once that fits to where the feeds ended when this leader began: until then it is sent no row and none of its
//! writes is decided, so what it knows cannot be of this leader. One that knows more has heard of decisions that the log has lost: the disk has lost its end,
//! or the folder is an old image.

use std::collections::BTreeMap;
use types::command::Recovered;
use types::message::member::Reach;
use types::record::{Pair, Server};

/// Where the feeds ended when a leader began, and which servers it has met since.
#[derive(Clone, Debug, Default)]
pub struct Met {
    generation: u64,
    control_end: u64,
    /// Ends of the pairs' feeds.
    pair_ends: BTreeMap<u32, u64>,
    /// Registrations, by server.
    met: BTreeMap<String, u64>,
}

/// What a heartbeat says of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Nothing,
    /// The log has all that it knows of, which was not known before.
    Fits,
    /// It has reported its store and the log does not know: it has to say it again.
    Unreported,
    /// It knows of what the log has lost.
    Ahead(String),
}

impl Met {
    /// For a leader that begins in `generation`, with the control feed up to `control_end` and these pairs.
    pub fn new(generation: u64, control_end: u64, pairs: &[Pair]) -> Met {
        let pair_ends = pairs.iter().map(|pair| (pair.id, pair.feed_end)).collect();
        Met { generation, control_end, pair_ends, met: BTreeMap::new() }
    }

    /// Whether this registration was met.
    pub fn knows(&self, server: &str, incarnation: u64) -> bool {
        self.met.get(server) == Some(&incarnation)
    }

    /// A heartbeat of a registration that holds, of a server in `epoch` of its pair. One that says nothing of `reach` is of a
    /// server of an earlier version.
    pub fn hears(&mut self, server: &Server, epoch: u64, reach: Option<&Reach>) -> Heard {
        if self.knows(&server.name, server.incarnation) {
            return Heard::Nothing;
        }
        match reach {
            // It is still at its start: what it reports then is looked at.
            Some(reach) if !reach.reported => Heard::Nothing,
            Some(_) if !server.recovered => Heard::Unreported,
            Some(reach) if reach.generation == self.generation => match self.ahead(server, epoch, reach) {
                Some(what) => Heard::Ahead(what),
                None => self.meets(server),
            },
            _ => self.meets(server),
        }
    }

    fn meets(&mut self, server: &Server) -> Heard {
        self.met.insert(server.name.clone(), server.incarnation);
        Heard::Fits
    }

    /// What the server knows and the log does not.
    fn ahead(&self, server: &Server, epoch: u64, reach: &Reach) -> Option<String> {
        let (name, pair_end) = (&server.name, self.pair_end(server.pair));
        let rows = self.rows_ahead(name, pair_end, reach.control_cursor, reach.pair_cursor);
        let told = |what: &str, told: u64, known: u64| {
            let text = || format!("it is older than what {name} was told ({what} {told}, it knows {known})");
            (told > known).then(text)
        };
        rows.or_else(|| told("row", reach.newest_row, pair_end)).or_else(|| told("epoch", reach.epoch, epoch))
    }

    fn pair_end(&self, pair: u32) -> u64 {
        self.pair_ends.get(&pair).copied().unwrap_or_default()
    }

    fn rows_ahead(&self, server: &str, pair_end: u64, control: u64, pair: u64) -> Option<String> {
        let control_end = self.control_end;
        let text = || {
            format!(
                "it is older than what {server} has applied (rows {control} and {pair}, it knows {control_end} and {pair_end})"
            )
        };
        (control > control_end || pair > pair_end).then(text)
    }

    /// What a server reports of its store is about to be decided on. One that this leader has not met before can know nothing
    /// that is newer than its beginning; what it knows all the same, the log has lost.
    pub fn reports(&self, report: &Recovered, pair: u32) -> Option<String> {
        if report.damaged || report.generation != self.generation || self.met.contains_key(&report.server) {
            return None;
        }
        self.rows_ahead(&report.server, self.pair_end(pair), report.control_cursor, report.pair_cursor)
    }

    /// It was decided.
    pub fn reported(&mut self, server: &Server) {
        self.meets(server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met() -> Met {
        Met::new(9, 100, &[Pair { id: 1, feed_end: 200, ..Pair::default() }])
    }

    fn server() -> Server {
        Server { name: "ss1".into(), pair: 1, incarnation: 4, recovered: true, ..Server::default() }
    }

    fn reach(control_cursor: u64, pair_cursor: u64) -> Reach {
        Reach { generation: 9, control_cursor, pair_cursor, newest_row: 200, epoch: 3, reported: true }
    }

    #[test]
    fn a_server_is_met_once_it_has_said_what_the_log_knows_as_well() {
        let mut met = met();
        assert!(!met.knows("ss1", 4));
        let starting = Reach { reported: false, ..Reach::default() };
        assert_eq!(met.hears(&server(), 3, Some(&starting)), Heard::Nothing);
        assert!(!met.knows("ss1", 4));
        assert_eq!(met.hears(&server(), 3, Some(&reach(100, 200))), Heard::Fits);
        assert!(met.knows("ss1", 4) && !met.knows("ss1", 5));
        // From then on what it knows may come from this leader.
        assert_eq!(met.hears(&server(), 3, Some(&reach(101, 300))), Heard::Nothing);
    }

    #[test]
    fn a_server_that_knows_more_than_the_log_shows_that_it_has_lost_something() {
        let newer = Reach { newest_row: 201, ..reach(1, 1) };
        let later = Reach { epoch: 4, ..reach(1, 1) };
        for (reach, word) in [
            (reach(101, 1), "rows 101 and 1"),
            (reach(1, 201), "rows 1 and 201"),
            (newer, "row 201"),
            (later, "epoch 4"),
        ] {
            let mut met = met();
            match met.hears(&server(), 3, Some(&reach)) {
                Heard::Ahead(what) => assert!(what.contains(word), "{what}"),
                other => panic!("{reach:?}: {other:?}"),
            }
            assert!(!met.knows("ss1", 4));
        }
    }

    #[test]
    fn a_report_that_the_log_has_lost_is_asked_for_again_and_counts_from_the_leaders_beginning() {
        let mut met = met();
        let lost = Server { recovered: false, ..server() };
        assert_eq!(met.hears(&lost, 3, Some(&reach(1, 1))), Heard::Unreported);
        let report = |control_cursor| Recovered {
            server: "ss1".into(),
            generation: 9,
            control_cursor,
            ..Recovered::default()
        };
        assert!(met.reports(&report(100), 1).is_none());
        assert!(met.reports(&report(101), 1).is_some());
        assert!(met.reports(&Recovered { generation: 8, ..report(101) }, 1).is_none(), "other numbers");
        met.reported(&server());
        assert!(met.reports(&report(101), 1).is_none(), "it may have been sent that");
        assert!(met.knows("ss1", 4));
    }

    #[test]
    fn a_server_of_an_earlier_version_or_another_generation_is_taken_as_it_was() {
        assert_eq!(met().hears(&server(), 3, None), Heard::Fits);
        assert_eq!(met().hears(&server(), 3, Some(&Reach { generation: 8, ..reach(900, 900) })), Heard::Fits);
    }
}
