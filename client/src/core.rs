//! What the operations of a client share, and one attempt of a request at a pair's acting member.

use crate::bounds::CLIENT_ID_IDLE;
use crate::keys::Keys;
use crate::lookup::Lookups;
use crate::manager::Manager;
use crate::places::{acting, reign_over};
use crate::retry::{Remedy, Retry};
use crate::servers::Servers;
use net::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout_at;
use types::command::Asker;
use types::ids::{ClientId, RequestKey};
use types::message::manager::{Attached, MemberAddr, Placement};
use types::path::{PathName, Quoted};
use types::record::Record;
use types::{Code, Effect, Error, Result};

/// The parts of a client.
pub(crate) struct Core {
    pub(crate) manager: Manager,
    pub(crate) servers: Servers,
    pub(crate) lookups: Lookups,
    pub(crate) keys: Keys,
    pub(crate) user: String,
    pub(crate) timeout: Duration,
}

/// The acting member of a pair, connected.
#[derive(Clone, Debug)]
pub(crate) struct Acting {
    pub(crate) connection: Connection,
    pub(crate) epoch: u64,
}

impl Core {
    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.timeout)
    }

    /// Has `ask` ask the acting member of `pair`, once. It is given up, with an unknown effect, as soon as
    /// the name manager says that another member acts: a frozen server never answers.
    ///
    /// # Errors
    /// What `ask` says; `NO_ACTING_MEMBER` when nobody acts until the deadline; `PAST_EPOCH` when given up.
    pub(crate) async fn at_acting<T, F>(
        &self,
        pair: u32,
        retry: &Retry,
        ask: impl FnOnce(Acting) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let placement = self.acting(pair, retry).await?;
        let mut watch = self.manager.places().watch(pair);
        let begun = AtomicBool::new(false);
        let asked = async {
            let Some(member) = acting(&placement) else {
                return Err(nobody_acts(Some(&placement)));
            };
            let connection = self.connect(member, retry).await?;
            begun.store(true, Ordering::Relaxed);
            ask(Acting { connection, epoch: placement.epoch }).await
        };
        let over = watch.wait_for(|known| known.as_ref().is_some_and(|known| reign_over(&placement, known)));
        tokio::select! {
            biased;
            answer = asked => answer,
            _ = over => {
                let what = format_args!("{} does not act any more", placement.acting);
                let error = Error::new(Code::PastEpoch, what, "ask the member that does");
                Err(if begun.load(Ordering::Relaxed) { error.outcome_unknown() } else { error })
            }
        }
    }

    /// A connection to `member` by the deadline of `retry`; nothing was asked of it before.
    async fn connect(&self, member: &MemberAddr, retry: &Retry) -> Result<Connection> {
        let connected = self.servers.get(&self.manager, member, retry.deadline());
        let late = |_| {
            let what = format_args!("{} does not answer", member.name);
            Err(Error::new(Code::Timeout, what, "see `pairfs status`"))
        };
        let connected = timeout_at(retry.deadline(), connected).await.unwrap_or_else(late);
        connected.map_err(|error| Error { effect: Effect::None, ..error })
    }

    /// The placement of `pair` once somebody acts.
    async fn acting(&self, pair: u32, retry: &Retry) -> Result<Arc<Placement>> {
        let mut watch = self.manager.places().watch(pair);
        loop {
            let known = watch.borrow_and_update().clone();
            if let Some(placement) = known.as_ref().filter(|known| acting(known).is_some()) {
                return Ok(placement.clone());
            }
            self.manager.seek(pair, known.as_deref());
            tokio::select! {
                _ = watch.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = tokio::time::sleep_until(retry.deadline()) => return Err(nobody_acts(known.as_deref())),
            }
        }
    }

    /// Does what has to be done after an attempt at `pair` failed: pauses, or waits for the push that
    /// another member acts, whichever is sooner. True if the path has to be looked up again.
    ///
    /// # Errors
    /// `error` in the words it ends with, when there is no other attempt.
    pub(crate) async fn after(
        &self,
        error: Error,
        pair: u32,
        path: &PathName,
        retry: &mut Retry,
    ) -> Result<bool> {
        tracing::debug!(%error, %path, "an attempt failed");
        let mut watch = self.manager.places().watch(pair);
        let known = watch.borrow_and_update().clone();
        let (remedy, pause) = retry.failed(error)?;
        match remedy {
            Remedy::Relocate => self.lookups.forget(path),
            Remedy::Seek => self.manager.seek(pair, known.as_deref()),
            Remedy::Pause | Remedy::GiveUp => {}
        }
        tokio::select! {
            _ = watch.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Ok(remedy == Remedy::Relocate)
    }

    /// A key for a new request, or `given` by the user who repeats one.
    pub(crate) async fn key(&self, given: Option<RequestKey>, retry: &mut Retry) -> Result<Key<'_>> {
        if let Some(key) = given {
            return Ok(Key { core: self, kind: KeyKind::Given(key) });
        }
        if self.keys.idle_for(CLIENT_ID_IDLE) {
            self.keys.renew(client_id(&self.manager.attach_again(retry).await?));
        }
        Ok(Key { core: self, kind: KeyKind::Own(self.keys.begin().await) })
    }
}

