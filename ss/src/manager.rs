//! The connections to the name manager: made again whenever they are lost, at whichever address answers.
//!
//! Only the connection that registers looks at several addresses. The others go where the registration holds: of two
//! name managers, of which one was replaced by a rebuild (R26), heartbeats must not keep the wrong one informed.

use crate::serving::Serving;
use net::redial::{Attempt, Hook};
use net::{Connection, Credential, Reconnecting};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use types::message::purpose;
use types::{Code, Error, Result};

/// Where the name managers are and who we are.
#[derive(Clone)]
pub struct Managers {
    addrs: Arc<[String]>,
    credential: Credential,
    /// Knows the cluster it must be.
    serving: Arc<Serving>,
    known: Arc<Mutex<Known>>,
    /// Where the registration holds; none before the first.
    home: watch::Sender<Option<String>>,
}

/// What is known of the addresses.
#[derive(Default)]
struct Known {
    /// Where the connection that registers leads to.
    at: Option<String>,
    /// Where nobody was met who may be followed; asked again only where nobody else answers.
    shunned: BTreeSet<String>,
}

impl Managers {
    /// Name managers at `addrs` (`host:port`), to whom `credential` proves us.
    pub fn new(addrs: Vec<String>, credential: Credential, serving: Arc<Serving>) -> Managers {
        let (known, home) = (Arc::default(), watch::Sender::new(None));
        Managers { addrs: addrs.into(), credential, serving, known, home }
    }

    /// Keeps the connection open that registers. Needs a runtime.
    pub fn connect(&self) -> Reconnecting {
        let managers = self.clone();
        let attempt: Attempt = Arc::new(move || {
            let managers = managers.clone();
            Box::pin(async move { managers.open_any().await })
        });
        Reconnecting::start_with(attempt, None)
    }

    /// Keeps a connection for `purpose` open to the name manager at which the registration holds, wherever that comes
    /// to be. Needs a runtime.
    pub fn follow(&self, purpose: u16, hook: Option<Hook>) -> Reconnecting {
        let managers = self.clone();
        let attempt: Attempt = Arc::new(move || {
            let managers = managers.clone();
            Box::pin(async move { managers.open_home(purpose).await })
        });
        Reconnecting::start_with(attempt, hook)
    }

    /// The registration holds where the connection leads to now.
    pub fn settled(&self) {
        let mut known = self.known();
        if let Some(at) = known.at.clone() {
            known.shunned.remove(&at);
            self.home.send_if_modified(|home| {
                let news = home.as_ref() != Some(&at);
                *home = Some(at);
                news
            });
        }
    }

    /// Whether the connection that registers leads elsewhere than to where the registration holds.
    pub fn is_astray(&self) -> bool {
        let home = self.home.borrow().clone();
        home.is_some() && self.known().at != home
    }

    /// Whoever answers where the connection leads to now may not be followed, for the reason `why`: from now on the
    /// others are asked first. `false` if there are no others.
    pub fn shun(&self, why: &Error) -> bool {
        let mut known = self.known();
        let Some(at) = known.at.clone() else { return false };
        self.note(&mut known, &at, why);
        self.addrs.len() > 1
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, known: &mut Known, addr: &str, why: &Error) {
        if known.shunned.insert(addr.to_owned()) {
            let next =
                if self.addrs.len() > 1 { "trying the next address" } else { "there is no other address" };
            tracing::error!(addr, error = %why, "this name manager is not followed: {next}");
        }
    }

    async fn dial(&self, addr: &str, purpose: u16) -> Result<Connection> {
        Connection::open(addr, self.credential.clone(), self.serving.cluster_id(), purpose).await
    }

    fn ordered(&self) -> Vec<String> {
        let home = self.home.borrow().clone();
        in_order(&self.addrs, home.as_ref(), &self.known().shunned)
    }

    /// The first address that answers: where the registration holds before the others, those last where nobody was met
    /// who may be followed.
    async fn open_any(&self) -> Result<Connection> {
        let mut failed: Option<Error> = None;
        for addr in self.ordered() {
            match self.dial(&addr, purpose::DATA).await {
                Ok(connection) => {
                    self.known().at = Some(addr);
                    return Ok(connection);
                }
                Err(error) => {
                    if error.code == Code::WrongCluster {
                        self.note(&mut self.known(), &addr, &error);
                    }
                    failed = Some(failed.map_or(error.clone(), |failed| graver(failed, error)));
                }
            }
        }
        let none =
            || Error::new(Code::Usage, "no name manager was named", "give its address with --nm HOST:PORT");
        Err(failed.unwrap_or_else(none))
    }

    async fn open_home(&self, purpose: u16) -> Result<Connection> {
        let mut homes = self.home.subscribe();
        let home = match homes.wait_for(Option::is_some).await.map(|home| home.clone()) {
            Ok(Some(home)) => home,
            _ => return Err(Error::internal("nobody knows where the name manager is")),
        };
        let connection = self.dial(&home, purpose).await?;
        let (closed, leading) = (connection.closed(), connection.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = closed => {}
                _ = homes.wait_for(|now| now.as_ref() != Some(&home)) => leading.close(),
            }
        });
        Ok(connection)
    }
}

/// The addresses in the order in which they are tried.
fn in_order(addrs: &[String], home: Option<&String>, shunned: &BTreeSet<String>) -> Vec<String> {
    let mut ordered = addrs.to_vec();
    // Stable: else as they were given.
    ordered.sort_by_key(|addr| (shunned.contains(addr), home != Some(addr)));
    ordered
}

/// Of the errors at two addresses the one to tell: what does not pass by itself at one address may at the other.
fn graver(one: Error, other: Error) -> Error {
    let passes = |error: &Error| crate::wire::passes(error);
    if passes(&one) && !passes(&other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_where_the_wrong_one_answers_is_asked_last() {
        let addrs = ["a:1", "b:1", "c:1"].map(str::to_owned);
        let shunned = BTreeSet::from(["a:1".to_owned()]);
        assert_eq!(in_order(&addrs, None, &shunned), ["b:1", "c:1", "a:1"]);
        assert_eq!(in_order(&addrs, Some(&addrs[2]), &shunned), ["c:1", "b:1", "a:1"]);
        assert_eq!(in_order(&addrs, Some(&addrs[0]), &shunned), ["b:1", "c:1", "a:1"]);
        assert_eq!(in_order(&addrs, None, &BTreeSet::new()), addrs);
    }

    #[test]
    fn a_stranger_at_one_address_does_not_end_a_server_whose_name_manager_may_come_back_at_another() {
        let wrong = Error::new(Code::WrongCluster, "another cluster", "check --nm");
        let away = Error::new(Code::Unavailable, "nobody listens", "wait");
        assert_eq!(graver(wrong.clone(), away.clone()).code, Code::Unavailable);
        assert_eq!(graver(away, wrong.clone()).code, Code::Unavailable);
        assert_eq!(graver(wrong.clone(), wrong).code, Code::WrongCluster);
    }
}
