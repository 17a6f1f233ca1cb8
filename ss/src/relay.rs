//! Which way to the partner is taken, and the one through the name manager (R18, decision 0024): when there is no connection
//! to the partner, or one that does not answer, the name manager forwards. It keeps nothing, and what it has under way is
//! bounded; checksums and digests are checked where the bytes arrive.

use crate::manager::Managers;
use crate::node::Stop;
use crate::serving::Serving;
use crate::sessions::lock;
use crate::wire;
use bytes::Bytes;
use net::Reconnecting;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use types::message::member::{Relay as RelayMethod, RelayMode, RelayReply, RelayRequest};
use types::message::purpose;
use types::{Code, Error, Result};

/// A partner that has not been reached for so long is not waited for.
const UNREACHED: Duration = Duration::from_secs(1);
/// How long a silent partner is not asked.
const AVOID: Duration = Duration::from_secs(15);
/// How long a connection to the name manager is waited for.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a relayed request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way to the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over the connection to it.
    Direct,
    /// Through the name manager.
    Relayed,
}

/// What is known of the connection to the partner.
#[derive(Default)]
struct Known {
    /// Since when there has been none.
    lost: Option<Instant>,
    /// It is not tried before.
    avoid: Option<Instant>,
}

/// The way through the name manager, and the choice between the two.
pub struct Relay {
    serving: Arc<Serving>,
    managers: Managers,
    /// A connection of its own: bulk bytes stand in the way of no commit. Made when it is needed first.
    link: OnceLock<Reconnecting>,
    known: Mutex<Known>,
    stop: Stop,
}

impl Relay {
    /// Nothing is dialled yet.
    pub fn new(serving: Arc<Serving>, managers: Managers, stop: Stop) -> Relay {
        Relay { serving, managers, link: OnceLock::new(), known: Mutex::default(), stop }
    }

    /// The way to take now, if there is a connection to the partner (`is_there`) or not; or when to look again.
    pub fn way(&self, is_there: bool) -> std::result::Result<Way, Instant> {
        let mode = self.serving.relay();
        choose(mode, is_there, &mut lock(&self.known), Instant::now())
    }

    /// The partner is connected and did not answer: it is not asked for a while, if there is another way.
    pub fn is_silent(&self) {
        lock(&self.known).avoid = Some(Instant::now() + AVOID);
    }

    /// Has the name manager forward a request; who asks is filled in.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the name manager or the partner cannot be reached; what the partner answers.
    pub async fn ask(&self, request: RelayRequest, body: Bytes) -> Result<(RelayReply, Bytes)> {
        let link = self.link.get_or_init(|| {
            let link = self.managers.follow(purpose::DATA, None);
            let (stop, ended) = (self.stop.clone(), link.clone());
            tokio::spawn(async move {
                stop.stopped().await;
                ended.stop();
            });
            link
        });
        let (server, incarnation) = (self.serving.name.clone(), self.serving.incarnation());
        let request = RelayRequest { server, incarnation, ..request };
        let connection = link.get(Instant::now() + CONNECT).await?;
        wire::call::<RelayMethod>(&connection, &request, body, PATIENCE).await
    }
}

fn choose(
    mode: RelayMode,
    is_there: bool,
    known: &mut Known,
    now: Instant,
) -> std::result::Result<Way, Instant> {
    if is_there {
        known.lost = None;
    }
    let avoided = known.avoid.is_some_and(|until| now < until);
    match mode {
        RelayMode::Always => return Ok(Way::Relayed),
        RelayMode::Never if is_there => return Ok(Way::Direct),
        RelayMode::Never => return Err(now + UNREACHED),
        RelayMode::Auto if avoided => return Ok(Way::Relayed),
        RelayMode::Auto if is_there => return Ok(Way::Direct),
        RelayMode::Auto => {}
    }
    // One that was lost just now may be back at once.
    let until = *known.lost.get_or_insert(now) + UNREACHED;
    if now >= until { Ok(Way::Relayed) } else { Err(until) }
}

/// Whether an error means that the partner was not reached.
pub fn is_no_way(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable | Code::Timeout | Code::OutcomeUnknown | Code::Busy)
}

/// An answer of the name manager without what was asked for.
pub fn without_it() -> Error {
    Error::bad_request("a relayed answer without it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partner_that_was_lost_just_now_is_waited_for_and_then_reached_through_the_name_manager() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(choose(RelayMode::Auto, true, &mut known, now), Ok(Way::Direct));
        assert_eq!(choose(RelayMode::Auto, false, &mut known, now), Err(now + UNREACHED));
        let later = now + UNREACHED;
        assert_eq!(choose(RelayMode::Auto, false, &mut known, later), Ok(Way::Relayed));
        assert_eq!(choose(RelayMode::Never, false, &mut known, later), Err(later + UNREACHED));
        assert_eq!(choose(RelayMode::Auto, true, &mut known, later), Ok(Way::Direct));
        assert_eq!(choose(RelayMode::Auto, false, &mut known, later), Err(later + UNREACHED));
        assert_eq!(choose(RelayMode::Always, true, &mut known, later), Ok(Way::Relayed));
    }

    #[test]
    fn a_partner_that_is_silent_is_left_alone_for_a_while_unless_there_is_no_other_way() {
        let now = Instant::now();
        let mut known = Known { avoid: Some(now + AVOID), lost: None };
        assert_eq!(choose(RelayMode::Auto, true, &mut known, now), Ok(Way::Relayed));
        assert_eq!(choose(RelayMode::Never, true, &mut known, now), Ok(Way::Direct));
        assert_eq!(choose(RelayMode::Auto, true, &mut known, now + AVOID), Ok(Way::Direct));
    }
}
