//! Gray failures: a server that answers heartbeats but does no work, because its disk hangs or because its data port does
//! not answer. (Huang et al., "Gray Failure: The Achilles' Heel of Cloud-Scale Systems", HotOS 2017: what matters is what
//! those see who use a server, not what it says of itself.)
//!
//! Of its disk the server tells with each heartbeat the age of its oldest unfinished operation. Its data port the name
//! manager asks by itself, over the connection on which it sends rows. Time is the leader's monotonic clock, as a value.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use types::record::Server;

/// Why a server does no work though its heartbeats arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// An operation of its disk has not ended for so long.
    Disk(Duration),
    /// Its data port has not answered for so long.
    Port(Duration),
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Illness::Disk(age) => write!(f, "its disk has not answered for {:.1} s", age.as_secs_f64()),
            Illness::Port(age) => write!(f, "its data port has not answered for {:.1} s", age.as_secs_f64()),
        }
    }
}

/// A server has fallen ill, or is well again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Server.
    pub server: String,
    /// Why; none: it is well again.
    pub illness: Option<Illness>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    incarnation: u64,
    /// Age of its oldest unfinished disk operation, as of its last heartbeat.
    disk: Duration,
    /// How long its port is known not to have answered.
    port: Duration,
    /// When it was asked last.
    asked: Option<Duration>,
    told: bool,
}

/// What is known of all servers.
#[derive(Clone, Debug)]
pub struct Gray {
    bound: Duration,
    /// Two questions to a port are not further apart, unless this process stood still.
    apart: Duration,
    servers: BTreeMap<String, Watched>,
}

impl Gray {
    /// Nothing is known. A server is ill once its disk or its port has not answered for `bound`; its port is asked at
    /// least each `apart`.
    pub fn new(bound: Duration, apart: Duration) -> Gray {
        Gray { bound, apart, servers: BTreeMap::new() }
    }

    fn watched(&mut self, server: &str, incarnation: u64) -> Option<&mut Watched> {
        let watched = self.servers.entry(server.to_owned()).or_default();
        if watched.incarnation < incarnation {
            *watched = Watched { incarnation, ..Watched::default() };
        }
        (watched.incarnation == incarnation).then_some(watched)
    }

    /// A heartbeat has told how old the oldest unfinished disk operation is.
    pub fn disk(&mut self, server: &str, incarnation: u64, oldest: Duration) {
        if let Some(watched) = self.watched(server, incarnation) {
            watched.disk = oldest;
        }
    }

    /// Its port was asked, and whether it has answered by `now`. The time before the first question, and time in which
    /// this process itself stood still, is not held against it.
    pub fn port(&mut self, server: &str, incarnation: u64, now: Duration, answered: bool) {
        let apart = self.apart;
        let Some(watched) = self.watched(server, incarnation) else { return };
        let since = watched.asked.map_or(Duration::ZERO, |asked| now.saturating_sub(asked));
        watched.asked = Some(now);
        match answered {
            true => watched.port = Duration::ZERO,
            false if since > apart => {}
            false => watched.port += since,
        }
    }

    /// Why this registration does no work, if that is so.
    pub fn illness(&self, server: &Server) -> Option<Illness> {
        let watched = self.servers.get(&server.name)?;
        if watched.incarnation != server.incarnation {
            return None;
        }
        match () {
            () if watched.disk >= self.bound => Some(Illness::Disk(watched.disk)),
            () if watched.port >= self.bound => Some(Illness::Port(watched.port)),
            () => None,
        }
    }

    /// Who of `servers` has fallen ill or is well again since the last look.
    pub fn tick(&mut self, servers: &[Server]) -> Vec<News> {
        let mut news = Vec::new();
        for server in servers.iter().filter(|server| !server.failed) {
            let illness = self.illness(server);
            let Some(watched) = self.watched(&server.name, server.incarnation) else { continue };
            if watched.told != illness.is_some() {
                watched.told = illness.is_some();
                news.push(News { server: server.name.clone(), illness });
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn server(incarnation: u64) -> Server {
        Server { name: "ss1".into(), incarnation, ..Server::default() }
    }

    fn gray() -> Gray {
        Gray::new(5 * S, 2 * S)
    }

    #[test]
    fn a_server_whose_disk_hangs_is_ill_until_it_answers_and_that_is_told_once() {
        let mut gray = gray();
        let news = |illness| vec![News { server: "ss1".into(), illness }];
        gray.disk("ss1", 3, 4 * S);
        assert!(gray.tick(&[server(3)]).is_empty(), "slow, and not more");
        gray.disk("ss1", 3, 5 * S);
        assert_eq!(gray.tick(&[server(3)]), news(Some(Illness::Disk(5 * S))));
        gray.disk("ss1", 3, 6 * S);
        assert!(gray.tick(&[server(3)]).is_empty());
        gray.disk("ss1", 2, S);
        assert!(gray.illness(&server(3)).is_some(), "a heartbeat of the registration before");
        gray.disk("ss1", 3, S);
        assert_eq!((gray.illness(&server(3)), gray.tick(&[server(3)])), (None, news(None)));
        gray.disk("ss1", 3, 9 * S);
        assert!(gray.illness(&server(4)).is_none(), "of its next registration nothing is known yet");
    }

    #[test]
    fn a_port_that_does_not_answer_is_found_and_one_answer_is_enough() {
        let mut gray = gray();
        for at in 10..15 {
            gray.port("ss1", 3, at * S, false);
            assert!(gray.illness(&server(3)).is_none(), "at {at} s");
        }
        gray.port("ss1", 3, 15 * S, false);
        assert_eq!(gray.illness(&server(3)), Some(Illness::Port(5 * S)));
        gray.port("ss1", 3, 16 * S, true);
        assert!(gray.illness(&server(3)).is_none());
    }

    #[test]
    fn a_name_manager_that_stood_still_does_not_take_that_for_the_silence_of_a_port() {
        let mut gray = gray();
        gray.port("ss1", 3, 10 * S, false);
        gray.port("ss1", 3, 100 * S, false);
        assert!(gray.illness(&server(3)).is_none());
    }
}