/// The client id in an answer to Attach.
pub(crate) fn client_id(attached: &Attached) -> ClientId {
    ClientId { issued: attached.client_issued, random: attached.client_random }
}

/// The request key of one change.
pub(crate) struct Key<'a> {
    core: &'a Core,
    kind: KeyKind<'a>,
}

enum KeyKind<'a> {
    Own(crate::keys::OpenKey<'a>),
    Given(RequestKey),
}

impl Key<'_> {
    /// The key as it is now.
    pub(crate) fn key(&self) -> RequestKey {
        match &self.kind {
            KeyKind::Own(open) => open.key(),
            KeyKind::Given(key) => *key,
        }
    }

    /// Who asks for `ask`, under this key.
    pub(crate) fn asker(&self, ask: [u8; 32]) -> Asker {
        Asker::new(&self.core.user, self.key(), ask)
    }

    /// Ends the request: its error says whether the outcome is known, and the key stays open if not.
    pub(crate) fn end<T>(self, result: Result<T>, retry: &Retry) -> Result<T> {
        let result = result.map_err(|error| retry.outcome(error, self.key()));
        if let KeyKind::Own(open) = self.kind
            && !(result.is_err() && retry.is_unknown())
        {
            open.answered();
        }
        result
    }
}

fn nobody_acts(placement: Option<&Placement>) -> Error {
    let what = match placement {
        Some(placement) if !placement.reason.is_empty() => {
            format!("nobody serves {}, {}", placement.name, placement.reason)
        }
        Some(placement) => format!("nobody serves {} now", placement.name),
        None => "it is not known who serves the file".to_owned(),
    };
    Error::new(Code::NoActingMember, what, "see `pairfs status`")
}

/// A checked path.
///
/// # Errors
/// `BAD_PATH`.
pub(crate) fn parse(path: &str) -> Result<PathName> {
    PathName::given(path)
}

/// Refuses a path that is written as a folder where a file is to be.
///
/// # Errors
/// `BAD_PATH`.
pub(crate) fn for_a_file(path: &PathName) -> Result<()> {
    if path.must_be_folder() && !path.is_root() {
        let what = format_args!("{} is written as a folder", Quoted(&format!("{path}/")));
        return Err(Error::new(Code::BadPath, what, "leave the '/' at its end out"));
    }
    Ok(())
}

/// Refuses what is no folder at a path that is written as one, whatever is to be done with it.
///
/// # Errors
/// `NOT_A_FOLDER`.
pub(crate) fn fits(path: &PathName, record: Option<&Record>) -> Result<()> {
    if path.must_be_folder() && record.is_some_and(|record| !record.is_folder()) {
        let what = format_args!("{} is no folder", Quoted(&path.to_string()));
        return Err(Error::new(Code::NotAFolder, what, "leave the '/' at its end out"));
    }
    Ok(())
}

/// The error for the root where a name is needed.
pub(crate) fn not_the_root(path: &str) -> Error {
    let what = format_args!("{} is the root folder", Quoted(path));
    Error::new(Code::BadPath, what, "give a path below it")
}
